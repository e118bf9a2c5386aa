"""Scores of images by their captions: means with intervals, and the single captions' own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dalle_jax.metrics import oracle
from dalle_jax.metrics.clip_score import CLIP_SCORES, clip_score, r_precision
from dalle_jax.metrics.intervals import bootstrap, wilson

R_PRECISION_CANDIDATES = 100


@dataclass(frozen=True)
class Scored:
    """Scores of a set of captions.

    Attributes:
        metrics: entries of a row by name.
        by_caption: float [captions, seeds] by name, NaN where a caption has nothing to be scored.
    """

    metrics: dict[str, dict[str, Any]]
    by_caption: dict[str, np.ndarray]


def oracle_accuracy(
    captions: Sequence[str], images: Sequence[Sequence[np.ndarray]], seed: int = 0
) -> Scored:
    """Shares of the captions' statements that images bear out, a sequence for each sampling seed.

    "oracle/KIND" for each kind of statement, "oracle/object" (all that is said of one object),
    "oracle/caption" (all that is said) and, where captions differ in their number of objects,
    "oracle/caption_of_N" (all that is said by captions of N objects). Intervals are Wilson's where
    each caption gives one yes or no, else a bootstrap over captions, which keeps a caption's
    objects and seeds together.

    Raises:
        ValueError: a caption is outside the grammar that the oracle reads.
    """
    scores = [oracle.score(captions, of_seed) for of_seed in images]
    counts = {kind: np.stack([s.by_caption[kind] for s in scores]) for kind in scores[0].by_caption}
    all_right = np.stack([s.all_right for s in scores]).astype(int)
    counts["caption"] = np.stack([all_right, np.ones_like(all_right)], -1)
    num_objects = counts["object"][0, :, 1]
    if len(numbers := np.unique(num_objects)) > 1:
        for number in numbers:
            of_number = (num_objects == number)[:, None]
            counts[f"caption_of_{number}"] = counts["caption"] * of_number
    metrics, by_caption = {}, {}
    for kind, tally in counts.items():  # [seeds, captions, (right, made)]
        right, made = tally[..., 0].T, tally[0, :, 1]  # [captions, seeds], [captions]
        with np.errstate(invalid="ignore"):
            by_caption[f"oracle/{kind}"] = right / made[:, None]
        metrics[f"oracle/{kind}"] = _share(right, made, seed)
    return Scored(metrics, by_caption)


def _share(right: np.ndarray, made: np.ndarray, seed: int) -> dict[str, Any]:
    """The entry of right statements [captions, seeds] of those that were made [captions]."""
    stated = made > 0
    right, made = right[stated], made[stated]
    num_seeds = right.shape[1]
    totals, of = right.sum(0), int(made.sum())
    value = float(totals.mean() / of)
    if num_seeds == 1 and (made == 1).all():
        interval, by = wilson(int(totals[0]), of), "Wilson"
    elif value in (0.0, 1.0):
        # No resample would differ; a caption counts as one observation, whatever it states.
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
    """CLIP scores and R-precision of embeddings [captions, D] and [seeds, captions, D] of one CLIP.

    `name` is the CLIP's, as "clip:FINGERPRINT"; the scores are all of `CLIP_SCORES`. R-precision
    needs as many different captions as it has candidates, and is left out where there are fewer.
    """
    by_caption = {
        f"{variant}[{name}]": np.stack(
            [clip_score(of_seed, captions, variant) for of_seed in images], 1
        )
        for variant in CLIP_SCORES
    }
    if len(set(texts)) >= R_PRECISION_CANDIDATES:
        found = [
            r_precision(of_seed, captions, list(texts), R_PRECISION_CANDIDATES, seed=seed)
            for of_seed in images
        ]
        by_caption[f"r_precision[{name}]"] = np.stack(found, 1).astype(float)
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
    """What several sampling seeds gave."""
    if len(values) == 1:
        return {}
    return {"by_seed": values, "std_of_seeds": float(np.std(values, ddof=1))}


def by_value(
    captions: Sequence[str], images: Sequence[np.ndarray]
) -> dict[str, dict[str, tuple[int, int]]]:
    """(right, made) of each thing that captions state, as {"shape": {"ring": (7, 12), …}, …}.

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
