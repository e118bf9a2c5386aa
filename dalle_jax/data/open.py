"""The table of data sources, and from a source's name in the config to the source itself."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dalle_jax.data.options import OPTIONS
from dalle_jax.nearest import nearest

if TYPE_CHECKING:  # the loader brings jax along
    from dalle_jax.data.source import Source


def _captioned_shapes(
    name: str, split: str, data_dir: str, image_size: int, captions: str | Mapping[str, float]
) -> "Source":
    from dalle_jax.data.shapes.builder import CaptionedShapesSource

    if isinstance(captions, str):
        captions = captions_of_split(captions, split)
    return CaptionedShapesSource(data_dir, name or "easy", image_size, split, captions)


def _emoji(
    name: str, split: str, data_dir: str, image_size: int, languages: Sequence[str]
) -> "Source":
    from dalle_jax.data.emoji.builder import EmojiSource

    return EmojiSource(data_dir, image_size, split, languages)


def _folder(name: str, split: str, data_dir: str, **options: Any) -> "Source":
    from dalle_jax.data.folder import FolderSource

    return FolderSource(name, split, **options)


def _webdataset(name: str, split: str, data_dir: str, **options: Any) -> "Source":
    from dalle_jax.data.webdataset import WebDatasetSource

    return WebDatasetSource(name, split, **options)


def _parquet(name: str, split: str, data_dir: str, **options: Any) -> "Source":
    from dalle_jax.data.parquet import ParquetSource

    return ParquetSource(name, split, **options)


def _tfds(name: str, split: str, data_dir: str, **options: Any) -> "Source":
    from dalle_jax.data.tfds_source import TfdsSource

    return TfdsSource(name, data_dir, split, **options)


class Kind(NamedTuple):
    """A kind of data source."""

    open: Callable[
        ..., "Source"
    ]  # (name, split, data_dir, **arguments); imports the reader if called
    usage: Sequence[str]  # how specs of the kind are written
    arguments: Sequence[str] = tuple(OPTIONS)  # those of `open_source` that it takes
    is_at_path: bool = True  # whether its name is a path or URL, which does not identify the data
    has_file_ids: bool = False  # whether items' ids are the paths of their images below that path

    @property
    def is_built_in(self) -> bool:
        """Whether the data comes with the package."""
        return ":" not in self.usage[0]


SHAPES = tuple(f"captioned_shapes/{name}" for name in ("easy", "pairs", "full"))
# By the beginning of a spec, up to a ":" for user data, up to a "/" for built-in data.
SOURCES = {
    "captioned_shapes": Kind(_captioned_shapes, SHAPES, ("image_size", "captions"), False),
    "emoji": Kind(_emoji, ["emoji"], ("image_size", "languages"), False),
    "folder": Kind(_folder, ["folder:PATH"], has_file_ids=True),
    "webdataset": Kind(_webdataset, ["webdataset:SHARDS"]),
    "parquet": Kind(_parquet, ["parquet:FILES"]),
    "tfds": Kind(_tfds, ["tfds:NAME"], is_at_path=False),
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
    """The source that `spec` names, at a split.

    Args:
        spec: a `usage` of `SOURCES`, e.g. "captioned_shapes/easy" or "folder:my/images".
        data_dir: where prepared data sets lie; folders and shards have their own paths.
        split: "train", "validation", "test", or another that the data set has.
        image_size: resolution at which the built-in data sets were drawn; other images come at
            their own size, and the loader resizes them.
        captions: of captioned_shapes: a kind, the share of each kind, or either as text, see
            `captions_of_split`.
        languages: of the captions of emoji.
        max_bad_share: of user data, the share of bad items beyond which it is an error.
        options: further `options.ReadingOptions` of user data, e.g. test_share or cache_dir.

    Raises:
        ValueError: an unknown data set or option; what the source itself raises.
    """
    check_spec(spec)
    kind = kind_of(spec)
    if unknown := sorted(set(options) - set(kind.arguments)):
        raise ValueError(
            f"the data set {spec!r} has no option {unknown[0]!r}; "
            f"it has {', '.join(sorted(kind.arguments)) or 'none'}"
        )
    given = {
        **{"image_size": image_size, "captions": captions, "languages": languages},
        **{"max_bad_share": max_bad_share, **options},
    }
    arguments = {name: value for name, value in given.items() if name in kind.arguments}
    name = spec.partition(":" if ":" in spec else "/")[2]
    return kind.open(name, split, os.path.expanduser(data_dir), **arguments)


def kind_of(spec: str) -> Kind | None:
    """The kind of what a spec names; None where it is unknown."""
    kind = SOURCES.get(spec.partition(":" if ":" in spec else "/")[0])
    return kind if kind is not None and kind.is_built_in == (":" not in spec) else None


def check_spec(spec: str) -> None:
    """Check the name of a data set without slow imports.

    Raises:
        ValueError: the data set is unknown; the message lists all, and the nearest name.
        FileNotFoundError: there is no such folder.
    """
    kind, path = kind_of(spec), spec.partition(":")[2]
    if kind is None or not (path or spec in (*kind.usage, "captioned_shapes")):
        raise ValueError(_unknown_source(spec))
    folder = os.path.expanduser(path)
    if spec.startswith("folder:") and "://" not in path and not os.path.exists(folder):
        raise FileNotFoundError(f"there is no folder {folder}")


def _unknown_source(spec: str) -> str:
    """A sentence for the name of no data set, with what was most likely meant."""
    known = [usage for kind in SOURCES.values() for usage in kind.usage]
    built_in = [usage for usage in known if ":" not in usage]
    user_kinds = [name for name, kind in SOURCES.items() if not kind.is_built_in]
    hint = ""
    if "coco" in spec.lower():
        hint = (
            ". COCO's images are read as folder:PATH, with annotations/captions_*.json beside the "
            "folders of images or with Karpathy's dataset_coco.json, or as webdataset:SHARDS; "
            "captions for an evaluation are drawn from its annotation file by `dalle-jax prepare "
            "--coco_captions=captions_val2014.json --manifest=FILE.jsonl`"
        )
    elif spec.partition(":")[0] in user_kinds:
        hint = "; what to read must follow the colon"
    elif os.path.isdir(os.path.expanduser(spec)):
        hint = f". A folder of images is folder:{spec}"
    elif meant := nearest(spec.partition(":")[0], user_kinds if ":" in spec else built_in):
        hint = meant
    return f"there is no data set {spec!r}; give one of {', '.join(known)}{hint}"


def captions_of_split(text: str, split: str) -> str | dict[str, float]:
    """A kind of caption, or of "short:0.05,descriptive:0.95" the share of each kind.

    A mixture is for training: held-out captions are of the kind that is named first, but those of
    the split `paraphrase` are `phrased`.
    """
    if split == "paraphrase":
        return "phrased"
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


def is_at_path(spec: str) -> bool:
    """Whether a spec, also the source of a manifest, names data by a path or URL."""
    kind, colon, _ = spec.partition(":")
    return bool(colon) and (kind not in SOURCES or SOURCES[kind].is_at_path)


def has_file_ids(spec: str) -> bool:
    """Whether the ids of a source's items are the paths of their images below its path."""
    kind = kind_of(spec)
    return kind is not None and kind.has_file_ids


def normalized_source(spec: str) -> str:
    """A spec with each path absolute, links followed, `~`, `.` and a last `/` resolved.

    Names without a path, such as `captioned_shapes/easy`, and URLs are returned as they are.
    """
    if not is_at_path(spec):
        return spec
    kind, _, paths = spec.partition(":")
    return f"{kind}:{'::'.join(map(_normalized_path, paths.split('::')))}"


def is_same_source(one: str, other: str) -> bool:
    """Whether two specs have the same kind and path, relative to the working directory."""
    return one == other or normalized_source(one) == normalized_source(other)


def _normalized_path(path: str) -> str:
    return path if "://" in path or not path else os.path.realpath(os.path.expanduser(path))
