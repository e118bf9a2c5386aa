"""Our samplers against diffusers': the same network, x_T and noise give the same sample.

Both run in float64 (their casts to float32 are lifted), 1,260 chains in all; the greatest
difference is 9e-9 of the sample's scale, 1,033 are below 1e-14.

Known to be different there, and left out:
  * UniPC's and DPM-Solver's "leading" and "linspace" take T // (steps + 1), so that the first
    timestep moves with the number of steps (huggingface/diffusers#13887);
  * DDIM steps by T // steps whatever the spacing, past the wrong times on "linspace" (#12633);
  * DPM-Solver++ 3M takes half of the second derivative, and so is of order 2;
  * the flow schedules start at 1 − 1e-6 instead of 1 and, before #10266, lost their last step;
  * EulerDiscrete has no "sample" prediction.
"""

import functools
import importlib
import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax import diffusion
from dalle_jax.diffusion.discrete import BETAS
from dalle_jax.diffusion.noise import normal_like
from dalle_jax.diffusion.samplers import sampler_rows
from dalle_jax.diffusion.samplers.coefficients import run, stack

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.parity

T = 1000
SHAPE = (2, 6)
STEPS = (5, 10, 20, 50)
SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
PREDICTIONS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction", "flow": "flow_prediction"}
KEY = jax.random.key(7)
INDEX = np.arange(SHAPE[0])
MOST = 2 * max(STEPS)


class Float64:
    """numpy or torch without float32, to which their schedulers round σ and x."""

    def __init__(self, library):
        self.library = library

    def __getattr__(self, name):
        return getattr(self.library, "float64" if name == "float32" else name)


@pytest.fixture(autouse=True)
def in_float64(monkeypatch):
    for name in ("dpmsolver_multistep", "unipc_multistep", "heun_discrete", "euler_discrete"):
        module = importlib.import_module(f"diffusers.schedulers.scheduling_{name}")
        monkeypatch.setattr(module, "np", Float64(np))
        monkeypatch.setattr(module, "torch", Float64(torch))
    with jax.enable_x64(True):
        yield


def network(xp, x, ratio):
    """Any smooth function of x_t and the noise level will do."""
    return xp.tanh(0.8 * x + 0.3 / (1 + ratio)) - 0.2 * x / (1 + ratio)


@functools.cache
def chain(schedule, prediction):
    """Our scan of a table, compiled once for all tables of MOST rows with the same columns."""

    def of_time(x, t):
        return network(jnp, x, diffusion.arrays.per_sample(schedule.noise_ratio(t), x))

    denoiser = diffusion.as_denoiser(of_time, schedule, prediction)
    return jax.jit(lambda table, x: run(table, denoiser, x, key=KEY, sample_index=INDEX))


def ours(schedule, prediction, x_T, **settings):
    rows = sampler_rows(schedule, **settings)
    stand_still = replace(rows[-1], a=1.0, b=(0.0,), s=0.0, churn=None, correction=None)
    rows = rows + [stand_still] * (MOST - len(rows))
    return np.asarray(chain(schedule, prediction)(stack(rows, np.float64), x_T))


@functools.cache
def all_noise():
    draw = jax.jit(lambda step: normal_like(KEY, INDEX, step, jnp.zeros(SHAPE, float)))
    return [torch.tensor(np.array(draw(step + 1))) for step in range(max(STEPS))]


def our_noise(step):
    return all_noise()[step]


discrete = functools.cache(diffusion.discrete)
X_T = np.random.default_rng(3).normal(size=SHAPE)


def scheduler_of(cls, schedule_name, prediction, steps, **config):
    start, end = (0.00085, 0.012) if schedule_name == "scaled_linear" else (1e-4, 0.02)
    scheduler = cls(
        num_train_timesteps=T,
        beta_schedule=SCHEDULES[schedule_name],
        beta_start=start,
        beta_end=end,
        prediction_type=PREDICTIONS[prediction],
        **config,
    )
    # their tables are float32: the same in float64
    scheduler.betas = torch.tensor(BETAS[schedule_name](T))
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, 0)
    if hasattr(scheduler, "final_alpha_cumprod"):
        scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    scheduler.set_timesteps(steps)
    return scheduler


