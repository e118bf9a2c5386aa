"""The upsampler: enlarges a small image by a whole factor, without text or guidance.

unCLIP (Ramesh et al. 2022, 2204.06125, §2.1 and appendix C): the decoder's U-Net without attention,
with the enlarged low-resolution image as further input channels. It is trained on crops whose
low-resolution image is slightly corrupted and, being convolutional, applied to images of any size.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dalle_jax.models.unet import UNet
from dalle_jax.stages.base import Stage, dtype_named
from dalle_jax.stages.degradation import degradation
from dalle_jax.stages.denoising import Denoising
from dalle_jax.stages.images import enlarge, random_crops, shrink, to_model_range


class Upsampler(Stage):
    """A diffusion upsampler.

    Training images are shrunk to `low_res_size` by means over blocks; training and sampling enlarge
    the small image by the same `resize`.

    Args:
        model: `unet`, keyword arguments of UNet except those of attention; `dtype` of the
            computation (parameters are float32); `low_res_size`, side of the small images in
            pixels; `resize`, a name in `images.ENLARGEMENTS`.
        diffusion: `schedule`, by name, and `num_timesteps` of its table, 0 for continuous time;
            `learned_variance`.
        loss: `target`, `weighting`, `log_normal_times` (see `Denoising`), `crop_size` in pixels of
            the large image, and `degradation`, its `name` and options (see `degradation`).
        image_size: side of the large images in pixels.
        vocab_size, max_length: of the tokenizer; unused.
    """

    takes = ("low_res", "sample_index")
    gives = ("image",)

    def __init__(
        self,
        *,
        model: Mapping[str, Any],
        diffusion: Mapping[str, Any],
        loss: Mapping[str, Any],
        image_size: int,
        vocab_size: int,
        max_length: int,
    ):
        del vocab_size, max_length
        self.low_res_size, self.crop_size = model["low_res_size"], loss["crop_size"]
        self.image_shape, self.resize = (image_size, image_size, 3), model["resize"]
        self.factor = image_size // self.low_res_size
        if self.factor * self.low_res_size != image_size or self.factor < 2:
            raise ValueError(
                f"an upsampler can't make images of {image_size} pixels from {self.low_res_size}; "
                "give data.image_size a multiple of model.low_res_size"
            )
        if self.crop_size % self.factor or not 0 < self.crop_size <= image_size:
            raise ValueError(
                f"crops of {self.crop_size} pixels don't fit images of {image_size} on a grid of "
                f"{self.factor}; give loss.crop_size a multiple of {self.factor}, at most "
                f"{image_size}"
            )
        self.denoising = Denoising.of(diffusion, loss)
        self.degrade = degradation(**loss["degradation"])
        self.network = UNet(
            **model["unet"],
            attention_resolutions=(),
            middle_attention=False,
            out_channels=self.denoising.out_channels,
            dtype=dtype_named(model["dtype"]),
        )

    def init(self, key: Array) -> Any:
        """Random parameters, float32."""
        x = jnp.zeros((1, self.crop_size, self.crop_size, 6))
        return self.network.init(key, x, jnp.zeros((1,)))["params"]

    def denoise(self, params: Any, x_t: Array, t: Array, enlarged: Array) -> Any:
        """x0_hat of x_t [B, H, W, 3] at t [B], given `enlarged` small images of the same shape."""
        return self.denoising.denoiser(self._given(params, enlarged, train=False))(x_t, t)

    def loss(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """`Denoising.loss` on a random crop of each image of a batch.

        batch: image uint8 [B, H, W, 3]. The crop's corner lies on a pixel of the small image. With
        `train=False` the small image is not corrupted, as in sampling.
        """
        del frozen
        t_key, eps_key, degrade_key, dropout_key, crop_key = jax.random.split(key, 5)
        image = batch["image"]
        low_res = to_model_range(shrink(image, self.low_res_size))
        if train:
            low_res = self.degrade(degrade_key, low_res)
        enlarged = enlarge(low_res, self.factor, self.resize)
        image, enlarged = random_crops(crop_key, (image, enlarged), self.crop_size, self.factor)
        network = self._given(params, enlarged, train=train, dropout_key=dropout_key)
        return self.denoising.loss(network, to_model_range(image), t_key, eps_key, train=train)

    def sample(
        self,
        params: Any,
        inputs: Mapping[str, Array],
        key: Array,
        *,
        guidance_scale: float = 1.0,
        **settings: Any,
    ) -> Array:
        """Large images: float32 [B, factor·h, factor·w, 3] in [−1, 1].

        inputs: low_res [B, h, w, 3], uint8 or floats in [−1, 1], of any size that the U-Net can
        halve; sample_index [B]. A sample depends only on its small image, key and sample index.
        `settings` are those of `Denoising.sample`: num_inference_steps, sampler, ….
        """
        _check_guidance(guidance_scale)
        low_res = inputs["low_res"]
        is_bytes = low_res.dtype == jnp.uint8
        low_res = to_model_range(low_res) if is_bytes else low_res.astype(jnp.float32)
        enlarged = enlarge(low_res, self.factor, self.resize)
        denoiser = self.denoising.denoiser(self._given(params, enlarged, train=False))
        return self.denoising.sample(
            denoiser, key, inputs["sample_index"], enlarged.shape[1:], **settings
        )

    def check_settings(self, *, guidance_scale: float = 1.0, **settings: Any) -> None:
        """Raise ValueError for settings that `sample` can't use."""
        _check_guidance(guidance_scale)
        self.denoising.check(**settings)

    def preview(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, **settings: Any
    ) -> Array:
        """A held-out batch's images, shrunk and upsampled."""
        image = batch["image"]
        inputs = {
            "low_res": shrink(image, self.low_res_size),
            "sample_index": jnp.arange(len(image), dtype=jnp.uint32),
        }
        return self.sample(params, inputs, key, **settings)

    def _given(
        self, params: Any, enlarged: Array, *, train: bool, dropout_key: Array | None = None
    ):
        """The network (x_t, t) → output, with `enlarged` as three more input channels."""

        def network(x_t: Array, t: Array) -> Array:
            x = jnp.concatenate([x_t, enlarged], axis=-1)
            rngs = None if dropout_key is None else {"dropout": dropout_key}
            return self.network.apply({"params": params}, x, t, train=train, rngs=rngs)

        return network


def _check_guidance(scale: float) -> None:
    if scale != 1:
        raise ValueError(
            f"an upsampler has no condition to be guided by; guidance_scale is {scale} and can "
            "only be 1"
        )
