"""The mean of a stage's metrics over held-out batches."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

# Validation draws the same noise each time and in every run, so that its losses can be compared.
VALIDATION_SEED = 0


def evaluate(
    eval_step: Callable, params: Any, frozen: Any, batches: Iterable[Mapping[str, jax.Array]]
) -> dict[str, float]:
    """Mean of each metric over `batches`, weighted by their size.

    A metric that has nothing to say about a batch (an empty bin of timesteps) is NaN there and is
    left out. Where the loss itself is NaN nothing is left out: then the whole validation is NaN.

    Raises:
      ValueError: there is no batch.
    """
    key = jax.random.key(VALIDATION_SEED)
    sums: dict[str, float] = defaultdict(float)
    weights: dict[str, float] = defaultdict(float)
    for i, batch in enumerate(batches):
        size = len(next(iter(batch.values())))
        metrics = jax.device_get(eval_step(params, frozen, batch, jax.random.fold_in(key, i)))
        lost = math.isnan(metrics["loss"])
        for name, value in metrics.items():
            if lost or not math.isnan(value):
                sums[name] += size * float(value)
                weights[name] += size
    if "loss" not in sums:
        raise ValueError("validation gave no loss: its data holds not one whole batch")
    return {name: sums[name] / weights[name] for name in sums}
