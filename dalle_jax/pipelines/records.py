"""The record in a PNG, from which the same image is sampled again."""

import ast
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from dalle_jax.pipelines.images import GeneratedImage

# The entries of a record that are no settings.
FIXED = (
    *("prompt", "negative_prompt", "seed", "sample_index", "batch"),
    *("checkpoint", "Software", "Copyright", "changes"),
)
# Options of a call that `redraw` gives itself or that change no image.
NO_SETTINGS = ("prompts", "negative_prompts", "images", "batch_size", "callback_on_step_end")
NO_SETTINGS += ("progress", "output", "output_type")
MAX_BATCH = 2**16  # images; a manipulated record must not fill the memory
NEEDED = ("prompt", "negative_prompt", "seed", "sample_index", "checkpoint")


def batch_position(position: int, batch_size: int) -> str:
    """An image's position in its batch as records hold it, from 0: `3 of 64`."""
    return f"{position} of {batch_size}"


def read_record(path: str | Path) -> tuple[dict[str, str], np.ndarray]:
    """The record of one image that dalle_jax made, and its pixels uint8 [H, W, 3].

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no PNG, is damaged, has no record, or shows several images.
    """
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
            text = dict(getattr(image, "text", {}))
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is no picture: give a PNG that dalle-jax made") from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError):
            raise
        raise ValueError(f"{path} is damaged ({error}): give another copy of it") from error
    if not text.get("Software", "").startswith("dalle_jax"):
        raise ValueError(
            f"{path} has no record of dalle_jax; only a PNG that it made and that no other program "
            "saved since has one: give its prompt, seed and settings instead"
        )
    if missing := [name for name in NEEDED if name not in text]:
        raise ValueError(f"the record in {path} is damaged: it has no {missing[0]}")
    if any(" | " in text[name] for name in ("seed", "sample_index", "batch") if name in text):
        raise ValueError(f"{path} shows several images; give the file of one of them")
    return text, pixels


def redraw(pipe: Any, record: Mapping[str, str], image: Any | None = None) -> np.ndarray:
    """The image uint8 [H, W, 3] of a record, sampled at the same position of as large a batch.

    On one kind of machine it is bit-identical, whatever the rest of the batch was.

    Args:
        pipe: a `DallePipeline` with the weights that the record names.
        record: from `read_record`.
        image: the original, if the record is of a variation.

    Raises:
        ValueError: the pipeline has other weights, or the record is damaged.
    """
    if (here := pipe.checkpoint) != record["checkpoint"]:
        raise ValueError(
            f"the image was sampled with the weights {record['checkpoint']}, and those of this "
            f"workdir are {here}: give the --workdir that it was sampled with"
        )
    if changes := record.get("changes"):
        raise ValueError(
            f"a callback changed the sampling of the image ({changes}), and its record does not "
            "hold the callback: call the pipeline with it again"
        )
    batch = re.fullmatch(r"(\d+) of (\d+)", record.get("batch", batch_position(0, 1)))
    try:
        seed, index = int(record["seed"]), int(record["sample_index"])
        if batch is None:
            raise ValueError(f"its batch is {record['batch']!r}")
        position, batch_size = map(int, batch.groups())
        settings = {name: _value(text) for name, text in record.items() if _is_setting(name)}
        if wrong := [name for name in NO_SETTINGS if name in settings]:
            raise ValueError(f"it has {wrong[0]}, which none has")
        if not position < batch_size <= MAX_BATCH:
            raise ValueError(f"its position, {position} of {batch_size}, is impossible")
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"the record of the image is damaged: {error}") from error
    if settings.get("embedding") == "image-embedding":
        if image is None:
            raise ValueError(
                "the image is a variation of a picture, which its record does not hold: give it "
                "with --image"
            )
        settings["images"] = [image] * batch_size
    negative = record["negative_prompt"]
    images = pipe.generate(
        [record["prompt"]] * batch_size,
        sample_index=[index] * batch_size,
        negative_prompts=[negative] * batch_size if negative else None,
        seed=seed,
        batch_size=batch_size,
        **settings,
    )
    return images[position]


def redraw_file(pipe: Any, path: Path, out: Path, image: Any | None = None) -> str:
    """Sample the image of a PNG again, save it with its record, and say whether it is the same.

    Arguments and errors are those of `read_record` and `redraw`.
    """
    record, stored = read_record(path)
    sampled = redraw(pipe, record, image)
    differs = difference(sampled, stored)
    out.parent.mkdir(parents=True, exist_ok=True)
    GeneratedImage.from_array(sampled, record).save(out)
    if differs:
        return (
            f"{out}: {differs}, from {path}, which another kind of machine or another version "
            f"({record['Software']}) drew, or which was changed"
        )
    return f"{out} (the same as {path} to the bit)"


def difference(sampled: np.ndarray, stored: np.ndarray) -> str | None:
    """How two images uint8 [H, W, 3] differ, in words; None if they are equal.

    Raises:
        ValueError: they are of different sizes.
    """
    if sampled.shape != stored.shape:
        raise ValueError(
            f"the file has {stored.shape[1]} × {stored.shape[0]} pixels, and its record is of an "
            f"image of {sampled.shape[1]} × {sampled.shape[0]}: it was resized, or shows several "
            "images"
        )
    error = np.abs(sampled.astype(int) - stored)
    if not error.any():
        return None
    return f"{np.count_nonzero(error):,} of {error.size:,} values differ, by {error.max()} at most"


def _is_setting(name: str) -> bool:
    """Whether a text of a PNG is a setting; other programs' texts begin with capitals."""
    return name not in FIXED and name.isidentifier() and name.islower()


def _value(text: str) -> Any:
    """The setting that a text was made of."""
    if text in ("inf", "-inf"):
        return math.copysign(math.inf, -1 if text[0] == "-" else 1)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