def theirs(scheduler, x_T, *, exploding=False, **step_options):
    """Their chain; x_T is ours, on the scale of x_t = alpha x_0 + sigma eps."""
    x = torch.tensor(x_T)
    by_sigma = hasattr(scheduler, "sigmas")
    if by_sigma:
        scheduler.set_begin_index(0)
    if exploding:
        x = x * (scheduler.sigmas[0].double() ** 2 + 1) ** 0.5
    for i, t in enumerate(scheduler.timesteps):
        if by_sigma:
            ratio = scheduler.sigmas[scheduler.step_index or 0].double()
        else:
            ratio = (1 / scheduler.alphas_cumprod[t] - 1) ** 0.5
        model_input = x / (ratio**2 + 1) ** 0.5 if exploding else x
        options = {k: v(i) for k, v in step_options.items()}
        x = scheduler.step(network(torch, model_input, ratio), t, x, **options).prev_sample.double()
    return x.numpy()


def assert_same(a, b, tolerance=1e-7):
    assert np.isfinite(a).all()
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.std(b))


def times_of(scheduler, end=0.0):
    """Their own timesteps as our times, where their grid is not one of ours."""
    return np.append((scheduler.timesteps.double().numpy() + 1) / T, end)


def karras_range(name, spacing, steps):
    """EulerDiscrete and HeunDiscrete stretch Karras' σ between the ends of the spacing."""
    schedule = discrete(name)
    t = diffusion.time_grid(schedule, steps, spacing).t
    return dict(sigma_max=schedule.noise_ratio(t[0]), sigma_min=schedule.noise_ratio(t[-2]))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
