"""Captions of scenes, and what they state.

Four kinds, after DALL-E 3 (Betker et al. 2023, §2): `short` and `descriptive` follow a closed
grammar that `parse` reads back exactly; `natural` varies its words and leaves things out; `alt`
is written as the web writes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dalle_jax.data.shapes.scene import (
    BACKGROUNDS,
    COLORS,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    Object,
    Scene,
)

STATEMENT_KINDS = ("count", "shape", "color", "size", "place", "relation", "background")


@dataclass(frozen=True)
class Statement:
    """One thing a caption says.

    `value` is a number of objects for `count`, else a name. `subject` is the index of the object
    it is about, in the caption's order; `other` the one that a relation refers to.
    """

    kind: str
    value: str | int
    subject: int | None = None
    other: int | None = None


@dataclass(frozen=True)
class Caption:
    """A text and what it states."""

    text: str
    statements: tuple[Statement, ...]


def short(scene: Scene) -> Caption:
    """Size, color and shape of each object; of two objects also their relation, if clear."""
    names = [f"a {o.size} {o.color} {o.shape}" for o in scene.objects]
    statements = [Statement("count", len(names)), *_named(scene, ("size", "color", "shape"))]
    relations = scene.relations() if len(names) == 2 else ()
    if relations:
        ((_, relation, _),) = relations
        statements.append(Statement("relation", relation, 0, 1))
        text = f"{names[0]} {relation} {names[1]}"
    else:
        text = _join(names)
    return Caption(text, tuple(statements))


def descriptive(scene: Scene) -> Caption:
    """Everything: count, background, each object with its place, each clear relation."""
    names = [f"a {o.size} {o.color} {o.shape} {_at(o.place)}" for o in scene.objects]
    text = f"{_COUNTS[len(names)]} on a {scene.background} background: {_join(names)}"
    for i, relation, j in scene.relations():
        text += f"; {_the(scene.objects[i])} is {relation} {_the(scene.objects[j])}"
    statements = [
        Statement("count", len(names)),
        Statement("background", scene.background),
        *_named(scene, ("size", "color", "shape", "place")),
        *(Statement("relation", relation, i, j) for i, relation, j in scene.relations()),
    ]
    return Caption(text, tuple(statements))


def parse(text: str) -> tuple[Statement, ...]:
    """What a `short` or `descriptive` caption states.

    Raises:
      ValueError: the text is not of that grammar.
    """
    match = _DESCRIPTIVE.fullmatch(text)
    if match:
        return tuple(_parse_descriptive(text, match))
    objects = [_SHORT_OBJECT.fullmatch(part) for part in _JOINTS.split(text)]
    if all(objects) and text == _join([m.group() for m in objects]):
        return tuple(_parse_objects(objects))
    match = _RELATED.fullmatch(text)
    if match:
        pair = [_SHORT_OBJECT.fullmatch(match[name]) for name in ("first", "second")]
        return (*_parse_objects(pair), Statement("relation", match["relation"], 0, 1))
    raise _not_understood(text)


def _parse_objects(objects: list[re.Match]) -> Iterator[Statement]:
    yield Statement("count", len(objects))
    for i, match in enumerate(objects):
        for kind, value in match.groupdict().items():
            yield Statement(kind, value, i)


def _parse_descriptive(text: str, match: re.Match) -> Iterator[Statement]:
    objects = [_PLACED_OBJECT.fullmatch(part) for part in _JOINTS.split(match["objects"])]
    if not all(objects) or match["count"] != _COUNTS.get(len(objects)):
        raise _not_understood(text)
    if match["objects"] != _join([m.group() for m in objects]):
        raise _not_understood(text)
    count, *attributes = _parse_objects(objects)
    yield from (count, Statement("background", match["background"]), *attributes)
    index = {(m["color"], m["shape"]): i for i, m in enumerate(objects)}
    for clause in match["relations"].split("; ")[1:]:
        m = _RELATION_CLAUSE.fullmatch(clause)
        if not m or not {(m["c1"], m["s1"]), (m["c2"], m["s2"])} <= index.keys():
            raise _not_understood(text)
        i, j = index[m["c1"], m["s1"]], index[m["c2"], m["s2"]]
        yield Statement("relation", m["relation"], i, j)


def _not_understood(text: str) -> ValueError:
    return ValueError(
        f"The caption {text!r} can't be read as statements: only captions like 'a large red "
        "circle left of a small blue star' and the descriptive ones of captioned_shapes can."
    )


def _named(scene: Scene, kinds: tuple[str, ...]) -> Iterator[Statement]:
    for i, o in enumerate(scene.objects):
        for kind in kinds:
            yield Statement(kind, getattr(o, kind), i)


def _join(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _at(place: str) -> str:
    return "in the center" if place == "center" else f"at the {place}"


def _the(o: Object) -> str:
    return f"the {o.color} {o.shape}"


def _any_of(words) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_COUNTS = {1: "one object", 2: "two objects", 3: "three objects"}
_OBJECT = rf"a (?P<size>{_any_of(SIZES)}) (?P<color>{_any_of(COLORS)}) (?P<shape>{_any_of(SHAPES)})"
_ANONYMOUS = re.sub(r"\?P<\w+>", "?:", _OBJECT)
_SHORT_OBJECT = re.compile(_OBJECT)
_PLACED_OBJECT = re.compile(rf"{_OBJECT} (?:at|in) the (?P<place>{_any_of(PLACES.values())})")
_RELATED = re.compile(
    rf"(?P<first>{_ANONYMOUS}) (?P<relation>{_any_of(RELATIONS)}) (?P<second>{_ANONYMOUS})"
)
_DESCRIPTIVE = re.compile(
    rf"(?P<count>{_any_of(_COUNTS.values())}) on a (?P<background>{_any_of(BACKGROUNDS)}) "
    r"background: (?P<objects>[^;]*)(?P<relations>.*)"
)
_RELATION_CLAUSE = re.compile(
    rf"the (?P<c1>{_any_of(COLORS)}) (?P<s1>{_any_of(SHAPES)}) is "
    rf"(?P<relation>{_any_of(RELATIONS)}) "
    rf"the (?P<c2>{_any_of(COLORS)}) (?P<s2>{_any_of(SHAPES)})"
)
_JOINTS = re.compile(", | and ")
