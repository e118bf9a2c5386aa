"""A trained decoder and the held-out items that a figure measures it on."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dalle_jax import diffusion
from dalle_jax.data.tokenizer import Tokenizer
from dalle_jax.pipelines.images import to_uint8
from dalle_jax.pipelines.system import find_stages
from dalle_jax.runs import Run
from dalle_jax.seeds import key_of
from dalle_jax.stages.captions import empty_captions
from dalle_jax.stages.graph import main_stage


@dataclass(frozen=True, eq=False)  # its arrays have no hash
class Decoder:
    """A trained decoder with its weights, and the first captions and images of the test split.

    Attributes:
        stage: see `stages.decoder`.
        params: EMA weights.
        captions: [N].
        tokens: int32 [N, L], of the captions.
        images: uint8 [N, H, W, 3].
    """

    stage: Any
    params: Any
    captions: tuple[str, ...]
    tokens: np.ndarray
    images: np.ndarray

    @property
    def x_0(self) -> np.ndarray:
        """The images as float32 in [−1, 1]."""
        return self.images.astype(np.float32) / 127.5 - 1

    def denoiser(self, params: Any, tokens: jax.Array) -> Callable:
        """x0_hat of (x_t, t) given captions [B, L]; under jit, `params` must be an argument."""
        condition = self.stage.encode(params, tokens)
        return lambda x_t, t: self.stage.denoise(params, x_t, t, condition)

    def draw_from(
        self, x_t: np.ndarray, t: float, *, steps: int, sampler: str, seed: int = 0
    ) -> np.ndarray:
        """Sample without a caption from x_t [N, H, W, 3], noised to time t: uint8 [N, H, W, 3].

        Noise on the way depends on (seed, n).
        """
        return to_uint8(np.asarray(_sampling(self, steps, sampler, t, seed)(self.params, x_t)))


@functools.lru_cache(maxsize=8)
def _sampling(decoder: Decoder, steps: int, sampler: str, t: float, seed: int) -> Callable:
    length = decoder.tokens.shape[1]

    def sample(params, x_t):
        tokens = empty_captions(jnp.zeros((len(x_t), length), jnp.int32))
        options = {"steps": steps, "spacing": np.linspace(t, 0, steps + 1), "sampler": sampler}
        of_sample = {"key": key_of(seed), "sample_index": jnp.arange(len(x_t))}
        denoiser, schedule = decoder.denoiser(params, tokens), decoder.stage.schedule
        return diffusion.sample(denoiser, schedule, x_t, **options, **of_sample)

    return jax.jit(sample)


def open_decoder(workdir: Path, num_images: int) -> Decoder:
    """The decoder of a workdir, and `num_images` held-out items.

    Raises:
        FileNotFoundError: nothing was trained there, or its data are not prepared.
        ValueError: it depends on other stages, as unCLIP's does.
    """
    runs, stages = find_stages(workdir)
    run = runs[main_stage(stages)]
    if run.upstream():
        raise ValueError(f"{workdir} reads image embeddings; a decoder of captions only is needed")
    captions, images = held_out(run, num_images)
    return Decoder(
        run.build_stage(),
        run.load_params(),
        tuple(captions),
        Tokenizer.load(run.tokenizer_path).encode(captions),
        np.stack(images),
    )


def held_out(run: Run, count: int) -> tuple[list[str], list[np.ndarray]]:
    """The first captions of the test split and their images, uint8 [H, W, 3]."""
    source = run.open_source("test")
    items = [source[i] for i in range(count)]
    return [item["caption"] for item in items], [item["image"] for item in items]


def in_batches(function: Callable, *arrays: np.ndarray, size: int = 64) -> np.ndarray:
    """`function` of rows of `arrays`; the last batch is filled up, so that one program serves."""
    count = len(arrays[0])
    size = min(size, count)
    parts = []
    for start in range(0, count, size):
        batch = [np.resize(a[start : start + size], (size, *a.shape[1:])) for a in arrays]
        parts.append(np.asarray(function(*batch)))
    return np.concatenate(parts)[:count]
