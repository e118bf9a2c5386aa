"""Any prepared TFDS data set that has an image and a caption, read without TensorFlow."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError

from dalle_jax.data.checked import Finding, inspect_all, inspect_item
from dalle_jax.data.index import Index, are_numbers_of, signature_of
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.splits import SPLITS, check_split, split_positions
from dalle_jax.data.text import clean_captions, decode_text
from dalle_jax.data.user_source import Listing, UserSource

INFO = "dataset_info.json"
FEATURES = "features.json"
# Under these names features.json names classes, in the spellings of old and new versions of tfds.
CLASS_KEYS = ("type", "pythonClassName", "python_class_name")
# What a torn or foreign record raises when its features are taken out of it.
UNREADABLE_RECORD = (ValueError, RuntimeError, KeyError, TypeError, IndexError, DecodeError)
CAPTION_NAMES = {"caption", "captions", "text", "texts", "title", "description"}


class TfdsSource(UserSource):
    """Items of a split of a TFDS data set prepared as ArrayRecord.

    `name` is NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION. The image and the caption
    feature are found by their types, or given as paths (`image_column="image"`,
    `caption_column="captions/text"`). A split that the data set lacks is taken out of its `train`
    by a hash of the item's number. `options` are those of `ReadingOptions`.

    Raises:
        FileNotFoundError: the data set is not prepared in `data_dir`.
        ValueError: it has no such features or several, or one of a class that is not tfds' own, or
            is in another file format.
    """

    def __init__(self, name: str, data_dir: str | Path, split: str = "train", **options: Any):
        given = ReadingOptions(**options)
        folder = find_prepared(name, data_dir)
        check_features(folder)
        builder = tfds.builder_from_directory(folder)
        if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
            raise ValueError(
                f"{folder} is in the format {builder.info.file_format.value}; "
                "prepare it again with file_format='array_record'"
            )
        paths = _leaves(builder.info.features)
        images = [path for path, kind in paths.items() if kind is tfds.features.Image]
        texts = [path for path, kind in paths.items() if kind is tfds.features.Text]
        self._image = _choose("image", given.image_column, images, folder, set())
        self._caption = _choose("caption", given.caption_column, texts, folder, CAPTION_NAMES)

        self.splits = tuple(dict.fromkeys([*SPLITS, *builder.info.splits]))
        own = split if split in builder.info.splits else "train"
        if own not in builder.info.splits:
            raise ValueError(
                f"{folder} has neither a split {split!r} nor train; it has "
                f"{', '.join(builder.info.splits)}"
            )
        # Left to itself, tfds would decode all other features too, with whatever opens them.
        self._folder = folder
        self._features = _only(builder.info.features, {self._image, self._caption})
        self._decoders = tfds.decode.SkipDecoding()
        for key in reversed(self._image.split("/")):
            self._decoders = {key: self._decoders}
        self._records = builder.as_data_source(
            split=own, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
        self._all_ids = [f"{own}/{i}" for i in range(len(self._records))]
        check_split("all" if split in builder.info.splits else split)

        files = [file for file in sorted(folder.iterdir()) if not file.name.startswith("data_")]
        statuses = [file.stat() for file in files]
        sizes = [(file.name, status.st_size) for file, status in zip(files, statuses)]
        self._signature = signature_of([self._image, self._caption, given.encoding, *sizes])
        self._changed = [status.st_ctime_ns for status in statuses]
        times = [status.st_mtime_ns for status in statuses]
        cache = Path(given.cache_dir or folder)
        # What the data set has as splits of its own need not be taken out of its train.
        shares = {
            name: 0 if name.removesuffix("_share") in builder.info.splits else share
            for name, share in given.shares.items()
        }
        super().__init__(
            f"tfds {name} ({own})",
            "all" if split in builder.info.splits and split != "train" else split,
            replace(given, **shares),
            (cache / f"data_index-{own}.npz", cache / f"data_report-{own}.json"),
            signature_of([self._signature, *given.read_by, *times]),
        )

    @property
    def signature(self) -> str:
        """A hash of the names and sizes of all files, and of which features are read."""
        return self._signature

    def _scan(self) -> Index:
        def inspect(i: int) -> Finding:
            try:
                encoded, texts = self._parts(i)
                captions = self._captions(texts)
            except ValueError as error:
                return Finding(str(error))
            return inspect_item(encoded, captions, self._options)

        report, good = inspect_all(self._what, self._all_ids, inspect)
        return Index(report, {"good": good})

    def _is_sound(self, arrays: Mapping[str, np.ndarray]) -> bool:
        return are_numbers_of(arrays["good"], len(self._all_ids))

    def _listing(self, arrays: Mapping[str, np.ndarray]) -> Listing:
        ids, good = self._all_ids, arrays["good"]
        return Listing(ids, np.arange(len(ids)), good, split_positions([ids[i] for i in good]))

    def stamp(self) -> str:
        """A hash that changes as soon as an item may have changed."""
        where = (str(self._folder), self.report.signature, self._changed)
        return signature_of([where, self._ids])

    def location(self, index: int) -> str:
        """The record of an item."""
        return f"{self._folder}, record {self._ids[index]}"

    def _parts(self, row: int) -> tuple[bytes, Any]:
        try:
            record = self._features.deserialize_example_np(
                self._records[int(row)], decoders=self._decoders
            )
            return _value(record, self._image), _value(record, self._caption)
        except UNREADABLE_RECORD as error:
            raise ValueError("unreadable record") from error

    def _captions(self, texts: Any) -> list[str]:
        texts = list(_texts(texts, self._options.encoding))
        return clean_captions(texts) or [""] * len(texts)


def find_prepared(name: str, data_dir: str | Path) -> Path:
    """The folder of a prepared data set, its newest version if none is named."""
    path, _, version = name.partition(":")
    base = Path(data_dir) / path
    candidates = [base / INFO, *base.glob(f"*/{INFO}"), *base.glob(f"*/*/{INFO}")]
    folders = [file.parent for file in candidates if file.is_file()]
    folders = [folder for folder in folders if not version or folder.name == version]
    if not folders:
        raise FileNotFoundError(
            f"the TFDS data set {name} is not prepared in {data_dir}; prepare it first with "
            f"tfds.builder({name!r}, data_dir=…, file_format='array_record')"
            ".download_and_prepare()"
        )
    configs = sorted({folder.parent for folder in folders})
    if len(configs) > 1:
        raise ValueError(
            f"the TFDS data set {name} has several configs in {data_dir}: name one of "
            f"{', '.join(f'{path}/{config.name}' for config in configs)}"
        )
    return max(folders, key=lambda folder: [int(n) for n in re.findall(r"\d+", folder.name)])


def check_features(folder: Path) -> None:
    """Raise a ValueError if a feature of a prepared data set is of a class that is not tfds'.

    tfds imports the module of any class that features.json names, and so runs its code.
    """
    file = folder / FEATURES
    if not file.is_file():
        return  # tfds says so itself.
    kinds = [
        kind
        for kind in vars(tfds.features).values()
        if isinstance(kind, type) and issubclass(kind, tfds.features.FeatureConnector)
    ]
    own = {f"{kind.__module__}.{kind.__name__}" for kind in kinds}
    own |= {alias for kind in kinds for alias in vars(kind).get("ALIASES", ())}
    try:
        named = list(_named_classes(json.loads(file.read_text(encoding="utf-8"))))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read ({error}); prepare the data set again") from error
    foreign = next((name for name in named if name not in own), None)
    if foreign is not None:
        raise ValueError(
            f"{file} names the class {foreign!r:.200}, which is not one of tfds' own features and "
            "would run code; prepare the data set again with features of tfds.features"
        )


def _named_classes(node: Any) -> Iterator[str]:
    """The classes that a part of features.json names; texts in it may be JSON of features too."""
    if isinstance(node, str):
        try:
            node = json.loads(node)
        except ValueError:
            return
    if isinstance(node, dict):
        yield from (node[key] for key in CLASS_KEYS if isinstance(node.get(key), str))
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from _named_classes(inner)


def _leaves(feature: Any, path: str = "") -> dict[str, type]:
    """Image and text features by path; a sequence has the path of its content."""
    if isinstance(feature, tfds.features.Sequence):
        return _leaves(feature.feature, path)
    if isinstance(feature, tfds.features.FeaturesDict):
        found: dict[str, type] = {}
        for key, inner in feature.items():
            found |= _leaves(inner, f"{path}/{key}" if path else key)
        return found
    for kind in (tfds.features.Image, tfds.features.Text):
        if isinstance(feature, kind):
            return {path: kind}
    return {}


def _only(feature: Any, paths: set[str], path: str = "") -> Any:
    """`feature` with nothing in it but the features at `paths`; None if there are none."""
    if isinstance(feature, tfds.features.Sequence):
        inner = _only(feature.feature, paths, path)
        if inner is feature.feature:
            return feature
        return None if inner is None else tfds.features.Sequence(inner)
    if isinstance(feature, tfds.features.FeaturesDict):
        parts = {
            key: part
            for key, inner in feature.items()
            if (part := _only(inner, paths, f"{path}/{key}" if path else key)) is not None
        }
        return tfds.features.FeaturesDict(parts) if parts else None
    return feature if path in paths else None


def _choose(what: str, given: str, paths: list[str], folder: Path, names: set[str]) -> str:
    found = ", ".join(paths) or "none"
    if given:
        if given not in paths:
            raise ValueError(f"{folder} has no {what} feature {given!r}; it has {found}")
        return given
    named = [path for path in paths if names & set(path.split("/"))]
    choices = named or paths
    if len(choices) != 1:
        raise ValueError(
            f"{folder} has {'no' if not choices else 'several'} {what} features ({found}); "
            + (f"name one as {what}_column" if choices else "choose another data set")
        )
    return choices[0]


def _value(record: Any, path: str) -> Any:
    for key in path.split("/"):
        is_list = isinstance(record, list | tuple)
        record = [inner[key] for inner in record] if is_list else record[key]
    return record


def _texts(value: Any, encoding: str) -> Iterator[str]:
    """The texts in a feature's value, which is one text or a sequence of them."""
    if isinstance(value, bytes):
        yield decode_text(value, encoding)
    elif isinstance(value, str):
        yield value
    else:
        for inner in value:
            yield from _texts(inner, encoding)
