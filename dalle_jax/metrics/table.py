"""The table of metrics of image sets: what each reads, which direction is better, its function.

To add a metric, write a function of features in a file of this folder and add a record here.
"""

import enum
from collections.abc import Callable, Sequence
from functools import partial

from dalle_jax.metrics.frechet import measure_frechet
from dalle_jax.metrics.inception_score import measure_inception_score
from dalle_jax.metrics.kernel import measure_cmmd, measure_kid
from dalle_jax.metrics.manifold import measure_prdc
from dalle_jax.metrics.metric import Metric, Settings

POOLED = {"inception": "2048", "pooled": "features"}
MIN_FOR_JACKKNIFE = 20  # images: two for each of ten groups


def _at_least(least: int) -> Callable[[Settings], int]:
    return lambda settings: max(least, MIN_FOR_JACKKNIFE) if settings.intervals else least


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            name="fid",
            taps=POOLED,
            measure=partial(measure_frechet, "fid"),
            settings={"fid": ()},
            minimum=_at_least(2),
            needs="statistics",
            generic="FD",
        ),
        Metric(
            name="sfid",
            taps={"inception": "spatial"},
            measure=partial(measure_frechet, "sfid"),
            settings={"sfid": ()},
            minimum=_at_least(2),
            needs="statistics",
        ),
        Metric(
            name="kid",
            taps=POOLED,
            measure=measure_kid,
            settings={"kid": ("kid_subsets", "kid_subset_size", "seed")},
            minimum=lambda settings: max(2, settings.kid_subset_size),
            generic="KD",
        ),
        Metric(
            name="prdc",
            taps=POOLED,
            measure=measure_prdc,
            settings={
                **dict.fromkeys(("precision", "recall"), ("neighbours",)),
                **dict.fromkeys(("density", "coverage"), ("neighbours_density",)),
            },
            minimum=lambda settings: max(settings.neighbours, settings.neighbours_density) + 1,
            larger_is_better=True,
        ),
        Metric(
            name="is",
            taps={"inception": "logits_unbiased"},
            measure=measure_inception_score,
            settings={"is": ("is_splits", "seed")},
            minimum=lambda settings: (
                max(20, 2 * settings.is_splits) if settings.intervals else settings.is_splits
            ),
            needs="nothing",
            larger_is_better=True,
        ),
        Metric(
            name="cmmd",
            taps={"pooled": "features"},
            measure=measure_cmmd,
            settings={"cmmd": ()},
            minimum=_at_least(2),
            generic="CMMD",
        ),
    )
}


class CaptionMetric(enum.StrEnum):
    """Metrics of captions or against the training images, by their names in `--metrics`."""

    ORACLE = enum.auto()
    CLIP = enum.auto()
    MEMORIZATION = enum.auto()


ORACLE, CLIP, MEMORIZATION = CAPTION_METRICS = tuple(metric.value for metric in CaptionMetric)
OLD_NAMES = {"memorisation": MEMORIZATION}
# Options of an evaluation that name a trained network: of set metrics, and of the metric CLIP.
NETWORK_OPTIONS = ("features", CLIP)


def taps_for(network: str) -> dict[str, str]:
    """The tap that each metric reads from a kind of network, "inception" or "pooled"."""
    return {name: m.taps[network] for name, m in METRICS.items() if network in m.taps}


def result_names(metrics: Sequence[str], network: str) -> tuple[str, ...]:
    """The names of the results of these metrics in a row; "prdc" has four."""
    return tuple(
        METRICS[name].result_name(result, network)
        for name in metrics
        for result in METRICS[name].settings
    )
