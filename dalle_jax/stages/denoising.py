"""From a conditioned network to a training loss and to a denoiser for sampling.

Shared by all stages that denoise. A network here is a function (x_t [B, H, W, 3], t [B]) →
[B, H, W, 3], or [B, H, W, 6] with a learned variance, with its conditioning closed over.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dalle_jax import diffusion
from dalle_jax.diffusion import chain, guidance, losses, training_times, vlb
from dalle_jax.diffusion.samplers import coefficients, sampler_rows

NUM_TIME_BINS = 10

# Wrappers of denoisers that limit x0_hat to the range of images.
THRESHOLDS = {
    "static": guidance.static_threshold,
    "dynamic": guidance.dynamic_threshold,
    "none": lambda denoiser: denoiser,
}

Network = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Denoising:
    """The prediction target, the noise levels of training and the weighting of the error.

    Attributes:
        target: the network's prediction, see `diffusion.PREDICTIONS`, or "mean", the μ̃ of one step
            of a chain.
        weighting: of noise levels, see `losses.weight`, or "bound": the loss is only the
            variational bound (DDPM, equation 5), with variance β unless it is learned.
        log_normal_times: mean and deviation of ln(sigma / alpha) in training; empty for uniform t.
        learned_variance: the network's last three channels are the v of Improved DDPM, trained by
            L_hybrid or, with weighting "bound", by the bound.

    A mean, a bound and a learned variance need a schedule of T steps.
    """

    schedule: diffusion.Schedule
    target: str
    weighting: str
    log_normal_times: tuple[float, ...] = ()
    learned_variance: bool = False

    @classmethod
    def of(
        cls, diffusion: Mapping[str, Any], loss: Mapping[str, Any], **schedule: bool
    ) -> "Denoising":
        """From the sections `diffusion` and `loss` of a config; `schedule` as `schedule_named`."""
        return cls(
            schedule_named(diffusion["schedule"], diffusion["num_timesteps"], **schedule),
            target=loss["target"],
            weighting=loss["weighting"],
            log_normal_times=tuple(loss["log_normal_times"]),
            learned_variance=diffusion["learned_variance"],
        )

    def __post_init__(self):
        of_a_chain = {
            "a learned variance": self.learned_variance,
            'target "mean"': self.target == "mean",
            'weighting "bound"': self.weighting == "bound",
        }
        if not self.schedule.num_timesteps:
            for what in (name for name, wanted in of_a_chain.items() if wanted):
                raise ValueError(
                    f"{what} is that of one step of a chain: give diffusion.num_timesteps, or "
                    "do without it"
                )
        if self.target == "edm":
            raise ValueError(
                'target "edm" needs a scaled input, which the stages do not give; '
                'use "v", "x0", "eps" or "flow"'
            )
        if self.schedule.name == "edm":
            raise ValueError(
                'in schedule "edm" x_t grows to 80 times the image, and the stages scale neither '
                "their input nor the noise that they start from; use another schedule"
            )

    @property
    def out_channels(self) -> int:
        """Of a network that predicts images of three channels."""
        return 6 if self.learned_variance else 3

    def denoiser(self, network: Network) -> diffusion.Denoiser:
        """x0_hat (and, with a learned variance, its fraction) of (x_t, t)."""
        of_mean = self.target == "mean"

        def predicted(x_t: Array, t: Array) -> Any:
            prediction, variance = self._parts(network(x_t, t))
            if of_mean:
                prediction = chain.x0_from_posterior_mean(prediction, x_t, self._step(t))
            return (prediction, variance) if self.learned_variance else prediction

        return diffusion.as_denoiser(
            predicted,
            self.schedule,
            "x0" if of_mean else self.target,
            learned_variance=self.learned_variance,
        )

    def loss(
        self, network: Network, x_0: Array, t_key: Array, eps_key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """Mean weighted squared error on the target for clean images x_0 [B, H, W, 3].

        With a learned variance, L_hybrid = L_simple + 0.001 L_vlb (Improved DDPM, equation 16);
        with weighting "bound" only 0.001 L_vlb, which trains mean and variance (DDPM, table 2).
        t is stratified: one uniform offset for the batch, so that every batch has all noise levels.
        With `train=False` t is uniform, and the metrics include the error of each tenth of t.
        """
        schedule = self.schedule
        if train and self.log_normal_times:
            t = training_times.log_normal(t_key, x_0.shape[0], schedule, *self.log_normal_times)
        else:
            t = training_times.stratified(t_key, x_0.shape[0])
        t = training_times.on_steps(t, schedule)
        eps = jax.random.normal(eps_key, x_0.shape)
        x_t = losses.add_noise(x_0, eps, schedule, t)
        output = network(x_t, t)
        errors = losses.squared_error(self._parts(output)[0], self._target(x_0, x_t, eps, t))
        metrics = {"mse": jnp.mean(errors)}
        only_bound = self.weighting == "bound"
        loss = 0.0
        if not only_bound:
            weights = losses.weight(self.weighting, self.target, schedule, t)
            loss = losses.weighted_mean(errors, weights)
        if only_bound or self.learned_variance:
            term = vlb.vlb_term if only_bound else vlb.hybrid_vlb_term
            T, denoised = schedule.num_timesteps, self.denoiser(lambda x_t, t: output)(x_t, t)
            bits = jnp.mean(term(denoised, x_0, x_t, t, schedule, T))
            loss += T / 1000 * bits
            metrics["vlb"] = T * bits  # bits per dimension, without the prior's
        if not train:
            metrics |= by_time_bin(errors, t)
        return loss, metrics

    def sample(
        self,
        denoiser: diffusion.Denoiser,
        key: Array,
        sample_index: Array,
        image_shape: tuple[int, int, int],
        *,
        threshold: str = "static",
        table: Mapping[str, Array] | None = None,
        num_evaluations: Array | None = None,
        **sampler: Any,
    ) -> Array:
        """float32 [B, *image_shape] in [−1, 1] from the noise of (key, sample_index [B]).

        `threshold` is a name in THRESHOLDS; `sampler` are num_inference_steps, sampler and its
        options and those of the time grid, or the first `num_evaluations` rows of `table`, which
        `as_arrays` makes of them.
        """
        if table is None:
            table = self._table(**sampler)
        return coefficients.run(
            table,
            THRESHOLDS[checked_threshold(threshold)](denoiser),
            diffusion.initial_noise(key, sample_index, image_shape),
            key=key,
            sample_index=sample_index,
            count=num_evaluations,
        )

    def advance(
        self,
        denoiser: diffusion.Denoiser,
        state: coefficients.State,
        first: Array,
        last: Array,
        *,
        key: Array,
        sample_index: Array,
        table: Mapping[str, Array],
        threshold: str = "static",
    ) -> coefficients.State:
        """The state of `sample` after the rows from `first` up to `last`."""
        return coefficients.advance(
            table,
            THRESHOLDS[checked_threshold(threshold)](denoiser),
            *(state, first, last),
            key=key,
            sample_index=sample_index,
        )

    def as_arrays(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings with the arrays `table` and `num_evaluations` in place of the sampler's names.

        One compiled program then serves all numbers of steps, η, times, ….
        """
        of_sampler = {key: value for key, value in settings.items() if key in sampler_names()}
        others = {key: value for key, value in settings.items() if key not in of_sampler}
        table = self._table(**of_sampler)
        count = np.int32(len(table["t"]))
        return {**others, "table": coefficients.padded(table), "num_evaluations": count}

    def _table(
        self, *, num_inference_steps: int, sampler: str, **options: Any
    ) -> dict[str, np.ndarray]:
        rows = sampler_rows(self.schedule, sampler=sampler, steps=num_inference_steps, **options)
        return coefficients.stack(rows, np.float32)

    def passes(
        self,
        *,
        num_inference_steps: int,
        sampler: str,
        guidance_scale: float = 1.0,
        guidance_rescale: float = 0.0,
        guidance_interval: tuple[float, float] | None = None,
        threshold: str = "static",
        **options: Any,
    ) -> int:
        """Forward passes of the network per sample: two per evaluation with guidance.

        Those outside of a guidance interval are counted as guided.
        """
        evaluations = diffusion.network_evaluations(
            self.schedule, sampler=sampler, steps=num_inference_steps, **options
        )
        return evaluations * (1 if guidance_scale == 1 else 2)

    def check(
        self, *, num_inference_steps: int, sampler: str, threshold: str = "static", **options: Any
    ) -> None:
        """Raise ValueError for settings that `sample` can't use; computes the sampler's table."""
        checked_threshold(threshold)
        self._table(num_inference_steps=num_inference_steps, sampler=sampler, **options)

    def _parts(self, output: Array) -> tuple[Array, Array | None]:
        """The network's prediction and, if learned, its variance: half of the channels each."""
        return jnp.split(output, 2, axis=-1) if self.learned_variance else (output, None)

    def _step(self, t: Array) -> chain.Step:
        return chain.chain_step(t, self.schedule, self.schedule.num_timesteps)

    def _target(self, x_0: Array, x_t: Array, eps: Array, t: Array) -> Array:
        """The target of the network at x_t [B, H, W, 3]."""
        if self.target == "mean":
            return chain.posterior_mean(x_0, x_t, self._step(t))
        return diffusion.target(
            x_0, eps, self.schedule.alpha(t), self.schedule.sigma(t), self.target
        )


