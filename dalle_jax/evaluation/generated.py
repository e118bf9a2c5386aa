"""Images of held-out captions by a trained workdir: read from its files, sampled if missing."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.console import note, progress
from dalle_jax.metrics.shards import SHARD_SIZE, ShardedImages, Shards
from dalle_jax.pipelines.settings import as_given
from dalle_jax.pipelines.system import choose_weights, load_system, weights_of
from dalle_jax.pipelines.text_to_image import DallePipeline
from dalle_jax.runs import open_run


class PipelineCache:
    """The pipeline that was loaded last, together with its encoded captions."""

    def __init__(self):
        self._key: tuple | None = None
        self._pipeline: DallePipeline | None = None

    def load(self, workdir: Path, weights: str) -> DallePipeline:
        """The pipeline of a workdir with EMA or raw weights; the last one if its runs are the same.

        Raises:
            FileNotFoundError: nothing was trained there.
            ValueError: its stages do not fit each other, or there are no such weights.
        """
        runs = sorted(path.parent for path in workdir.glob("*/config.json"))
        key = (weights, *((run.resolve(), open_run(run).checkpoint_name) for run in runs))
        if key != self._key:
            self._key = self._pipeline = None  # frees its memory before another is loaded
            self._pipeline = DallePipeline(choose_weights(load_system(workdir), weights))
            self._key = key
        return self._pipeline


class GeneratedImages:
    """An image of each caption for each seed, stored in `workdir/generated`.

    Attributes:
        model: fingerprint, step and weights of each stage, as in a results row.
        sampling: all that sampling depends on except the seed.
    """

    def __init__(
        self,
        pipe: DallePipeline,
        workdir: Path,
        captions: Sequence[str],
        settings: Mapping[str, Any],
        seeds: Sequence[int],
        weights: str,
    ):
        self._pipe, self._captions, self._settings = pipe, captions, settings
        self.sampling = as_given(pipe.system.stages, pipe.defaults, settings)
        self.model = {
            name: {
                "fingerprint": run.fingerprint,
                "step": run.step,
                "weights": weights_of(pipe.system, name, weights),
            }
            for name, run in pipe.system.runs.items()
        }
        identity = {"model": self.model, "sampling": self.sampling, "captions": captions}
        size = min(SHARD_SIZE, len(captions))
        self._shards = {
            seed: Shards(workdir / "generated", {**identity, "seed": seed}, len(captions), size)
            for seed in seeds
        }

    def load(self, on_progress: Callable[[int, int], None]) -> list[Sequence[np.ndarray]]:
        """The images uint8 [H, W, 3] of each seed, after sampling those that are missing.

        Image i of a seed has the sample index i. `on_progress` gets the number of images sampled so
        far, and of those missing at first.
        """
        if missing := sum(shards.missing() for shards in self._shards.values()):
            note(f"sampling {missing} images of held-out captions …")
            on_progress(0, missing)
            before = 0  # sampled with earlier seeds
            for seed, shards in self._shards.items():

                def draw(indices: range, seed: int = seed) -> np.ndarray:
                    return self._pipe.generate(
                        [self._captions[i % len(self._captions)] for i in indices],
                        sample_index=indices,
                        seed=seed,
                        batch_size=len(indices),
                        **self._settings,
                    )

                def show(count: int, seed: int = seed, before: int = before) -> None:
                    progress(f"seed {seed}: {count} images")
                    on_progress(before + count, missing)

                before += shards.make(draw, show)
        return [shards.load() for shards in self._shards.values()]

    def of_first_seed(self) -> ShardedImages | None:
        """The stored images of the first seed; None if some are missing."""
        first = next(iter(self._shards.values()))
        return None if first.missing() else first.load()
