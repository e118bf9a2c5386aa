"""How well the oracle reads drawn images: the tables of docs/oracle.md, as Markdown.

    python experiments/oracle_confusion.py --images=2000

The scenes are drawn from the data set's own distribution, with seeds that no split uses.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageFilter

from dalle_jax.data.shapes.builder import CONFIGS
from dalle_jax.data.shapes.captions import descriptive
from dalle_jax.data.shapes.draw import draw
from dalle_jax.data.shapes.scene import (
    BACKGROUNDS,
    COLORS,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    Scene,
    SceneSettings,
    sample_scene,
)
from dalle_jax.data.shapes.statements import STATEMENT_KINDS, Statement
from dalle_jax.metrics.intervals import wilson
from dalle_jax.metrics.oracle import Reading, check, read_scene

SEED = 20_000
RESOLUTIONS = (32, 64)
VALUES = {
    "count": (1, 2, 3),
    "shape": SHAPES,
    "color": tuple(COLORS),
    "size": tuple(SIZES),
    "place": tuple(PLACES.values()),
    "relation": RELATIONS,
    "background": tuple(BACKGROUNDS),
}


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Formatter)
    parser.add_argument("--images", type=int, default=2000, help="for each config and resolution")
    images = parser.parse_args().images
    scenes = {config: _scenes(config, images) for config in CONFIGS}
    readings = {
        (config, resolution): [read_scene(draw(scene, resolution)) for scene in scenes[config]]
        for config in CONFIGS
        for resolution in RESOLUTIONS
    }
    _print_statements(scenes, readings)
    for resolution in RESOLUTIONS:
        _print_shapes(scenes["full"], readings["full", resolution], resolution)
    _print_altered(scenes, readings)
    _print_damaged(scenes["full"][: min(images, 500)])


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


def _scenes(config: str, n: int) -> list[Scene]:
    settings = SceneSettings(CONFIGS[config])
    return [sample_scene(np.random.default_rng([SEED, k]), settings) for k in range(n)]


def _print_statements(scenes: dict, readings: dict) -> None:
    print("### Statements of descriptive captions found right\n")
    _row("config", "pixels", *STATEMENT_KINDS, "all", "95 % interval")
    _row(*["---"] * (len(STATEMENT_KINDS) + 4))
    for (config, resolution), read in readings.items():
        right, made = _tally(scenes[config], read)
        cells = [f"{right[k]}/{made[k]}" if made[k] else "–" for k in STATEMENT_KINDS]
        low, high = wilson(right.total(), made.total())
        share = f"{100 * right.total() / made.total():.3f} %"
        _row(config, resolution, *cells, share, f"{100 * low:.2f} to {100 * high:.2f} %")


def _print_shapes(scenes: Sequence[Scene], read: Sequence[Reading], resolution: int) -> None:
    table: Counter = Counter()
    for scene, reading in zip(scenes, read):
        for o in scene.objects:
            near = min(reading.objects, default=None, key=lambda s: _apart(s, o))
            seen = near.shape if near and _apart(near, o) < o.radius else "nothing"
            table[o.shape, seen or "no shape"] += 1
    print(f"\n### Shapes drawn (rows) and read (columns), `full` at {resolution} pixels\n")
    columns = (*SHAPES, "no shape", "nothing")
    _row("", *columns)
    _row(*["---"] * (len(columns) + 1))
    for shape in SHAPES:
        _row(shape, *(table[shape, seen] or "" for seen in columns))


def _print_altered(scenes: dict, readings: dict) -> None:
    print("\n### Captions with one statement altered: how many the oracle calls wrong\n")
    _row("config", "pixels", *STATEMENT_KINDS)
    _row(*["---"] * (len(STATEMENT_KINDS) + 2))
    for (config, resolution), read in readings.items():
        rng = np.random.default_rng(SEED)
        flagged, made = Counter(), Counter()
        for scene, reading in zip(scenes[config], read):
            for kind, statements in _altered(descriptive(scene).statements, rng):
                made[kind] += 1
                flagged[kind] += not all(check(statements, reading))
        cells = [f"{flagged[k]}/{made[k]}" if made[k] else "–" for k in STATEMENT_KINDS]
        _row(config, resolution, *cells)


def _altered(
    statements: tuple[Statement, ...], rng: np.random.Generator
) -> Iterator[tuple[str, tuple[Statement, ...]]]:
    """The caption with one statement replaced by a false one, for each of its statements."""
    for k, s in enumerate(statements):
        others = [value for value in VALUES[s.kind] if value != s.value]
        false = replace(s, value=others[rng.integers(len(others))])
        yield s.kind, (*statements[:k], false, *statements[k + 1 :])


def _print_damaged(scenes: Sequence[Scene]) -> None:
    print(f"\n### Damaged images, {len(scenes)} of `full`: statements found right\n")
    _row("damage", *(f"{resolution} pixels" for resolution in RESOLUTIONS))
    _row(*["---"] * (len(RESOLUTIONS) + 1))
    rng = np.random.default_rng(SEED)
    damages = {f"noise, σ = {s} of 255": _noise(s, rng) for s in (10, 20, 30)}
    damages |= {f"blur, σ = {s} pixels": _blur(s) for s in (0.4, 0.8, 1.2)}
    for name, damage in damages.items():
        cells = []
        for resolution in RESOLUTIONS:
            read = [read_scene(damage(draw(scene, resolution))) for scene in scenes]
            right, made = _tally(scenes, read)
            cells.append(f"{100 * right.total() / made.total():.2f} %")
        _row(name, *cells)


def _noise(sigma: float, rng: np.random.Generator):
    return lambda image: np.clip(image + rng.normal(0, sigma, image.shape), 0, 255).astype(np.uint8)


def _blur(sigma: float):
    blur = ImageFilter.GaussianBlur(sigma)
    return lambda image: np.asarray(Image.fromarray(image).filter(blur))


def _tally(scenes: Sequence[Scene], read: Sequence[Reading]) -> tuple[Counter, Counter]:
    """Statements of each kind found right, and made."""
    right, made = Counter(), Counter()
    for scene, reading in zip(scenes, read):
        statements = descriptive(scene).statements
        for s, held in zip(statements, check(statements, reading)):
            right[s.kind] += held
            made[s.kind] += 1
    return right, made


def _apart(a, b) -> float:
    return float(np.hypot(a.cx - b.cx, a.cy - b.cy))


def _row(*cells) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


if __name__ == "__main__":
    main()
