"""Captions of each emoji, and which captions are held out from training."""

import functools
import hashlib
import re
from collections.abc import Iterable, Sequence

from dalle_jax.extras import needed_for

with needed_for("the data set of emoji", "emoji"):
    import emoji

LANGUAGES = tuple(emoji.LANGUAGES)

# Whole colour–object combinations that are never trained on. The object occurs in training in
# other colours and the colour with other objects, so that a model can only compose them.
HELD_OUT_COMBINATIONS = {
    "heart": ("green", "orange", "white"),
    "circle": ("blue", "yellow", "brown"),
    "square": ("red", "purple"),
    "book": ("orange",),
    "apple": ("green",),
}
COLOURS = (
    *("red", "orange", "yellow", "green", "blue", "purple", "brown", "black", "white"),
    *("light blue", "grey", "pink"),
)
SPLITS = ("train", "validation", "test", "test_combination")
TEST_SHARE = 0.10
VALIDATION_SHARE = 0.05

_COMBINATION = re.compile(rf"({'|'.join(COLOURS)}) ({'|'.join(HELD_OUT_COMBINATIONS)})")
_SKIN_TONES = re.compile("[\U0001f3fb-\U0001f3ff]")
# Joined to a person: woman, man; facing right; red, curly, no, white hair.
_VARIANT_SIGN = re.compile("\u200d[\u2640\u2642\u27a1\U0001f9b0-\U0001f9b3]")
_ADULT = re.compile("[\U0001f468\U0001f469]")  # man, woman
_PERSON = "\U0001f9d1"


def all_emoji() -> list[str]:
    """Every fully qualified emoji, skin-tone and gender variants included, in code-point order."""
    qualified = emoji.STATUS["fully_qualified"]
    return sorted(key for key, data in emoji.EMOJI_DATA.items() if data["status"] == qualified)


@functools.cache
def captions_of(symbol: str) -> tuple[tuple[str, str], ...]:
    """(language, caption) pairs of an emoji: its English name and aliases, then its other names."""
    emoji.config.load_language(LANGUAGES)
    data = emoji.EMOJI_DATA[symbol]
    names = [("en", name) for name in (data["en"], *data.get("alias", ()))]
    names += [(language, data[language]) for language in LANGUAGES[1:] if language in data]
    pairs = [(language, name.strip(":").replace("_", " ").strip()) for language, name in names]
    return distinct((language, caption) for language, caption in pairs if caption)


def distinct(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """`pairs` without those that differ from an earlier one only in capital letters."""
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for language, caption in pairs:
        first.setdefault((language, caption.casefold()), (language, caption))
    return tuple(first.values())


def base_of(symbol: str) -> str:
    """`symbol` without skin tone, hair, direction, and with every man or woman made a person.

    All variants of one emoji have the same base and so fall into the same split.
    """
    symbol = _SKIN_TONES.sub("", symbol.replace("\ufe0f", ""))
    return _ADULT.sub(_PERSON, _VARIANT_SIGN.sub("", symbol))


def split_of(symbol: str, captions: list[str]) -> str:
    """The split of an emoji with these English captions.

    `test_combination` if a caption is in HELD_OUT_COMBINATIONS; `train` if it is another colour
    of one of these objects; else by a hash of the base: of all bases a tenth is `test`, a twentieth
    `validation`.
    """
    combinations = [match.groups() for match in map(_COMBINATION.fullmatch, captions) if match]
    if any(colour in HELD_OUT_COMBINATIONS[thing] for colour, thing in combinations):
        return "test_combination"
    if combinations:
        return "train"
    digest = hashlib.sha256(base_of(symbol).encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < TEST_SHARE:
        return "test"
    return "validation" if position < TEST_SHARE + VALIDATION_SHARE else "train"


def assign(groups: Iterable[Sequence[str]]) -> dict[str, list[tuple[str, list[tuple[str, str]]]]]:
    """(symbol, (language, caption) pairs) of each split; a group is emoji with one picture.

    An alias can be the name of another emoji. So that nothing held out is trained on, a held-out
    emoji loses the aliases that are the name of one in training, and one in training loses all
    remaining captions of those held out.
    """
    splits: dict[str, list] = {name: [] for name in SPLITS}
    for symbols in groups:
        captions = distinct(pair for symbol in symbols for pair in captions_of(symbol))
        english = [caption for language, caption in captions if language == "en"]
        splits[split_of(symbols[0], english)].append((symbols[0], captions))

    def folded(pair: tuple[str, str]) -> tuple[str, str]:
        return pair[0], pair[1].casefold()

    train = splits.pop("train")
    train_names = {folded(captions[0]) for _, captions in train}
    held_out = {
        name: [
            (symbol, [pair for pair in captions if folded(pair) not in train_names])
            for symbol, captions in items
        ]
        for name, items in splits.items()
    }
    unseen = {folded(pair) for items in held_out.values() for _, pairs in items for pair in pairs}
    train = [
        (symbol, [pair for pair in captions if folded(pair) not in unseen])
        for symbol, captions in train
    ]
    return {"train": train, **held_out}
