"""The evaluation during training: the metrics of `evaluate` on a few held-out captions."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dalle_jax.data.images import center_crop_resize
from dalle_jax.evaluation.caption_scores import oracle_measurement
from dalle_jax.evaluation.captions import HeldOut, open_held_out
from dalle_jax.evaluation.measurements import Measurement, set_measurement
from dalle_jax.evaluation.networks import open_features
from dalle_jax.pipelines.images import to_uint8
from dalle_jax.runs import Run
from dalle_jax.training.training import Wait

SPLIT = "validation"  # test is for the end
BATCH_SIZE = 64
SEED = 0


def open_captions(
    run: Run, sampling: Mapping[str, Any], num_images: int, features: str
) -> tuple[HeldOut, list[Measurement]]:
    """The captions, and the oracle's measurement if it can read them.

    Raises:
        FileNotFoundError: there is no data.
        ValueError: there are too few captions, or nothing to measure by: the oracle can't read
            them, and there are no features.
    """
    held_out = open_held_out(run, None, None, SPLIT, num_images)
    try:
        return held_out, [oracle_measurement(held_out, dict(sampling))]
    except ValueError as error:
        if features:
            return held_out, []
        raise ValueError(
            "evaluation in training finds nothing to measure by: give "
            "train.evaluation_features=RUN of a classifier that was trained on these data "
            f"(configs/features.py), or set train.evaluate_every=0. {error}"
        ) from error


def make_evaluation(
    run: Run,
    stage: Any,
    frozen: Any,
    tokenizer: Any,
    settings: Mapping[str, Any],
    num_images: int,
    features: str,
    mesh: Mesh,
) -> Callable[[Any, int, Wait], dict[str, float]] | None:
    """(EMA parameters, step, wait) -> values of metrics; None for a stage that makes no images.

    The captions are those of `dalle-jax evaluate --split=validation`. They and the noise are the
    same each time and in every run of the same data, so that only the weights differ.

    Args:
        run: the run in training.
        stage: of the run.
        frozen: weights of the stages upstream.
        tokenizer: of the run.
        settings: of sampling.
        num_images: how many captions.
        features: a trained classifier's or CLIP's run for FD and KD; "" for none.
        mesh: of the devices that train and sample.

    Raises:
        ValueError: there is nothing to measure by: captions that the oracle can't read, and no
            features.
    """
    if not stage.has_preview():
        return None
    sampling = {**settings, "seeds": (SEED,)}
    held_out, measurements = open_captions(run, sampling, num_images, features)
    if features:
        extractor = open_features(features).extractor
        measurements.append(set_measurement(["fid", "kid"], extractor, held_out, sampling))
    side = run.data["image_size"]
    images = np.stack([center_crop_resize(image, side) for image in held_out.images])
    tokens = tokenizer.encode(held_out.captions)
    whole = NamedSharding(mesh, PartitionSpec())  # so that each process has the images
    draw = jax.jit(functools.partial(stage.preview, **settings), out_shardings=whole)
    size = min(BATCH_SIZE, num_images)

    def evaluation(params: Any, step: int, wait: Wait) -> dict[str, float]:
        batches = []
        for start in range(0, num_images, size):
            # The last batch is filled up, so that only one program is compiled.
            rows = np.arange(start, start + size) % num_images
            batch = {"image": images[rows], "tokens": tokens[rows]}
            key = jax.random.fold_in(jax.random.key(SEED), start)
            batches.append(to_uint8(wait(functools.partial(draw, params, frozen, batch, key))))
        fakes = np.concatenate(batches)[None, :num_images]
        values: dict[str, float] = {}
        for one in measurements:
            entries, _ = one.measure(fakes, range(num_images))
            values |= {name: entry["value"] for name, entry in entries["metrics"].items()}
        return values

    return evaluation
