"""report.html: what an evaluation found, on one page that needs no other file."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dalle_jax.cli import tables
from dalle_jax.data.shapes.captions import STATEMENT_KINDS
from dalle_jax.metrics.captioned import by_value
from dalle_jax.metrics.intervals import wilson

SHOWN = 24  # images in the grid
EXTREMES = 12  # best, and worst, captions

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2328; max-width: 70rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: .6rem 0 1rem; }
caption { text-align: left; color: #59636e; padding-bottom: .3rem; }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; border-bottom: 1px solid #d1d9e0; }
th:first-child, td:first-child { text-align: left; }
td { font-variant-numeric: tabular-nums; }
.grid { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { width: 8rem; margin: 0; } figcaption { font-size: .78rem; line-height: 1.25; }
figure img { width: 8rem; height: 8rem; image-rendering: pixelated; display: block; }
.right { color: #1a7f37; } .wrong { color: #b42318; } .wide { max-width: 100%; }
.quiet { color: #59636e; }
.bars { display: grid; grid-template-columns: max-content 16rem max-content; gap: .15rem .7rem;
        align-items: center; font-size: .85rem; margin-bottom: 1rem; }
.bar { position: relative; height: .9rem; background: #eff2f5; }
.bar i { position: absolute; inset: 0 auto 0 0; background: #6ea8d8; }
.bar b { position: absolute; top: .38rem; height: .14rem; background: #1f2328; }
pre { background: #f6f8fa; padding: .8rem; overflow-x: auto; font-size: .8rem; }
"""


def render(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    captions: Sequence[str],
    images: Sequence[np.ndarray] | None,
    scores: Mapping[str, np.ndarray],
    nearest: Path | None = None,
) -> str:
    """The page.

    Args:
        name: of what was evaluated.
        rows: of results, of the same captions.
        captions: all of them.
        images: of the first seed, uint8 [H, W, 3] each; None if they are not kept.
        scores: by caption, [captions, seeds] by metric.
        nearest: a picture of images beside the training images nearest to them.
    """
    parts = [f"<h1>{_text(name)}</h1>", _facts(rows[0], len(captions))]
    parts += ["<h2>Results</h2>", *(_table(row) for row in rows), NOTES]
    if images is not None:
        right = scores["oracle/caption"][:, 0] > 0 if "oracle/caption" in scores else None
        parts += ["<h2>The first captions</h2>"]
        parts += [_grid(range(min(SHOWN, len(captions))), captions, images, right)]
        if ranking := rank_captions(scores):
            by, order = ranking
            parts += [f"<h2>Best captions by {_text(by)}</h2>"]
            parts += [_grid(order[:EXTREMES], captions, images, right)]
            parts += [f"<h2>Worst captions by {_text(by)}</h2>"]
            parts += [_grid(order[::-1][:EXTREMES], captions, images, right)]
        if right is not None:
            parts += ["<h2>Accuracy by what is stated</h2>", _bars(by_value(captions, images))]
    if nearest is not None:
        uri = f"data:image/png;base64,{base64.b64encode(nearest.read_bytes()).decode()}"
        parts += ["<h2>Nearest training images</h2>", f'<img alt="" class="wide" src="{uri}">']
    parts += ["<h2>Protocol</h2>"]
    for row in rows:
        protocol = json.dumps(row["protocol"], indent=2, sort_keys=True)
        parts.append(
            f"<details><summary>{_text(row['protocol']['features'])}, protocol "
            f"{row['protocol_hash']}</summary><pre>{_text(protocol)}</pre></details>"
        )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(name)}</title>'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


NOTES = (
    '<p class="quiet">Intervals are over captions (shares: Wilson or bootstrap) or over images '
    "(distances: delete-a-group jackknife), for one training of the model. A distance's floor is "
    "that between real images and others of the same data; images of the reference's own captions "
    "can be nearer to it than that. A score's floor is what the captions' real images get.</p>"
)


def rank_captions(scores: Mapping[str, np.ndarray]) -> tuple[str, np.ndarray] | None:
    """(what they are ranked by, the captions' numbers, best first): by CLIP's cosine or the oracle.

    By the oracle it is the share of right statements; captions of one share keep their order.
    """
    for name, values in scores.items():
        if name.startswith("clip_cosine"):
            return name, np.argsort(-values.mean(1), kind="stable")
    kinds = [scores[f"oracle/{k}"] for k in STATEMENT_KINDS if f"oracle/{k}" in scores]
    if not kinds:
        return None
    share = np.nanmean(np.stack(kinds), axis=(0, 2))
    return "the share of right statements", np.argsort(-share, kind="stable")


def _facts(row: Mapping[str, Any], num_captions: int) -> str:
    sampling = row["protocol"]["sampling"]
    model = ", ".join(
        f"{stage} {run['fingerprint']} at step {run['step']}" for stage, run in row["model"].items()
    )
    facts = {
        "model": model,
        "captions": f"{num_captions} of {row['data']}, manifest "
        f"{row['protocol']['manifest_sha256'][:12]}",
        "sampling": ", ".join(f"{name} {value}" for name, value in sorted(sampling.items())),
    }
    cells = "".join(f"<tr><td>{k}</td><td>{_text(v)}</td></tr>" for k, v in facts.items())
    leaked = "".join(f"<p>{_text(text)}</p>" for text in tables.remarks(row)[:1])
    return f"<table>{cells}</table>{leaked}"


def _table(row: Mapping[str, Any]) -> str:
    heads, lines = tables.headings(row), tables.lines_of(row)
    columns = [i for i, head in enumerate(heads) if head and any(line[i] for line in lines)]
    head = "".join(f"<th>{_text(heads[i])}</th>" for i in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(line[i])}</td>" for i in columns) + "</tr>" for line in lines
    )
    without = "".join(f"<p>{_text(text)}</p>" for text in tables.remarks(row)[1:])
    title = _text(tables.title(row))
    return f"<table><caption>{title}</caption><tr>{head}</tr>{body}</table>{without}"


def _grid(
    which: Sequence[int],
    captions: Sequence[str],
    images: Sequence[np.ndarray],
    right: np.ndarray | None,
) -> str:
    figures = []
    for i in which:
        kind = "" if right is None else ' class="right"' if right[i] else ' class="wrong"'
        figures.append(
            f'<figure><img alt="" src="{_data_uri(images[i])}">'
            f"<figcaption{kind}>{_text(captions[i])}</figcaption></figure>"
        )
    return f'<div class="grid">{"".join(figures)}</div>'


def _bars(tally: Mapping[str, Mapping[str, tuple[int, int]]]) -> str:
    """A bar of the share that is right for each value, its 95 % Wilson interval drawn into it."""
    parts = []
    for kind, values in tally.items():
        cells = []
        for value, (right, made) in values.items():
            low, high = wilson(right, made)
            cells.append(
                f"<span>{_text(value)}</span>"
                f'<span class="bar"><i style="width:{100 * right / made:.1f}%"></i>'
                f'<b style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></b></span>'
                f"<span>{100 * right / made:.0f} % of {made}</span>"
            )
        parts.append(f"<h3>{_text(kind)}</h3><div class='bars'>{''.join(cells)}</div>")
    return "".join(parts)


def _data_uri(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _text(value: Any) -> str:
    return html.escape(str(value))
