"""Operations of a training estimated from its forward pass, against sums made by hand and XLA's."""

import copy

import jax
import jax.numpy as jnp
import pytest

from dalle_jax.cost.abstract import abstract_stage
from dalle_jax.cost.estimate import (
    count_products,
    estimated_operations,
    muon_operations,
    shape_of,
)
from dalle_jax.cost.flops import step_flops
from dalle_jax.sweeps import hours
from dalle_jax.sweeps.hours import Counts
from dalle_jax.sweeps.overrides import load_point
from dalle_jax.sweeps.shared_runs import StageRun
from tests.conftest import ROOT

A, B = jnp.zeros((3, 4)), jnp.zeros((4, 5))
PRODUCT = 2 * 3 * 4 * 5


def conv(x, kernel, **options):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
    )


@pytest.mark.parametrize(
    ("function", "arguments", "operations"),
    [
        (lambda a, b: a @ b, (A, B), PRODUCT),
        (lambda a, b: jnp.exp(a) @ b + 1, (A, B), PRODUCT),
        (lambda a: a * 2, (A,), 0),
        (jax.jit(lambda a, b: jax.jit(jnp.matmul)(a, b)), (A, B), PRODUCT),
        (jax.checkpoint(lambda a, b: a @ b), (A, B), PRODUCT),
        (lambda a, b: jax.vmap(jnp.matmul)(a, b), (A[None].repeat(7, 0), B[None].repeat(7, 0)), 7),
        (lambda a, b: jax.lax.scan(lambda c, _: (c, a @ b), 0, None, length=6), (A, B), 6),
        (lambda a, b: jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: a @ b + a @ b), (A, B), 2),
        (lambda a, b: jnp.einsum("ij,jk->", a, b), (A, B), None),
        (conv, (jnp.zeros((2, 8, 8, 3)), jnp.zeros((3, 3, 3, 5))), 2 * 2 * 8 * 8 * 5 * 27),
        (
            lambda x, k: conv(x, k, feature_group_count=3),
            (jnp.zeros((2, 8, 8, 3)), jnp.zeros((3, 3, 1, 6))),
            2 * 2 * 8 * 8 * 6 * 9,
        ),
    ],
)
def test_products_and_convolutions_are_counted(function, arguments, operations):
    counted = count_products(jax.make_jaxpr(function)(*arguments).jaxpr)
    if operations is None:
        assert counted > 0
    else:
        assert counted == (operations * PRODUCT if 0 < operations < 10 else operations)


def test_muon_multiplies_matrices_of_kernels_alone():
    square = {"layer": {"kernel": jnp.zeros((8, 8)), "bias": jnp.zeros(8)}}
    tall = {"layer": {"kernel": jnp.zeros((3, 3, 8, 8)), "scale": jnp.zeros(8)}}
    assert muon_operations(square) == 5 * 6 * 8**3
    assert muon_operations(tall) == 4 * 72 * 8**2 + 26 * 8**3
    assert muon_operations({"bias": jnp.zeros(8)}) == 0
    wide = {"kernel": jnp.zeros((8, 72))}
    assert muon_operations(wide) == muon_operations(tall)


@pytest.fixture(scope="module")
def unclip():
    return load_point(ROOT / "configs/unclip_tiny.py", {})


def test_a_network_that_several_stages_stand_on_is_traced_once(unclip):
    _, clip, _ = abstract_stage("clip", unclip)
    for stage in ("prior", "decoder"):
        other_training = {**unclip, "seed": 1, stage: {**unclip[stage], "sample": {}}}
        built, params, frozen = abstract_stage(stage, other_training)
        assert frozen["clip"] is clip
        assert params == jax.eval_shape(built.init, jax.random.key(0))
    narrow = copy.deepcopy(unclip)
    narrow["clip"]["model"]["embedding_width"] = 16
    assert abstract_stage("prior", narrow)[2]["clip"] != clip


def test_the_estimate_is_near_what_xla_counts(unclip):
    _, step = estimated_operations("clip", unclip)
    assert step == pytest.approx(step_flops("clip", unclip), rel=0.25)


@pytest.mark.parametrize(
    ("setting", "same"),
    [
        ("seed", True),
        ("decoder.train.steps", True),
        ("decoder.train.optimizer.learning_rate", True),
        ("decoder.train.ema_decay", True),
        ("decoder.loss.caption_dropout", True),
        ("decoder.sample.guidance_scale", True),
        ("clip.train.steps", True),
        ("prior.model.text.width", True),  # the decoder does not stand on the prior
        ("decoder.train.batch_size", False),
        ("decoder.train.optimizer.name", False),
        ("decoder.model.unet.channels", False),
        ("clip.model.text.width", False),
        ("data.image_size", False),
        ("tokenizer.max_length", False),
    ],
)
def test_trainings_of_one_shape_are_estimated_once(unclip, setting, same):
    other = copy.deepcopy(unclip)
    *sections, name = setting.split(".")
    section = other
    for one in sections:
        section = section[one]
    section[name] = section[name] + (1 if not isinstance(section[name], str) else "w")
    assert (shape_of("decoder", other) == shape_of("decoder", unclip)) is same


def test_an_estimate_is_kept_in_the_file_and_gives_way_to_a_count(unclip, tmp_path, monkeypatch):
    asked = []

    def estimated(stage, config):
        asked.append(stage)
        return 5.0, 70.0

    monkeypatch.setattr(hours, "estimated_operations", estimated)
    monkeypatch.setattr(hours, "step_flops", lambda stage, config: 60.0)
    path = tmp_path / "flops.json"
    assert Counts(path).step("decoder", unclip) == 70.0
    assert Counts(path).forward("decoder", {**unclip, "seed": 4}) == 5.0
    assert asked == ["decoder"]
    run = StageRun("decoder", "", {}, unclip, ())
    assert Counts(path).counted(run) is None
    steps = unclip["decoder"]["train"]["steps"]
    assert Counts(path).training(run) == 60.0 * steps == Counts(path).counted(run)
    assert Counts(path).step("decoder", unclip) == 60.0
