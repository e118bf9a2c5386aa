"""The record in a PNG: all that makes an image again, read back and followed."""

import ast
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from dalle_jax.pipelines.images import GeneratedImage

# Of a record, what is no setting of a stage.
FIXED = (
    *("prompt", "negative_prompt", "seed", "sample_index", "batch"),
    *("checkpoint", "Software", "Copyright"),
)
# Options of a call that are given by `redraw` itself, or make no image another.
NO_SETTINGS = ("prompts", "negative_prompts", "images", "batch_size", "callback", "output")
MOST_IN_A_BATCH = 2**16  # images: more fit no device, and a changed record must fill no memory
NEEDED = ("prompt", "negative_prompt", "seed", "sample_index", "checkpoint")


def place_of(position: int, batch_size: int) -> str:
    """Where in its batch an image was drawn, as records say it: `3 of 64`, from 0 on."""
    return f"{position} of {batch_size}"


def read_record(path: str | Path) -> tuple[dict[str, str], np.ndarray]:
    """The record of one image that dalle_jax drew, and its pixels uint8 [H, W, 3].

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no PNG, is damaged, holds no record, or one of several images.
    """
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
            text = dict(getattr(image, "text", {}))
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is no picture: give a PNG that dalle-jax drew") from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError):
            raise
        raise ValueError(f"{path} is damaged ({error}): give another copy of it") from error
    if not text.get("Software", "").startswith("dalle_jax"):
        raise ValueError(
            f"{path} has no record of dalle_jax, which only a PNG has that it drew and that no "
            "other program saved since: give its prompt, seed and settings instead"
        )
    if missing := [name for name in NEEDED if name not in text]:
        raise ValueError(f"the record in {path} is damaged: it has no {missing[0]}")
    if any(" | " in text[name] for name in ("seed", "sample_index", "batch") if name in text):
        raise ValueError(f"{path} shows several images; give the file of one of them")
    return text, pixels


def redraw(pipe: Any, record: Mapping[str, str], image: Any | None = None) -> np.ndarray:
    """The image uint8 [H, W, 3] that a record is of, drawn at the same place of as large a batch.

    So it is the same to the bit, on one kind of machine, whatever was drawn beside it then.

    Args:
        pipe: the `DallePipeline` of its weights.
        record: as `read_record` gives it.
        image: the picture whose variation it is, where it is one.

    Raises:
        ValueError: the pipeline has other weights, or the record can't be followed.
    """
    if (here := pipe.checkpoint) != record["checkpoint"]:
        raise ValueError(
            f"the image was drawn with the weights {record['checkpoint']}, and those of this "
            f"workdir are {here}: give the --workdir that it was drawn with"
        )
    place = re.fullmatch(r"(\d+) of (\d+)", record.get("batch", place_of(0, 1)))
    try:
        seed, index = int(record["seed"]), int(record["sample_index"])
        if place is None:
            raise ValueError(f"its batch is {record['batch']!r}")
        position, batch_size = map(int, place.groups())
        settings = {name: _value(text) for name, text in record.items() if _is_setting(name)}
        if wrong := [name for name in NO_SETTINGS if name in settings]:
            raise ValueError(f"it has {wrong[0]}, which none has")
        if not position < batch_size <= MOST_IN_A_BATCH:
            raise ValueError(f"its place, {position} of {batch_size}, can't be")
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
    drawn = pipe.generate(
        [record["prompt"]] * batch_size,
        sample_index=[index] * batch_size,
        negative_prompts=[negative] * batch_size if negative else None,
        seed=seed,
        batch_size=batch_size,
        **settings,
    )
    return drawn[position]


def redraw_file(pipe: Any, path: Path, out: Path, image: Any | None = None) -> str:
    """Make the image of a PNG again and save it; a line that says whether it is the same.

    Args:
        pipe: as of `redraw`.
        path: of the PNG.
        out: where the image is saved, with the same record.
        image: as of `redraw`.

    Raises:
        FileNotFoundError, ValueError: as `read_record` and `redraw` do.
    """
    record, there = read_record(path)
    drawn = redraw(pipe, record, image)
    differs = difference(drawn, there)
    out.parent.mkdir(parents=True, exist_ok=True)
    GeneratedImage.from_array(drawn, record).save(out)
    if differs:
        return (
            f"{out}: {differs}, from {path}, which another kind of machine or another version "
            f"({record['Software']}) drew, or which was changed"
        )
    return f"{out} (the same as {path} to the bit)"


def difference(drawn: np.ndarray, there: np.ndarray) -> str | None:
    """What two images uint8 [H, W, 3] that should be the same differ in; None if in nothing.

    Raises:
        ValueError: they are of different sizes.
    """
    if drawn.shape != there.shape:
        raise ValueError(
            f"the file has {there.shape[1]} × {there.shape[0]} pixels, and its record is of an "
            f"image of {drawn.shape[1]} × {drawn.shape[0]}: it was resized, or shows several images"
        )
    apart = np.abs(drawn.astype(int) - there)
    if not apart.any():
        return None
    return f"{np.count_nonzero(apart):,} of {apart.size:,} values differ, by {apart.max()} at most"


def _is_setting(name: str) -> bool:
    """Whether a text of a PNG is a setting; those that other programs add begin in capitals."""
    return name not in FIXED and name.isidentifier() and name.islower()


def _value(text: str) -> Any:
    """What a setting was before it became text."""
    if text in ("inf", "-inf"):
        return math.copysign(math.inf, -1 if text[0] == "-" else 1)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
