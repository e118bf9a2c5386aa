"""Scores of images against their captions: means with intervals, and values by caption."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dalle_jax.data.shapes.statements import STATEMENT_KINDS
from dalle_jax.metrics import oracle
from dalle_jax.metrics.clip_score import CLIP_SCORES, clip_score, r_precision
from dalle_jax.metrics.intervals import bootstrap, wilson

R_PRECISION_CANDIDATES = 100


@dataclass(frozen=True)
class Scored:
    """Scores of a set of captions.

    Attributes:
        metrics: entries of a results row, by metric.
        by_caption: float [captions, seeds] by metric; NaN where the metric is undefined for a
            caption.
    """

    metrics: dict[str, dict[str, Any]]
    by_caption: dict[str, np.ndarray]


def oracle_accuracy(
    captions: Sequence[str], images: Sequence[Sequence[np.ndarray]], seed: int = 0
) -> Scored:
    """Shares of the captions' statements that are correct in their images.

    The metrics are "oracle/KIND" for each kind of statement, "oracle/statement" (of every kind),
    "oracle/object" (all statements about an object are correct), "oracle/caption" (all statements
    of a caption are correct) and, if captions differ in their number of objects,
    "oracle/caption_of_N" (the same for captions of N objects). Intervals are Wilson's where each
    caption gives one binary result; otherwise they are a bootstrap over captions, which resamples
    the objects and seeds of a caption together.

    Args:
        captions: [N].
        images: for each sampling seed, N images uint8 [H, W, 3].
        seed: of the bootstrap.

    Raises:
        ValueError: a caption is outside the grammar that the oracle reads.
    """
    scores = [oracle.score(captions, seed_images) for seed_images in images]
    counts = {kind: np.stack([s.by_caption[kind] for s in scores]) for kind in scores[0].by_caption}
    counts["statement"] = sum(counts[kind] for kind in STATEMENT_KINDS if kind in counts)
    all_right = np.stack([s.all_right for s in scores]).astype(int)
    counts["caption"] = np.stack([all_right, np.ones_like(all_right)], -1)
    num_objects = counts["object"][0, :, 1]
    if len(numbers := np.unique(num_objects)) > 1:
        for number in numbers:
            has_number = (num_objects == number)[:, None]
            counts[f"caption_of_{number}"] = counts["caption"] * has_number
    metrics, by_caption = {}, {}
    for kind, tally in counts.items():  # [seeds, captions, (right, made)]
        right, made = tally[..., 0].T, tally[0, :, 1]  # [captions, seeds], [captions]
        with np.errstate(invalid="ignore"):
            by_caption[f"oracle/{kind}"] = right / made[:, None]
        metrics[f"oracle/{kind}"] = _share(right, made, seed)
    return Scored(metrics, by_caption)


def _share(right: np.ndarray, made: np.ndarray, seed: int) -> dict[str, Any]:
    """The entry for `right` [captions, seeds] correct statements out of `made` [captions]."""
    stated = made > 0
    right, made = right[stated], made[stated]
    num_seeds = right.shape[1]
    totals, of = right.sum(0), int(made.sum())
    value = float(totals.mean() / of)
    if num_seeds == 1 and (made == 1).all():
        interval, by = wilson(int(totals[0]), of), "Wilson"
    elif value in (0.0, 1.0):
        # All resamples would be equal. Each caption counts as one observation.
        interval, by = wilson(round(value * len(made)), len(made)), "Wilson, of captions"
    else:
        pairs = np.column_stack([right.mean(1), made])
        ratio = lambda drawn: drawn[:, 0].sum() / drawn[:, 1].sum()
        interval, by = bootstrap(pairs, seed, statistic=ratio), "bootstrap over captions"
    entry = {"value": value, "interval": interval, "interval_by": by, "of": of}
    entry["right"] = int(totals[0]) if num_seeds == 1 else totals.tolist()
    return entry | _seeds((totals / of).tolist())


def clip_scores(
    name: str,
    captions: np.ndarray,
    images: np.ndarray,
    texts: Sequence[str],
    seed: int = 0,
) -> Scored:
    """CLIP scores (all of `CLIP_SCORES`) and R-precision from the embeddings of one CLIP.

    R-precision is omitted if there are fewer different captions than candidates.

    Args:
        name: of the CLIP in results, as "clip:FINGERPRINT".
        captions: embeddings [captions, D].
        images: embeddings [seeds, captions, D].
        texts: the captions.
        seed: of the bootstrap and of the candidates.
    """
    by_caption = {
        f"{variant}[{name}]": np.stack(
            [clip_score(embeddings, captions, variant) for embeddings in images], 1
        )
        for variant in CLIP_SCORES
    }
    if len(set(texts)) >= R_PRECISION_CANDIDATES:
        hits = [
            r_precision(embeddings, captions, list(texts), R_PRECISION_CANDIDATES, seed=seed)
            for embeddings in images
        ]
        by_caption[f"r_precision[{name}]"] = np.stack(hits, 1).astype(float)
    metrics = {
        metric: {
            "value": float(values.mean()),
            "interval": bootstrap(values, seed),
            "interval_by": "bootstrap over captions",
        }
        | _seeds(values.mean(0).tolist())
        for metric, values in by_caption.items()
    }
    return Scored(metrics, by_caption)


def _seeds(values: list[float]) -> dict[str, Any]:
    """The entries `by_seed` and `std_of_seeds`, if there are several sampling seeds."""
    if len(values) == 1:
        return {}
    return {"by_seed": values, "std_of_seeds": float(np.std(values, ddof=1))}


def counts_by_value(
    captions: Sequence[str], images: Sequence[np.ndarray]
) -> dict[str, dict[str, tuple[int, int]]]:
    """(correct, all) statements by kind and value, as {"shape": {"ring": (7, 12), …}, …}.

    Raises:
        ValueError: a caption is outside the grammar that the oracle reads.
    """
    tally: dict[str, dict[str, list[int]]] = {}
    for caption, image in zip(captions, images):
        statements = oracle.parse(caption)
        for statement, right in zip(statements, oracle.check(statements, image)):
            counts = tally.setdefault(statement.kind, {}).setdefault(str(statement.value), [0, 0])
            counts[0] += right
            counts[1] += 1
    return {
        kind: {value: (right, made) for value, (right, made) in sorted(values.items())}
        for kind, values in tally.items()
    }
