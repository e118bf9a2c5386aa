"""Batches for training and evaluation: shuffled, divided among processes, resumable."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dalle_jax.data.images import RESIZE_FILTERS, center_crop_resize
from dalle_jax.data.prefetch import Prefetch
from dalle_jax.data.source import MEMORY_LIMIT, Source, describe_item, keep_in_memory, read_item
from dalle_jax.data.tokenizer import Tokenizer

PATIENCE = 300.0  # seconds


def make_loader(
    source: Source,
    tokenizer: Tokenizer,
    *,
    batch_size: int,
    image_size: int,
    first_batch: int = 0,
    first_item: int = 0,
    seed: int = 0,
    shuffle: bool = True,
    repeat: bool = True,
    flip: bool = False,
    max_shift: int = 0,
    resize_filter: str = "lanczos",
    memory_limit: int = MEMORY_LIMIT,
    num_threads: int = 2,
    patience: float = PATIENCE,
    process_index: int = 0,
    process_count: int = 1,
) -> Prefetch:
    """An iterator of {"image": uint8 [b, H, W, 3], "tokens": int32 [b, L]}, b = B / process_count.

    Global batch k holds the items k·B … (k+1)·B − 1 of an endless sequence of epochs, each a new
    permutation of the source; process p gets rows p·b … (p+1)·b − 1 of it. So each item comes once
    an epoch over all processes, none is dropped, and a batch depends on (seed, k) only, not on the
    number of threads or processes. `get_state` / `set_state` hold k. A sequence that was read in
    batches of another size up to number k₀ and item i₀ goes on there, at batch k with the items
    i₀ + (k − k₀)·B … .

    Args:
        source: the captioned images; those of another size are centre-cropped and resized.
        tokenizer: turns captions into ids [b, L].
        batch_size: B, over all processes.
        image_size: H = W.
        first_batch: k₀, before which there are no batches; `set_state` goes there.
        first_item: i₀.
        seed: of the order and of all random choices (caption, flip, shift).
        shuffle: a new order each epoch; otherwise the source's order.
        repeat: endless; otherwise one pass whose batches also hold "mask" (bool [b]), False in the
            blank rows that fill up the last batch.
        flip: mirror half of the images (wrong for captions that say left or right).
        max_shift: pixels by which each image is moved at most each way, its edge repeated.
        resize_filter: a key of `images.RESIZE_FILTERS`.
        memory_limit: bytes; a source whose images take no more is decoded only once.
        num_threads: that prepare whole batches ahead; 0 prepares each on demand.
        patience: seconds to wait for a batch before `prefetch.Stalled` names the item that hangs.
        process_index: p of this process.
        process_count: number of processes.
    """
    _check(source, batch_size, process_count, resize_filter)
    source = keep_in_memory(
        source, image_size, memory_limit=memory_limit, resize_filter=resize_filter
    )
    order = _order(len(source), seed, shuffle, repeat)
    share = batch_size // process_count
    reading: dict[int, int] = {}  # by batch: the item that is read

    def make_batch(k: int) -> dict[str, np.ndarray]:
        if k < first_batch:
            raise ValueError(f"batches of {batch_size} begin at number {first_batch}, after {k}")
        first = first_item + (k - first_batch) * batch_size + process_index * share
        items = []
        for position in range(first, min(first + share, len(order))):
            reading[k] = index = order[position]
            items.append(read_item(source, index))
        reading.pop(k, None)
        # Drawn for the global batch, so that they are the same however it is divided.
        draws = np.random.default_rng((seed, k)).random((batch_size, 4))
        draws = draws[process_index * share :][:share]
        return batch_of(
            items,
            draws,
            tokenizer,
            image_size,
            is_training=repeat,
            resize_filter=resize_filter,
            flip=flip,
            max_shift=max_shift,
        )

    def doing(k: int) -> str:
        index = reading.get(k)
        return "making a batch of its images" if index is None else describe_item(source, index)

    num_batches = sys.maxsize // batch_size if repeat else -(-len(source) // batch_size)
    return Prefetch(
        make_batch, num_batches, num_threads=num_threads, patience=patience, doing=doing
    )


def _order(count: int, seed: int, shuffle: bool, repeat: bool) -> Sequence[int]:
    """The numbers of the items in the order in which they are read."""
    import grain  # it brings Orbax along, which takes longer to import than all else here

    order = grain.MapDataset.range(count).seed(seed)
    order = order.shuffle() if shuffle else order
    return order.repeat() if repeat else order


def _check(source: Source, batch_size: int, process_count: int, resize_filter: str) -> None:
    if batch_size <= 0 or batch_size % process_count:
        raise ValueError(
            f"batch_size is {batch_size}; it must be a positive multiple of the "
            f"{process_count} process(es) that share it"
        )
    if len(source) == 0:
        raise ValueError("the data source holds no items; there is nothing to load")
    if resize_filter not in RESIZE_FILTERS:
        raise ValueError(
            f"resize_filter is {resize_filter!r}; it must be one of {', '.join(RESIZE_FILTERS)}"
        )


def batch_of(
    items: Sequence[Mapping[str, Any]],
    draws: np.ndarray,
    tokenizer: Tokenizer,
    image_size: int,
    *,
    is_training: bool,
    resize_filter: str,
    flip: bool,
    max_shift: int,
) -> dict[str, np.ndarray]:
    """The batch of at most b items, their captions, flips and shifts chosen by draws [b, 4].

    Without `is_training` a caption is an item's first, and "mask" is False in the blank rows behind
    the items.
    """
    images = np.zeros((len(draws), image_size, image_size, 3), np.uint8)
    captions = [""] * len(draws)
    for row, (item, draw) in enumerate(zip(items, draws)):
        image = center_crop_resize(item["image"], image_size, resize_filter)
        images[row] = augment(image, draw[1:], flip=flip, max_shift=max_shift)
        choices = (is_training and item.get("captions")) or (item["caption"],)
        captions[row] = choices[int(draw[0] * len(choices))]
    batch = {"image": images, "tokens": tokenizer.encode(captions)}
    if items and "image_embedding" in items[0]:
        embeddings = np.zeros((len(draws), len(items[0]["image_embedding"])), np.float32)
        embeddings[: len(items)] = [item["image_embedding"] for item in items]
        batch["image_embedding"] = embeddings
    if not is_training:
        batch["mask"] = np.arange(len(draws)) < len(items)
    return batch


def augment(image: np.ndarray, draw: np.ndarray, *, flip: bool, max_shift: int) -> np.ndarray:
    """`image` [H, W, 3] mirrored and shifted by three uniform numbers `draw`."""
    if flip and draw[0] < 0.5:
        image = image[:, ::-1]
    if max_shift:
        height, width, _ = image.shape
        down, right = (draw[1:] * (2 * max_shift + 1)).astype(int)
        padded = np.pad(image, ((max_shift, max_shift), (max_shift, max_shift), (0, 0)), "edge")
        image = padded[down : down + height, right : right + width]
    return image
