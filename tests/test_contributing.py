"""The worked examples of CONTRIBUTING.md do what the page says."""

import re
import sys
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest

from dalle_jax import diffusion, stages
from dalle_jax.config.load import load_config
from dalle_jax.cost.abstract import abstract_training
from dalle_jax.data import open as open_module
from dalle_jax.data.loader import make_loader
from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer
from dalle_jax.diffusion import samplers
from dalle_jax.diffusion.analytic import GaussianMixture
from dalle_jax.evaluation.checks import check_stage
from dalle_jax.figures.files import full_scale, load_figure
from dalle_jax.figures.verdict import UNDECIDED
from dalle_jax.metrics.lookup import is_larger_better
from dalle_jax.metrics.pooled import pooled_extractor
from dalle_jax.metrics.sets import compare_sets
from dalle_jax.metrics.table import METRICS
from dalle_jax.runs.fingerprint import fingerprint
from tests.conftest import ROOT

SECTIONS = re.split(r"^## ", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
EXAMPLES = {
    section.split("\n", 1)[0]: found.group(1)
    for section in SECTIONS
    if (found := re.search(r"```python\n(.*?)```", section, re.DOTALL))
}


def example(heading):
    """What the example under a heading defines."""
    names = {"__name__": "example"}
    exec(compile(EXAMPLES[heading], heading, "exec"), names)  # a page of this project
    return names


def test_there_is_a_short_example_of_each():
    kinds = {"A sampler", "A stage", "A data source", "A metric", "A figure"}
    assert EXAMPLES.keys() == kinds
    for text in EXAMPLES.values():
        lines = text.splitlines()
        assert len(lines) <= 40 and max(map(len, lines)) <= 100


@pytest.fixture
def lms(monkeypatch):
    monkeypatch.setitem(samplers.SAMPLERS, "lms", example("A sampler")["lms"])
    return partial(diffusion.sample, sampler="lms", spacing="logsnr")


def test_the_sampler_is_of_second_order(lms):
    schedule = diffusion.CONTINUOUS["cosine"]()
    data = GaussianMixture(jnp.ones(1), jnp.full((1, 2), 0.3), jnp.array([0.5]))
    x_T = jax.random.normal(jax.random.key(0), (8, 2))
    grid = {"spacing": "karras", "sigma_max": 20.0, "sigma_min": 0.002}
    problem = (data.denoiser(schedule), schedule, x_T)
    exact = diffusion.sample(*problem, steps=200, **grid)
    error = {
        (steps, order): float(
            jnp.abs(lms(*problem, steps=steps, order=order, **grid) - exact).mean()
        )
        for steps, order in ((40, 1), (80, 1), (40, 2), (80, 2))
    }
    assert 1.8 < error[40, 1] / error[80, 1] < 2.2
    assert 3.5 < error[40, 2] / error[80, 2] < 4.5


def test_the_first_order_of_the_sampler_is_ddim(lms):
    schedule = diffusion.discrete("linear")
    rows = partial(samplers.sampler_rows, schedule, steps=5)
    for own, ddim in zip(rows(sampler="lms", order=1), rows(sampler="ddim")):
        np.testing.assert_allclose(own.a, ddim.a + ddim.b[0] / own.eps_of[0])
        np.testing.assert_allclose(-own.b[0] / own.eps_of[1] * own.eps_of[0], ddim.b[0])


def test_the_sampler_refuses_pure_noise(lms):
    schedule = diffusion.CONTINUOUS["rectified_flow"]()
    with pytest.raises(ValueError, match='use spacing "logsnr"'):
        lms(lambda x, t: x, schedule, jnp.ones((1, 2)), spacing="trailing")


@pytest.fixture
def arrays(tmp_path):
    names = ["red", "blue"] * 100
    images = np.zeros((200, 4, 4, 3), np.uint8)
    images[::2, ..., 0] = images[1::2, ..., 2] = 200
    np.savez(tmp_path / "a.npz", images=images, captions=names)
    return partial(example("A data source")["ArraySource"], tmp_path / "a.npz")


def test_the_data_source_gives_batches(arrays):
    parts = [arrays(split) for split in ("train", "validation", "test")]
    assert sum(map(len, parts)) == 200 and min(map(len, parts)) > 0
    tokenizer = Tokenizer(train_tokenizer(["red", "blue"], 300), max_length=4)
    batch = next(make_loader(parts[0], tokenizer, batch_size=8, image_size=4))
    is_red = batch["image"][:, 0, 0, 0] == 200
    assert 0 < is_red.sum() < 8
    assert (batch["tokens"][is_red] == tokenizer.encode(["red"])).all()


def test_the_data_source_names_what_is_lacking(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="has no array 'captions'"):
        example("A data source")["ArraySource"](tmp_path / "a.npz", "train")


def test_a_line_in_the_table_makes_the_data_source_known(arrays, tmp_path, monkeypatch):
    monkeypatch.setattr(open_module, "SOURCES", dict(open_module.SOURCES))
    monkeypatch.setitem(
        sys.modules, "dalle_jax.data.arrays", SimpleNamespace(ArraySource=arrays.func)
    )
    (section,) = (text for text in SECTIONS if text.startswith("A data source"))
    _, line = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    exec(compile(line, "the line", "exec"), dict(vars(open_module)))
    given = {"data_dir": "", "split": "all", "image_size": 4}
    assert len(open_module.open_source(f"arrays:{tmp_path}/a.npz", **given)) == 200
    with pytest.raises(ValueError, match="has no option 'encoding'"):
        open_module.open_source(f"arrays:{tmp_path}/a.npz", **given, encoding="latin-1")
    with pytest.raises(ValueError, match=r"tfds:NAME, arrays:FILE\.npz; did you mean arrays"):
        open_module.check_spec("arays:x")


def test_the_metric_is_that_of_a_closed_form():
    metric = example("A metric")["sliced_wasserstein"]
    real = np.random.default_rng(0).standard_normal((50, 8))
    assert metric(real[::-1], real) == 0
    moved = real + np.arange(8) / 10  # a translation v costs v² / D
    np.testing.assert_allclose(metric(moved, real), np.square(np.arange(8) / 10).sum() / 8)


def test_the_metric_s_record_makes_it_one_of_the_table(monkeypatch):
    monkeypatch.setitem(METRICS, "swd", example("A metric")["SWD"])
    forward = lambda params, images: images.reshape(len(images), -1)[:, :8] / 255.0
    extractor = pooled_extractor("toy", "", np.zeros(1), forward, 4)
    fake, real = np.random.default_rng(0).integers(0, 256, (2, 24, 4, 4, 3), dtype=np.uint8)
    row = compare_sets(fake, real, extractor, ["fid", "swd"], reference="real")
    assert row["metrics"]["swd[toy]"]["value"] > 0 and row["floor"]["swd[toy]"] > 0
    assert row["metrics"]["swd[toy]"]["settings"] == ["seed"]
    assert not is_larger_better("swd[toy]")


def test_the_stage_needs_no_more_than_its_line_in_the_table(monkeypatch, tmp_path):
    path = tmp_path / "palette.py"
    path.write_text(EXAMPLES["A stage"])
    config = load_config(path).to_dict()
    monkeypatch.setitem(stages.STAGES, "palette", example("A stage")["Palette"])
    check_stage("palette", config)
    shapes = abstract_training("palette", config).state.params
    assert shapes["Embed_0"]["embedding"].shape == (512, 16)
    assert fingerprint("palette", config) != fingerprint("decoder", config)


def test_the_stage_learns_and_draws(monkeypatch):
    defined = example("A stage")
    monkeypatch.setitem(stages.STAGES, "palette", defined["Palette"])
    stage = stages.build_stage("palette", defined["get_config"]().to_dict())
    tokens = jnp.array([[2, 1] + [0] * 10, [3, 1] + [0] * 10])
    colour = jnp.array([[200.0, 0, 0], [0, 0, 200]])
    batch = {"image": jnp.broadcast_to(colour[:, None, None], (2, 32, 32, 3)), "tokens": tokens}
    key = jax.random.key(0)
    params = stage.init(key)
    gradient = jax.jit(jax.value_and_grad(partial(stage.loss, train=True), has_aux=True))
    optimizer = optax.adam(0.05)
    moments = optimizer.init(params)
    for _ in range(100):
        (loss, metrics), slope = gradient(params, None, batch, key)
        step, moments = optimizer.update(slope, moments)
        params = optax.apply_updates(params, step)
    assert loss < 1e-4
    assert metrics["red_error"] < 1e-2
    drawn = 255 * stage.sample(params, {"tokens": tokens}, key)
    assert jnp.abs(drawn - colour).max() < 10


def test_the_figure_is_one(tmp_path):
    path = tmp_path / "larger.py"
    path.write_text(EXAMPLES["A figure"])
    made = load_figure(path, "tiny")
    assert [claim.verdict for claim in made.claims([])] == [UNDECIDED]
    head = {"metric": "oracle/caption", "value": 0.5, "num_images": 64}
    sizes = [point["decoder.train.batch_size"] for point in made.sweep.points]
    made.draw([{**head, "batch_size": size} for size in sizes], {})
    plt.close("all")
    configs = full_scale(path)
    assert configs and all((ROOT / config).is_file() for config in configs)
