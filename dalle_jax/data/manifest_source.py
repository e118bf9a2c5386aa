"""From a source to its caption manifest, and from a manifest back to captioned images."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.data.images import decode
from dalle_jax.data.manifest import Header, Manifest, choose
from dalle_jax.data.open import has_file_ids, is_at_path, kind_of, open_source
from dalle_jax.data.source import Source, without_images

# What a manifest's `data` may hold: arguments that only built-in data sets depend on.
SOURCE_ARGUMENTS = ("image_size", "captions", "languages")


def make_manifest(
    source: Source,
    *,
    name: str,
    split: str,
    rule: str = "one",
    n: int | None = None,
    seed: int = 0,
    data: Mapping[str, Any] | None = None,
) -> Manifest:
    """The manifest of a source's split; `manifest.choose` samples the n rows.

    Args:
        source: the split.
        name: of the source, as `open_source` takes it.
        split: of the source.
        rule: of `RULES`; n counts images for "one", captions for "all".
        n: number of rows; all, if None.
        seed: of the sampling.
        data: arguments of the source, of which the header gets those that its kind takes.

    Raises:
        ValueError: an unknown rule, fewer than n rows, or a caption that can't be used.
    """
    kind = kind_of(name)
    takes = kind.arguments if kind else ()

    def candidates() -> Iterator[tuple]:
        for i, item in enumerate(without_images(source)):
            own_id = _item_id(item, split, i)
            image = own_id if has_file_ids(name) else i
            captions = item.get("captions") or (item["caption"],)
            yield own_id, image, [(str(k), text) for k, text in enumerate(captions)]

    return choose(
        candidates(),
        source=_name(name),
        split=split,
        rule=rule,
        n=n,
        seed=seed,
        data={key: value for key, value in (data or {}).items() if key in takes},
    )


class ManifestSource:
    """The captions and images of a manifest, as a source: item i is row i."""

    def __init__(self, manifest: Manifest, images: Source | Path):
        self._rows = manifest.rows
        self._images = images

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self._rows[index]
        own = {"caption": row.caption, "id": row.id}
        if isinstance(row.image, str):
            return {"image": self._read(row.image), **own}
        if row.image >= len(self._images):
            raise ValueError(
                f"the manifest's row {row.id} is of image {row.image}, but the data has only "
                f"{len(self._images)}; it is not what the manifest was made of"
            )
        item = dict(self._images[row.image])
        captions = [text.strip() for text in item.pop("captions", (item["caption"],))]
        item_id = _item_id(item, row.split, row.image)
        if row.caption not in captions or row.id.partition("#")[0] != item_id.partition("#")[0]:
            raise ValueError(
                f"the manifest's row {row.id}, image {row.image}, is {row.caption!r:.80}; there "
                f"the data has {item_id}, {captions[0]!r:.80}: it is not what the manifest was "
                "made of"
            )
        return {**item, **own}

    def _read(self, name: str) -> np.ndarray:
        # A row's name has no "..", and links in the folder are read as `FolderSource` reads them.
        path = self._images / name
        try:
            encoded = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise FileNotFoundError(
                f"the manifest's image {name!r:.200} is not in {self._images}"
            ) from error
        except (OSError, RuntimeError, ValueError) as error:  # Too long, or a circle of links.
            raise ValueError(f"the manifest's image {name!r:.200} can't be read") from error
        try:
            return decode(encoded)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def open_manifest(
    manifest: Manifest,
    *,
    data_dir: str | Path = "data",
    source: str | None = None,
    **options: Any,
) -> ManifestSource:
    """The manifest's images and captions as a source.

    Args:
        manifest: to load.
        data_dir: where prepared data sets are.
        source: location of the data on this machine, if the manifest does not say: "folder:PATH" of
            the images (or of a table beside them) for one of a folder or of COCO,
            "webdataset:SHARDS".
        options: further arguments of `open_source` for reading user data.

    Raises:
        FileNotFoundError: there is no such data.
        ValueError: the manifest needs `source`.
    """
    header = manifest.header
    if source is None and is_at_path(header.source):
        raise ValueError(
            f"the manifest is of {header.source}; say where its images are on this machine, as "
            "folder:PATH or webdataset:SHARDS"
        )
    source = source or header.source
    if any(isinstance(row.image, str) for row in manifest.rows):
        folder = Path(os.path.expanduser(source.partition(":")[2]))
        if folder.is_file():  # A table, whose names are those of files beside it.
            folder = folder.parent
        if not has_file_ids(source) or not folder.is_dir():
            raise FileNotFoundError(
                f"the images of the manifest of {header.source} are files; {source} is no folder"
            )
        return ManifestSource(manifest, folder)
    images = open_split(header, source, data_dir=data_dir, **options)
    return ManifestSource(manifest, images)


def open_split(header: Header, source: str, **where: Any) -> Source:
    """The whole split whose items a manifest numbers; `where` is passed to `open_source`.

    Raises:
        FileNotFoundError: there is no such data.
        ValueError: the header has arguments that no source takes.
    """
    unknown = sorted(set(header.data) - set(SOURCE_ARGUMENTS))
    # User data come at their own size, and their manifests state none.
    size = header.data.get("image_size", 0)
    if unknown or not isinstance(size, int):
        raise ValueError(f"the manifest's data {header.data!r:.200} can't be opened")
    options = {**header.data, "image_size": size}
    return open_source(source, split=header.split, **options, **where)


def _item_id(item: Mapping[str, Any], split: str, index: int) -> str:
    return item.get("id", f"{split}/{index}")


def _name(spec: str) -> str:
    """A source's name with only the last part of its path."""
    kind, _, path = spec.partition(":")
    return f"{kind}:{Path(path).name}" if is_at_path(spec) else spec
