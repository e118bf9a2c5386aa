"""Build the data sets that the project draws, scan user data, and report on both."""

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dalle_jax import console
from dalle_jax.data.coco_manifest import NUM_CAPTIONS, make_coco_manifest
from dalle_jax.data.manifest import RULES, Manifest, write_manifest
from dalle_jax.data.manifest_source import make_manifest
from dalle_jax.data.open import captions_of_split, open_source
from dalle_jax.data.options import READING_DEFAULTS
from dalle_jax.prepare.report import show


def prepare(
    source: str,
    data_dir: Path = Path("data"),
    *,
    image_size: int = 32,
    font: Path | None = None,
    quiet: bool = False,
    **reading: Any,
) -> None:
    """Build a data set that the project draws, or scan user data; print a summary.

    Args:
        source: `captioned_shapes/easy`, `emoji`, or user data as `folder:PATH`.
        data_dir: folder of prepared data sets.
        image_size: side of the drawn images in pixels.
        font: of `emoji`; an installed one if None.
        quiet: whether to hide progress bars.
        reading: the `data.options.ReadingOptions` of user data.

    Raises:
        FileNotFoundError: the data or the font are missing.
        ValueError: the data can't be read, or too many items can't be used.
    """
    name, _, variant = source.partition("/")
    is_drawn = name == "captioned_shapes" or source == "emoji"
    changed = [key for key, value in reading.items() if value != READING_DEFAULTS.get(key, value)]
    if is_drawn and changed:
        raise ValueError(f"{source!r} has no option {changed[0]!r}: it is drawn, not read")
    if name == "captioned_shapes":
        from dalle_jax.data.shapes import builder

        with _drawn_here(source, data_dir, image_size, quiet):
            drawn = builder.prepare(data_dir, variant or "easy", image_size)
        print(drawn)
    elif source == "emoji":
        from dalle_jax.data.emoji import builder

        with _drawn_here(source, data_dir, image_size, quiet):
            drawn = builder.prepare(data_dir, image_size, font=font)
        print(drawn)
    else:
        given = {"data_dir": data_dir, "image_size": image_size, **reading}
        show(source, lambda split: open_source(source, split=split, **given), data_dir)


@contextlib.contextmanager
def _drawn_here(source: str, data_dir: Path, image_size: int, quiet: bool) -> Iterator[None]:
    """Say what is done instead of TFDS, which prints that it downloads an unknown size."""
    console.note(
        f"{source}, {image_size} pixels: drawn into {data_dir} unless it is there; "
        "nothing is downloaded"
    )
    import tensorflow_datasets as tfds

    if quiet or not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def manifest_of_coco(
    annotations: Sequence[Path], *, rule: str, n: int | None, seed: int, max_bad_share: float
) -> Manifest:
    """The manifest of COCO's files of captions, of 30,000 captions where `n` is None."""
    n = NUM_CAPTIONS if n is None else n
    return make_coco_manifest(annotations, rule=rule, n=n, seed=seed, max_bad_share=max_bad_share)


def manifest_of_split(
    source: str,
    split: str,
    data_dir: Path,
    *,
    data: Mapping[str, Any],
    reading: Mapping[str, Any],
    rule: str,
    n: int | None,
    seed: int,
) -> Manifest:
    """The manifest of a split of a data set that `prepare` reported on.

    Args:
        source: as of `prepare`.
        split: whose captions it holds.
        data_dir: as of `prepare`.
        data: the size of the images and the kind and languages of the captions, which the manifest
            states.
        reading: as of `prepare`.
        rule: "one" or "all" captions of each image.
        n: how many captions; None for all.
        seed: of the sampling.
    """
    data = {**data, "captions": captions_of_split(data["captions"], split)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The report before it has said all of it.
        opened = open_source(source, data_dir=data_dir, split=split, **data, **reading)
    return make_manifest(opened, name=source, split=split, rule=rule, n=n, seed=seed, data=data)


def save_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest and print its content and hash."""
    write_manifest(path, manifest)
    header = manifest.header
    print(
        f"{path}: {header.count} of {header.of} captions of {header.source} {header.split}, "
        f"{RULES[header.rule]}, seed {header.seed}\nsha256 {manifest.sha256}"
    )
