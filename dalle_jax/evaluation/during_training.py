"""The cheap evaluation inside training: what `evaluate` measures, on a few held-out captions."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dalle_jax.data.images import center_crop_resize
from dalle_jax.evaluation.captions import HeldOut, open_held_out
from dalle_jax.evaluation.measurements import Measurement, between_sets, by_oracle
from dalle_jax.metrics.preprocess import Preprocessing
from dalle_jax.pipelines.images import to_uint8
from dalle_jax.runs import Run
from dalle_jax.training.training import Wait

SPLIT = "validation"  # test is for the end
BATCH_SIZE = 64
SEED = 0


def open_captions(
    run: Run, sampling: Mapping[str, Any], num_images: int, features: str
) -> tuple[HeldOut, list[Measurement]]:
    """The captions that are drawn, and the oracle where it reads them.

    Raises:
        FileNotFoundError: there is no data.
        ValueError: there are too few captions, or nothing to measure by: the oracle can't read
            them, and there are no features.
    """
    held_out = open_held_out(run, None, None, SPLIT, num_images)
    try:
        return held_out, [by_oracle(held_out, dict(sampling))]
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

    The captions are those that `dalle-jax evaluate --split=validation` draws, and they and the
    noise are the same each time and in every run of the same data: what changes is the weights.

    Args:
        run: that is trained.
        stage: of the run.
        frozen: weights of the stages that it stands on.
        tokenizer: of the run.
        settings: of sampling.
        num_images: how many captions.
        features: a trained classifier's or CLIP's run for FD and KD; "" for none.
        mesh: of the devices that train, and draw.

    Raises:
        ValueError: there is nothing to measure by: captions that the oracle can't read, and no
            features.
    """
    if not stage.has_preview():
        return None
    sampling = {**settings, "seeds": (SEED,)}
    held_out, measurements = open_captions(run, sampling, num_images, features)
    if features:
        measurements.append(
            between_sets(
                ["fid", "kid"],
                held_out,
                sampling,
                data_dir=run.data["dir"],
                inception=None,
                features=features,
                preprocessing=Preprocessing(),
                reference=None,
                kid_subset_size=None,
            )
        )
    side = run.data["image_size"]
    images = np.stack([center_crop_resize(image, side) for image in held_out.images])
    tokens = tokenizer.encode(held_out.captions)
    whole = NamedSharding(mesh, PartitionSpec())  # so that each process has the images
    draw = jax.jit(functools.partial(stage.preview, **settings), out_shardings=whole)
    size = min(BATCH_SIZE, num_images)

    def evaluation(params: Any, step: int, wait: Wait) -> dict[str, float]:
        drawn = []
        for start in range(0, num_images, size):
            # The last batch is filled up, so that one compiled program serves all.
            rows = np.arange(start, start + size) % num_images
            batch = {"image": images[rows], "tokens": tokens[rows]}
            key = jax.random.fold_in(jax.random.key(SEED), start)
            batch_drawn = wait(functools.partial(draw, params, frozen, batch, key))
            drawn.append(to_uint8(batch_drawn))
        fakes = np.concatenate(drawn)[None, :num_images]
        values: dict[str, float] = {}
        for one in measurements:
            entries, _ = one.measure(fakes, range(num_images))
            values |= {name: entry["value"] for name, entry in entries["metrics"].items()}
        return values

    return evaluation
