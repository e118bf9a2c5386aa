"""What a scene is, and which scenes there are.

Coordinates are those of an image of width and height 1 whose origin is the top left corner, so a
scene is independent of the resolution at which it is drawn.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross", "heart", "ring")

COLORS = {
    "red": (214, 32, 38),
    "orange": (250, 132, 18),
    "yellow": (250, 220, 40),
    "green": (34, 150, 60),
    "cyan": (40, 205, 215),
    "blue": (36, 72, 205),
    "purple": (128, 40, 165),
    "pink": (248, 122, 182),
}

BACKGROUNDS = {
    "white": (248, 248, 248),
    "grey": (142, 142, 142),
    "black": (18, 18, 18),
    "beige": (226, 206, 170),
}

# Half the width of an object before jitter: 9.6 and 14.4 pixels wide in an image of 32.
SIZES = {"small": 0.15, "large": 0.225}

_ROWS, _COLUMNS = ("top", "center", "bottom"), ("left", "center", "right")
# The nine places by (row, column): "top left", "top", …, "center", …, "bottom right".
PLACES = {
    (row, column): " ".join(n for n in (y, x) if n != "center") or "center"
    for (row, y), (column, x) in itertools.product(enumerate(_ROWS), enumerate(_COLUMNS))
}

RELATIONS = ("left of", "right of", "above", "below")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

# Centres lie within LOW, MIDDLE or the mirror image of LOW. The bands are 0.12 apart and the
# boundaries of a reading lie half-way between them.
LOW, MIDDLE = 0.32, (0.44, 0.56)
BAND_EDGES = (0.38, 0.62)
BORDER, GAP = 0.02, 0.03  # least distance to the edge of the image, and between two objects
RADIUS_JITTER = 0.05  # relative
TINT_JITTER, BACKGROUND_TINT_JITTER = 12, 6  # of 255, for each of red, green and blue
RELATION_MARGIN = 0.12  # by how much the one offset of a related pair exceeds the other


@dataclass(frozen=True)
class Object:
    """One drawn thing: its names, and the continuous values that the names leave open."""

    shape: str
    color: str
    size: str
    place: str
    cx: float
    cy: float
    radius: float  # half the width of the square that the shape is drawn in
    tint: tuple[int, int, int]  # added to the color, in units of 1/255

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The color it is drawn in, 0 to 255."""
        return _tinted(COLORS[self.color], self.tint)


