"""The metrics of sets of images, one record each: what it reads, which way is better, its function.

A new one is a function of features in a file beside this one, and a record here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dalle_jax.metrics import distances
from dalle_jax.metrics.distances import Floor, Measured, Results, Settings

MANIFOLD = ("precision", "recall", "density", "coverage")
LEAST_FOR_JACKKNIFE = 20  # images, of which a tenth is left out each time


@dataclass(frozen=True)
class Metric:
    """A metric of two sets of images, or of one.

    Attributes:
        name: by which it is asked for.
        taps: the output that it reads of each kind of network on which it is defined: "inception",
            and "pooled" for networks with one vector an image.
        measure: (fakes, reals, tap, settings) to its entries by result name, and by name [N] of
            those that are means over images; reals is None for a metric of the fakes only.
        minimum: settings to the least number of images a side.
        settings: of `Settings`, those that each result reads.
        floor: (reals [n, D], other reals [n, D], settings) to values by result name; None where
            reals against reals mean nothing.
        needs: of the reference: "statistics" where its mean and covariance suffice, "images", or
            "nothing".
        larger_is_better: of its results.
        generic: what it is called on other features than Inception's, of which only "FID" is said.
    """

    name: str
    taps: Mapping[str, str]
    measure: Callable[[Measured, Measured | None, str, Settings], Results]
    minimum: Callable[[Settings], int]
    settings: Mapping[str, tuple[str, ...]]
    floor: Floor | None = None
    needs: str = "images"
    larger_is_better: bool = False
    generic: str = ""

    def is_called(self, result: str, network: str) -> str:
        """A result's name in a row: `fid` of Inception, else as `FD[clip:0123456789ab]`."""
        return result if network == "inception" else f"{self.generic or result}[{network}]"


def _for_jackknife(least: int) -> Callable[[Settings], int]:
    return lambda settings: max(least, LEAST_FOR_JACKKNIFE) if settings.intervals else least


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "fid",
            {"inception": "2048", "pooled": "features"},
            distances.frechet("fid"),
            _for_jackknife(2),
            {"fid": ()},
            floor=distances.frechet_floor("fid"),
            needs="statistics",
            generic="FD",
        ),
        Metric(
            "sfid",
            {"inception": "spatial"},
            distances.frechet("sfid"),
            _for_jackknife(2),
            {"sfid": ()},
            floor=distances.frechet_floor("sfid"),
            needs="statistics",
        ),
        Metric(
            "kid",
            {"inception": "2048", "pooled": "features"},
            distances.kid,
            lambda settings: settings.kid_subset_size,
            {"kid": ("kid_subsets", "kid_subset_size", "seed")},
            floor=distances.kid_floor,
            generic="KD",
        ),
        Metric(
            "prdc",
            {"inception": "2048", "pooled": "features"},
            distances.prdc,
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
            distances.inception_score_of,
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
            distances.cmmd_of,
            _for_jackknife(2),
            {"cmmd": ()},
            floor=distances.cmmd_floor,
            generic="CMMD",
        ),
    )
}


# Measured caption by caption, or against the training images; see `evaluation.measurements`.
OF_CAPTIONS = ("oracle", "clip", "memorisation")
SMALLER_OF_CAPTIONS = ("copies",)
CAPTION_PREFIX_READ = ("clip_cosine", "clip_score_x100", "clipscore_hessel")


def metric_of(result: str) -> Metric | None:
    """The metric that a row's result is of, as "fid" or "FD[clip:0123456789ab]"; None if none."""
    name = result.partition("[")[0].lower()
    return next((m for m in METRICS.values() if name in (*m.settings, m.generic.lower())), None)


def is_larger_better(result: str) -> bool:
    """Whether more of a row's result is better, by its name."""
    if metric := metric_of(result):
        return metric.larger_is_better
    return result.partition("[")[0] not in SMALLER_OF_CAPTIONS


def settings_read(result: str) -> tuple[str, ...] | None:
    """The names of the settings that a row's result reads; None if that is not known.

    An interval reads more of them, but decides no ranking.
    """
    name = result.partition("[")[0].lower()
    if name in CAPTION_PREFIX_READ:
        return ("caption_prefix",)
    if metric := metric_of(result):
        return metric.settings.get(name) or next(iter(metric.settings.values()))
    return None


def taps_of(network: str) -> dict[str, str]:
    """The tap that each metric reads of a kind of network, "inception" or "pooled"."""
    return {name: one.taps[network] for name, one in METRICS.items() if network in one.taps}


def result_names(metrics: Sequence[str], network: str) -> tuple[str, ...]:
    """What a row has of the metrics: of "prdc" four."""
    return tuple(
        METRICS[name].is_called(result, network)
        for name in metrics
        for result in METRICS[name].settings
    )


def check_sizes(fakes: int, reals: int | None, metrics: Sequence[str], settings: Settings) -> None:
    """Whether there are images enough for each metric; reals is None where only statistics are.

    Raises:
        ValueError: there are not.
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
                f"{name} needs the images of the reference; only fid and sfid need no more than "
                "its statistics"
            )
