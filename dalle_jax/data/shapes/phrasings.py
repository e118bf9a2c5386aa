"""`phrased` captions: one scene in many phrasings and synonyms, all of which can be read back.

Every value has its name and two synonyms. In phrasings whose order of attributes is number p, the
name and one synonym of value v are for training; the other, number 1 + (p + v) mod 2, is held out.
So training has every phrasing and every synonym, but "a huge crimson disc" in no frame.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

from dalle_jax.data.shapes.scene import Scene
from dalle_jax.data.shapes.statements import Caption, Statement

# The name, then two synonyms. No word means two things.
WORDS = {
    "shape": {
        "circle": ("circle", "disc", "dot"),
        "square": ("square", "box", "block"),
        "triangle": ("triangle", "wedge", "pyramid"),
        "diamond": ("diamond", "rhombus", "lozenge"),
        "star": ("star", "pentagram", "five-pointed star"),
        "cross": ("cross", "plus", "plus sign"),
        "heart": ("heart", "love heart", "heart shape"),
        "ring": ("ring", "hoop", "donut"),
    },
    "color": {
        "red": ("red", "crimson", "scarlet"),
        "orange": ("orange", "tangerine", "amber"),
        "yellow": ("yellow", "golden", "lemon"),
        "green": ("green", "emerald", "jade"),
        "cyan": ("cyan", "turquoise", "aqua"),
        "blue": ("blue", "cobalt", "sapphire"),
        "purple": ("purple", "violet", "plum"),
        "pink": ("pink", "rose", "blush"),
    },
    "size": {
        "small": ("small", "little", "tiny"),
        "large": ("large", "big", "huge"),
    },
    "relation": {
        "left of": ("left of", "to the left of", "on the left side of"),
        "right of": ("right of", "to the right of", "on the right side of"),
        "above": ("above", "over", "higher than"),
        "below": ("below", "under", "beneath"),
    },
}
NUMBERS = (("one", "1"), ("two", "2"), ("three", "3"))
RELATED = 0.75  # share of captions of two objects with a clear relation that state it


@dataclass(frozen=True)
class Phrasing:
    """How a caption is built.

    Attributes:
        object: one object, with the slots {a} (an article), {size}, {color} and {shape}.
        frame: the caption around the objects {}, with {number} and {shapes}, a plural where there
            are several. With {shapes} it is only for objects of one shape.
        joint: between the last two objects. The others have a comma, or "; " if that is the joint.
            Objects joined by "and" are noun phrases, which a relation may join instead.
        case: upper case, or a capital at the beginning.
    """

    object: str
    frame: str = "{}"
    joint: str = " and "
    case: Callable[[str], str] = str

    def fits(self, scene: Scene) -> bool:
        """Whether the scene can be said this way."""
        return not self.names_shape_once or len({o.shape for o in scene.objects}) == 1

    @property
    def order(self) -> tuple[str, ...]:
        """The attributes in the order in which they are said."""
        slots = re.findall(r"\{(size|color|shape)s?\}", self.frame.replace("{}", self.object))
        return tuple(slots)

    @property
    def is_noun_phrase(self) -> bool:
        """Whether objects are joined by "and", or by a relation."""
        return self.joint == " and "

    @property
    def names_shape_once(self) -> bool:
        """Whether the frame, not each object, names the shape."""
        return "{shapes}" in self.frame

    @cached_property
    def object_pattern(self) -> re.Pattern:
        """An object in lower case, with its slots as groups."""
        return re.compile(_pattern(self.object))

    @cached_property
    def frame_pattern(self) -> re.Pattern:
        """A whole caption in lower case; its objects are the group "objects"."""
        return re.compile(_pattern(self.frame))


PHRASINGS = (
    Phrasing("{a} {size} {color} {shape}"),
    Phrasing("{a} {color} {size} {shape}"),
    Phrasing("{a} {color} {shape}"),
    Phrasing("{a} {size} {shape}"),
    Phrasing("{a} {shape}"),
    Phrasing("{size} {color} {shape}"),
    Phrasing("{color} {shape}"),
    Phrasing("{shape}, {size}, {color}", joint="; "),
    Phrasing("{shape}, {color}, {size}", joint="; "),
    Phrasing("{shape}: {color}", joint="; "),
    Phrasing("color: {color}, shape: {shape}, size: {size}", joint="; "),
    Phrasing("{a} {shape} that is {size} and {color}"),
    Phrasing("{a} {color} {shape} that is {size}"),
    Phrasing("{a} {shape} in {color}"),
    Phrasing("{a} {size} {shape} in {color}"),
    Phrasing("the {shape} is {color} and {size}", joint="; "),
    Phrasing("the {color} {shape} is {size}", "{}.", "; ", str.capitalize),
    Phrasing("{a} {size} {color} {shape}", "there is {}.", case=str.capitalize),
    Phrasing("{a} {size}, {color} {shape}", "a picture of {}"),
    Phrasing("{a} {color} {shape}", "{}.", case=str.capitalize),
    Phrasing("{a} {size} {color} {shape}", case=str.upper),
    Phrasing("{color} {size} {shape}", "{}!", case=str.upper),
    Phrasing("{a} {color}, {color} {shape}"),
    Phrasing("{a} {color} {shape}, {size} and {color}", joint="; "),
    Phrasing("{size} {color} {shape}", "{number} in all: {}"),
    Phrasing("{a} {color} one", "{number} {shapes}: {}"),
    Phrasing("{a} {size} {color} one", "{number} {shapes}, {}.", case=str.capitalize),
    Phrasing("{a} {size} and {color} {shape}", "we see {}", joint="; "),
)


# Phrasings of one order differ in their frames and small words only.
ORDERS = tuple(dict.fromkeys(phrasing.order for phrasing in PHRASINGS))


def is_held_out_word(phrasing: Phrasing, kind: str, word: str) -> bool:
    """Whether training never has the word of that kind of statement in that order of attributes.

    It is so of the synonym 1 + (p + v) mod 2 of value v, with the numbers p in `ORDERS` and v in
    `WORDS[kind]`; names are never held out.
    """
    for v, words in enumerate(WORDS[kind].values()):
        if word in words:
            return words.index(word) == 1 + (ORDERS.index(phrasing.order) + v) % 2
    raise ValueError(f"{word!r} is no word for a {kind}")


def phrased(scene: Scene, rng: np.random.Generator, *, held_out: bool = False) -> Caption:
    """A scene in a random phrasing, with words that training has in its order of attributes.

    All objects are mentioned; attributes that the phrasing has no slot for are left open.

    Args:
        scene: of one to three objects.
        rng: chooses phrasing and words.
        held_out: only with words that training never has in that order.
    """
    fitting = [phrasing for phrasing in PHRASINGS if phrasing.fits(scene)]
    return phrased_as(_pick(rng, fitting), scene, rng, held_out=held_out)


def phrased_as(
    phrasing: Phrasing, scene: Scene, rng: np.random.Generator, *, held_out: bool = False
) -> Caption:
    """A scene in one of `PHRASINGS`, which must fit it; words as in `phrased`."""
    objects = [vars(o) for o in scene.objects]

    def word(kind: str, value: str) -> str:
        return _pick(rng, _allowed(phrasing, kind, value, held_out))

    texts = [_object(phrasing, o, word) for o in objects]
    related = scene.relations() if phrasing.is_noun_phrase and len(objects) == 2 else ()
    relation = related[0][1] if related and rng.random() < RELATED else None
    joints = [f" {word('relation', relation)} "] if relation else _joints(phrasing, len(texts))
    text = "".join(text + joint for text, joint in zip(texts, [*joints, ""]))
    slots = {"number": _pick(rng, NUMBERS[len(objects) - 1])}
    if phrasing.names_shape_once:
        shape = word("shape", objects[0]["shape"])
        slots["shapes"] = shape if len(objects) == 1 else _plural(shape)
    text = phrasing.case(phrasing.frame.format(text, **slots))
    return Caption(text, _statements(phrasing, objects, relation))


def read_phrased(text: str) -> tuple[Statement, ...] | None:
    """What a `phrased` caption states, in any case; None if it is not of this grammar."""
    for phrasing in PHRASINGS:
        frame = phrasing.frame_pattern.fullmatch(text.lower())
        found = _read_objects(phrasing, frame["objects"]) if frame else None
        if found is None:
            continue
        objects, relation = found
        if phrasing.names_shape_once:
            shapes = _NAMES["shape"] if len(objects) == 1 else _PLURALS
            if frame["shapes"] not in shapes:
                continue
            objects = [{**o, "shape": shapes[frame["shapes"]]} for o in objects]
        number = frame.groupdict().get("number")
        if number is None or number in NUMBERS[len(objects) - 1]:
            return _statements(phrasing, objects, relation)
    return None


def _read_objects(phrasing: Phrasing, text: str) -> tuple[list[dict[str, str]], str | None] | None:
    """The named attributes of each object, and the relation of two; None if not of this form."""
    parts, joints, position = [], [], 0
    while match := phrasing.object_pattern.match(text, position):
        parts.append(match)
        joint = _JOINT.match(text, match.end())
        if joint is None:
            break
        joints.append(joint[0])
        position = joint.end()
    if not 1 <= len(parts) <= len(NUMBERS) or parts[-1].end() != len(text):
        return None
    objects = [
        {kind: _NAMES[kind][w] for kind, w in m.groupdict().items() if kind != "a"} for m in parts
    ]
    if joints == _joints(phrasing, len(parts)):
        return objects, None
    relation = _NAMES["relation"].get(joints[0].strip()) if len(joints) == 1 else None
    return (objects, relation) if relation and phrasing.is_noun_phrase else None


def _statements(
    phrasing: Phrasing, objects: Sequence[Mapping[str, Any]], relation: str | None
) -> tuple[Statement, ...]:
    made = [Statement("count", len(objects))]
    for i, o in enumerate(objects):
        for kind in ("size", "color", "shape"):
            shared = kind == "shape" and phrasing.names_shape_once
            if f"{{{kind}}}" in phrasing.object or shared:
                made.append(Statement(kind, o[kind], i))
    if relation:
        made.append(Statement("relation", relation, 0, 1))
    return tuple(made)


def _object(phrasing: Phrasing, o: Mapping[str, Any], word: Callable[[str, str], str]) -> str:
    slots = {k: word(k, o[k]) for k in ("size", "color", "shape") if f"{{{k}}}" in phrasing.object}
    text = phrasing.object.replace("{a} ", "").format(**slots)
    if phrasing.object.startswith("{a} "):
        text = f"{'an' if text[0] in 'aeiou' else 'a'} {text}"
    return text


def _joints(phrasing: Phrasing, count: int) -> list[str]:
    """What is between objects that no relation joins."""
    between = ", " if phrasing.is_noun_phrase else phrasing.joint
    return [between] * (count - 2) + [phrasing.joint] * (count > 1)


def _plural(word: str) -> str:
    return word + ("es" if word.endswith(("s", "x")) else "s")


def _pattern(template: str) -> str:
    """A regular expression of a template; a slot that comes again must have the same word."""
    pattern, seen = "", set()
    for part in re.split(r"(\{\w*\})", template):
        name = part.strip("{}")
        if not part.startswith("{"):
            pattern += re.escape(part)
        elif name in seen:
            pattern += f"(?P={name})"
        else:
            pattern += f"(?P<{name or 'objects'}>{_SLOTS[name]})"
            seen.add(name)
    return pattern


@cache
def _allowed(phrasing: Phrasing, kind: str, value: str, held_out: bool) -> list[str]:
    return [w for w in WORDS[kind][value] if is_held_out_word(phrasing, kind, w) == held_out]


def _pick(rng: np.random.Generator, choices: Sequence):
    return choices[int(rng.random() * len(choices))]


def _any_of(words: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))


_NAMES = {
    kind: {word: name for name, words in values.items() for word in words}
    for kind, values in WORDS.items()
}
_PLURALS = {_plural(word): name for word, name in _NAMES["shape"].items()}
_SLOTS = {
    "": ".+",
    "a": "an?",
    "number": _any_of(word for words in NUMBERS for word in words),
    "shapes": _any_of([*_NAMES["shape"], *_PLURALS]),
    **{kind: _any_of(_NAMES[kind]) for kind in ("shape", "color", "size")},
}
_JOINT = re.compile(f", | and |; | (?:{_any_of(_NAMES['relation'])}) ")