@dataclass(frozen=True)
class Scene:
    """Up to three objects on a plain background. No two share both shape and color."""

    objects: tuple[Object, ...]
    background: str
    background_tint: tuple[int, int, int]

    @property
    def background_rgb(self) -> tuple[int, int, int]:
        """The color of the background, 0 to 255."""
        return _tinted(BACKGROUNDS[self.background], self.background_tint)

    def relations(self) -> tuple[tuple[int, str, int], ...]:
        """All `(i, relation, j)` with i < j whose relation is clear."""
        return clear_relations(self.objects)

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts, lists, strings and numbers."""
        objects = [{**vars(o), "tint": list(o.tint)} for o in self.objects]
        return {**vars(self), "objects": objects, "background_tint": list(self.background_tint)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Scene":
        """The inverse of `to_dict`, also after a round through JSON."""
        objects = tuple(Object(**{**o, "tint": tuple(o["tint"])}) for o in fields["objects"])
        return cls(objects, fields["background"], tuple(fields["background_tint"]))


@dataclass(frozen=True)
class SceneSettings:
    """The distribution of scenes."""

    counts: tuple[float, ...] = (1.0,)  # probability of one, two, three objects
    related: float = 0.75  # probability that the first two objects have a clear relation
    # Whether every (shape, color) pair and every clear relation is a held-out one, or none is.
    novel: bool = False


def is_held_out_pair(shape: str, color: str) -> bool:
    """One color of each shape: (3·shape + color) mod 8 = 0, counted from 0."""
    return (3 * SHAPES.index(shape) + tuple(COLORS).index(color)) % len(COLORS) == 0


def is_held_out_relation(first: str, relation: str, second: str) -> bool:
    """One ordered pair of shapes in eight for each axis.

    With i the index of the left or upper shape and j the other's: (i + 3j) mod 8 = 2 for left and
    right, 6 for above and below. So "a circle left of a heart" may be held out where "a heart left
    of a circle" is not; the same arrangement named from the other end is the same.
    """
    if relation in ("right of", "below"):
        first, relation, second = second, OPPOSITE[relation], first
    remainder = {"left of": 2, "above": 6}[relation]
    return (SHAPES.index(first) + 3 * SHAPES.index(second)) % len(SHAPES) == remainder


_PAIRS = {
    novel: [p for p in itertools.product(SHAPES, COLORS) if is_held_out_pair(*p) == novel]
    for novel in (False, True)
}


def relation_between(a: "Object | _Spot", b: "Object | _Spot") -> str | None:
    """The relation of a to b, or None where neither axis prevails by `RELATION_MARGIN`."""
    return relation_of_offset(b.cx - a.cx, b.cy - a.cy, RELATION_MARGIN)


def clear_relations(objects: Sequence["Object | _Spot"]) -> tuple[tuple[int, str, int], ...]:
    """All `(i, relation, j)` with i < j whose relation is clear."""
    pairs = itertools.combinations(range(len(objects)), 2)
    named = ((i, relation_between(objects[i], objects[j]), j) for i, j in pairs)
    return tuple((i, name, j) for i, name, j in named if name)


def relation_of_offset(dx: float, dy: float, margin: float = 0.0) -> str | None:
    """The relation of a to b, given b − a; image rows count downwards."""
    if abs(abs(dx) - abs(dy)) <= margin:
        return None
    if abs(dx) > abs(dy):
        return "left of" if dx > 0 else "right of"
    return "above" if dy > 0 else "below"


def place_of(cx: float, cy: float) -> str:
    """The nearest of the nine places."""
    row, column = (sum(v > edge for edge in BAND_EDGES) for v in (cy, cx))
    return PLACES[row, column]


def sample_scene(rng: np.random.Generator, settings: SceneSettings) -> Scene:
    """Sample one scene, whose objects lie inside the image, `GAP` from each other."""
    count = 1 + _choose(rng, settings.counts)
    related = count > 1 and rng.random() < settings.related
    while True:
        spots = _sample_spots(rng, count)
        if spots is None or (count > 1 and related != bool(relation_between(*spots[:2]))):
            continue
        kinds = _sample_kinds(rng, spots, settings.novel)
        if kinds is not None:
            break
    objects = tuple(
        Object(*kind, *spot, _tint(rng, TINT_JITTER)) for kind, spot in zip(kinds, spots)
    )
    background = tuple(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))]
    return Scene(objects, background, _tint(rng, BACKGROUND_TINT_JITTER))


class _Spot(NamedTuple):
    """An object without its shape and color."""

    size: str
    place: str
    cx: float
    cy: float
    radius: float


def _sample_spots(rng: np.random.Generator, count: int) -> tuple[_Spot, ...] | None:
    """Random spots at different places; None where two would touch."""
    spots: list[_Spot] = []
    cells = rng.permutation(len(PLACES))[:count].tolist()
    # One call for all numbers: most proposals for three objects fail, so this is where time goes.
    for cell, (size_draw, *draws) in zip(cells, rng.random((count, 4)).tolist()):
        size = tuple(SIZES)[int(size_draw * len(SIZES))]
        radius = SIZES[size] * (1 + RADIUS_JITTER * (2 * draws[0] - 1))
        row, column = divmod(cell, 3)
        cx, cy = _in_band(draws[1], column, radius), _in_band(draws[2], row, radius)
        for s in spots:
            if max(abs(cx - s.cx), abs(cy - s.cy)) < radius + s.radius + GAP:
                return None
        place = PLACES[row, column]
        spots.append(_Spot(size, place, round(cx, 4), round(cy, 4), round(radius, 4)))
    return tuple(spots)


def _sample_kinds(
    rng: np.random.Generator, spots: Sequence[_Spot], novel: bool
) -> list[tuple[str, str]] | None:
    """Different (shape, color) pairs that suit the relations of these spots; None if not found."""
    pairs = _PAIRS[novel]
    relations = clear_relations(spots)
    for _ in range(64):
        kinds = [pairs[k] for k in rng.permutation(len(pairs))[: len(spots)]]
        shapes = [shape for shape, _ in kinds]
        if all(is_held_out_relation(shapes[i], r, shapes[j]) == novel for i, r, j in relations):
            return kinds
    return None


def _in_band(fraction: float, band: int, radius: float) -> float:
    """The point at `fraction` of the range of centres in the first, middle or last third."""
    low, high = MIDDLE if band == 1 else (BORDER + radius, LOW)
    point = low + fraction * (high - low)
    return 1 - point if band == 2 else point


def _choose(rng: np.random.Generator, probabilities: Sequence[float]) -> int:
    return int(np.searchsorted(np.cumsum(probabilities), rng.random(), side="right"))


def _tint(rng: np.random.Generator, most: int) -> tuple[int, int, int]:
    r, g, b = rng.integers(-most, most + 1, 3)
    return int(r), int(g), int(b)


def _tinted(rgb: tuple[int, int, int], tint: tuple[int, int, int]) -> tuple[int, int, int]:
    r, g, b = (min(max(c + t, 0), 255) for c, t in zip(rgb, tint))
    return r, g, b
