"""The options that all sources of user data share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dalle_jax.data.text import CAPTION_KEYS, caption_columns, check_encoding

VALIDATION_SHARE, TEST_SHARE = 0.05, 0.05
# Columns of tables that name images, the likeliest first.
FILE_KEYS = ("file_name", "filename", "image", "image_path", "path", "file", "file_path")


@dataclass(frozen=True)
class ReadingOptions:
    """How user data are read.

    Attributes:
        max_bad_share: share of bad items beyond which it is an error.
        validation_share: share of the items, where the data itself has no validation split.
        test_share: likewise.
        cache_dir: where the report and the index are written; beside the data if None.
        encoding: of captions and tables; a byte order mark takes precedence.
        image_column: column, member or feature of the images or their names; "" finds it.
        caption_column: likewise of the captions; of several, separated by commas, all are read.
        min_side: in pixels; images with a shorter side are left out.
        max_aspect_ratio: of the longer to the shorter side; 0 for any.

    Raises:
        ValueError: there is no such encoding, or the shares are impossible.
    """

    max_bad_share: float = 0.01
    validation_share: float = VALIDATION_SHARE
    test_share: float = TEST_SHARE
    cache_dir: str | Path | None = None
    encoding: str = "utf-8"
    image_column: str = ""
    caption_column: str = ""
    min_side: int = 0
    max_aspect_ratio: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "encoding", check_encoding(self.encoding))
        check_shares(**self.shares)

    @property
    def shares(self) -> dict[str, float]:
        """Shares of the validation and test items, as keywords."""
        return {"validation_share": self.validation_share, "test_share": self.test_share}

    @property
    def columns(self) -> list[str]:
        """The column settings; [] where none is set."""
        stated = [self.image_column, self.caption_column]
        return stated if any(stated) else []

    @property
    def read_by(self) -> tuple[str, str, str, int, float]:
        """The options on which the result of a scan depends."""
        return (
            *(self.encoding, self.image_column, self.caption_column),
            *(self.min_side, self.max_aspect_ratio),
        )

    @property
    def file_keys(self) -> Sequence[str]:
        """The columns that may hold an image's name, the likeliest first."""
        return (self.image_column,) if self.image_column else FILE_KEYS

    @property
    def caption_keys(self) -> Sequence[str]:
        """The columns that may hold captions, the likeliest first."""
        return caption_columns(self.caption_column) or CAPTION_KEYS


def check_shares(validation_share: float, test_share: float) -> None:
    """Raise a ValueError if no data can be divided by these shares."""
    if min(validation_share, test_share) < 0 or validation_share + test_share > 1:
        raise ValueError(
            f"validation_share = {validation_share:g} and test_share = {test_share:g} must be "
            "positive and add up to at most 1"
        )


OPTIONS = {field.name: field.default for field in fields(ReadingOptions)}
# Those in a config's data section, except for max_bad_share, which built-in data sets have too.
READING_DEFAULTS = {
    name: OPTIONS[name]
    for name in ("encoding", "image_column", "caption_column", "min_side", "max_aspect_ratio")
}


def reading_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are reading options and differ from their defaults."""
    return {
        name: settings[name]
        for name, default in READING_DEFAULTS.items()
        if settings.get(name, default) != default
    }
