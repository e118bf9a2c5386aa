"""What an evaluation returns: rows, scores by caption, images and a picture of some of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dalle_jax.evaluation.captions import HeldOut
from dalle_jax.evaluation.generated import GeneratedImages
from dalle_jax.metrics.results import read_scores
from dalle_jax.pipelines.images import captioned_grid

SAMPLES = 24  # images of samples.png


class Evaluated(NamedTuple):
    """What an evaluation measured.

    Attributes:
        workdir: of the system.
        suffix: of the names of its files: "" for the split test, else "_SPLIT".
        data: the name of the data and the split.
        rows: of results.jsonl.
        captions: the held-out captions.
        images: of the first seed, uint8 [H, W, 3] each; None if they were deleted.
        scores: by caption, [captions, seeds] by metric.
        samples: a picture of the first images.
    """

    workdir: Path
    suffix: str
    data: str
    rows: list[dict[str, Any]]
    captions: Sequence[str]
    images: Sequence[np.ndarray] | None
    scores: dict[str, np.ndarray]
    samples: Path | None


def evaluated(
    workdir: Path, rows: list[dict[str, Any]], held_out: HeldOut, generated: GeneratedImages
) -> Evaluated:
    """Rows with the scores by caption, and with the images and samples.png if the images exist."""
    scores: dict[str, np.ndarray] = {}
    for row in rows:
        scores |= read_scores(workdir / "results.jsonl", row)
    captions, images, samples = held_out.captions, generated.of_first_seed(), None
    if images is not None:
        samples = workdir / f"samples{held_out.suffix}.png"
        draw_samples(images, captions, scores.get("oracle/caption")).save(samples)
    return Evaluated(
        workdir, held_out.suffix, held_out.name, rows, captions, images, scores, samples
    )


def draw_samples(
    images: Sequence[np.ndarray], captions: Sequence[str], correct: np.ndarray | None
) -> Image.Image:
    """A grid of the first captions, in green or red if their scores [captions, seeds] are given."""
    captions = captions[:SAMPLES]
    first = np.stack([images[i] for i in range(len(captions))])
    colors = None
    if correct is not None:
        colors = ["#1a7f37" if one else "#b42318" for one in correct[: len(captions), 0]]
    return captioned_grid(first, captions, columns=8, colors=colors)
