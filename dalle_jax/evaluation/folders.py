"""FID and related metrics of any two sets of images, given by their paths."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dalle_jax import console
from dalle_jax.data.walk import describe
from dalle_jax.evaluation.measurements import open_extractor
from dalle_jax.metrics.images import ImageFolder, Subset, open_images
from dalle_jax.metrics.metric import Settings
from dalle_jax.metrics.preprocess import Preprocessing
from dalle_jax.metrics.published import unread
from dalle_jax.metrics.sets import compare_sets
from dalle_jax.metrics.target import open_reference


def evaluate_folders(
    fake: str | Path,
    real: str | Path,
    metrics: Sequence[str],
    inception: str | Path | None,
    preprocessing: Preprocessing,
    settings: Settings,
    *,
    features: str | Path | None = None,
    n: int | None = None,
    batch_size: int = 64,
    statistics_out: str | Path | None = None,
) -> dict[str, Any]:
    """The results row of two sets of images, given by their paths.

    Raises:
        FileNotFoundError: there is nothing at a path.
        ValueError: a set is empty, unreadable, or smaller than n or a metric needs.
    """
    decoding = "converted" if features is None else "upright"
    fakes = open_images(fake, decoding)
    reals = open_reference(real, decoding)
    folders = {
        str(path): images
        for path, images in ((fake, fakes), (real, reals))
        if isinstance(images, ImageFolder)
    }
    if n is not None and len(fakes) < n:
        raise ValueError(f"{fake} has {len(fakes)} images, fewer than the {n} of the protocol")
    if n is not None:
        fakes = Subset(fakes, range(n))
    extractor = open_extractor(metrics, inception, features, preprocessing)
    tool = preprocessing.resize if features is None else None
    for path, folder in folders.items():
        _print_files(path, folder, tool)
    row = compare_sets(
        fakes,
        reals,
        extractor,
        metrics,
        settings,
        reference=str(real),
        statistics_out=statistics_out,
        decoding=decoding if folders else None,
        batch_size=batch_size,
        progress=lambda done: console.progress(f"{done} images"),
    )
    for path, folder in folders.items():
        if unlike := folder.decoding_differences():
            found = ", ".join(f"{number} {how}" for how, number in unlike.items())
            print(f"\n{path}, decoded as {tool} does: {found}", file=sys.stderr)
    if folders:
        row["files"] = {path: _about_files(folder) for path, folder in folders.items()}
    return row


def _about_files(folder: ImageFolder) -> dict[str, Any]:
    """A row's entry for a folder: numbers of images, of other files, and of differences."""
    left_out = {reason: len(names) for reason, names in folder.left_out.items()}
    return {"images": len(folder), "left_out": left_out, "unlike": folder.decoding_differences()}


def _print_files(path: str, folder: ImageFolder, tool: str | None) -> None:
    """Print what is left out of a folder, and which images a published tool would not read."""
    if folder.left_out:
        print(f"{path}: left out {describe(folder.left_out)}", file=sys.stderr)
    if tool and (names := unread(tool, folder.names)):
        print(
            f"{path}: {tool} at its defaults would not read {len(names)} of these {len(folder)} "
            f"images, as {names[0]}",
            file=sys.stderr,
        )
