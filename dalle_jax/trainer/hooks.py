"""What a run's training does now and then: validation, previews and small evaluations."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dalle_jax.data.images import center_crop_resize
from dalle_jax.evaluation.during_training import make_evaluation
from dalle_jax.pipelines.images import captioned_grid, to_uint8
from dalle_jax.runs import Run
from dalle_jax.stages import sampling_of
from dalle_jax.stages.base import Stage
from dalle_jax.trainer.data import Data, batches_of
from dalle_jax.training.training import Hooks, Wait

NUM_PREVIEWS = 12


def make_hooks(
    run: Run, data: Data, settings: Mapping[str, Any], stage: Stage, frozen: Any, mesh: Mesh
) -> Hooks:
    """Validation, previews and evaluations of a run, those that its config and data allow.

    `settings` are its config.STAGE.train at present.
    """
    sampling = sampling_of(run.stage_name, run.config)
    batch_size, evaluation = settings["batch_size"], None
    if settings["evaluate_every"]:
        evaluation = make_evaluation(
            run,
            stage,
            frozen,
            data.tokenizer,
            sampling,
            settings["evaluation_images"],
            settings["evaluation_features"],
            mesh,
        )
    num_images = validation_size(
        run.stage_name, settings["validation_images"], len(data.validation), batch_size
    )

    def validation() -> Iterator[Mapping[str, np.ndarray]]:
        loader = batches_of(
            run,
            data.validation,
            data.tokenizer,
            batch_size=batch_size,
            shuffle=False,
            repeat=False,
        )
        for batch in itertools.islice(loader, num_images // batch_size):
            del batch["mask"]  # all batches are whole
            yield batch

    return Hooks(
        validation=validation if num_images else None,
        preview=make_preview(run, data, stage, frozen, mesh) if stage.has_preview() else None,
        evaluation=evaluation,
    )


def validation_size(name: str, asked: int, held_out: int, batch_size: int) -> int:
    """How many images a held-out loss is the mean over; a line says why if it is none.

    Only whole batches: a padded row would count as an image.
    """
    wanted = min(asked, held_out)
    if asked and not held_out:
        print(f"{name}: the data has no items for validation, so there is no held-out loss")
    elif 0 < wanted < batch_size:
        print(
            f"{name}: validation is skipped: its {wanted} images do not fill a batch of "
            f"{batch_size}; lower config.{name}.train.batch_size to have it"
        )
    return wanted - wanted % batch_size


def make_preview(
    run: Run, data: Data, stage: Stage, frozen: Any, mesh: Mesh
) -> Callable[[Any, int, Wait], np.ndarray]:
    """A hook that draws the first held-out captions, with the same noise each time.

    Raises:
        ValueError: nothing can be drawn with the config's settings.
    """
    settings = sampling_of(run.stage_name, run.config)
    source = data.validation if len(data.validation) else data.train
    items = [source[i] for i in range(min(NUM_PREVIEWS, len(source)))]
    captions, side = [item["caption"] for item in items], run.data["image_size"]
    batch = {
        "image": np.stack([center_crop_resize(item["image"], side) for item in items]),
        "tokens": data.tokenizer.encode(captions),
    }
    # Whole on each device, so that each process has the images.
    whole = NamedSharding(mesh, PartitionSpec())
    draw = jax.jit(functools.partial(stage.preview, **settings), out_shardings=whole)
    # Traced, not compiled: settings that can't be drawn with are refused before the first step.
    params = jax.eval_shape(stage.init, jax.random.key(0))
    jax.eval_shape(draw, params, frozen, batch, jax.random.key(0))

    def preview(params: Any, step: int, wait: Wait) -> np.ndarray:
        key = jax.random.key(0)
        images = to_uint8(wait(lambda: draw(params, frozen, batch, key)))
        return np.asarray(captioned_grid(images, captions))

    return preview
