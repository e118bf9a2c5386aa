import dataclasses

import jax
import numpy as np
import pytest

from dalle_jax.data.tokenizer import Tokenizer
from dalle_jax.evaluation.captions import open_held_out
from dalle_jax.evaluation.during_training import make_evaluation
from dalle_jax.metrics.captioned import oracle_accuracy
from dalle_jax.pipelines.images import to_uint8
from dalle_jax.runs import open_run
from dalle_jax.stages.base import Stage
from dalle_jax.training.sharding import make_mesh


def one_device():
    return make_mesh({}, jax.devices()[:1])


def test_the_same_captions_and_noise_each_time(tiny_workdir):
    run = open_run(tiny_workdir / "decoder")
    stage, params = run.build_stage(), run.load_params()
    tokenizer = Tokenizer.load(run.tokenizer_path)
    settings = {"sampler": "ddim", "num_inference_steps": 1, "guidance_scale": 1.0}
    evaluation = make_evaluation(run, stage, {}, tokenizer, settings, 8, "", one_device())
    values = evaluation(params, 1, lambda start: start())
    assert values == evaluation(params, 2, lambda start: start())
    # What it measures are the images of the split's captions, by the same code as `evaluate`.
    held_out = open_held_out(run, None, None, "validation", 8)
    batch = {
        "image": np.zeros((8, 24, 24, 3), np.uint8),
        "tokens": tokenizer.encode(held_out.captions),
    }
    key = jax.random.fold_in(jax.random.key(0), 0)
    images = to_uint8(jax.jit(lambda p: stage.preview(p, {}, batch, key, **settings))(params))
    expected = oracle_accuracy(held_out.captions, images[None]).metrics
    assert values == {name: entry["value"] for name, entry in expected.items()}


def test_a_stage_without_images_is_not_evaluated_and_a_run_without_metrics_refused(tiny_workdir):
    run = open_run(tiny_workdir / "decoder")
    assert make_evaluation(run, Stage(), {}, None, {}, 8, "", one_device()) is None
    data = {**run.config["data"], "captions": "natural"}
    natural = dataclasses.replace(run, config={**run.config, "data": data})
    with pytest.raises(ValueError, match=r"nothing to measure by: give train\.evaluation_features"):
        make_evaluation(natural, run.build_stage(), {}, None, {}, 8, "", one_device())
