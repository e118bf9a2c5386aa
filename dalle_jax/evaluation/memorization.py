"""Whether a model repeats its training images: the nearest ones, in figures and as a picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from dalle_jax.data.source import Source
from dalle_jax.metrics.intervals import bootstrap
from dalle_jax.metrics.neighbours import Neighbours, data_copying, picture_cells, pixel_neighbours
from dalle_jax.pipelines.images import captioned_grid

NEIGHBOURS = 4  # training images beside each generated one
QUANTILES = {"least": 0.0, "lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75}


def measure_memorization(
    images: np.ndarray,
    captions: Sequence[str],
    held_out: np.ndarray,
    train: Source,
    k: int = NEIGHBOURS,
) -> tuple[dict[str, Any], Image.Image]:
    """What a row of results says of it, and the picture of the most suspicious images.

    Distances are those of `pixel_neighbours` to the nearest training image, of the generated images
    and, to compare with, of real ones that the model has not seen. `data_copying` is the z score by
    which the generated ones are the farther ones: below −5 or so the model copies.

    Args:
        images: generated, uint8 [N, S, S, 3].
        captions: theirs.
        held_out: real images, uint8 [M, S, S, 3], best of the same captions.
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
