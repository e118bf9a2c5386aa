"""Captions of scenes, and what they state.

Four kinds, after DALL-E 3 (Betker et al. 2023, §2): `short` and `descriptive` follow a closed
grammar that `parse` reads back exactly; `natural` varies its words and leaves things out; `alt`
is written as the web writes. A fifth, `phrased`, says a scene in many ways that `parse` reads too.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from dalle_jax.data.shapes.phrasings import phrased, read_phrased
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
from dalle_jax.data.shapes.statements import Caption, Statement

CAPTION_KINDS = ("short", "natural", "descriptive", "alt", "phrased")


def caption(scene: Scene, kind: str, rng: np.random.Generator) -> Caption:
    """A caption of one of `CAPTION_KINDS`; `short` and `descriptive` do not use `rng`."""
    if kind not in CAPTION_KINDS:
        raise ValueError(f"there is no caption {kind!r}; there are {', '.join(CAPTION_KINDS)}")
    if kind in ("short", "descriptive"):
        return short(scene) if kind == "short" else descriptive(scene)
    return {"natural": natural, "alt": alt, "phrased": phrased}[kind](scene, rng)


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


def natural(scene: Scene, rng: np.random.Generator) -> Caption:
    """As people say it: with changing words, and without some attributes or an object."""
    mentioned = list(scene.objects)
    if len(mentioned) > 1 and rng.random() < 0.1:
        mentioned.pop(int(rng.random() * len(mentioned)))
    statements = []
    if len(mentioned) == len(scene.objects):
        statements.append(Statement("count", len(mentioned)))
    phrases = []
    for i, o in enumerate(mentioned):
        words = [_pick(rng, _SHAPE_WORDS[o.shape])]
        statements.append(Statement("shape", o.shape, i))
        if rng.random() < 0.9:
            words.insert(0, _pick(rng, _COLOR_WORDS.get(o.color, (o.color,))))
            statements.append(Statement("color", o.color, i))
        if rng.random() < 0.6:
            words.insert(0, _pick(rng, _SIZE_WORDS[o.size]))
            statements.append(Statement("size", o.size, i))
        phrases.append(f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}")
    relation = None
    if len(mentioned) == 2 and len(scene.objects) == 2 and rng.random() < 0.8:
        relation = next((name for _, name, _ in scene.relations()), None)
    if relation:
        statements.append(Statement("relation", relation, 0, 1))
        text = f"{phrases[0]} {_pick(rng, _RELATION_WORDS[relation])} {phrases[1]}"
    else:
        for i, o in enumerate(mentioned):
            if rng.random() < 0.4:
                phrases[i] += f" {_pick(rng, _PLACE_WORDS[o.place])}"
                statements.append(Statement("place", o.place, i))
        text = _join(phrases)
    if rng.random() < 0.4:
        text += _pick(rng, (" on a {} background", " on {}", ", {} background")).format(
            scene.background
        )
        statements.append(Statement("background", scene.background))
    return Caption(_pick(rng, _FRAMES).format(text), tuple(statements))


def alt(scene: Scene, rng: np.random.Generator) -> Caption:
    """As on the web: of one object at best, with noise, or unrelated."""
    if rng.random() < 0.2:
        return Caption(_pick(rng, _UNRELATED).format(int(rng.integers(1, 10_000))), ())
    o = _pick(rng, scene.objects)
    words = [_pick(rng, _SHAPE_WORDS[o.shape])]
    statements = [Statement("shape", o.shape, 0)]
    if rng.random() < 0.6:
        words.insert(0, o.color)
        statements.append(Statement("color", o.color, 0))
    text = _pick(rng, _WEB).format(" ".join(words), int(rng.integers(1, 1000)))
    if rng.random() < 0.15:
        k = int(rng.integers(1, len(text)))
        text = text[: k - 1] + text[k] + text[k - 1] + text[k + 1 :]
    if rng.random() < 0.2:
        text = _pick(rng, (str.upper, str.title))(text)
    if rng.random() < 0.15:
        text = text.replace(" ", _pick(rng, ("-", "_")))
    return Caption(text, tuple(statements))


def named(scene: Scene, text: str) -> tuple[Statement, ...]:
    """The shape and colour of a scene's only object, as far as an `alt` caption names them.

    Capitals and dashes are allowed, misspellings are not.
    """
    (o,) = scene.objects
    text = re.sub("[-_]", " ", text.lower())
    words = {"color": (o.color,), "shape": _SHAPE_WORDS[o.shape]}
    found = [kind for kind in words if re.search(rf"\b({_any_of(words[kind])})\b", text)]
    return tuple(Statement(kind, getattr(o, kind), 0) for kind in found)


def parse(text: str) -> tuple[Statement, ...]:
    """What a `short`, `descriptive` or `phrased` caption states.

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
    statements = read_phrased(text)
    if statements is None:
        raise _not_understood(text)
    return statements


