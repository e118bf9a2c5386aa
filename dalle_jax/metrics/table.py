"""The table of metrics of image sets: what each reads, which direction is better, its function.

To add a metric, write a function of features in a file of this folder and add a record here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dalle_jax.metrics import distances
from dalle_jax.metrics.distances import Floor, Results, SetFeatures, Settings

MANIFOLD = ("precision", "recall", "density", "coverage")
MIN_FOR_JACKKNIFE = 20  # images: two for each of ten groups


@dataclass(frozen=True)
class Metric:
    """A metric of one or two sets of images.

    Attributes:
        name: in the option `--metrics`.
        taps: the network output that it reads, by the kind of network on which it is defined:
            "inception", and "pooled" for networks with one vector per image.
        measure: maps (fakes, reals, tap, settings) to the entries by result, and to the values by
            image [N] of results that are means over images; reals is None for a metric of fakes
            only.
        minimum: maps settings to the minimum number of images of each set.
        settings: the fields of `Settings` that each result reads.
        floor: maps (reals [n, D], other reals [n, D], settings) to the real-vs-real baseline of
            each result; None if there is none.
        needs: what it needs of the reference: "statistics" if mean and covariance suffice,
            "images", or "nothing".
        larger_is_better: whether larger results are better.
        generic: its name on features other than Inception's, since "FID" implies Inception.
    """

    name: str
    taps: Mapping[str, str]
    measure: Callable[[SetFeatures, SetFeatures | None, str, Settings], Results]
    minimum: Callable[[Settings], int]
    settings: Mapping[str, tuple[str, ...]]
    floor: Floor | None = None
    needs: str = "images"
    larger_is_better: bool = False
    generic: str = ""

    def result_name(self, result: str, network: str) -> str:
        """A result's name in a row: `fid` for Inception, else as `FD[clip:0123456789ab]`."""
        return result if network == "inception" else f"{self.generic or result}[{network}]"


def _minimum(least: int) -> Callable[[Settings], int]:
    return lambda settings: max(least, MIN_FOR_JACKKNIFE) if settings.intervals else least


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "fid",
            {"inception": "2048", "pooled": "features"},
            distances.frechet("fid"),
            _minimum(2),
            {"fid": ()},
            floor=distances.frechet_floor("fid"),
            needs="statistics",
            generic="FD",
        ),
        Metric(
            "sfid",
            {"inception": "spatial"},
            distances.frechet("sfid"),
            _minimum(2),
            {"sfid": ()},
            floor=distances.frechet_floor("sfid"),
            needs="statistics",
        ),
        Metric(
            "kid",
            {"inception": "2048", "pooled": "features"},
            distances.measure_kid,
            lambda settings: settings.kid_subset_size,
            {"kid": ("kid_subsets", "kid_subset_size", "seed")},
            floor=distances.kid_floor,
            generic="KD",
        ),
        Metric(
            "prdc",
            {"inception": "2048", "pooled": "features"},
            distances.measure_prdc,
            lambda settings: max(settings.neighbours, settings.neighbours_density) + 1,
            {
                **dict.fromkeys(MANIFOLD[:2], ("neighbours",)),
                **dict.fromkeys(MANIFOLD[2:], ("neighbours_density",)),
            },
            floor=distances.prdc_floor,
            larger_is_better=True,
        ),
        Metric(
            "is",
            {"inception": "logits_unbiased"},
            distances.measure_inception_score,
            lambda settings: (
                max(20, 2 * settings.is_splits) if settings.intervals else settings.is_splits
            ),
            {"is": ("is_splits", "seed")},
            needs="nothing",
            larger_is_better=True,
        ),
        Metric(
            "cmmd",
            {"pooled": "features"},
            distances.measure_cmmd,
            _minimum(2),
            {"cmmd": ()},
            floor=distances.cmmd_floor,
            generic="CMMD",
        ),
    )
}


# Metrics of captions, or against the training images; see `evaluation.measurements`.
ORACLE, CLIP, MEMORIZATION = CAPTION_METRICS = ("oracle", "clip", "memorization")
OLD_NAMES = {"memorisation": "memorization"}
SMALLER_IS_BETTER = ("copies",)  # of the results of these metrics
READS_CAPTION_PREFIX = ("clip_cosine", "clip_score_x100", "clipscore_hessel")


def metric_of_result(result: str) -> Metric | None:
    """The metric of a result, as "fid" or "FD[clip:0123456789ab]", or None."""
    name = result.partition("[")[0].lower()
    return next((m for m in METRICS.values() if name in (*m.settings, m.generic.lower())), None)


def is_larger_better(result: str) -> bool:
    """Whether larger values of a result are better."""
    if metric := metric_of_result(result):
        return metric.larger_is_better
    return result.partition("[")[0] not in SMALLER_IS_BETTER


def settings_read(result: str) -> tuple[str, ...] | None:
    """The names of the settings that a result reads; None if the result is unknown.

    Settings that only its interval reads are not included, since they do not affect rankings.
    """
    name = result.partition("[")[0].lower()
    if name in READS_CAPTION_PREFIX:
        return ("caption_prefix",)
    if metric := metric_of_result(result):
        return metric.settings.get(name) or next(iter(metric.settings.values()))
    return None


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


def check_sizes(fakes: int, reals: int | None, metrics: Sequence[str], settings: Settings) -> None:
    """Check the numbers of images for each metric; reals is None if there are only statistics.

    Raises:
        ValueError: there are too few fakes or reals for a metric.
    """
    for name in metrics:
        metric = METRICS[name]
        least = metric.minimum(settings)
        sides = {"fakes": fakes, "reals": None if metric.needs == "nothing" else reals}
        for side, count in sides.items():
            if count is not None and count < least:
                hint = "; give a smaller --kid_subset_size" if name == "kid" else ""
                raise ValueError(f"there are {count} {side}; {name} needs at least {least}{hint}")
        if reals is None and metric.needs == "images":
            raise ValueError(
                f"{name} needs the images of the reference; statistics suffice only for fid and "
                "sfid"
            )
