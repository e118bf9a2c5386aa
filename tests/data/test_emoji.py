import sys
from collections import Counter

import numpy as np
import pytest
from PIL import ImageFont

from dalle_jax.data.emoji import builder, font, names
from dalle_jax.data.open import open_source

try:
    FONT = font.find_font()
except FileNotFoundError:
    FONT = None
needs_font = pytest.mark.skipif(FONT is None, reason="no colour-emoji font is installed")

# One that no font has, a sequence whose joined picture no font has, and a few of each split.
UNDRAWN = "\U0010fffd"
UNJOINED = "🍎\u200d🍎\u200d🍎"
SOME = [
    *("🍎", "🍏", "💚", "🧡", "❤️", "💙", "🟢", "🔵", "🟧"),
    *("👍", "👍🏽", "👩🏽‍🚀", "🇳🇴", "🇧🇻", "🌱", "🥼"),
]


@pytest.fixture(scope="module")
def by_split():
    return names.assign([symbol] for symbol in names.all_emoji())


def test_captions_are_clean_names_and_aliases():
    assert names.captions_of("🍎")[:2] == (("en", "red apple"), ("en", "apple"))
    assert ("zh", "红苹果") in names.captions_of("🍎")
    assert ("en", "thumbs up medium skin tone") in names.captions_of("👍🏽")
    for symbol in names.all_emoji():
        captions = names.captions_of(symbol)
        assert captions[0][0] == "en" and {language for language, _ in captions} == set(
            names.LANGUAGES
        )
        assert all(text.strip(":_ ") == text and "_" not in text for _, text in captions), captions


def test_variants_share_a_base():
    variants = ("👩🏽\u200d🚀", "👨\u200d🚀", "🧑🏿\u200d🚀")
    assert len({names.base_of(symbol) for symbol in variants}) == 1
    runners = ("🏃", "🏃🏽\u200d♀️", "🏃\u200d♂️\u200d➡️")
    assert {names.base_of(symbol) for symbol in runners} == {"🏃"}
    assert names.base_of("🍎") == "🍎" and names.base_of("❤️") != names.base_of("💙")


def test_a_tenth_of_the_names_and_all_their_variants_are_held_out(by_split):
    bases = {name: {names.base_of(s) for s, _ in part} for name, part in by_split.items()}
    total = sum(map(len, bases.values()))
    # Shares of some 1,900 bases: standard deviations 0.7 % and 0.5 %.
    assert abs(len(bases["test"]) / total - 0.10) < 0.025
    assert abs(len(bases["validation"]) / total - 0.05) < 0.02
    for first in names.SPLITS:
        for second in names.SPLITS:
            assert first == second or not bases[first] & bases[second]


def test_no_held_out_caption_is_trained_on(by_split):
    def captions(split):
        pairs = [pair for _, pairs in by_split[split] for pair in pairs]
        return {(language, text.casefold()) for language, text in pairs}

    for held_out in ("validation", "test", "test_combination"):
        assert not captions("train") & captions(held_out)
    for items in by_split.values():
        for symbol, pairs in items:
            assert pairs[0] == names.captions_of(symbol)[0]  # All keep their English name.


def test_held_out_combinations_are_of_colours_and_objects_that_are_trained_on(by_split):
    trained = {text for _, pairs in by_split["train"] for _, text in pairs}
    held_out = {text for _, pairs in by_split["test_combination"] for _, text in pairs}
    for thing, colours in names.HELD_OUT_COMBINATIONS.items():
        for colour in colours:
            assert f"{colour} {thing}" in held_out
            others = names.HELD_OUT_COMBINATIONS.keys() - {thing}
            assert any(f"{colour} {other}" in trained for other in others), (colour, thing)
            assert any(f"{other} {thing}" in trained for other in names.COLOURS), thing


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return prepare_some(tmp_path_factory.mktemp("data"))


def prepare_some(folder, **options):
    of = lambda symbol: names.captions_of(symbol) if symbol in SOME else [("en", repr(symbol))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "all_emoji", lambda: [*SOME, UNDRAWN, UNJOINED])
        patch.setattr(builder, "captions_of", of)
        builder.prepare(folder, 32, **options)
    return folder


def items(data_dir, split, **settings):
    source = builder.EmojiSource(data_dir, 32, split, **settings)
    return {item["emoji"]: item for item in (source[i] for i in range(len(source)))}


