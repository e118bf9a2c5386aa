"""Checks which statements of a caption are correct in an image of shapes."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dalle_jax.data.shapes.captions import parse
from dalle_jax.data.shapes.scene import relation_of_offset
from dalle_jax.data.shapes.statements import STATEMENT_KINDS, Statement
from dalle_jax.metrics.scene_reading import DetectedObject, Reading, read_scene

MAX_CANDIDATES = 6  # only the largest objects of an image are matched to those of a caption


def check(statements: str | Sequence[Statement], image: np.ndarray | Reading) -> list[bool]:
    """Which statements of a caption are correct in an image, in their order.

    The caption's objects are matched to the image's so that the most statements are correct.
    Statements about an object without a match are wrong; objects that the caption does not mention
    make the count wrong.

    Args:
        statements: a caption or its parsed statements.
        image: uint8 [H, H, 3], or its scene as `read_scene` returns it.
    """
    if isinstance(statements, str):
        statements = parse(statements)
    reading = image if isinstance(image, Reading) else read_scene(image)
    described = sorted({s.subject for s in statements if s.subject is not None})
    candidates: list[DetectedObject | None] = list(reading.objects[:MAX_CANDIDATES])
    candidates += [None] * (len(described) - len(candidates))
    matches = (
        [_is_correct(s, dict(zip(described, chosen)), reading) for s in statements]
        for chosen in itertools.permutations(candidates, len(described))
    )
    return max(matches, key=sum)


@dataclass(frozen=True)
class Score:
    """The numbers of correct statements of a set of captions in their images.

    Attributes:
        statements: (correct, all) statements by kind, over all captions.
        objects: (correct, all) objects; an object is correct if all statements about its size,
            color, shape and place are correct for one object in the image.
        all_right: whether all statements of each caption are correct, bool [N].
        by_caption: (correct, all) of each caption, int [N, 2], by kind and for "object".
    """

    statements: dict[str, tuple[int, int]]
    objects: tuple[int, int]
    all_right: np.ndarray
    by_caption: dict[str, np.ndarray]


def score(captions: Sequence[str | Sequence[Statement]], images: Sequence[np.ndarray]) -> Score:
    """Check caption n against image n, for all n.

    Raises:
        ValueError: the numbers of images and captions differ, or a caption is outside the grammar
            of `parse`.
    """
    if len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions can't be scored on {len(images)} images")
    tally = {kind: np.zeros((len(captions), 2), int) for kind in (*STATEMENT_KINDS, "object")}
    all_right = np.zeros(len(captions), bool)
    for n, (caption, image) in enumerate(zip(captions, images)):
        statements = parse(caption) if isinstance(caption, str) else caption
        correct = check(statements, image)
        all_right[n] = all(correct)
        attributes: dict[int, list[bool]] = {}
        for statement, right in zip(statements, correct):
            tally[statement.kind][n] += (right, 1)
            if statement.kind in ("size", "color", "shape", "place"):
                attributes.setdefault(statement.subject, []).append(right)
        tally["object"][n] = sum(map(all, attributes.values())), len(attributes)
    totals = {kind: tuple(counts.sum(0).tolist()) for kind, counts in tally.items()}
    objects = totals.pop("object")
    made = {kind: (right, of) for kind, (right, of) in totals.items() if of}
    return Score(made, objects, all_right, {k: c for k, c in tally.items() if c.any()})


def _is_correct(s: Statement, objects: dict[int, DetectedObject | None], reading: Reading) -> bool:
    if s.kind == "count":
        return len(reading.objects) == s.value
    if s.kind == "background":
        return reading.background == s.value
    subject = objects[s.subject]
    if subject is None:
        return False
    if s.kind != "relation":
        return getattr(subject, s.kind) == s.value
    other = objects[s.other]
    if other is None:
        return False
    return relation_of_offset(other.cx - subject.cx, other.cy - subject.cy) == s.value
