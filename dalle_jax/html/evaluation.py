"""report.html of an evaluation: what was measured of one model, on one page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dalle_jax.data.shapes.statements import STATEMENT_KINDS
from dalle_jax.evaluation import tables
from dalle_jax.evaluation.evaluated import Evaluated
from dalle_jax.html import page
from dalle_jax.metrics.captioned import counts_by_value
from dalle_jax.metrics.intervals import wilson

SHOWN = 24  # images in the first grid
EXTREMES = 12  # best, and worst, captions


def write_report(found: Evaluated) -> Path:
    """Write the page of an evaluation into its workdir; returns where it is."""
    nearest = found.workdir / f"memorization{found.suffix}.png"
    measured = any("memorization" in row for row in found.rows)  # else the picture is of others
    html = render(
        f"{found.workdir}: {found.data}",
        found.rows,
        found.captions,
        found.images,
        found.scores,
        nearest if measured and nearest.exists() else None,
    )
    path = found.workdir / f"report{found.suffix}.html"
    path.write_text(html, encoding="utf-8")
    return path


def render(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    captions: Sequence[str],
    images: Sequence[np.ndarray] | None,
    scores: Mapping[str, np.ndarray],
    nearest: Path | None = None,
) -> str:
    """The page, as HTML that needs no other file.

    Args:
        name: of what was evaluated, the page's title.
        rows: of results, of the same captions.
        captions: all of them.
        images: of the first seed, uint8 [H, W, 3] each; None if they are not stored.
        scores: by caption, [captions, seeds] by metric.
        nearest: a picture of images beside the training images nearest to them.
    """
    has_oracle = images is not None and "oracle/caption" in scores
    nearest = nearest and np.asarray(Image.open(nearest).convert("RGB"))
    return page.render(
        "evaluation.html",
        title=name,
        rows=rows,
        seeds=rows[0]["protocol"]["sampling"]["seeds"],
        tables=[_table(row) for row in rows],
        threshold=tables.threshold,
        of_weights=tables.of_weights,
        captions=captions,
        images=images,
        correct=scores["oracle/caption"][:, 0] > 0 if has_oracle else None,
        first=range(min(SHOWN, len(captions))),
        ranking=rank_captions(scores),
        extremes=EXTREMES,
        bars=counts_by_value(captions, images) if has_oracle else {},
        wilson=wilson,
        nearest=nearest,
        protocols=[json.dumps(row["protocol"], indent=2, sort_keys=True) for row in rows],
    )


def rank_captions(scores: Mapping[str, np.ndarray]) -> tuple[str, np.ndarray, np.ndarray] | None:
    """What captions are ranked by, their scores [captions], and their numbers, best first.

    It is CLIP's cosine, else the oracle's share of correct statements; None without either.
    Captions of equal score stay in their order.
    """
    for name, by_seed in scores.items():
        if name.startswith("clip_cosine"):
            values = by_seed.mean(1)
            return name, values, np.argsort(-values, kind="stable")
    kinds = [scores[f"oracle/{k}"] for k in STATEMENT_KINDS if f"oracle/{k}" in scores]
    if not kinds:
        return None
    share = np.nanmean(np.stack(kinds), axis=(0, 2))
    return "the share of correct statements", share, np.argsort(-share, kind="stable")


def _table(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of results without its empty columns, and remarks on it."""
    lines = [tables.headings(row), *tables.lines_of(row)]
    columns = [i for i, head in enumerate(lines[0]) if head and any(x[i] for x in lines[1:])]
    return {
        "title": tables.title(row),
        "lines": [[line[i] for i in columns] for line in lines],
        # The first remark on leakage is a table of its own.
        "remarks": [*tables.bias_remarks(row), *tables.remarks(row)[1:]],
    }
