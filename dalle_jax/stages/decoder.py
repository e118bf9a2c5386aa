"""The decoder: samples images given a caption, a CLIP image embedding, or both.

With only captions it is GLIDE (Nichol et al. 2021, §4.1): a text transformer and a diffusion U-Net
trained together. With image embeddings it is the decoder of unCLIP (Ramesh et al. 2022, 2204.06125,
§2.1). Training drops a share of the captions and, independently, of the embeddings, so that the
network also learns the unconditional model for classifier-free guidance (GLIDE, §2.3).
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dalle_jax.diffusion import guidance
from dalle_jax.diffusion.arrays import Denoiser
from dalle_jax.diffusion.noise import initial_noise
from dalle_jax.diffusion.samplers import coefficients
from dalle_jax.diffusion.samplers.coefficients import State
from dalle_jax.models.conditioned_unet import Condition, ConditionedUNet
from dalle_jax.stages.base import Stage, dtype_named
from dalle_jax.stages.captions import drop_captions, empty_captions
from dalle_jax.stages.denoising import Denoising
from dalle_jax.stages.images import layout_error, shrink, to_model_range


class Decoder(Stage):
    """A diffusion decoder.

    Args:
        model: `unet`, keyword arguments of UNet; `dtype` of the computation (parameters are
            float32); `text`, keyword arguments of TextTransformer, with `depth` 0 for a decoder
            without captions; `image_embedding`, with `num_tokens` of context per CLIP image
            embedding, 0 for a decoder without embeddings; `image_size`, the side of its images, 0
            for that of the data; `layout`, with the `size` of a coarse image that is predicted from
            the caption (0 for none) and keyword arguments of the TextTransformer that predicts it;
            `scan_blocks` of these transformers.
        diffusion: `schedule`, by name; `num_timesteps` of its table, 0 for continuous time;
            `zero_terminal_snr`, see `schedule_named`; `learned_variance`.
        loss: `target`, `weighting`, `log_normal_times` (see `Denoising`), `caption_dropout` and
            `embedding_dropout`, the shares of captions and image embeddings dropped in training.
        image_size: side of the data's images in pixels.
        vocab_size, max_length: of the tokenizer.
        upstream: the stage `clip` if there are image embeddings.
    """

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
        upstream: Mapping[str, Any] | None = None,
    ):
        text, embedding, layout = (model[name] for name in ("text", "image_embedding", "layout"))
        reads_text, reads_embedding = text["depth"] > 0, embedding["num_tokens"] > 0
        if not reads_text and not reads_embedding:
            raise ValueError(
                "a decoder is conditioned on captions, image embeddings or both; "
                "set model.text.depth or model.image_embedding.num_tokens above 0"
            )
        if layout["size"] and not reads_text:
            raise ValueError(
                "model.layout is predicted from the caption; set model.text.depth above 0"
            )
        of_tokens = {"vocab_size": vocab_size, "max_length": max_length}
        self.denoising = Denoising.of(
            diffusion, loss, zero_terminal_snr=diffusion["zero_terminal_snr"]
        )
        self.schedule = self.denoising.schedule
        self.clip = upstream["clip"] if reads_embedding else None
        self.network = ConditionedUNet(
            unet={**model["unet"], "out_channels": self.denoising.out_channels},
            text={**text, **of_tokens} if reads_text else None,
            embedding_width=self.clip.embedding_width if reads_embedding else 0,
            num_image_tokens=embedding["num_tokens"],
            layout={**layout, **of_tokens} if layout["size"] else None,
            dtype=dtype_named(model["dtype"]),
            scan_blocks=model["scan_blocks"],
        )
        self.caption_dropout = loss["caption_dropout"]
        self.embedding_dropout = loss["embedding_dropout"]
        side = model["image_size"] or image_size
        self.image_shape = (side, side, 3)
        self.max_length = max_length
        self.reads_captions = reads_text
        self.takes = (
            *(("tokens",) if reads_text else ()),
            *(("image_embedding",) if reads_embedding else ()),
            "sample_index",
        )

    @staticmethod
    def upstream_of(section: Mapping[str, Any]) -> tuple[str, ...]:
        """CLIP, if the decoder is conditioned on its image embeddings."""
        return ("clip",) if section["model"]["image_embedding"]["num_tokens"] else ()

    def init(self, key: Array) -> Any:
        """Random parameters, float32."""
        x_t, t = jnp.zeros((1, *self.image_shape)), jnp.zeros((1,))
        tokens = jnp.zeros((1, self.max_length), jnp.int32)
        embedding = jnp.zeros((1, self.network.embedding_width))
        return self.network.init(key, x_t, t, tokens, embedding, jnp.zeros((1,), bool))["params"]

    def denoise(self, params: Any, x_t: Array, t: Array, condition: Condition) -> Any:
        """x0_hat of x_t [B, H, W, 3] at t [B], given its condition."""

        def network(x: Array, t: Array) -> Array:
            return self.network.apply({"params": params}, x, t, condition, method="predict")

        return self.denoising.denoiser(network)(x_t, t)

    def encode_text(self, params: Any, tokens: Array) -> Condition:
        """The conditioning on captions [B, L] by the decoder's text transformer."""
        return self.network.apply({"params": params}, tokens, method="encode_text")

    def encode(
        self,
        params: Any,
        tokens: Array | None = None,
        image_embedding: Array | None = None,
        dropped: Array | None = None,
        *,
        text: Condition | None = None,
    ) -> Condition:
        """The U-Net's conditioning on captions [B, L] and image embeddings [B, D].

        Ignores inputs that the decoder does not read. `dropped` [B] is True for embeddings to leave
        out, by default none; `text` replaces the tokens if they are already encoded.
        """
        if self.clip is not None:
            image_embedding = self._checked(image_embedding)
            if dropped is None:
                dropped = jnp.zeros(image_embedding.shape[:1], bool)
        if text is None and self.reads_captions:
            text = self.encode_text(params, tokens)
        return self.network.apply(
            {"params": params}, text, image_embedding, dropped, method="encode"
        )

    def loss(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """`Denoising.loss` of one batch: weighted squared error, L_hybrid with a learned variance.

        A layout adds its error: the mean of |layout − (s − mean of s)|², s being the image at the
        layout's size. The mean is left out because captions seldom tell the brightness, whose
        variance would dominate the error.

        batch: image uint8 [B, H, W, 3], tokens int32 [B, L] and optionally image_embedding [B, D],
        which the frozen CLIP computes otherwise. With `train=False` nothing is dropped.
        """
        t_key, eps_key, caption_key, dropout_key, embedding_key = jax.random.split(key, 5)
        x_0 = to_model_range(shrink(batch["image"], self.image_shape[0]))
        tokens = batch["tokens"] if self.reads_captions else None
        embedding = self._image_embedding(frozen, batch)
        dropped = jnp.zeros(x_0.shape[:1], bool)
        if train:
            if tokens is not None:
                tokens = drop_captions(caption_key, tokens, self.caption_dropout)
            dropped = jax.random.uniform(embedding_key, dropped.shape) < self.embedding_dropout

        condition = self.encode(params, tokens, embedding, dropped)

        def network(x_t: Array, t: Array) -> Array:
            return self.network.apply(
                {"params": params},
                *(x_t, t, condition),
                train=train,
                rngs={"dropout": dropout_key},
                method="predict",
            )

        loss, metrics = self.denoising.loss(network, x_0, t_key, eps_key, train=train)
        if condition.layout is not None:
            error = layout_error(condition.layout, x_0)
            loss, metrics = loss + error, {**metrics, "layout": error}
        return loss, metrics

    def sample(
        self,
        params: Any,
        inputs: Mapping[str, Array],
        key: Array,
        *,
        guidance_scale: float,
        guidance_rescale: float = 0.0,
        guidance_interval: tuple[float, float] | None = None,
        **settings: Any,
    ) -> Array:
        """Images: float32 [B, H, W, 3] in [−1, 1].

        inputs: sample_index [B] and, if the decoder reads them, tokens [B, L] and image_embedding
        [B, D]; optionally negative_tokens [B, L] in place of the empty caption; `text` and
        `negative_text`, outputs of `encode_text`, may replace either tokens. A sample depends only
        on its condition, key (one, or one for each sample [B]) and sample index. The
        unconditional half of guidance has the empty caption and the null embedding; guidance acts
        where sigma / alpha is in `guidance_interval` (low, high], by default everywhere. `settings`
        are those of `Denoising.sample`: num_inference_steps, sampler, ….
        """
        denoiser = self._guided(params, inputs, guidance_scale, guidance_rescale, guidance_interval)
        return self.denoising.sample(
            denoiser, key, inputs["sample_index"], self.image_shape, **settings
        )

    def start(
        self, params: Any, inputs: Mapping[str, Array], key: Array, *, table: Mapping[str, Array]
    ) -> State:
        """The noise that `sample` starts from."""
        del params
        noise = initial_noise(key, inputs["sample_index"], self.image_shape)
        return coefficients.start(table, noise)

    def advance(
        self,
        params: Any,
        inputs: Mapping[str, Array],
        key: Array,
        state: State,
        first: Array,
        last: Array,
        *,
        guidance_scale: Array | float,
        guidance_rescale: Array | float = 0.0,
        guidance_interval: Array | tuple[float, float] | None = None,
        **settings: Any,
    ) -> State:
        """The state of `sample` after the rows from `first` up to `last` of the sampler's table."""
        denoiser = self._guided(params, inputs, guidance_scale, guidance_rescale, guidance_interval)
        index = inputs["sample_index"]
        return self.denoising.advance(
            denoiser, state, first, last, key=key, sample_index=index, **settings
        )

    def _guided(
        self, params: Any, inputs: Mapping[str, Array], scale: Any, rescale: Any, interval: Any
    ) -> Denoiser:
        """The denoiser of inputs that `sample` explains."""
        tokens, embedding = inputs.get("tokens"), inputs.get("image_embedding")
        text, negative_text = inputs.get("text"), inputs.get("negative_text")
        if self.reads_captions and tokens is None and (text is None or negative_text is None):
            raise ValueError("the decoder reads captions; give `tokens` among its inputs")
        negative = inputs.get("negative_tokens")
        if negative is None and tokens is not None:
            negative = empty_captions(tokens)
        all_dropped = jnp.ones(inputs["sample_index"].shape, bool)
        cond = self.encode(params, tokens, embedding, text=text)
        uncond = self.encode(params, negative, embedding, all_dropped, text=negative_text)
        denoise = functools.partial(self.denoise, params)
        denoiser = guidance.classifier_free(denoise, cond, uncond, scale, rescale=rescale)
        if interval is None:
            return denoiser
        return guidance.on_interval(
            *(self.schedule, interval),
            inside=denoiser,
            outside=lambda x_t, t: denoise(x_t, t, cond),
        )

    def check_settings(
        self,
        *,
        guidance_scale: float,
        guidance_rescale: float = 0.0,
        guidance_interval: tuple[float, float] | None = None,
        **settings: Any,
    ) -> None:
        """Raise ValueError for settings that `sample` can't use."""
        guidance.check_guidance(guidance_scale, guidance_rescale)
        if guidance_interval is not None:
            guidance.check_interval(guidance_interval)
        self.denoising.check(**settings)

    def preview(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, **settings: Any
    ) -> Array:
        """Samples for a held-out batch's captions and embeddings."""
        inputs = {
            "tokens": batch["tokens"],
            "image_embedding": self._image_embedding(frozen, batch),
            "sample_index": jnp.arange(len(batch["tokens"]), dtype=jnp.uint32),
        }
        return self.sample(params, inputs, key, **settings)

    def _image_embedding(self, frozen: Any, batch: Mapping[str, Array]) -> Array | None:
        """The stored embeddings of a batch or CLIP's of its images; None without embeddings."""
        if self.clip is None:
            return None
        if "image_embedding" in batch:
            return self._checked(batch["image_embedding"])
        return self.clip.encode_image(frozen["clip"], batch["image"])

    def _checked(self, image_embedding: Array | None) -> Array:
        width = self.network.embedding_width
        shape = None if image_embedding is None else tuple(image_embedding.shape)
        if shape is None or shape[-1] != width:
            raise ValueError(
                f"the decoder reads CLIP image embeddings [B, {width}] and was given "
                f"{list(shape) if shape else 'none'}; give `image_embedding` of the CLIP that it "
                "was trained with"
            )
        return image_embedding
