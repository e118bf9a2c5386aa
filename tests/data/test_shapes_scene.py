import functools
import itertools
import json

import numpy as np
import pytest

from dalle_jax.data.shapes.scene import (
    BACKGROUNDS,
    COLORS,
    OPPOSITE,
    PLACES,
    RELATION_MARGIN,
    SHAPES,
    SIZES,
    Scene,
    SceneSettings,
    is_held_out_pair,
    is_held_out_relation,
    place_of,
    relation_between,
    sample_scene,
)

SETTINGS = {
    "easy": SceneSettings((1.0,)),
    "pairs": SceneSettings((0.4, 0.6)),
    "full": SceneSettings((0.25, 0.4, 0.35)),
    "novel": SceneSettings((0.25, 0.4, 0.35), novel=True),
}


def sampled(name, k):
    return sample_scene(np.random.default_rng([5, k]), SETTINGS[name])


once = functools.cache(sampled)


def scenes(name, n):
    """The first n of a config's scenes, each sampled once for all tests."""
    return [once(name, k) for k in range(n)]


@pytest.mark.parametrize("name", SETTINGS)
def test_objects_lie_inside_and_apart(name):
    for scene in scenes(name, 150):
        for o in scene.objects:
            assert min(o.cx, o.cy) - o.radius > 0.01 and max(o.cx, o.cy) + o.radius < 0.99
        for a, b in itertools.combinations(scene.objects, 2):
            assert max(abs(a.cx - b.cx), abs(a.cy - b.cy)) > a.radius + b.radius + 0.02
            assert (a.shape, a.color) != (b.shape, b.color)
            assert a.place != b.place


@pytest.mark.parametrize("name", SETTINGS)
def test_names_say_what_the_numbers_are(name):
    thirds = {"left": 0, "right": 2, "top": 0, "bottom": 2}
    for scene in scenes(name, 150):
        for o in scene.objects:
            words = o.place.split()
            row = next((thirds[w] for w in words if w in ("top", "bottom")), 1)
            column = next((thirds[w] for w in words if w in ("left", "right")), 1)
            # The middle of the image's thirds are 1/6, 1/2 and 5/6: the name is the nearest.
            assert np.abs(np.array([1, 3, 5]) / 6 - o.cy).argmin() == row
            assert np.abs(np.array([1, 3, 5]) / 6 - o.cx).argmin() == column
            assert place_of(o.cx, o.cy) == o.place
            assert (o.radius < 0.16) == (o.size == "small")
            assert (o.radius > 0.21) == (o.size == "large")


def test_every_value_occurs_about_equally_often():
    drawn = scenes("easy", 4000)
    objects = [s.objects[0] for s in drawn]
    for values, all_values in (
        ([o.shape for o in objects], SHAPES),
        ([o.color for o in objects], COLORS),
        ([o.size for o in objects], SIZES),
        ([o.place for o in objects], PLACES.values()),
        ([s.background for s in drawn], BACKGROUNDS),
    ):
        expected = len(drawn) / len(all_values)
        # Five standard deviations of a binomial count.
        for value in all_values:
            assert abs(values.count(value) - expected) < 5 * np.sqrt(expected)


def test_relations_are_clear():
    for scene in scenes("full", 300):
        for i, relation, j in scene.relations():
            a, b = scene.objects[i], scene.objects[j]
            dx, dy = b.cx - a.cx, b.cy - a.cy
            along, across = {
                "left of": (dx, dy),
                "right of": (-dx, dy),
                "above": (dy, dx),
                "below": (-dy, dx),
            }[relation]
            assert along - abs(across) > RELATION_MARGIN
            assert relation_between(b, a) == OPPOSITE[relation]


def test_share_of_related_pairs_is_as_set():
    drawn = [s for s in scenes("pairs", 1500) if len(s.objects) == 2]
    related = np.mean([bool(s.relations()) for s in drawn])
    assert abs(related - 0.75) < 5 * np.sqrt(0.75 * 0.25 / len(drawn))


def test_held_out_pairs_and_relations_never_meet_the_others():
    for scene in scenes("full", 200):
        assert not any(is_held_out_pair(o.shape, o.color) for o in scene.objects)
        for i, relation, j in scene.relations():
            shapes = scene.objects[i].shape, relation, scene.objects[j].shape
            assert not is_held_out_relation(*shapes)
    novel = scenes("novel", 100)
    for scene in novel:
        assert all(is_held_out_pair(o.shape, o.color) for o in scene.objects)
        for i, relation, j in scene.relations():
            assert is_held_out_relation(scene.objects[i].shape, relation, scene.objects[j].shape)
    assert any(scene.relations() for scene in novel)


def test_one_pair_in_eight_is_held_out_and_every_value_stays_in_training():
    held = [p for p in itertools.product(SHAPES, COLORS) if is_held_out_pair(*p)]
    assert len(held) == 8
    assert {shape for shape, _ in held} == set(SHAPES)
    assert {color for _, color in held} == set(COLORS)
    triples = [
        (a, r, b)
        for a, r, b in itertools.product(SHAPES, OPPOSITE, SHAPES)
        if is_held_out_relation(a, r, b)
    ]
    assert len(triples) == 4 * 8
    # Named from its other end, an arrangement is the same one.
    assert all((b, OPPOSITE[r], a) in triples for a, r, b in triples)


def test_round_trip_through_json():
    for scene in scenes("full", 50):
        assert Scene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene


def test_a_seed_is_a_scene():
    assert [sampled("full", k) for k in range(20)] == scenes("full", 20)
    assert len(set(scenes("easy", 500))) == 500


def test_colors_and_backgrounds_are_well_apart():
    # Least distance within the palette, and of it from the backgrounds, against the jitter.
    palette = [np.array(rgb) for rgb in (*COLORS.values(), *BACKGROUNDS.values())]
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(palette, 2))
    assert nearest > 4 * 12
