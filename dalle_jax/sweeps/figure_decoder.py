"""A trained decoder and the held-out images that a figure measures it on itself."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dalle_jax.data.tokenizer import Tokenizer
from dalle_jax.runs import open_run


@dataclass(frozen=True)
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
        """x0_hat of (x_t, t) given captions [B, L]; to be called under jit with its parameters."""
        condition = self.stage.encode(params, tokens)
        return lambda x_t, t: self.stage.denoise(params, x_t, t, condition)


def open_decoder(workdir: Path, num_images: int) -> Decoder:
    """The decoder of a workdir, and `num_images` held-out items.

    Raises:
        FileNotFoundError: nothing was trained there, or its data are not prepared.
        ValueError: it stands on other stages, as unCLIP's does.
    """
    run = open_run(workdir / "decoder")
    if run.upstream():
        raise ValueError(f"{workdir} reads image embeddings; a decoder of captions alone is needed")
    source = run.open_source("test")
    items = [source[i] for i in range(num_images)]
    captions = tuple(item["caption"] for item in items)
    return Decoder(
        run.build_stage(),
        run.load_params(),
        captions,
        Tokenizer.load(run.tokenizer_path).encode(list(captions)),
        np.stack([item["image"] for item in items]),
    )
