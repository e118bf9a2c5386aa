"""`dalle-jax compare A.npz B.npz`: what files of statistics hold, and how far apart they are."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from dalle_jax.metrics.frechet import frechet_distance
from dalle_jax.metrics.reference import Reference, describe, load_reference

# What must be the same for a distance of features to mean anything.
IDENTITY = ("features", "features_sha256", "preprocessing")


def show(paths: Sequence[Path]) -> None:
    """Describe each file, and print the distances of the others from the first.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no statistics, or two are of different features.
    """
    references = [load_reference(path) for path in paths]
    for path, reference in zip(paths, references):
        print(f"{path}\n{textwrap.indent(describe(reference), '  ')}")
    for path, reference in zip(paths[1:], references[1:]):
        for tap, value in distances(references[0], reference).items():
            print(f"Fréchet distance of {paths[0]} and {path}, {tap}: {value:.6g}")


def distances(a: Reference, b: Reference) -> dict[str, float]:
    """The Fréchet distance on each tap that both have.

    Raises:
        ValueError: they were made in different ways, as far as they say, or have no tap in common.
    """
    for name in IDENTITY:
        x, y = a.made_with.get(name), b.made_with.get(name)
        if None not in (x, y) and x != y:
            raise ValueError(
                f"the statistics were made with {name} {x!r} and {y!r}, so that their "
                "distance means nothing"
            )
    taps = [tap for tap in a.gaussians if tap in b.gaussians]
    if not taps:
        raise ValueError(
            f"the statistics are of different features: {', '.join(a.gaussians)} and "
            f"{', '.join(b.gaussians)}"
        )
    return {tap: frechet_distance(a.gaussians[tap], b.gaussians[tap]) for tap in taps}