@needs_font
def test_items_are_pictures_with_names(data_dir):
    assert "tensorflow" not in sys.modules
    item = items(data_dir, "train")["🍎"]
    assert item["image"].shape == (32, 32, 3) and item["image"].dtype == np.uint8
    assert item["caption"] == "red apple" and item["captions"] == ("red apple", "apple")
    assert set(items(data_dir, "test_combination")) == {"🍏", "💚", "🧡", "🔵"}
    chinese = items(data_dir, "train", languages=("zh", "en"))["🍎"]
    assert chinese["captions"] == ("红苹果", "red apple", "apple")


@needs_font
def test_pictures_have_the_colours_of_their_names(data_dir):
    drawn = items(data_dir, "train") | items(data_dir, "test_combination")
    for symbol, channel in (("🍎", 0), ("💚", 1), ("💙", 2), ("❤️", 0), ("🔵", 2), ("🟢", 1)):
        image = drawn[symbol]["image"].astype(int)
        assert (image[0] > 250).all() and (image[:, 0] > 250).all()  # A white margin.
        middle = image[10:22, 10:22].mean((0, 1))
        assert middle.argmax() == channel, (symbol, middle)


@needs_font
def test_what_the_font_cannot_draw_is_in_the_report(data_dir):
    report = builder.prepare(data_dir, 32)
    assert report.total == len(SOME) + 2
    assert {reason: len(found) for reason, found in report.skipped.items()} == {
        font.NOT_DRAWN: 1,
        font.NOT_ONE: 1,
    }


@needs_font
def test_emoji_of_one_picture_are_one_item(data_dir):
    everything = {}
    for split in names.SPLITS:
        everything |= items(data_dir, split)
    assert len(everything) == len(SOME) - 1
    flag = everything.get("🇳🇴") or everything["🇧🇻"]
    assert {"Norway", "Bouvet Island"} <= set(flag["captions"])
    pictures = Counter(item["image"].tobytes() for item in everything.values())
    assert max(pictures.values()) == 1


@needs_font
def test_the_same_font_gives_the_same_items(data_dir, tmp_path):
    first, second = (items(d, "train") for d in (data_dir, prepare_some(tmp_path, font=FONT)))
    assert first.keys() == second.keys()
    for symbol, item in first.items():
        assert item["captions"] == second[symbol]["captions"]
        np.testing.assert_array_equal(item["image"], second[symbol]["image"])


@needs_font
def test_a_second_call_draws_nothing(data_dir, monkeypatch):
    monkeypatch.setattr(builder, "EmojiFont", None)
    monkeypatch.setattr(builder, "find_font", None)
    assert builder.prepare(data_dir, 32).total == len(SOME) + 2


@needs_font
def test_opened_by_name(data_dir):
    source = open_source(
        "emoji", data_dir=data_dir, split="test_combination", image_size=32, languages=("zh",)
    )
    assert "青苹果" in {source[i]["caption"] for i in range(len(source))}


def test_no_font_is_a_sentence_that_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setattr(font, "FONT_FOLDERS", (str(tmp_path),))
    monkeypatch.setattr(font.shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="apt-get install fonts-noto-color-emoji"):
        builder.prepare(tmp_path, 32)
    with pytest.raises(FileNotFoundError, match="no font file"):
        builder.prepare(tmp_path, 32, font=tmp_path / "none.ttf")


def test_what_is_no_colour_font_is_refused(tmp_path):
    (tmp_path / "torn.ttf").write_bytes(b"\0\1\0\0" * 9)
    with pytest.raises(ValueError, match="cannot be loaded"):
        font.EmojiFont(tmp_path / "torn.ttf")
    plain = ImageFont.load_default(40)  # Pillow's own font: black letters.
    (tmp_path / "plain.ttf").write_bytes(plain.font_bytes)
    with pytest.raises(ValueError, match="draws no colours"):
        font.EmojiFont(tmp_path / "plain.ttf")


@needs_font
def test_another_font_than_the_prepared_is_refused(data_dir, tmp_path):
    other = tmp_path / "other.ttf"
    other.write_bytes(FONT.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="another font"):
        builder.prepare(data_dir, 32, font=other)


def test_mistakes_give_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="prepare the emoji at 32 px"):
        builder.EmojiSource(tmp_path, 32)
    with pytest.raises(ValueError, match="has no split 'dev'"):
        builder.EmojiSource(tmp_path, 32, "dev")
    with pytest.raises(ValueError, match="each must be one of en"):
        builder.EmojiSource(tmp_path, 32, languages=("xx",))
