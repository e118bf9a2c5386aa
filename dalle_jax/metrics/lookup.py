"""What is known of a result by its name in a row, as "fid" or "FD[clip:0123456789ab]"."""

from dalle_jax.metrics.metric import Metric
from dalle_jax.metrics.table import METRICS

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
