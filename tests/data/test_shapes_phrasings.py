import itertools
import re

import numpy as np
import pytest

from dalle_jax.configs import base
from dalle_jax.data.shapes.captions import parse, short
from dalle_jax.data.shapes.phrasings import (
    PHRASINGS,
    WORDS,
    is_held_out_word,
    phrased,
    phrased_as,
)
from dalle_jax.data.shapes.scene import (
    COLORS,
    SHAPES,
    SIZES,
    Object,
    Scene,
    SceneSettings,
    sample_scene,
)
from dalle_jax.data.shapes.statements import Statement
from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer
from tests.conftest import ROOT

CIRCLE = Object("circle", "red", "large", "top left", 0.25, 0.25, 0.22, (0, 0, 0))
WORD = re.compile(
    "|".join(sorted({w for v in WORDS.values() for ws in v.values() for w in ws}, key=len)[::-1])
)


NAMES = {name for values in WORDS.values() for name in values}


def scene_of(*objects):
    return Scene(objects, "black", (0, 0, 0))


def drawn(n, counts=(0.3, 0.4, 0.3)):
    settings = SceneSettings(counts)
    return [sample_scene(np.random.default_rng([8, k]), settings) for k in range(n)]


def every_single_object():
    """A scene for each shape, color and size."""
    for shape, color, size in itertools.product(SHAPES, COLORS, SIZES):
        yield scene_of(Object(shape, color, size, "center", 0.5, 0.5, 0.2, (0, 0, 0)))


@pytest.fixture(scope="module")
def written():
    """Texts of (phrasing, whether words are held out), of every object and of pairs that relate."""
    rng, texts = np.random.default_rng(0), {}
    for scene in [*every_single_object(), *drawn(200, (0, 1))]:
        for phrasing in PHRASINGS:
            if phrasing.fits(scene):
                for held_out in (False, True):
                    made = phrased_as(phrasing, scene, rng, held_out=held_out)
                    texts.setdefault((phrasing, held_out), []).append(made.text)
    return texts


def test_examples_of_the_documentation():
    """Each row is a phrasing, with a caption that training may have and one of `paraphrase`."""
    table = (ROOT / "docs/data.md").read_text().split("| phrasing | training | `paraphrase` |\n")[1]
    rows = [line.strip("| ").split(" | ") for line in table.split("\n\n")[0].splitlines()[1:]]
    assert len(rows) == len(PHRASINGS) >= 20
    for number, (phrasing, (template, train, held_out)) in enumerate(zip(PHRASINGS, rows)):
        assert template.strip("`") == phrasing.frame.format(
            phrasing.object, number="{number}", shapes="{shapes}"
        )
        for text, held in ((train, False), (held_out, True)):
            made = phrased_as(
                phrasing, scene_of(CIRCLE), np.random.default_rng(number), held_out=held
            )
            assert text == made.text


def test_parse_is_the_inverse_of_writing():
    for k, scene in enumerate(drawn(600)):
        made = phrased(scene, np.random.default_rng(k), held_out=k % 2 == 0)
        assert parse(made.text) == made.statements
        for s in made.statements:
            if s.kind == "count":
                assert s.value == len(scene.objects)
            elif s.kind == "relation":
                assert (s.subject, s.value, s.other) in scene.relations()
            else:
                assert s.value == getattr(scene.objects[s.subject], s.kind)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a green triangle", "color green 0, shape triangle 0"),
        ("Circle, large, red", "size large 0, color red 0, shape circle 0"),
        ("a tiny crimson circle", "size small 0, color red 0, shape circle 0"),
        ("A RED CROSS.", "color red 0, shape cross 0"),
        (
            "2 boxes: a red one and an aqua one",
            "color red 0, shape square 0, color cyan 1, shape square 1",
        ),
        ("a dot above a hoop", "shape circle 0, shape ring 1, relation above 0 1"),
    ],
)
def test_what_captions_state(text, said):
    words = [part.split() for part in said.split(", ")]
    made = [Statement(kind, value, *map(int, of)) for kind, value, *of in words]
    assert parse(text) == (Statement("count", 1 + max(s.subject for s in made)), *made)


@pytest.mark.parametrize(
    "text",
    [
        *("a red", "a red hexagon", "red a circle", "a red circle, a blue star", "a mauve circle"),
        *(
            "a red, blue circle",
            "2 boxes: a red one",
            "one boxes: a red one",
            "two in all: red box",
        ),
        "a red circle above a blue star and a pink ring",
    ],
)
def test_what_is_not_of_the_grammar_is_an_error(text):
    with pytest.raises(ValueError, match="can't be read"):
        parse(text)


def test_no_word_means_two_things():
    words = [w for values in WORDS.values() for words in values.values() for w in words]
    assert len(words) == len(set(words))
    assert all(len(words) == 3 for values in WORDS.values() for words in values.values())


def test_training_has_each_phrasing_and_synonym_but_not_what_is_held_out(written):
    """As found in the texts themselves: a word and the order of attributes around it."""
    pairs = {held_out: set() for held_out in (False, True)}
    for (phrasing, held_out), texts in written.items():
        found = {w for text in texts for w in WORD.findall(text.lower())}
        pairs[held_out] |= {(phrasing.order, w) for w in found}
    train, held_out = pairs[False], pairs[True]
    assert not train & held_out
    for part in (0, 1):
        assert {pair[part] for pair in held_out} == {pair[part] for pair in train} - NAMES
    synonyms = {w for v in WORDS.values() for words in v.values() for w in words[1:]}
    assert {w for _, w in held_out} == synonyms  # and no name, of which `short` captions are made
    usual, turned = PHRASINGS[:2]
    assert is_held_out_word(usual, "color", "crimson") and (usual.order, "crimson") in held_out
    assert not is_held_out_word(turned, "color", "crimson") and (turned.order, "crimson") in train


def test_no_text_of_paraphrase_is_a_training_text(written):
    texts = {held_out: set() for held_out in (False, True)}
    for (_, held_out), some in written.items():
        texts[held_out] |= {text.lower() for text in some}
    texts[False] |= {short(scene).text for scene in every_single_object()}
    assert not texts[False] & texts[True]


def test_a_tokenizer_has_every_word_and_cuts_no_caption_of_one_object(written):
    """With the length that docs/data.md names."""
    single = {k: texts[:128] for k, texts in written.items()}
    train = [t for (_, held_out), texts in single.items() if not held_out for t in texts]
    tokenizer = Tokenizer(train_tokenizer(train, base.get_config().tokenizer.vocab_size), 16)
    for texts in single.values():
        tokenizer.encode(texts)
    assert tokenizer.num_cut == 0
    kinds = [WORDS[kind] for kind in ("shape", "color", "size")]
    words = {part for values in kinds for ws in values.values() for w in ws for part in w.split()}
    for row in tokenizer.encode(sorted(words - {"five-pointed"})):
        assert row[1] == 1  # the end of the text