def _parse_objects(objects: list[re.Match]) -> Iterator[Statement]:
    yield Statement("count", len(objects))
    for i, match in enumerate(objects):
        for kind, value in match.groupdict().items():
            yield Statement(kind, _PLACE_AT[value] if kind == "place" else value, i)


def _parse_descriptive(text: str, match: re.Match) -> Iterator[Statement]:
    objects = [_PLACED_OBJECT.fullmatch(part) for part in _JOINTS.split(match["objects"])]
    if (
        not all(objects)
        or match["count"] != _COUNTS.get(len(objects))
        or match["objects"] != _join([m.group() for m in objects])
    ):
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
        f"the caption {text!r} can't be read as statements: only captions like 'a large red "
        "circle left of a small blue star' and the descriptive and phrased ones of "
        "captioned_shapes can"
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


def _pick(rng: np.random.Generator, choices: Sequence):
    return choices[int(rng.random() * len(choices))]


def _any_of(words) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


# Other words for the names, each of them unmistakable.
_SHAPE_WORDS = {
    "circle": ("circle", "circle", "disc"),
    "square": ("square", "square", "box"),
    "triangle": ("triangle",),
    "diamond": ("diamond", "diamond", "rhombus"),
    "star": ("star", "star", "five-pointed star"),
    "cross": ("cross", "cross", "plus sign"),
    "heart": ("heart", "heart", "heart shape"),
    "ring": ("ring", "ring", "hoop"),
}
_COLOR_WORDS = {
    "purple": ("purple", "purple", "violet"),
    "cyan": ("cyan", "cyan", "turquoise"),
    "pink": ("pink", "pink", "rose-coloured"),
}
_SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
_RELATION_WORDS = {
    "left of": ("left of", "to the left of", "on the left side of"),
    "right of": ("right of", "to the right of", "on the right side of"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "under", "beneath"),
}
_PLACE_WORDS = {
    place: ("in the center", "in the middle")
    if place == "center"
    else (f"at the {place}", f"in the {place} corner" if " " in place else f"near the {place} edge")
    for place in PLACES.values()
}
_FRAMES = (
    *("{}", "{}", "a picture of {}", "an image showing {}", "there is {}"),
    *("a simple drawing of {}", "this shows {}"),
)
_WEB = (
    *("{}", "{} icon", "{} clipart {}", "{}.png", "{} vector image - free download"),
    *("{} sticker, {} pieces", "buy {} online | shop", "shape of the day: {}", "{} (2)"),
)
_UNRELATED = (
    *("IMG_{:04d}", "untitled {}", "photo {} of our holiday", "click here to enlarge"),
    *("best prices for shoes", "page {}", "thumbnail", "weather for tomorrow"),
)

_COUNTS = {1: "one object", 2: "two objects", 3: "three objects"}
_PLACE_AT = {_at(place): place for place in PLACES.values()}
_OBJECT = rf"a (?P<size>{_any_of(SIZES)}) (?P<color>{_any_of(COLORS)}) (?P<shape>{_any_of(SHAPES)})"
_ANONYMOUS = re.sub(r"\?P<\w+>", "?:", _OBJECT)
_SHORT_OBJECT = re.compile(_OBJECT)
_PLACED_OBJECT = re.compile(rf"{_OBJECT} (?P<place>{_any_of(_PLACE_AT)})")
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
