"""Every config of configs/ builds: each of its stages is traced, nothing is computed."""

import functools
from importlib import import_module

import jax
import jax.numpy as jnp
import pytest

from dalle_jax.config.load import flatten
from dalle_jax.stages import build_stage, upstream_of
from tests.conftest import ROOT

NAMES = sorted(
    path.stem for path in (ROOT / "configs").glob("*.py") if "def get_config" in path.read_text()
)


def test_all_of_them_are_found():
    assert {"base", "quickstart", "shapes", "emoji", "features", "unclip_shapes"} <= set(NAMES)


# Traced at other sizes of the same parts as `unclip_shapes`.
ALIKE = {"unclip_folder", "unclip_emoji"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name in ALIKE)) for name in NAMES]
)
def test_each_stage_has_a_loss(name):
    config = import_module(f"dalle_jax.configs.{name}").get_config().to_dict()
    rows, key = 4, jax.random.key(0)
    shapes = functools.cache(lambda other: jax.eval_shape(build_stage(other, config).init, key))
    for stage_name in config["stages"]:
        stage, own = build_stage(stage_name, config), config[stage_name]
        side = own.get("data", {}).get("image_size", config["data"]["image_size"])
        batch = {
            "image": jax.ShapeDtypeStruct((rows, side, side, 3), jnp.uint8),
            "tokens": jax.ShapeDtypeStruct((rows, config["tokenizer"]["max_length"]), jnp.int32),
        }
        frozen = {other: shapes(other) for other in upstream_of(stage_name, config)}
        loss = functools.partial(stage.loss, train=True)
        value, metrics = jax.eval_shape(loss, shapes(stage_name), frozen, batch, key)
        assert value.shape == () and value.dtype == jnp.float32
        assert all(metric.shape == () for metric in metrics.values())


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_those_of_the_system_s_first_config(name):
    """A setting has its default in one place: `base`, or `unclip_shapes` for what it lacks."""
    config = import_module(f"dalle_jax.configs.{name}").get_config()
    first = {"decoder": "base", "clip": "unclip_shapes", "classifier": "features"}
    settings = {}
    for place in {"unclip_shapes": None, first[config.stages[0]]: None}:
        settings |= flatten(import_module(f"dalle_jax.configs.{place}").get_config())
    for setting, value in flatten(config):
        assert setting in settings
        assert type(value) is type(settings[setting]), setting


def test_the_two_priors_of_unclip_shapes_are_of_one_size():
    counts = []
    for name in ("unclip_shapes", "unclip_shapes_ar"):
        config = import_module(f"dalle_jax.configs.{name}").get_config().to_dict()
        params = jax.eval_shape(build_stage("prior", config).init, jax.random.key(0))
        counts.append(sum(leaf.size for leaf in jax.tree.leaves(params)))
    assert abs(counts[0] / counts[1] - 1) < 0.001
