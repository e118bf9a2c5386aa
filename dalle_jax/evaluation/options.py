"""What `dalle-jax evaluate` is asked to measure, as one value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dalle_jax.metrics.preprocess import Preprocessing


@dataclass(frozen=True)
class Evaluation:
    """What is to be measured, as it was typed; see `dalle-jax evaluate --help`."""

    workdir: Path
    metrics: tuple[str, ...]
    seeds: tuple[int, ...]
    manifest: str | None = None
    images: str | None = None
    data_source: str = ""
    split: str = "test"
    n: int | None = None
    inception: str | None = None
    features: str | None = None
    clip: str | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    reference: str | None = None
    kid_subset_size: int | None = None
    leakage: bool = False
    weights: str = "ema"
    sampling: Mapping[str, Any] = field(default_factory=dict)
