"""A trained unCLIP and the held-out images that a figure measures it on itself."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dalle_jax import diffusion
from dalle_jax.figures.decoder import held_out, in_batches
from dalle_jax.pipelines.batch import conditions
from dalle_jax.pipelines.images import to_uint8
from dalle_jax.pipelines.text_to_image import DallePipeline
from dalle_jax.stages.captions import empty_captions
from dalle_jax.stages.denoising import THRESHOLDS
from dalle_jax.stages.graph import encoding, giving
from dalle_jax.stages.images import shrink, to_model_range

SEED = 0  # of all that is sampled here


@dataclass(frozen=True)
class Chain:
    """CLIP, prior and decoder with their EMA weights, and the first items of the test split.

    Attributes:
        pipe: of the three; an upsampler is not asked.
        captions: [N].
        images: uint8 [N, side, side, 3] at the decoder's size.
    """

    pipe: DallePipeline
    captions: tuple[str, ...]
    images: np.ndarray

    @property
    def decoder(self) -> Any:
        """The main stage, see `stages.decoder`."""
        return self.pipe.system.stages[self.pipe.system.main]

    def of_images(self, images: np.ndarray) -> np.ndarray:
        """CLIP's embeddings [N, D] of images uint8 [N, H, W, 3]."""
        return in_batches(self._clip(_image_encoder), images)

    def of_captions(self, captions: Sequence[str]) -> np.ndarray:
        """CLIP's embeddings [N, D] of captions."""
        return in_batches(self._clip(_text_encoder), self.pipe.tokenizer.encode(list(captions)))

    def of_prior(self, **settings: Any) -> np.ndarray:
        """The prior's embeddings [N, D] of the held-out captions; `settings` as its config's."""
        key = jax.random.fold_in(jax.random.key(SEED), 1)  # as the pipeline draws them
        name = giving(self.pipe.system.stages, "image_embedding")
        made = self.pipe.checked({name: settings})

        def sample(tokens: np.ndarray, index: np.ndarray) -> jax.Array:
            how = {"source": name, "image": None, "settings": made, "memo": self.pipe.memo}
            return conditions(self.pipe.system, tokens, index, key, **how)["image_embedding"]

        tokens = self.pipe.tokenizer.encode(list(self.captions))
        return in_batches(sample, tokens, np.arange(len(tokens), dtype=np.uint32))

    def draw(
        self,
        embeddings: np.ndarray | None,
        captions: Sequence[str] | None = None,
        *,
        index: np.ndarray | None = None,
        x_T: np.ndarray | None = None,
        **settings: Any,
    ) -> np.ndarray:
        """What the decoder makes: uint8 [N, side, side, 3].

        Args:
            embeddings: [N, D]; None for the null embedding, as in training where it is dropped.
            captions: [N]; None for empty ones.
            index: [N] of the noise that each starts from; 0 … N − 1 if none are given.
            x_T: [N, side, side, 3] to start from in the place of that noise.
            settings: of sampling; those of the decoder's config where they are not given.
        """
        count = len(captions if embeddings is None else embeddings)
        index = np.arange(count) if index is None else index
        index = np.asarray(index, np.uint32)
        if x_T is None:
            x_T = diffusion.initial_noise(jax.random.key(SEED), index, self.decoder.image_shape)
        options = tuple(sorted({**self.pipe.defaults[self.pipe.system.main], **settings}.items()))
        program = functools.partial(_program(self.decoder, options), self._params)
        arrays = (*self._condition(embeddings, captions, count), np.asarray(x_T), index)
        return to_uint8(in_batches(program, *arrays))

    def invert(self, embeddings: np.ndarray, *, steps: int) -> np.ndarray:
        """The x_T [N, …] that DDIM, unguided, leads from back to the held-out images.

        unCLIP, §3: with its embedding and this, an image is described in full.
        """
        inversion = functools.partial(_inversion(self.decoder, steps), self._params)
        condition = self._condition(embeddings, None, len(embeddings))
        return in_batches(inversion, *condition, self.images[: len(embeddings)])

    def _clip(self, encoder: Callable) -> Callable:
        system = self.pipe.system
        name = encoding(system.stages, "image_embedding")
        return functools.partial(encoder(system.stages[name]), system.params[name])

    @property
    def _params(self) -> Any:
        return self.pipe.system.params[self.pipe.system.main]

    def _condition(
        self, embeddings: np.ndarray | None, captions: Sequence[str] | None, count: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens [N, L], embeddings [N, D], and which of those are dropped [N]."""
        tokens = self.pipe.tokenizer.encode([""] * count if captions is None else list(captions))
        dropped = np.full(count, embeddings is None)
        if embeddings is None:
            embeddings = np.zeros((count, self.decoder.clip.embedding_width), np.float32)
        return tokens, embeddings, dropped


def open_chain(workdir: Path, num_images: int) -> Chain:
    """The unCLIP of a workdir, and `num_images` held-out items.

    Raises:
        FileNotFoundError: nothing was trained there, or its data are not prepared.
        ValueError: its decoder reads captions only.
    """
    pipe = DallePipeline.from_pretrained(workdir, joint=False)
    if not pipe.system.reads_embeddings:
        raise ValueError(f"the decoder of {workdir} reads no image embeddings")
    captions, images = held_out(pipe.run, num_images)
    side = pipe.system.stages[pipe.system.main].image_shape[0]
    return Chain(pipe, tuple(captions), np.asarray(shrink(jnp.asarray(np.stack(images)), side)))


def way(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """Of embeddings a to b [N, D], `share` of the way along the great circle (unCLIP, §3)."""
    return np.asarray(diffusion.editing.slerp(a, b, np.full(len(a), share)), np.float32)


@functools.lru_cache(maxsize=8)
def _program(stage: Any, settings: tuple[tuple[str, Any], ...]) -> Callable:
    """The decoder's sampling as one compiled function, from any x_T and with any part dropped."""
    options = dict(settings)
    scale, steps = options.pop("guidance_scale"), options.pop("num_inference_steps")
    limited = THRESHOLDS[options.pop("threshold", "static")]

    def sample(params, tokens, embedding, dropped, x_T, index):
        cond = stage.encode(params, tokens, embedding, dropped)
        uncond = stage.encode(params, empty_captions(tokens), embedding, jnp.ones_like(dropped))
        denoise = functools.partial(stage.denoise, params)
        denoiser = diffusion.classifier_free(denoise, cond, uncond, scale)
        of_sample = {"key": jax.random.key(SEED), "sample_index": index}
        return diffusion.sample(
            limited(denoiser), stage.schedule, x_T, steps=steps, **of_sample, **options
        )

    return jax.jit(sample)


@functools.lru_cache(maxsize=8)
def _inversion(stage: Any, steps: int) -> Callable:
    def inverted(params, tokens, embedding, dropped, images):
        condition = stage.encode(params, tokens, embedding, dropped)
        denoiser = lambda x_t, t: stage.denoise(params, x_t, t, condition)
        x_0 = to_model_range(images)
        return diffusion.editing.ddim_inversion(denoiser, stage.schedule, x_0, steps=steps)

    return jax.jit(inverted)


@functools.lru_cache(maxsize=8)
def _image_encoder(clip: Any) -> Callable:
    return jax.jit(clip.encode_image)


@functools.lru_cache(maxsize=8)
def _text_encoder(clip: Any) -> Callable:
    return jax.jit(lambda params, tokens: clip.encode_text(params, tokens)[0])
