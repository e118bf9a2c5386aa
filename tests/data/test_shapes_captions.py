import dataclasses

import numpy as np
import pytest

from dalle_jax.data.shapes.captions import (
    CAPTION_KINDS,
    alt,
    caption,
    descriptive,
    named,
    natural,
    parse,
    short,
)
from dalle_jax.data.shapes.scene import Object, Scene, SceneSettings, sample_scene
from dalle_jax.data.shapes.statements import Statement

CIRCLE = Object("circle", "red", "large", "top left", 0.25, 0.25, 0.22, (0, 0, 0))
STAR = Object("star", "blue", "small", "right", 0.8, 0.5, 0.15, (0, 0, 0))
RING = Object("ring", "pink", "small", "center", 0.5, 0.5, 0.15, (0, 0, 0))


def scene_of(*objects):
    return Scene(objects, "black", (0, 0, 0))


def drawn(n):
    settings = SceneSettings((0.3, 0.4, 0.3))
    return [sample_scene(np.random.default_rng([8, k]), settings) for k in range(n)]


def test_short_texts():
    assert short(scene_of(CIRCLE)).text == "a large red circle"
    assert short(scene_of(CIRCLE, STAR)).text == "a large red circle left of a small blue star"
    assert short(scene_of(STAR, CIRCLE)).text == "a small blue star right of a large red circle"
    diagonal = dataclasses.replace(STAR, cx=0.7, cy=0.72)
    assert short(scene_of(CIRCLE, diagonal)).text == "a large red circle and a small blue star"
    assert (
        short(scene_of(CIRCLE, STAR, RING)).text
        == "a large red circle, a small blue star and a small pink ring"
    )


def test_descriptive_texts():
    assert (
        descriptive(scene_of(RING)).text
        == "one object on a black background: a small pink ring in the center"
    )
    assert descriptive(scene_of(CIRCLE, STAR)).text == (
        "two objects on a black background: a large red circle at the top left and a small blue "
        "star at the right; the red circle is left of the blue star"
    )


def test_what_a_short_caption_states():
    assert parse("a large red circle left of a small blue star") == (
        Statement("count", 2),
        Statement("size", "large", 0),
        Statement("color", "red", 0),
        Statement("shape", "circle", 0),
        Statement("size", "small", 1),
        Statement("color", "blue", 1),
        Statement("shape", "star", 1),
        Statement("relation", "left of", 0, 1),
    )


def test_parse_is_the_inverse_of_writing():
    for scene in drawn(500):
        for made in (short(scene), descriptive(scene)):
            assert parse(made.text) == made.statements


def test_a_descriptive_caption_says_everything():
    for scene in drawn(200):
        said = {(s.kind, s.value, s.subject) for s in descriptive(scene).statements}
        for i, o in enumerate(scene.objects):
            for kind in ("shape", "color", "size", "place"):
                assert (kind, getattr(o, kind), i) in said
        assert ("count", len(scene.objects), None) in said
        assert ("background", scene.background, None) in said
        assert len(said) >= 2 + 4 * len(scene.objects)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a large red",
        "a large red hexagon",
        "a large red circle and",
        "a large red circle a small blue star",
        "a large red circle and a small blue star and a small pink ring",
        "a large red circle left of a small blue star left of a small pink ring",
        "two objects on a black background: a large red circle at the top left",
        "one object on a black background: a large red circle",
        "one object on a black background: a small pink ring in the center; the red ring is above "
        "the pink ring",
        "one object on a mauve background: a small pink ring in the center",
        # Outside the grammar, though it means the same.
        "one object on a black background: a small pink ring at the center",
        "one object on a black background: a large red circle in the top",
    ],
)
def test_what_is_not_of_the_grammar_is_an_error(text):
    with pytest.raises(ValueError, match="can't be read"):
        parse(text)


def test_natural_captions_are_true_and_varied():
    texts = set()
    for k, scene in enumerate(drawn(400)):
        made = natural(scene, np.random.default_rng(k))
        texts.add(made.text)
        mentioned = [s.subject for s in made.statements if s.kind == "shape"]
        assert mentioned == list(range(len(mentioned))) and mentioned
        for i in mentioned:
            of_one = {s.kind: s.value for s in made.statements if s.subject == i}
            of_one.pop("relation", None)
            assert any(
                all(getattr(o, kind) == value for kind, value in of_one.items())
                for o in scene.objects
            )
        for s in made.statements:
            if s.kind == "background":
                assert s.value == scene.background and s.value in made.text
            if s.kind == "count":
                assert s.value == len(scene.objects) == len(mentioned)
    assert len(texts) > 380


def test_natural_captions_leave_things_out():
    stated = [
        {s.kind for s in natural(scene, np.random.default_rng(k)).statements}
        for k, scene in enumerate(drawn(300))
    ]
    for kind in ("size", "place", "background", "relation", "count"):
        assert 0.05 < np.mean([kind in kinds for kinds in stated]) < 0.97


def test_alt_captions_are_short_noisy_or_about_nothing():
    made = [alt(scene, np.random.default_rng(k)) for k, scene in enumerate(drawn(500))]
    unrelated = np.mean([not m.statements for m in made])
    assert 0.2 - 0.09 < unrelated < 0.2 + 0.09
    assert all(s.kind in ("shape", "color") for m in made for s in m.statements)
    assert all(m.text for m in made)


def test_what_alt_captions_name_is_found_again_unless_misspelt():
    rng, same = np.random.default_rng(5), []
    for _ in range(400):
        scene = sample_scene(rng, SceneSettings((1,)))
        written = caption(scene, "alt", rng)
        found = named(scene, written.text)
        assert set(found) <= set(written.statements), written.text
        same.append(set(found) == set(written.statements))
    assert 0.8 < np.mean(same) < 1  # one in ten is misspelt, not always in a word that counts


def test_kinds():
    scene = scene_of(CIRCLE, STAR)
    for kind in CAPTION_KINDS:
        once = caption(scene, kind, np.random.default_rng(1))
        assert once == caption(scene, kind, np.random.default_rng(1))
    with pytest.raises(ValueError, match="no caption 'long'"):
        caption(scene, "long", np.random.default_rng(1))
