"""The diffusion prior: denoises an image embedding given a caption."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dalle_jax.diffusion import guidance
from dalle_jax.models.clip import normalize
from dalle_jax.models.prior import DiffusionPrior, Text
from dalle_jax.stages.base import dtype_named
from dalle_jax.stages.denoising import Denoising, schedule_named


class ByDiffusion:
    """unCLIP's diffusion prior (§2.2): a network that predicts x_0, trained by its squared error.

    x_0 is the image embedding times `embedding_scale`.
    """

    def __init__(
        self,
        *,
        model: Mapping[str, Any],
        diffusion: Mapping[str, Any],
        max_length: int,
        embedding_width: int,
        embedding_scale: float,
    ):
        self.network = DiffusionPrior(
            **model["text"],
            max_length=max_length,
            embedding_scale=embedding_scale,
            dtype=dtype_named(model["dtype"]),
            scan_blocks=model["scan_blocks"],
        )
        schedule = schedule_named(diffusion["schedule"], diffusion["num_timesteps"])
        self.denoising = Denoising(schedule, target="x0", weighting="simple")
        self.embedding_width = embedding_width
        self.embedding_scale = embedding_scale

    def init(self, key: Array, text: Text) -> Any:
        """Random parameters for captions of the shapes of `text`."""
        batch = text.mask.shape[0]
        x_t = jnp.zeros((batch, self.embedding_width))
        return self.network.init(key, x_t, jnp.zeros(batch), text)["params"]

    def _predict(self, params: Any, x_t: Array, t: Array, text: Text) -> Array:
        return self.network.apply({"params": params}, x_t, t, text)

    def loss(
        self, params: Any, image: Array, text: Text, key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """Mean squared error on x_0 for image embeddings [B, D] and their captions."""
        t_key, eps_key = jax.random.split(key)
        return self.denoising.loss(
            lambda x_t, t: self._predict(params, x_t, t, text),
            self.embedding_scale * image,
            t_key,
            eps_key,
            train=train,
        )

    def sample(
        self,
        params: Any,
        text: Text,
        key: Array,
        sample_index: Array,
        *,
        guidance_scale: float,
        **settings: Any,
    ) -> Array:
        """One embedding [B, D] of length 1 per caption; `settings` as for `Denoising.sample`."""
        uncond = text.dropped(jnp.ones_like(text.present))
        denoise = functools.partial(self._predict, params)
        x_0 = self.denoising.sample(
            guidance.classifier_free(denoise, text, uncond, guidance_scale),
            key,
            sample_index,
            (self.embedding_width,),
            threshold="none",
            **settings,
        )
        return normalize(x_0)