class TestVariancePreserving:
    @pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
    def test_ddpm(self, name, prediction, variance, monkeypatch):
        steps_of_noise = itertools.count()
        monkeypatch.setattr(
            diffusers.schedulers.scheduling_ddpm,
            "randn_tensor",
            lambda *_, **__: our_noise(next(steps_of_noise)),
        )
        schedule = discrete(name)
        # Where the last timestep is not 0 ("trailing"), theirs adds the noise of "fixed_large" on
        # the way to clean data too.
        spacings = ["linspace", "leading"] + ["trailing"] * (variance == "fixed_small")
        for spacing, steps in itertools.product(spacings, STEPS):
            steps_of_noise = itertools.count()
            scheduler = scheduler_of(
                diffusers.DDPMScheduler,
                name,
                prediction,
                steps,
                variance_type=variance,
                timestep_spacing=spacing,
                clip_sample=False,
            )
            settings = dict(sampler="ddpm", variance=variance, steps=steps, spacing=spacing)
            assert_same(ours(schedule, prediction, X_T, **settings), theirs(scheduler, X_T))

    def test_ddim(self, name, prediction):
        schedule = discrete(name)
        for spacing, steps, eta in itertools.product(["leading", "trailing"], STEPS, [0.0, 0.7]):
            scheduler = scheduler_of(
                diffusers.DDIMScheduler,
                name,
                prediction,
                steps,
                timestep_spacing=spacing,
                clip_sample=False,
            )
            noise = dict(eta=lambda _, eta=eta: eta)
            if eta:
                noise["variance_noise"] = our_noise
            settings = dict(sampler="ddim", eta=eta, steps=steps, spacing=spacing)
            assert_same(
                ours(schedule, prediction, X_T, **settings), theirs(scheduler, X_T, **noise)
            )

    @pytest.mark.parametrize("karras", [False, True])
    @pytest.mark.parametrize("sampler", ["dpmpp_1s", "dpmpp_2m", "dpmpp_sde_2m", "unipc"])
    def test_multistep(self, name, prediction, sampler, karras):
        schedule = discrete(name)
        for spacing, steps in itertools.product(["linspace", "leading", "trailing"], STEPS):
            if karras and spacing != "trailing":
                continue  # Karras' σ do not depend on the spacing here
            config = dict(use_karras_sigmas=karras, timestep_spacing=spacing)
            options, noise = {}, {}
            if sampler == "unipc":
                cls = diffusers.UniPCMultistepScheduler
                p = {5: 3, 10: 2, 20: 3, 50: 1}[steps]
                # theirs is not a number for "bh1" on the way to σ = 0: it ends at step 1 instead
                end = "sigma_min" if steps == 10 and not karras else "zero"
                options = dict(order=p, variant="bh1" if end == "sigma_min" else "bh2")
                config |= dict(
                    solver_order=p, solver_type=options["variant"], final_sigmas_type=end
                )
            else:
                cls = diffusers.DPMSolverMultistepScheduler
                config |= dict(solver_order=1 if sampler == "dpmpp_1s" else 2)
                if sampler == "dpmpp_sde_2m":
                    config["algorithm_type"] = "sde-dpmsolver++"
                    noise = dict(variance_noise=our_noise)
            scheduler = scheduler_of(cls, name, prediction, steps, **config)
            if karras:
                grid = "karras"
            elif spacing == "trailing" and options.get("variant") != "bh1":
                grid = spacing
            else:
                grid = times_of(scheduler, end=1 / T if options.get("variant") == "bh1" else 0.0)
            settings = dict(sampler=sampler, steps=steps, spacing=grid, **options)
            assert_same(
                ours(schedule, prediction, X_T, **settings), theirs(scheduler, X_T, **noise)
            )

    @pytest.mark.parametrize("karras", [False, True])
    @pytest.mark.parametrize("sampler", ["euler", "heun"])
    def test_variance_exploding(self, name, prediction, sampler, karras):
        if sampler == "euler" and prediction == "x0":
            pytest.skip('EulerDiscrete has no "sample" prediction')
        cls = {
            "euler": diffusers.EulerDiscreteScheduler,
            "heun": diffusers.HeunDiscreteScheduler,
        }[sampler]
        schedule = discrete(name)
        for spacing, steps in itertools.product(["linspace", "leading", "trailing"], STEPS):
            scheduler = scheduler_of(
                cls,
                name,
                prediction,
                steps,
                use_karras_sigmas=karras,
                timestep_spacing=spacing,
            )
            options, grid = {}, spacing
            if karras:
                options = karras_range(name, spacing, steps)
                grid = "karras"
            elif spacing == "linspace":  # not rounded to whole steps there
                grid = np.append((np.linspace(0, T - 1, steps)[::-1] + 1) / T, 0.0)
            if sampler == "heun":
                options["variable"] = "sigma"  # theirs is in σ always
            settings = dict(sampler=sampler, steps=steps, spacing=grid, **options)
            assert_same(
                ours(schedule, prediction, X_T, **settings),
                theirs(scheduler, X_T, exploding=True),
            )


def test_zero_terminal_snr():
    schedule = diffusion.zero_terminal_snr(discrete("scaled_linear"))
    scheduler = scheduler_of(
        diffusers.DDIMScheduler,
        "scaled_linear",
        "v",
        20,
        timestep_spacing="trailing",
        clip_sample=False,
    )
    rescale = diffusers.schedulers.scheduling_ddim.rescale_zero_terminal_snr
    betas = rescale(scheduler.betas)
    scheduler.alphas_cumprod = torch.cumprod(1 - betas, 0)
    assert scheduler.alphas_cumprod[-1] == 0
    t = np.arange(1, T + 1) / T
    np.testing.assert_allclose(
        schedule.alpha(t) ** 2, scheduler.alphas_cumprod.numpy(), rtol=1e-9, atol=1e-15
    )

    def at(xp, x, t):  # the noise ratio is infinite at t = 1: a network of time
        return xp.tanh(0.8 * x + 0.3 * t) - 0.2 * x

    denoiser = diffusion.as_denoiser(lambda x, t: at(jnp, x, t[:, None]), schedule, "v")
    settings = dict(sampler="ddim", steps=20, spacing="trailing")
    x = torch.tensor(X_T)
    for t in scheduler.timesteps:
        x = scheduler.step(at(torch, x, (t + 1) / T), t, x).prev_sample
    assert_same(np.asarray(diffusion.sample(denoiser, schedule, X_T, **settings)), x.numpy())


