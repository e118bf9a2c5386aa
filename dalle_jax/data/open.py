"""A data set's name in the config → the source that reads it; each is imported when it is used."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dalle_jax.nearest import nearest

if TYPE_CHECKING:  # the loader brings jax along
    from dalle_jax.data.loader import Source

BUILT_IN = ("captioned_shapes/easy", "captioned_shapes/pairs", "captioned_shapes/full", "emoji")
OWN = ("folder", "webdataset", "parquet", "tfds")  # kinds of one's own data
KNOWN = (*BUILT_IN, "folder:PATH", "webdataset:SHARDS", "parquet:FILES", "tfds:NAME")

# Options by which one's own data are read, and their defaults; built-in data sets take none.
READING_DEFAULTS = {
    "encoding": "utf-8",
    "image_column": "",
    "caption_column": "",
    "min_side": 0,
    "max_aspect_ratio": 0.0,
}


def reading_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some settings that are options of reading and set to other than their defaults."""
    return {
        name: settings[name]
        for name, default in READING_DEFAULTS.items()
        if settings.get(name, default) != default
    }


def open_source(
    spec: str,
    *,
    data_dir: str | Path,
    split: str,
    image_size: int,
    captions: str | Mapping[str, float] = "short",
    languages: Sequence[str] = ("en",),
    max_bad_share: float = 0.01,
    **options: Any,
) -> "Source":
    """The source that `spec` (one of `KNOWN`) names, at a split.

    Args:
        spec: what data, e.g. "captioned_shapes/easy" or "folder:my/images".
        data_dir: where prepared data sets lie; folders and shards have paths of their own.
        split: "train", "validation", "test", or one that the data set has besides.
        image_size: resolution at which the built-in data sets were drawn; other images come at
            their own size, and the loader resizes them.
        captions: the kind of caption of captioned_shapes; the share of each kind; or text that
            says them, see `captions_of_split`.
        languages: of the captions of emoji.
        max_bad_share: of the items of user data that may be bad before it is an error.
        options: further arguments of the sources of user data, e.g. test_share or cache_dir.

    Raises:
        ValueError: an unknown data set or option; what the source itself raises.
    """
    check_spec(spec)
    kind, _, rest = spec.partition(":")
    data_dir = os.path.expanduser(data_dir)
    if kind in OWN and rest:
        return _open_user_data(kind, rest, data_dir, split, max_bad_share, options)
    if options and kind.partition("/")[0] in ("captioned_shapes", "emoji"):
        raise ValueError(f"The data set {spec!r} has no option {min(options)!r}.")
    if kind == "captioned_shapes" or kind.startswith("captioned_shapes/"):
        from dalle_jax.data.shapes.builder import CaptionedShapesSource

        config = kind.partition("/")[2] or "easy"
        if isinstance(captions, str):
            captions = captions_of_split(captions, split)
        return CaptionedShapesSource(data_dir, config, image_size, split, captions)
    from dalle_jax.data.emoji.builder import EmojiSource

    return EmojiSource(data_dir, image_size, split, languages)


def check_spec(spec: str) -> None:
    """Refuse a data set's name that is not known, or that of a folder that is not there.

    Nothing is imported for it that takes time.

    Raises:
        ValueError: the data set is unknown; the message says what there is, and the nearest name.
        FileNotFoundError: there is no such folder.
    """
    kind, _, rest = spec.partition(":")
    if kind == "folder" and rest and "://" not in rest:
        if not os.path.exists(folder := os.path.expanduser(rest)):
            raise FileNotFoundError(f"There is no folder {folder}.")
    elif not (kind in OWN and rest) and spec not in (*BUILT_IN, "captioned_shapes"):
        raise ValueError(_unknown_source(spec))


def _unknown_source(spec: str) -> str:
    """A sentence for a name that is no data set's, with what was most likely meant."""
    hint = "."
    if "coco" in spec.lower():
        hint = (
            ". COCO's images are read as folder:PATH with Karpathy's dataset_coco.json, which has "
            "their captions and splits, or as webdataset:SHARDS; captions for an evaluation are "
            "drawn from its annotation file by `dalle-jax prepare "
            "--coco_captions=captions_val2014.json --manifest=FILE.jsonl`."
        )
    elif spec.partition(":")[0] in OWN:
        hint = "; what to read must follow the colon."
    elif os.path.isdir(os.path.expanduser(spec)):
        hint = f". A folder of one's own is folder:{spec}."
    elif meant := nearest(spec.partition(":")[0], OWN if ":" in spec else BUILT_IN):
        hint = meant
    return f"There is no data set {spec!r}; give one of {', '.join(KNOWN)}{hint}"


def captions_of_split(text: str, split: str) -> str | dict[str, float]:
    """ "short:0.05,descriptive:0.95" as the share of each kind of caption; or one kind, as it is.

    A mixture is for training: held-out captions are of the kind that is named first.
    """
    kinds = dict(part.partition(":")[::2] for part in text.replace(" ", "").split(","))
    if split != "train" or len(kinds) == 1:
        return next(iter(kinds))
    try:
        return {kind: float(share) for kind, share in kinds.items()}
    except ValueError as error:
        raise ValueError(
            f"captions {text!r} are not understood: give a kind, as short, or shares, as "
            "short:0.5,descriptive:0.5"
        ) from error


def _open_user_data(
    kind: str, name: str, data_dir: str | Path, split: str, max_bad_share: float, options: dict
) -> "Source":
    known = {"validation_share", "test_share", "cache_dir", *READING_DEFAULTS}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(
            f"The data set {kind}:{name} has no option {unknown[0]!r}; "
            f"it has {', '.join(sorted(known))}."
        )
    options = {"max_bad_share": max_bad_share, **options}
    if kind == "folder":
        from dalle_jax.data.folder import FolderSource

        return FolderSource(name, split, **options)
    if kind == "webdataset":
        from dalle_jax.data.webdataset import WebDatasetSource

        return WebDatasetSource(name, split, **options)
    if kind == "parquet":
        from dalle_jax.data.parquet import ParquetSource

        return ParquetSource(name, split, **options)
    from dalle_jax.data.tfds_source import TfdsSource

    return TfdsSource(name, data_dir, split, **options)
