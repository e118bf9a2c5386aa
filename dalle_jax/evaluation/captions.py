"""The captions and real images of an evaluation: from a manifest, or sampled from a split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dalle_jax.data.manifest import Manifest, read_manifest
from dalle_jax.data.manifest_source import (
    SOURCE_ARGUMENTS,
    ManifestSource,
    make_manifest,
    open_manifest,
    open_split,
)
from dalle_jax.data.open import captions_of_split, is_at_path
from dalle_jax.data.options import reading_options
from dalle_jax.data.source import Source
from dalle_jax.metrics.images import Subset
from dalle_jax.runs import Run

DEFAULT_COUNT = 512  # captions of a split


class Images(Sequence):
    """The images uint8 [H, W, 3] of some items of a source."""

    def __init__(self, source: Source, indices: Sequence[int]):
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, i: int) -> np.ndarray:
        return self._source[self._indices[i]]["image"]


@dataclass(frozen=True)
class HeldOut:
    """Held-out captions and their real images.

    Attributes:
        manifest: the rows, of which the first `len(captions)` are used.
        source: captions and images, row by row.
        captions: of the rows that are used.
        data_dir: where built-in data are.
        reading: options of `open_source` with which the data were read.
    """

    manifest: Manifest
    source: ManifestSource
    captions: list[str]
    data_dir: str
    reading: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of the data for people."""
        return f"{self.manifest.header.source} {self.manifest.header.split}"

    @property
    def suffix(self) -> str:
        """What the pictures and the report of another split than test have in their names."""
        split = self.manifest.header.split
        return "" if split == "test" else f"_{split}"

    @property
    def items(self) -> Subset:
        """Captions and images, as a source."""
        return Subset(self.source, range(len(self.captions)))

    @property
    def images(self) -> Images:
        """The real images of the captions."""
        return Images(self.source, range(len(self.captions)))

    def further_images(self, seed: int) -> Images | None:
        """As many other images of the same split, chosen with a seed; None if there are too few.

        There are none either if the manifest names its images or its data by a path.
        """
        header, rows = self.manifest.header, self.manifest.rows
        if is_at_path(header.source) or any(isinstance(row.image, str) for row in rows):
            return None
        source = open_split(header, header.source, data_dir=self.data_dir, **self.reading)
        others = np.setdiff1d(np.arange(len(source)), [row.image for row in rows])
        if len(others) < len(self.captions):
            return None
        chosen = np.random.default_rng(seed).choice(others, len(self.captions), replace=False)
        return Images(source, sorted(chosen.tolist()))


def open_held_out(
    run: Run, manifest: str | None, images: str | None, split: str, n: int | None
) -> HeldOut:
    """The first n rows of a manifest's file, or n captions of a split of the run's data.

    The latter are those of `dalle-jax prepare --manifest` with seed 0, under the same hash.

    Raises:
        FileNotFoundError: there is no such manifest, or no data for it.
        ValueError: there are fewer than n captions.
    """
    data = run.data
    reading = {"max_bad_share": data["max_bad_share"], **reading_options(data)}
    if manifest:
        found = read_manifest(manifest)
        if ":" not in found.header.source:  # built-in data take no options
            reading = {}
        source = open_manifest(found, source=images, data_dir=data["dir"], **reading)
        n = len(found) if n is None else n
    else:
        held_out = run.open_source(split)
        n = min(DEFAULT_COUNT, len(held_out)) if n is None else n
        if len(held_out) < n:
            raise ValueError(
                f"split {split!r} has {len(held_out)} captions, fewer than the {n} asked for"
            )
        found = make_manifest(
            held_out, name=data["source"], split=split, n=n, data=source_arguments(data, split)
        )
        source = run.moved_to or data["source"]
        source = open_manifest(found, source=source, data_dir=data["dir"], **reading)
    if not 0 < n <= len(found):
        raise ValueError(f"the manifest has {len(found)} captions, fewer than the {n} asked for")
    captions = [row.caption for row in found.rows[:n]]
    return HeldOut(found, source, captions, data["dir"], reading)


def source_arguments(data: dict[str, Any], split: str) -> dict[str, Any]:
    """The arguments of a config's data section that a manifest of a split records."""
    arguments = {name: data[name] for name in SOURCE_ARGUMENTS if name in data}
    if "captions" in arguments:
        arguments["captions"] = captions_of_split(arguments["captions"], split)
    return arguments
