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

from dalle_jax.data.shapes.captions import STATEMENT_KINDS
from dalle_jax.evaluation import tables
from dalle_jax.metrics.captioned import by_value
from dalle_jax.metrics.intervals import wilson
from dalle_jax.pipelines.text import visible

SHOWN = 24  # images in the grid
EXTREMES = 12  # best, and worst, captions

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2328; background: #fff;
       max-width: 70rem; margin: 1.5rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0 1rem; }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; white-space: nowrap;
         vertical-align: top; border-bottom: 1px solid #d1d9e0; }
th:first-child, td:first-child, .facts td { text-align: left; }
.facts td + td { white-space: normal; }
td { font-variant-numeric: tabular-nums; }
.grid { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(6.4rem, 1fr)); }
figure { margin: 0; } figcaption { font-size: .78rem; line-height: 1.25; }
figure img { width: 100%; aspect-ratio: 1; object-fit: contain; image-rendering: pixelated;
             display: block; }
@media (min-width: 45rem) { .grid { grid-template-columns: repeat(8, 1fr); } }
.right { color: #1a7f37; } .wrong { color: #b42318; }
.quiet { color: #59636e; }
.bars { display: grid; gap: .15rem .7rem; align-items: center; font-size: .85rem;
        grid-template-columns: minmax(3rem, max-content) minmax(5rem, 16rem) max-content;
        margin-bottom: 1rem; }
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
    parts = [f"<h1>{page_text(name)}</h1>", _facts(rows[0], len(captions))]
    parts += ["<h2>Results</h2>", *(_table(row) for row in rows), NOTES]
    if leaked := next((row for row in rows if "leakage" in row), None):
        parts += ["<h2>Also in the training data</h2>", _leakage(leaked)]
    if images is not None:
        seeds = rows[0]["protocol"]["sampling"]["seeds"]
        of_seed = "" if len(seeds) == 1 else f", images of seed {seeds[0]}"
        right = scores["oracle/caption"][:, 0] > 0 if "oracle/caption" in scores else None
        parts += [f"<h2>The first captions{of_seed}</h2>"]
        parts += [_grid(range(min(SHOWN, len(captions))), captions, images, right)]
        if ranking := rank_captions(scores):
            by, values, order = ranking
            of_all = "" if len(seeds) == 1 else f", mean of {len(seeds)} seeds"
            for which, extremes in (("Best", order), ("Worst", order[::-1])):
                parts += [f"<h2>{which} captions by {page_text(by)}{of_all}</h2>"]
                parts += [_grid(extremes[:EXTREMES], captions, images, right, values)]
        if right is not None:
            parts += [f"<h2>Accuracy by what is stated{of_seed}</h2>"]
            parts += [_bars(by_value(captions, images))]
    if nearest is not None:
        uri = f"data:image/png;base64,{base64.b64encode(nearest.read_bytes()).decode()}"
        parts += [
            "<h2>Nearest training images</h2>",
            f'<div class="scroll"><img alt="" src="{uri}"></div>',
        ]
    parts += ["<h2>Protocol</h2>"]
    for row in rows:
        protocol = json.dumps(row["protocol"], indent=2, sort_keys=True)
        parts.append(
            f"<details><summary>{page_text(row['protocol']['features'])}, protocol "
            f"{row['protocol_hash']}</summary><pre>{page_text(protocol)}</pre></details>"
        )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{page_text(name)}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


NOTES = (
    '<p class="quiet">Intervals are over captions (shares: Wilson or bootstrap) or over images '
    "(distances: delete-a-group jackknife), for one training of the model. A distance's floor is "
    "that between real images and others of the same data; images of the reference's own captions "
    "can be nearer to it than that. A score's floor is what the captions' real images get.</p>"
)


def rank_captions(scores: Mapping[str, np.ndarray]) -> tuple[str, np.ndarray, np.ndarray] | None:
    """What captions are ranked by, their scores [captions], and their numbers, best first.

    It is CLIP's cosine, or the oracle's share of right statements; captions of one score keep their
    order.
    """
    for name, by_seed in scores.items():
        if name.startswith("clip_cosine"):
            values = by_seed.mean(1)
            return name, values, np.argsort(-values, kind="stable")
    kinds = [scores[f"oracle/{k}"] for k in STATEMENT_KINDS if f"oracle/{k}" in scores]
    if not kinds:
        return None
    share = np.nanmean(np.stack(kinds), axis=(0, 2))
    return "the share of right statements", share, np.argsort(-share, kind="stable")


def _facts(row: Mapping[str, Any], num_captions: int) -> str:
    sampling = row["protocol"]["sampling"]
    model = ", ".join(
        f"{stage} {run['fingerprint']} at step {run['step']}{tables.of_weights(run)}"
        for stage, run in row["model"].items()
    )
    facts = {
        "model": model,
        "captions": f"{num_captions} of {row['data']}, manifest "
        f"{row['protocol']['manifest_sha256'][:12]}",
        "sampling": ", ".join(f"{name} {value}" for name, value in sorted(sampling.items())),
    }
    cells = "".join(f"<tr><td>{k}</td><td>{page_text(v)}</td></tr>" for k, v in facts.items())
    return f'<div class="scroll"><table class="facts">{cells}</table></div>'


def _leakage(row: Mapping[str, Any]) -> str:
    cells = "".join(
        f"<tr><td>{page_text(kind.replace('_', ' '))}{page_text(tables.threshold(found))}</td>"
        f"<td>{found['count']}</td><td>{100 * found['share']:.1f} %</td></tr>"
        for kind, found in row["leakage"].items()
    )
    head = "<tr><th>what is the same</th><th>held-out captions</th><th>share</th></tr>"
    return (
        f'<div class="scroll"><table class="facts">{head}{cells}</table></div><p class="quiet">'
        "Captions of few words recur by design and are left in; results without the others stand "
        "under each table. Which training items they are is told in leakage*.json beside this page."
        "</p>"
    )


def _table(row: Mapping[str, Any]) -> str:
    heads, lines = tables.headings(row), tables.lines_of(row)
    columns = [i for i, head in enumerate(heads) if head and any(line[i] for line in lines)]
    head = "".join(f"<th>{page_text(heads[i])}</th>" for i in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{page_text(line[i])}</td>" for i in columns) + "</tr>"
        for line in lines
    )
    texts = (*tables.bias_remarks(row), *tables.remarks(row)[1:])
    remarks = "".join(f"<p>{page_text(text)}</p>" for text in texts)
    title = page_text(tables.title(row))
    table = f"<table><tr>{head}</tr>{body}</table>"
    return f'<p class="quiet">{title}</p><div class="scroll">{table}</div>{remarks}'


def _grid(
    which: Sequence[int],
    captions: Sequence[str],
    images: Sequence[np.ndarray],
    right: np.ndarray | None,
    values: np.ndarray | None = None,
) -> str:
    figures = []
    for i in which:
        score = "" if values is None else f'<span class="quiet">{values[i]:.2f}</span> '
        kind = "" if right is None else ' class="right"' if right[i] else ' class="wrong"'
        # The caption's own letters say which way it runs.
        caption = f'<span dir="auto">{page_text(captions[i])}</span>'
        figures.append(
            f'<figure><img alt="" src="{data_uri(images[i])}">'
            f"<figcaption{kind}>{score}{caption}</figcaption>"
            "</figure>"
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
                f"<span>{page_text(value)}</span>"
                f'<span class="bar"><i style="width:{100 * right / made:.1f}%"></i>'
                f'<b style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></b></span>'
                f"<span>{100 * right / made:.0f} % of {made}</span>"
            )
        parts.append(f"<h3>{page_text(kind)}</h3><div class='bars'>{''.join(cells)}</div>")
    return "".join(parts)


def data_uri(image: np.ndarray) -> str:
    """uint8 [H, W, 3] as a PNG that stands in the page itself."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def page_text(value: Any) -> str:
    """A value as text of a page, in which characters without a shape are seen as escapes."""
    return html.escape(visible(str(value)))