def test_ddpm_with_learned_variance(monkeypatch):
    schedule = discrete("cosine")
    steps_of_noise = itertools.count()
    monkeypatch.setattr(
        diffusers.schedulers.scheduling_ddpm,
        "randn_tensor",
        lambda *_, **__: our_noise(next(steps_of_noise)),
    )
    scheduler = scheduler_of(
        diffusers.DDPMScheduler,
        "cosine",
        "eps",
        20,
        variance_type="learned_range",
        timestep_spacing="leading",
        clip_sample=False,
    )

    def output(xp, x, ratio):
        return network(xp, x, ratio), xp.tanh(x - ratio / 10)

    def of_time(x, t):
        return output(jnp, x, schedule.noise_ratio(t)[:, None])

    denoiser = diffusion.as_denoiser(of_time, schedule, "eps", learned_variance=True)
    settings = dict(sampler="ddpm", variance="learned", steps=20, spacing="leading")
    x = torch.tensor(X_T)
    for t in scheduler.timesteps:
        ratio = (1 / scheduler.alphas_cumprod[t] - 1) ** 0.5
        both = torch.cat(output(torch, x, ratio), dim=1)
        x = scheduler.step(both, t, x).prev_sample
    a = diffusion.sample(denoiser, schedule, X_T, key=KEY, sample_index=INDEX, **settings)
    assert_same(np.asarray(a), x.numpy())


@pytest.mark.parametrize("order", [2, 3])
def test_unipc_on_noise_with_the_corrector_off_at_first(order):
    schedule = discrete("linear")
    config = dict(solver_order=order, predict_x0=False, disable_corrector=[0, 1])
    scheduler = scheduler_of(
        diffusers.UniPCMultistepScheduler,
        "linear",
        "eps",
        10,
        timestep_spacing="trailing",
        final_sigmas_type="sigma_min",
        **config,
    )
    settings = dict(sampler="unipc", order=order, solver_prediction="eps", corrector_start=2)
    grid = times_of(scheduler, end=1 / T)
    assert_same(
        ours(schedule, "eps", X_T, steps=10, spacing=grid, **settings), theirs(scheduler, X_T)
    )