def setting_names() -> tuple[str, ...]:
    """All settings of `Denoising.sample` with any sampler and time grid."""
    return (*sampler_names(), "threshold")


def sampler_names() -> tuple[str, ...]:
    """The settings that make the table of a sampler."""
    return ("num_inference_steps", "sampler", *diffusion.samplers.all_options())


def checked_threshold(name: str) -> str:
    """`name`, if it is one in THRESHOLDS; raises ValueError otherwise."""
    if name not in THRESHOLDS:
        raise ValueError(f'no threshold "{name}"; known are {", ".join(THRESHOLDS)}')
    return name


def schedule_named(
    name: str, num_timesteps: int = 0, zero_terminal_snr: bool = False
) -> diffusion.Schedule:
    """A noise schedule in continuous time, or its table of `num_timesteps` steps.

    `zero_terminal_snr` rescales it to pure noise at the end (2305.08891).
    """
    if zero_terminal_snr:
        schedule = schedule_named(name, num_timesteps)
        if abs(schedule.alpha(0.5) ** 2 + schedule.sigma(0.5) ** 2 - 1) > 1e-6:
            raise ValueError(
                f"zero_terminal_snr rescales schedules that preserve variance, which {name} does "
                "not; set it to False or take another schedule"
            )
        return diffusion.zero_terminal_snr(schedule)
    if num_timesteps:
        return diffusion.discrete(name, num_timesteps)
    if name not in diffusion.CONTINUOUS:
        known = ", ".join(diffusion.CONTINUOUS)
        raise ValueError(f"no noise schedule is called {name!r}; known are {known}")
    return diffusion.CONTINUOUS[name]()


def by_time_bin(errors: Array, t: Array) -> dict[str, Array]:
    """Mean of errors [B] over the samples in each tenth of t [B]: `mse_t0` … `mse_t9`.

    A bin without samples is NaN, which the mean over batches ignores.
    """
    bins = jnp.clip((t * NUM_TIME_BINS).astype(jnp.int32), 0, NUM_TIME_BINS - 1)
    members = jax.nn.one_hot(bins, NUM_TIME_BINS)  # [B, bins]
    means = errors @ members / jnp.sum(members, axis=0)
    return {f"mse_t{i}": means[i] for i in range(NUM_TIME_BINS)}
