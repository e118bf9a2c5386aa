"""How data of one's own are read: the options that all such sources share."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ReadingOptions:
    """How data of one's own are read.

    Attributes:
        max_bad_share: share of the items that may be bad before it is an error.
        validation_share: share of the items, where the data has no validation split of its own.
        test_share: likewise.
        cache_dir: where the report and the index are written; by default, beside the data.
        encoding: of captions and tables; a byte order mark takes precedence.
        image_column: the column, member or feature of the images or of their names; "" finds it.
        caption_column: likewise of the captions; several, separated by commas.
        min_side: in pixels; images with a shorter side are left out.
        max_aspect_ratio: longer by shorter side; images beyond it are left out. 0 is any.
    """

    max_bad_share: float = 0.01
    validation_share: float = 0.05
    test_share: float = 0.05
    cache_dir: str | Path | None = None
    encoding: str = "utf-8"
    image_column: str = ""
    caption_column: str = ""
    min_side: int = 0
    max_aspect_ratio: float = 0.0


OPTIONS = {field.name: field.default for field in fields(ReadingOptions)}
# What a config holds of them, besides max_bad_share, which stands beside built-in data sets too.
READING_DEFAULTS = {
    name: OPTIONS[name]
    for name in ("encoding", "image_column", "caption_column", "min_side", "max_aspect_ratio")
}


def reading_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some settings that are options of reading and set to other than their defaults."""
    return {
        name: settings[name]
        for name, default in READING_DEFAULTS.items()
        if settings.get(name, default) != default
    }
