"""Prompts of words or orders of words that training never had."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalle_jax.data import words as module
from dalle_jax.data.words import CaptionWords, pairs_of, words_of

CAPTIONS = ["a large red circle", "a small blue star", "A small red star, on grey."]


@pytest.fixture
def known():
    words = CaptionWords()
    assert list(words.watch(CAPTIONS)) == CAPTIONS
    return words


@pytest.mark.parametrize(
    "prompt",
    [
        *CAPTIONS,
        "A LARGE  red Circle!",
        "a small red circle",  # each pair of it is there, though the caption is not
        "ａ ｌａｒｇｅ red circle",  # full width, which the tokenizer reads alike
        "",
        "…",
    ],
)
def test_what_training_had_is_not_spoken_of(known, prompt):
    assert known.warning([prompt]) is None


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("a large zebra", 'no training caption has "zebra": the images may'),
        ("a zebra and a yak", '"zebra", "and", "yak": the images'),
        ("a red large circle", 'the words "a red", "red large", "large circle" side by side in'),
        ("a large blue star", 'no training caption has the words "large blue" side by side'),
        ("circle red zebra", '"zebra", and none has "circle red" side by side in this order: the'),
        ("k l m n o p q", '"k", "l", "m", "n", "o" and 2 more: the'),
    ],
)
def test_unknown_words_and_orders_are_named_in_one_sentence(known, prompt, sentence):
    warning = known.warning([prompt])
    assert sentence in warning and "\n" not in warning


def test_several_prompts_are_one_sentence(known):
    warning = known.warning(["a zebra", "a large red circle", "a yak", "a zebra"])
    assert warning.count("zebra") == 1 and "yak" in warning


def test_a_file_gives_it_back_and_a_bad_one_nothing(known, tmp_path):
    path = tmp_path / "words.json"
    assert CaptionWords.load(path) is None
    known.save(path)
    loaded = CaptionWords.load(path)
    assert (loaded.words, loaded.pairs) == (known.words, known.pairs)
    for damaged in ("", "{}", "[]", '{"words": 3, "pairs": []}', '{"words": ["a"'):
        path.write_text(damaged)
        assert CaptionWords.load(path) is None


def test_free_captions_are_known_by_their_words_only(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_PAIRS", 3)
    known = CaptionWords()
    for caption in CAPTIONS:
        known.add(caption)
    known.save(tmp_path / "words.json")
    loaded = CaptionWords.load(tmp_path / "words.json")
    assert loaded.pairs is None and loaded.warning(["circle red"]) is None
    assert "zebra" in loaded.warning(["red zebra"])
    monkeypatch.setattr(module, "MOST_WORDS", 3)
    known.add("and yet another")
    known.save(tmp_path / "words.json")
    assert CaptionWords.load(tmp_path / "words.json").warning(["zebra circle"]) is None


def test_a_script_without_spaces_has_words_too():
    assert words_of("红色的圆 red星") == ["红", "色", "的", "圆", "red", "星"]
    assert words_of("한국어") == ["한", "국", "어"]
    assert words_of("ein großes Quadrat") == ["ein", "großes", "quadrat"]
    assert pairs_of(["a", "red", "star"]) == ["a red", "red star"]
    assert pairs_of(["a"]) == pairs_of([]) == []


@given(st.lists(st.text(max_size=30), max_size=8))
def test_captions_never_warn_of_themselves(captions):
    known = CaptionWords()
    assert list(known.watch(captions)) == captions
    assert known.warning(captions) is None


@given(captions=st.lists(st.text(st.characters(categories=["L", "Cs", "Zs"])), max_size=5))
def test_any_captions_survive_their_file(tmp_path_factory, captions):
    known, path = CaptionWords(), tmp_path_factory.mktemp("words") / "words.json"
    list(known.watch(captions))
    known.save(path)
    loaded = CaptionWords.load(path)
    assert (loaded.words, loaded.pairs) == (known.words, known.pairs)
