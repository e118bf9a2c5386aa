"""Samples of a trained decoder under two guidances, and the CLIPs that score them."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dalle_jax import diffusion
from dalle_jax.data.tokenizer import Tokenizer
from dalle_jax.diffusion.arrays import Denoiser, x0_of
from dalle_jax.diffusion.guidance import (
    classifier_free,
    gradient,
    on_interval,
    static_threshold,
)
from dalle_jax.figures.decoder import Decoder, in_batches
from dalle_jax.pipelines.images import to_uint8
from dalle_jax.runs import clip_in
from dalle_jax.stages.captions import empty_captions
from dalle_jax.stages.images import to_model_range

SEED, BATCH = 0, 32


@dataclass(frozen=True)
class TrainedClip:
    """A CLIP, its EMA weights and the tokenizer that its captions are encoded with."""

    stage: Any
    params: Any
    tokenizer: Tokenizer

    def similarity(self, x_0: jax.Array, text: jax.Array) -> jax.Array:
        """cos of images float32 [B, H, W, 3] in [−1, 1], of any size, and texts [B, D]."""
        side = self.stage.image_size
        seen = jax.image.resize(x_0, (len(x_0), side, side, 3), "linear")  # shrunk by a triangle
        image = self.stage.network.apply({"params": self.params}, seen, method="encode_image")
        return jnp.einsum("bd,bd->b", image, text)

    @property
    def logit_scale(self) -> jax.Array:
        """1 / τ, as it was learned."""
        return self.stage.network.apply({"params": self.params}, method="logit_scale")

    def of_captions(self, captions: Sequence[str]) -> np.ndarray:
        """Embeddings [N, D]."""
        encode = jax.jit(lambda params, tokens: self.stage.encode_text(params, tokens)[0])
        return np.asarray(encode(self.params, self.tokenizer.encode(list(captions))))

    def scores(self, images: np.ndarray, captions: Sequence[str]) -> np.ndarray:
        """cos [N] of images uint8 [N, H, W, 3] and their captions."""
        cosines = jax.jit(lambda x_0, text: self.similarity(x_0, text))
        return np.asarray(cosines(to_model_range(images), self.of_captions(captions)))


def open_clip(workdir: Path) -> TrainedClip:
    """The CLIP of a workdir.

    Raises:
        FileNotFoundError: none was trained there.
    """
    run = clip_in(workdir)
    if run is None:
        raise FileNotFoundError(f"{workdir} holds no CLIP; train one with `dalle-jax train`")
    return TrainedClip(run.build_stage(), run.load_params(), Tokenizer.load(run.tokenizer_path))


def clip_guided(
    denoiser: Denoiser,
    clip: TrainedClip,
    text: jax.Array,
    schedule: diffusion.Schedule,
    scale: float,
    below: float,
) -> Denoiser:
    """GLIDE's CLIP guidance (§2.4) of a CLIP that knows no noise.

    The score is scale / τ · cos(f(x0_hat(x_t, t)), text), differentiated through the denoiser. It
    guides where sigma / alpha is at most `below`: before, x0_hat is no image yet, and the shift of
    x0 goes with sigma² / alpha.
    """

    def score(x_t: jax.Array, t: jax.Array) -> jax.Array:
        return clip.logit_scale * clip.similarity(x0_of(denoiser(x_t, t)), text)

    guided = gradient(denoiser, score, schedule, scale)
    return on_interval(schedule, (0.0, below), inside=guided, outside=denoiser)


def guides(decoder: Decoder, clip: TrainedClip, below: float) -> dict[str, Callable]:
    """Both guidances of a decoder, as `draw_guided` takes them once their `scale` is given.

    Their weights are the decoder's and the CLIP's; for `below` see `clip_guided`.
    """
    stage, text = decoder.stage, clip.of_captions(decoder.captions)

    def by_itself(weights: Any, tokens: jax.Array, index: jax.Array, scale: float) -> Denoiser:
        cond, uncond = (stage.encode(weights[0], t) for t in (tokens, empty_captions(tokens)))
        return classifier_free(functools.partial(stage.denoise, weights[0]), cond, uncond, scale)

    def by_clip(weights: Any, tokens: jax.Array, index: jax.Array, scale: float) -> Denoiser:
        plain, captions = by_itself(weights, tokens, index, 1.0), jnp.asarray(text)[index]
        guiding = dataclasses.replace(clip, params=weights[1])
        return clip_guided(plain, guiding, captions, stage.schedule, scale, below)

    return {"classifier-free": by_itself, "CLIP": by_clip}


def draw_guided(
    decoder: Decoder,
    guide: Callable[[Any, jax.Array, jax.Array], Denoiser],
    weights: Any,
    steps: int,
) -> np.ndarray:
    """Images uint8 [N, H, W, 3] of a decoder's held-out captions by DDIM.

    `guide(weights, tokens, index)` makes, under jit, the denoiser of the captions index [B].
    `weights` are all that it computes with: what it closes over would be compiled into the program.
    """
    stage = decoder.stage

    @jax.jit
    def sample(weights, tokens, index):
        x_T = diffusion.initial_noise(jax.random.key(SEED), index, stage.image_shape)
        denoiser = static_threshold(guide(weights, tokens, index))
        return diffusion.sample(denoiser, stage.schedule, x_T, sampler="ddim", steps=steps)

    program, index = functools.partial(sample, weights), np.arange(len(decoder.tokens))
    return to_uint8(in_batches(program, decoder.tokens, index, size=BATCH))
