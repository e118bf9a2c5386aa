"""What a data source is, and one that is held in memory."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from dalle_jax.data.images import center_crop_resize

MEMORY_LIMIT = 2**30  # bytes


class Source(Protocol):
    """Captioned images by index.

    An item holds "image" (uint8 [H, W, 3]) and "caption"; one with several captions also holds
    "captions", of which training samples one at each visit. A stored "image_embedding" (float32
    [D]) goes into the batch. Optional methods are `location(index) -> str`, where an item lies, for
    messages; `without_images()`, the rest of all items in order, faster than whole items;
    `stamp() -> str`, a hash that changes as soon as an item may have changed, by which items are
    cached on disk.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


class Wrapper:
    """A source of the items of another one, changed on the way."""

    def __init__(self, source: Source):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def location(self, index: int) -> str:
        """Where an item lies."""
        return describe_item(self._source, index)


class InMemory(Wrapper):
    """A source whose items are read at their first use and cached at `image_size`."""

    def __init__(self, source: Source, image_size: int, resize_filter: str = "lanczos"):
        super().__init__(source)
        self._resize_filter = resize_filter
        self._images = np.empty((len(source), image_size, image_size, 3), np.uint8)
        self._rest: list[dict[str, Any] | None] = [None] * len(source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self._rest[index] is None:
            item = self._source[index]
            self._images[index] = center_crop_resize(
                item["image"], self._images.shape[1], self._resize_filter
            )
            # Written last: another thread that sees it may use the image.
            names = ("caption", "captions", "image_embedding")
            self._rest[index] = {name: item[name] for name in names if name in item}
        return {"image": self._images[index], **self._rest[index]}

    def without_images(self) -> Iterator[Mapping[str, Any]]:
        """As the source gives them; where it decodes images for it, these are cached."""
        if hasattr(self._source, "without_images"):
            return self._source.without_images()
        return (read_item(self, i) for i in range(len(self)))


def fits_in_memory(source: Source, image_size: int, memory_limit: int = MEMORY_LIMIT) -> bool:
    """Whether all images of a source at that size take at most `memory_limit` bytes."""
    return len(source) * 3 * image_size**2 <= memory_limit


def keep_in_memory(
    source: Source,
    image_size: int,
    *,
    memory_limit: int = MEMORY_LIMIT,
    resize_filter: str = "lanczos",
) -> Source:
    """`source` as an `InMemory` if its images fit in `memory_limit` bytes, else itself."""
    if isinstance(source, InMemory) or not fits_in_memory(source, image_size, memory_limit):
        return source
    return InMemory(source, image_size, resize_filter)


def describe_item(source: Source, index: int) -> str:
    """Where an item of a source lies, if the source says so."""
    if hasattr(source, "location"):
        return source.location(index)
    return f"item {index} of {type(source).__name__}"


def read_item(source: Source, index: int) -> Mapping[str, Any]:
    """`source[index]`; errors name the item, and become a ValueError unless of system or memory."""
    try:
        return source[index]
    except Exception as error:
        where = describe_item(source, index)
        kind = next((k for k in (OSError, MemoryError) if isinstance(error, k)), ValueError)
        if where in str(error) and isinstance(error, kind):
            raise
        raise kind(f"{where} can't be read ({type(error).__name__}: {error})") from error


def without_images(source: Source) -> Iterator[Mapping[str, Any]]:
    """The items of a source in order, if it can without decoding their images."""
    if hasattr(source, "without_images"):
        return source.without_images()
    return (read_item(source, i) for i in range(len(source)))
