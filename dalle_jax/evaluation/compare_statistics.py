"""`dalle-jax compare A.npz B.npz`: files of statistics and their Fréchet distances."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from dalle_jax.metrics.frechet import frechet_distance
from dalle_jax.metrics.reference import Reference, describe, load_reference

# A distance is meaningful only if these agree.
IDENTITY = ("features", "features_sha256", "preprocessing")


def show(paths: Sequence[Path]) -> None:
    """Describe each file, and print the distances of the others from the first.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file has no statistics, or two have different features.
    """
    references = [load_reference(path) for path in paths]
    for path, reference in zip(paths, references):
        print(f"{path}\n{textwrap.indent(describe(reference), '  ')}")
    for path, reference in zip(paths[1:], references[1:]):
        for tap, value in distances(references[0], reference).items():
            print(f"Fréchet distance of {paths[0]} and {path}, {tap}: {value:.6g}")


def distances(a: Reference, b: Reference) -> dict[str, float]:
    """The Fréchet distance on each common tap.

    Raises:
        ValueError: they were made differently, or have no tap in common.
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
