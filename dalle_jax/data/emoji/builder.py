"""The `emoji` data set: prepared once with TFDS as ArrayRecord files, read by index."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from dalle_jax.data.emoji.font import EmojiFont, find_font
from dalle_jax.data.emoji.names import LANGUAGES, SPLITS, all_emoji, assign, captions_of
from dalle_jax.data.images import decode
from dalle_jax.data.report import Report
from dalle_jax.data.tfds_source import check_features

REPORT = "data_report.json"


@dataclass
class EmojiConfig(tfds.core.BuilderConfig):
    """One data set a resolution; the font is only needed while it is prepared."""

    resolution: int = 64
    font: Path | None = None
    max_bad_share: float = 0.25


class Emoji(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Every emoji that a font can draw, with its names in all languages of the emoji package."""

    VERSION = tfds.core.Version("1.0.0")
    # Nothing is downloaded; without this TFDS looks for the checksums of downloads.
    url_infos: ClassVar[dict] = {}

    def _info(self) -> tfds.core.DatasetInfo:
        side = self.builder_config.resolution
        return tfds.core.DatasetInfo(
            builder=self,
            description="Emoji drawn from an installed colour-emoji font, captioned by name.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(side, side, 3), encoding_format="png"),
                    "emoji": tfds.features.Text(),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                    "languages": tfds.features.Sequence(tfds.features.Text()),
                }
            ),
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        font = EmojiFont(self.builder_config.font)
        symbols = all_emoji()
        report = Report(f"emoji of {font.path.name}", len(symbols), signature=_sha256(font.path))
        alike: dict[bytes, list[str]] = {}
        for symbol in symbols:
            try:
                picture = font.draw(symbol, self.builder_config.resolution)
            except ValueError as problem:
                report.skip(str(problem), f"{symbol} {captions_of(symbol)[0][1]}")
            else:
                alike.setdefault(_png(picture), []).append(symbol)
        report.check(self.builder_config.max_bad_share)
        # Written where TFDS builds the set, so that set and report appear together.
        report.save(Path(self.data_dir) / REPORT)

        # Emoji with one picture (two flags that are the same) are one item with all the names.
        pngs = {symbols[0]: png for png, symbols in alike.items()}
        return {
            split: self._generate_examples(items, pngs)
            for split, items in assign(alike.values()).items()
        }

    def _generate_examples(self, items: list, pngs: dict[str, bytes]) -> Iterator:
        for symbol, captions in items:
            languages, texts = map(list, zip(*captions))
            texts = {"emoji": symbol, "captions": texts, "languages": languages}
            yield symbol, {"image": io.BytesIO(pngs[symbol]), **texts}


def prepare(
    data_dir: str | Path,
    resolution: int,
    font: str | Path | None = None,
    max_bad_share: float = 0.25,
) -> Report:
    """Draw the emoji at `resolution` into `data_dir`, unless they are there; the report on them.

    Raises:
        FileNotFoundError: no font is given and none is installed.
        ValueError: the data there was drawn with another font, or the font can't draw more than
            `max_bad_share` of all emoji.
    """
    folder = _folder(data_dir, resolution)
    report = Report.load(folder / REPORT)
    if report is None:
        config = EmojiConfig(
            name=f"{resolution}px",
            description=f"{resolution} × {resolution} pixels.",
            resolution=resolution,
            font=find_font() if font is None else Path(font),
            max_bad_share=max_bad_share,
        )
        builder = Emoji(data_dir=str(data_dir), config=config, file_format="array_record")
        builder.download_and_prepare(file_format="array_record")
        report = Report.load(folder / REPORT)
    elif font is not None and _sha256(EmojiFont(font).path) != report.signature:
        raise ValueError(
            f"{folder} was drawn with another font than {font}; give another data_dir or remove it"
        )
    return report


class EmojiSource:
    """Items of a prepared `emoji` split: image, caption, captions, emoji.

    `captions` are the names and aliases in `languages`, in that order, or the English ones of an
    emoji that has none; `caption` is the first.
    """

    def __init__(
        self,
        data_dir: str | Path,
        resolution: int,
        split: str = "train",
        languages: Sequence[str] = ("en",),
    ):
        unknown = sorted(set(languages) - set(LANGUAGES))
        if unknown or not languages:
            raise ValueError(
                f"languages is {tuple(languages)}; each must be one of {', '.join(LANGUAGES)}"
            )
        if split not in SPLITS:
            raise ValueError(f"emoji has no split {split!r}; it has {', '.join(SPLITS)}")
        folder = _folder(data_dir, resolution)
        self.report = Report.load(folder / REPORT)
        if self.report is None:
            raise FileNotFoundError(
                f"{folder} holds no prepared emoji; prepare the emoji at {resolution} px first"
            )
        check_features(folder)
        builder = tfds.builder_from_directory(folder)
        self._records = builder.as_data_source(
            split=split, decoders={"image": tfds.decode.SkipDecoding()}
        )
        self._languages = tuple(languages)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self._records[index]
        named: dict[str, list[str]] = {}
        for language, caption in zip(record["languages"], record["captions"]):
            named.setdefault(_text(language), []).append(_text(caption))
        captions = tuple(
            caption for language in self._languages for caption in named.get(language, ())
        ) or tuple(named["en"])
        return {
            "image": decode(record["image"]),
            "caption": captions[0],
            "captions": captions,
            "emoji": _text(record["emoji"]),
        }


def _folder(data_dir: str | Path, resolution: int) -> Path:
    return Path(data_dir) / Emoji.name / f"{resolution}px" / str(Emoji.VERSION)


def _png(image: np.ndarray) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "PNG")
    return encoded.getvalue()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