@pytest.mark.parametrize("steps", [10, 20])
def test_dpmpp_3m_with_their_half_derivative_made_whole(steps, monkeypatch):
    module = importlib.import_module("diffusers.schedulers.scheduling_dpmsolver_multistep")
    cls = module.DPMSolverMultistepScheduler
    half = cls.multistep_dpm_solver_third_order_update

    def whole(self, model_output_list, *args, sample=None, **kwargs):
        i = self.step_index
        sigma = self.sigmas[i - 2 : i + 2]
        alpha = 1 / torch.sqrt(sigma**2 + 1)
        λ = -torch.log(sigma)
        h, h_0, h_1 = λ[3] - λ[2], λ[2] - λ[1], λ[1] - λ[0]
        m_0, m_1, m_2 = model_output_list[-1], model_output_list[-2], model_output_list[-3]
        second = ((m_0 - m_1) / h_0 - (m_1 - m_2) / h_1) / (h_0 + h_1) * h**2
        missing = alpha[3] * ((torch.exp(-h) - 1 + h) / h**2 - 0.5) * second
        return half(self, model_output_list, *args, sample=sample, **kwargs) - missing

    config = dict(solver_order=3, timestep_spacing="trailing")
    schedule = discrete("linear")
    settings = dict(sampler="dpmpp_3m", steps=steps, spacing="trailing")
    ours_x = ours(schedule, "v", X_T, **settings)
    as_it_is = theirs(scheduler_of(cls, "linear", "v", steps, **config), X_T)
    assert np.abs(ours_x - as_it_is).max() > 1e-4 * np.std(as_it_is)
    monkeypatch.setattr(cls, "multistep_dpm_solver_third_order_update", whole)
    assert_same(ours_x, theirs(scheduler_of(cls, "linear", "v", steps, **config), X_T))


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "unipc"])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_rectified_flow(sampler, shift):
    cls = {
        "dpmpp_2m": diffusers.DPMSolverMultistepScheduler,
        "unipc": diffusers.UniPCMultistepScheduler,
    }[sampler]
    schedule = diffusion.CONTINUOUS["rectified_flow"]()
    scheduler = cls(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, solver_order=2
    )
    scheduler.set_timesteps(10)
    assert len(scheduler.sigmas) == 11  # the last of them was lost before #10266
    scheduler.set_begin_index(0)
    grid = scheduler.sigmas.double().numpy()
    x = torch.tensor(X_T)
    for i, t in enumerate(scheduler.timesteps):
        x = scheduler.step(torch.tanh(x + scheduler.sigmas[i]) - 0.1 * x, t, x).prev_sample
    denoiser = diffusion.as_denoiser(
        lambda x, t: jnp.tanh(x + t[:, None]) - 0.1 * x, schedule, "flow"
    )
    a = diffusion.sample(denoiser, schedule, X_T, sampler=sampler, steps=10, spacing=grid)
    assert_same(np.asarray(a), x.numpy())


def test_euler_with_churn(monkeypatch):
    module = importlib.import_module("diffusers.schedulers.scheduling_euler_discrete")
    monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: our_noise(next(steps_of_noise)))
    steps_of_noise = itertools.count(2)  # from the third step on, below churn_max
    schedule = discrete("linear")
    grid = diffusion.time_grid(schedule, 10, "trailing")
    churn_max = float(np.mean((grid.sigma / grid.alpha)[1:3]))
    churn = dict(churn=3.0, churn_max=churn_max, churn_noise=1.1)
    scheduler = scheduler_of(
        diffusers.EulerDiscreteScheduler, "linear", "eps", 10, timestep_spacing="trailing"
    )
    scheduler.set_begin_index(0)
    x = torch.tensor(X_T) * (scheduler.sigmas[0] ** 2 + 1) ** 0.5
    for t in scheduler.timesteps:
        # theirs raises σ inside the step, after the network was asked: the network here is one of
        # the constant kind, for which that does not matter
        x = scheduler.step(
            torch.full_like(x, 0.3),
            t,
            x,
            s_churn=3.0,
            s_tmax=churn_max,
            s_noise=1.1,
        ).prev_sample
    denoiser = diffusion.as_denoiser(lambda x, t: jnp.full_like(x, 0.3), schedule, "eps")
    settings = dict(sampler="euler", steps=10, spacing="trailing", **churn)
    a = diffusion.sample(denoiser, schedule, X_T, key=KEY, sample_index=INDEX, **settings)
    assert_same(np.asarray(a), x.numpy())


def test_their_tables():
    for name, theirs_name in SCHEDULES.items():
        start, end = (0.00085, 0.012) if name == "scaled_linear" else (1e-4, 0.02)
        scheduler = diffusers.DDPMScheduler(
            beta_schedule=theirs_name, beta_start=start, beta_end=end
        )
        alpha = discrete(name).alpha(np.arange(1, T + 1) / T)
        np.testing.assert_allclose(alpha**2, scheduler.alphas_cumprod.numpy(), rtol=2e-4)
