"""The Inception Score: exp E KL(p(y|x) ‖ p(y))  (Salimans et al. 2016, arXiv 1606.03498)."""

import numpy as np

from dalle_jax.metrics.jackknife import jackknife_entry, jackknife_groups
from dalle_jax.metrics.metric import Results, SetFeatures, Settings


def measure_inception_score(
    fake: SetFeatures, real: SetFeatures | None, tap: str, settings: Settings
) -> Results:
    """The Inception Score of the fakes; it has no reference."""
    logits = fake.features[tap]
    score = lambda x: inception_score(x, settings.is_splits, settings.seed)
    mean, std = score(logits)
    entry = {"value": mean, "std_of_splits": std}
    if settings.intervals:
        group = jackknife_groups(len(logits), seed=settings.seed)
        left_out = [score(logits[group != g])[0] for g in range(group.max() + 1)]
        entry |= jackknife_entry(mean, np.array(left_out))
    return {"is": entry}, {}


def inception_score(
    logits: np.ndarray, num_splits: int = 10, seed: int | None = 2020
) -> tuple[float, float]:
    """The mean and standard deviation of the score over splits of logits [N, 1008], float64.

    Published values use the tap "logits_unbiased", 50,000 images and 10 splits. Images are shuffled
    as in torch-fidelity with the same seed; None does not shuffle them.

    Raises:
        ValueError: there are fewer images than splits.
    """
    n = len(logits)
    if n < num_splits:
        raise ValueError(f"{n} images can't be divided into {num_splits} splits")
    logits = np.asarray(logits, np.float64)
    if seed is not None:
        logits = logits[np.random.RandomState(seed).permutation(n)]
    logits = logits - logits.max(1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))  # [N, 1008]
    scores = []
    for i in range(num_splits):
        part = log_p[i * n // num_splits : (i + 1) * n // num_splits]
        p = np.exp(part)
        # A class whose probability underflows contributes 0 · log 0 = 0.
        log_mean = np.log(np.maximum(p.mean(0, keepdims=True), np.finfo(np.float64).tiny))
        scores.append(np.exp((p * (part - log_mean)).sum(1).mean()))
    return float(np.mean(scores)), float(np.std(scores))
