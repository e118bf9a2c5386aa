"""Whether a model repeats its training images: distances to the nearest, and a picture of them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dalle_jax.data.images import center_crop_resize
from dalle_jax.data.source import Source
from dalle_jax.evaluation.caption_scores import caption_protocol
from dalle_jax.evaluation.captions import HeldOut, source_arguments
from dalle_jax.evaluation.measurements import Measurement
from dalle_jax.metrics.intervals import bootstrap, wilson
from dalle_jax.metrics.neighbours import Neighbours, data_copying, picture_cells, pixel_neighbours
from dalle_jax.metrics.pooled import CenterCropResize
from dalle_jax.pipelines.images import captioned_grid
from dalle_jax.runs import Run

NEIGHBOURS = 4  # training images beside each generated one
QUANTILES = {"least": 0.0, "lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75}


def memorization_measurement(
    run: Run, held_out: HeldOut, sampling: dict[str, Any], picture: Path
) -> Measurement:
    """Distances of the first seed's images to the nearest training images.

    The floor is the distance of the real images. The images nearest to a training image are saved
    as `picture`, each beside its nearest training images.
    """
    train = {"source": run.data["source"], **source_arguments(run.data, "train")}
    protocol = caption_protocol(
        held_out,
        sampling,
        "pixels",
        {"train": train},
        preprocessing=asdict(CenterCropResize(run.data["image_size"])),
    )

    def measure(images, rows):
        generated = np.stack(images[0])
        side = generated.shape[1]
        real = np.stack([center_crop_resize(held_out.images[i], side) for i in rows])
        captions = [held_out.captions[i] for i in rows]
        report, grid = measure_memorization(generated, captions, real, run.open_source("train"))
        if len(rows) == len(held_out.captions):
            grid.save(picture)
        medians = {name: found["median"] for name, found in report["distance"].items()}
        metrics = {
            "data_copying": {"value": report["data_copying"]},
            "copies": {
                "value": report["copies"] / len(rows),
                "interval": wilson(report["copies"], len(rows)),
            },
            "nearest_train_image": {
                "value": medians["generated"],
                "interval": report["interval_of_median"],
            },
        }
        floor = {"num_images": len(rows), "nearest_train_image": medians["held out"]}
        return {"metrics": metrics, "floor": floor, "memorization": report}, {}

    return Measurement(protocol, ("copies",), measure)


def measure_memorization(
    images: np.ndarray,
    captions: Sequence[str],
    held_out: np.ndarray,
    train: Source,
    k: int = NEIGHBOURS,
) -> tuple[dict[str, Any], Image.Image]:
    """The report for a results row, and the picture of the most suspicious images.

    Distances are those of `pixel_neighbours` to the nearest training image, for the generated
    images and for real ones that the model has not seen. `data_copying` is the z score by which the
    generated ones are farther away: below about −5 the model copies.

    Args:
        images: generated, uint8 [N, S, S, 3].
        captions: of the generated images.
        held_out: real images, uint8 [M, S, S, 3], preferably of the same captions.
        train: the training set.
        k: training images beside each generated one.
    """
    # In one search, so that the training images are read once.
    both = pixel_neighbours(np.concatenate([images, held_out]), train, min(k, len(train)))
    generated, real = np.split(both.distances[:, 0], [len(images)])
    report = {
        "num_train": len(train),
        "copies": int((generated == 0).sum()),
        "data_copying": data_copying(generated, real),
        "distance": {
            name: {label: float(np.quantile(values, q)) for label, q in QUANTILES.items()}
            for name, values in (("generated", generated), ("held out", real))
        },
        "interval_of_median": bootstrap(generated, statistic=np.median),
    }
    of_generated = Neighbours(both.indices[: len(images)], both.distances[: len(images)])
    cells, labels, columns = picture_cells(images, captions, of_generated, train)
    return report, captioned_grid(cells, labels, columns=columns)
