"""Checks of the arguments of one call, before any stage's settings are looked at."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from dalle_jax.data.images import to_rgb
from dalle_jax.nearest import nearest
from dalle_jax.seeds import as_whole
from dalle_jax.stages.base import Stage
from dalle_jax.stages.graph import giving, main_stage

# Sources of image embeddings other than the stage that samples them. Comparing the sources shows
# how much each stage loses.
FROM_TEXT, FROM_IMAGE = "text-embedding", "image-embedding"

# Arguments of `generate_all` that a call fills in, and the call's own arguments for them.
FILLED_IN = {
    "prompts": "prompt",
    "negative_prompts": "negative_prompt",
    "sample_index": "num_images_per_prompt",
}


def check_filled_in(settings: Mapping[str, Any]) -> None:
    """Raise ValueError for settings that a call fills in itself."""
    for name, meant in FILLED_IN.items():
        if name in settings:
            raise ValueError(f'"{name}" is no option of a call: give {meant}, or call generate')


def checked_count(name: str, count: int) -> int:
    """`count` as an int; raises ValueError unless it is a whole number of at least 1."""
    number = as_whole(count)
    if number is None or number < 1:
        raise ValueError(f"{name} is {count!r}; it must be a whole number, 1 or more")
    return number


def checked_texts(name: str, texts: str | Sequence[str]) -> list[str]:
    """One text or several as a list; raises ValueError for anything else."""
    if isinstance(texts, str):
        return [texts]
    several = isinstance(texts, Iterable) and not isinstance(texts, Mapping | bytes)
    found = list(texts) if several else [texts]
    for text in found:
        if not several or not isinstance(text, str):
            raise ValueError(f"{name} is or has {text!r}; it must be a text or a list of texts")
    return found


def checked_negatives(texts: str | Sequence[str] | None, count: int) -> list[str] | None:
    """The negative prompt of each of `count` prompts; None without any.

    Raises:
        ValueError: there are neither one nor `count`.
    """
    if texts is None:
        return None
    negatives = checked_texts("negative_prompt", texts)
    if len(negatives) == 1:
        return negatives * count
    if len(negatives) != count:
        raise ValueError(
            f"{len(negatives)} negative prompts do not fit {count} prompts; give one, "
            "or one for each"
        )
    return negatives


def checked_indices(sample_index: Sequence[int]) -> np.ndarray:
    """Sample indices [N] as uint32; raises ValueError for one outside of its range."""
    indices = [as_whole(index) for index in sample_index]
    for index, given in zip(indices, sample_index):
        if index is None or not 0 <= index < 2**32:
            raise ValueError(
                f"sample_index has {given!r}; it must be whole numbers from 0 to 2**32 − 1"
            )
    return np.asarray(indices, np.uint32)


def check_lengths(item: str, count: int, **lists: Sequence[Any] | None) -> None:
    """Raise ValueError for a list without one entry for each of `count` items."""
    for name, entries in lists.items():
        if entries is not None and not hasattr(entries, "__len__"):
            raise ValueError(f"{name} is {entries!r}; it must be a list, an item for each {item}")
        if entries is not None and len(entries) != count:
            raise ValueError(
                f"{len(entries)} {name} do not fit {count} {item}s; give one for each {item}"
            )


def check_source(stages: Mapping[str, Stage], source: str | None, images: Any) -> None:
    """Raise ValueError for a source of embeddings that these stages or inputs do not provide."""
    sampled_by = giving(stages, "image_embedding")
    known = (*([sampled_by] if sampled_by else []), FROM_TEXT, FROM_IMAGE)
    if "image_embedding" not in stages[main_stage(stages)].takes:
        if source is not None or images is not None:
            wanted = "sampling from images" if source is None else repr(source)
            raise ValueError(
                f"this decoder reads captions only; {wanted} needs one that was trained with "
                "image embeddings, as configs/unclip_shapes.py has it"
            )
        return
    if source is not None and source not in known:
        raise ValueError(
            f"no embedding comes from {source!r}; known are {', '.join(known)}"
            f"{nearest(source, known)}"
        )
    if images is not None and source != FROM_IMAGE:
        raise ValueError(
            f'images are not read with embedding="{source or sampled_by}"; give '
            f'embedding="{FROM_IMAGE}", or leave them out'
        )
    if source is None and sampled_by is None:
        raise ValueError(
            "no trained stage of this workdir samples image embeddings, as a prior does; train one "
            f"with `dalle-jax train`, or sample from {FROM_TEXT} or {FROM_IMAGE}"
        )
    if source == FROM_IMAGE and images is None:
        raise ValueError(f"{FROM_IMAGE} needs the images whose embeddings are used")


def rgb_array(image: Image.Image | np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] of a PIL image of any mode, or of such an array.

    Raises:
        ValueError: the array has another dtype or shape.
    """
    if isinstance(image, Image.Image):
        return to_rgb(image)
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"images are PIL images or uint8 [H, W, 3]; got {image.dtype} {list(image.shape)}"
        )
    return image
