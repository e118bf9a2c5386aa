import resource
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, processors

from dalle_jax.data.tokenizer import END_ID, PAD_ID, Tokenizer, train_tokenizer

CAPTIONS = [
    f"a {size} {color} {shape}"
    for size in ("small", "large")
    for color in ("red", "green", "blue")
    for shape in ("circle", "square", "star")
]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_tokenizer(CAPTIONS, 400), max_length=12)


def test_rows_are_tokens_then_end_of_text_then_padding(tokenizer):
    tokens = tokenizer.encode(["a large red circle", "", "a star"])
    assert tokens.dtype == np.int32 and tokens.shape == (3, 12)
    assert tokens[1].tolist() == [END_ID] + [PAD_ID] * 11
    for row in tokens:
        end = row.tolist().index(END_ID)
        assert (row[:end] > END_ID).all() and (row[end + 1 :] == PAD_ID).all()


def test_words_of_the_captions_become_one_token_each(tokenizer):
    # All words are frequent here, so that BPE merges each of them whole.
    assert tokenizer.encode(["a large red circle"])[0].tolist().index(END_ID) == 4
    assert tokenizer.decode(tokenizer.encode(["A  LARGE\nred circle "])[0]) == "a large red circle"


def test_capitals_width_and_spaces_make_no_difference(tokenizer):
    rows = tokenizer.encode(["red star", "  RED   star\t", "ｒｅｄ ｓｔａｒ"])
    assert (rows == rows[0]).all()


@given(st.text(st.characters(), max_size=40))  # Lone surrogates included.
@settings(max_examples=200)
def test_any_text_gives_ids_of_the_vocabulary(tokenizer, caption):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row = tokenizer.encode([caption])[0]
    assert row.min() >= 0 and row.max() < tokenizer.vocab_size
    assert (row == END_ID).sum() == 1


@given(st.text(st.characters(codec="utf-8"), max_size=60))
@settings(max_examples=200)
def test_no_text_is_lost(tokenizer, caption):
    long = Tokenizer(tokenizers.Tokenizer.from_str(tokenizer.tok.to_str()), max_length=1024)
    expected = long.tok.normalizer.normalize_str(caption)
    assert long.decode(long.encode([caption])[0]) == expected.strip()


def test_surrogates_that_form_a_pair_are_joined(tokenizer):
    rows = tokenizer.encode(["\ud83c\udf4e", "\N{RED APPLE}", "\ud83c"])
    assert (rows[0] == rows[1]).all() and (rows[2] != rows[1]).any()


def test_text_that_spells_a_special_token_is_text(tokenizer):
    row = tokenizer.encode(["<pad> <|endoftext|>"])[0]
    assert row.tolist().index(END_ID) == 11 and PAD_ID not in row


@pytest.mark.parametrize("text", ["x", "红", "a b ", " ", "\0"])
def test_a_megabyte_of_text_is_quick(tokenizer, text):
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row = tokenizer.encode([text * (10**6 // len(text))])[0]
    assert time.process_time() - start < 0.5
    assert END_ID in row


def test_what_is_no_text_is_an_error(tokenizer):
    with pytest.raises(TypeError, match=r"must be a str.*float"):
        tokenizer.encode(["a star", float("nan")])


def test_too_long_captions_are_cut_counted_and_warned_of_sparsely():
    tokenizer = Tokenizer(train_tokenizer(CAPTIONS, 400), max_length=4)
    with pytest.warns(UserWarning, match="1 of 3 captions so far were longer than 4 tokens"):
        rows = tokenizer.encode(["a large red circle", "a red star", "star"])
    assert rows[0, -1] == END_ID and rows[1, -1] == END_ID
    assert (rows[0, :3] == tokenizer.encode(["a large red"])[0, :3]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer.encode(["a large red circle"] * 8)
    assert tokenizer.num_cut == 9
    with pytest.warns(UserWarning, match="10 of 13 captions"):
        tokenizer.encode(["a large red circle"])


def test_training_is_the_same_for_any_order_process_and_number_of_threads(tokenizer):
    script = (
        "import sys, hashlib; from dalle_jax.data.tokenizer import train_tokenizer;"
        "print(hashlib.sha256(train_tokenizer(sys.argv[1:], 400).to_str().encode()).hexdigest())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script, *captions],
            env={"RAYON_NUM_THREADS": str(threads), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads, captions in ((1, CAPTIONS), (4, CAPTIONS[::-1]))
    }
    assert len(outputs) == 1


def test_saved_and_loaded_it_encodes_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "run" / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "run" / "tokenizer.json")
    captions = [*CAPTIONS, "<pad> 红"]
    assert loaded.max_length == 12 and loaded.vocab_size == tokenizer.vocab_size
    assert (loaded.encode(captions) == tokenizer.encode(captions)).all()
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (
        tmp_path / "run" / "tokenizer.json"
    ).read_bytes()


def test_a_save_that_fails_in_the_middle_leaves_the_earlier_file(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name in ("tokenizer.json", "other.json"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(OSError):
                tokenizer.save(tmp_path / name)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(before) > 1000 and path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def foreign(special: list[str]) -> tokenizers.Tokenizer:
    """A word tokenizer of somebody else, with its own ids and a template of special tokens."""
    words = ["red", "star", "the", *special, "blue", "[UNK]"]
    vocabulary = {word: i for i, word in enumerate(words)}
    tok = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tok.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        tok.post_processor = processors.TemplateProcessing(
            single=f"{special[0]} $A {special[0]}",
            special_tokens=[(special[0], vocabulary[special[0]])],
        )
    return tok


@pytest.mark.parametrize("special", [[], ["</s>"], ["</s>", "[PAD]"], ["[PAD]", "<|endoftext|>"]])
def test_any_tokenizer_can_be_given(tmp_path, special):
    foreign(special).save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path / "tokenizer.json", max_length=6)
    rows = tokenizer.encode(["red star", "", "the blue blue"])
    assert rows[1].tolist() == [1, 0, 0, 0, 0, 0]
    assert [row.tolist().index(1) for row in rows] == [2, 0, 3]
    assert (rows[0, :2] > 1).all() and rows.max() < tokenizer.vocab_size
    assert len({*rows[0, :2].tolist(), *rows[2, :2].tolist()}) == 4
    assert tokenizer.decode(rows[2]) == "the blue blue"
    tokenizer.save(tmp_path / "saved.json")
    assert (Tokenizer.load(tmp_path / "saved.json").encode(["red star"]) == rows[:1]).all()


def test_a_tokenizer_whose_padding_is_its_end_of_text_gets_padding_of_its_own(tmp_path):
    tok = foreign(["<|endoftext|>"])
    tok.enable_padding(pad_id=3, pad_token="<|endoftext|>")
    tok.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path / "tokenizer.json", max_length=4)
    assert tokenizer.encode(["red"])[0].tolist()[1:] == [1, 0, 0]


def test_mistakes_give_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="at least 258"):
        train_tokenizer(CAPTIONS, 100)
    with pytest.raises(ValueError, match="at least 2"):
        Tokenizer(train_tokenizer(CAPTIONS, 300), max_length=1)
    with pytest.raises(FileNotFoundError, match="no tokenizer file"):
        Tokenizer.load(tmp_path / "none.json")
    (tmp_path / "torn.json").write_text('{"model": ')
    with pytest.raises(ValueError, match=r"is not a tokenizer\.json"):
        Tokenizer.load(tmp_path / "torn.json", 8)
    foreign([]).save(str(tmp_path / "open.json"))
    with pytest.raises(ValueError, match="states no truncation length"):
        Tokenizer.load(tmp_path / "open.json")
