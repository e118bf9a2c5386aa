"""What a caption of a scene states."""

from dataclasses import dataclass

STATEMENT_KINDS = ("count", "shape", "color", "size", "place", "relation", "background")


@dataclass(frozen=True)
class Statement:
    """One thing a caption says.

    `value` is a number of objects for `count`, else a name. `subject` is the index of the object
    in the caption's order; `other` that of the object that a relation refers to.
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
