"""The decoder: a text transformer and a diffusion U-Net, trained together from caption to image.

This is GLIDE (Nichol et al. 2021, §4.1): caption tokens are extra keys and values of the U-Net's
attention, the pooled caption is added to the timestep embedding, and a share of the captions is
dropped so that the same network guides itself (§2.3).
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from dalle_jax import diffusion
from dalle_jax.diffusion import guidance, losses, training_times
from dalle_jax.models.text import TextTransformer
from dalle_jax.models.unet import UNet

END_OF_TEXT = 1
NUM_TIME_BINS = 10

# What keeps x0_hat in the range of images.
THRESHOLDS = {
    "static": guidance.static_threshold,
    "dynamic": guidance.dynamic_threshold,
    "none": lambda denoiser: denoiser,
}


class Text(NamedTuple):
    """An encoded caption: what the U-Net is conditioned on."""

    pooled: Array  # [B, D]
    context: Array  # [B, L, D]


class TextToImage(nn.Module):
    """The two networks under one tree of parameters."""

    text: Mapping[str, Any]
    unet: Mapping[str, Any]
    dtype: jnp.dtype

    def setup(self):
        """Build both networks."""
        self.text_transformer = TextTransformer(**self.text, dtype=self.dtype)
        self.network = UNet(**self.unet, dtype=self.dtype)

    def encode(self, tokens: Array) -> Text:
        """tokens [B, L] → the encoded captions."""
        return Text(*self.text_transformer(tokens))

    def predict(self, x_t: Array, t: Array, text: Text, *, train: bool = False) -> Array:
        """x_t [B, H, W, 3], t [B] → the network's prediction [B, H, W, 3]."""
        return self.network(x_t, t, text.pooled, text.context, train=train)

    def __call__(self, x_t: Array, t: Array, tokens: Array, *, train: bool = False) -> Array:
        """As `predict`, from tokens [B, L]; what training differentiates."""
        return self.predict(x_t, t, self.encode(tokens), train=train)


class Decoder:
    """What the decoder learns and, once learned, does.

    Args:
        model: `text` and `unet`, keyword arguments of TextTransformer and UNet, and `dtype`, in
            which the networks compute; their parameters are float32 always.
        diffusion: `schedule`, a name in `dalle_jax.diffusion.CONTINUOUS`.
        loss: `target` (what the network predicts, see `diffusion.PREDICTIONS`), `weighting` (see
            `losses.weight`), `log_normal_times` (mean and deviation of ln(sigma / alpha) at which
            it is trained; empty for t uniform) and `caption_dropout` (share of captions replaced
            by the empty one).
        image_size: side of the images in pixels.
        vocab_size, max_length: of the tokenizer.
    """

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
        text = {**model["text"], "vocab_size": vocab_size, "max_length": max_length}
        self.network = TextToImage(text, dict(model["unet"]), jnp.dtype(model["dtype"]))
        self.schedule = _schedule(diffusion["schedule"])
        self.target = loss["target"]
        self.weighting = loss["weighting"]
        self.log_normal_times = tuple(loss["log_normal_times"])
        self.caption_dropout = loss["caption_dropout"]
        self.image_shape = (image_size, image_size, 3)
        self.max_length = max_length

    def init(self, key: Array) -> Any:
        """Random parameters, float32."""
        x_t, t = jnp.zeros((1, *self.image_shape)), jnp.zeros((1,))
        tokens = jnp.zeros((1, self.max_length), jnp.int32)
        return self.network.init(key, x_t, t, tokens)["params"]

    def denoise(self, params: Any, x_t: Array, t: Array, text: Text) -> Array:
        """x0_hat of a noised image [B, H, W, 3] at the times t [B], given its caption."""

        def network(x: Array, t: Array) -> Array:
            return self.network.apply({"params": params}, x, t, text, method="predict")

        return diffusion.as_denoiser(network, self.schedule, self.target)(x_t, t)

    def encode(self, params: Any, tokens: Array) -> Text:
        """Captions [B, L] as the U-Net is given them."""
        return self.network.apply({"params": params}, tokens, method="encode")

    def loss(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """Mean weighted squared error on the target, for one batch.

        batch: image uint8 [B, H, W, 3], tokens int32 [B, L]. t is stratified: one uniform offset
        for the batch, so that every batch sees all noise levels. With `train=False` captions are
        kept, t is uniform, and the error of each tenth of t is reported as well.
        """
        del frozen  # this stage stands on no other
        x_0 = to_model_range(batch["image"])
        t_key, eps_key, caption_key, dropout_key = jax.random.split(key, 4)
        if train and self.log_normal_times:
            t = training_times.log_normal(
                t_key, x_0.shape[0], self.schedule, *self.log_normal_times
            )
        else:
            t = training_times.stratified(t_key, x_0.shape[0])
        t = training_times.on_steps(t, self.schedule)
        eps = jax.random.normal(eps_key, x_0.shape)
        tokens = batch["tokens"]
        if train:
            tokens = drop_captions(caption_key, tokens, self.caption_dropout)

        x_t = losses.add_noise(x_0, eps, self.schedule, t)
        prediction = self.network.apply(
            {"params": params}, x_t, t, tokens, train=train, rngs={"dropout": dropout_key}
        )
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        target = diffusion.target(x_0, eps, alpha, sigma, self.target)
        errors = losses.squared_error(prediction, target)
        weights = losses.weight(self.weighting, self.target, self.schedule, t)
        metrics = {"mse": jnp.mean(errors)}
        if not train:
            metrics |= by_time_bin(errors, t)
        return losses.weighted_mean(errors, weights), metrics

    def sample(
        self,
        params: Any,
        inputs: Mapping[str, Array],
        key: Array,
        *,
        num_inference_steps: int,
        guidance_scale: float,
        sampler: str,
        guidance_rescale: float = 0.0,
        guidance_interval: tuple[float, float] | None = None,
        threshold: str = "static",
        callback: Callable[[int, int, Array], None] | None = None,
        **options: Any,
    ) -> Array:
        """Images of captions: float32 [B, H, W, 3] in [−1, 1].

        inputs: tokens [B, L], sample_index [B] and, optionally, negative_tokens [B, L], which take
        the place of the empty caption. A sample depends on its caption, key and sample index alone.
        Guidance acts where sigma / alpha is in `guidance_interval` (low, high], everywhere if there
        is none; `threshold` is a name in THRESHOLDS; `options` are the sampler's.
        """
        if threshold not in THRESHOLDS:
            raise ValueError(f'no threshold "{threshold}"; known are {", ".join(THRESHOLDS)}')
        tokens = inputs["tokens"]
        negative = inputs.get("negative_tokens", empty_captions(tokens))
        cond, uncond = self.encode(params, tokens), self.encode(params, negative)
        denoise = functools.partial(self.denoise, params)
        denoiser = guidance.classifier_free(
            denoise, cond, uncond, guidance_scale, rescale=guidance_rescale
        )
        if guidance_interval is not None:
            denoiser = guidance.on_interval(
                self.schedule,
                guidance_interval,
                inside=denoiser,
                outside=lambda x_t, t: denoise(x_t, t, cond),
            )
        return diffusion.sample(
            THRESHOLDS[threshold](denoiser),
            self.schedule,
            diffusion.initial_noise(key, inputs["sample_index"], self.image_shape),
            sampler=sampler,
            steps=num_inference_steps,
            key=key,
            sample_index=inputs["sample_index"],
            callback=callback,
            **options,
        )


def to_model_range(image: Array) -> Array:
    """uint8 0 … 255 → float32 −1 … 1."""
    return image.astype(jnp.float32) / 127.5 - 1.0


def empty_captions(tokens: Array) -> Array:
    """The empty caption in the shape of tokens [B, L]: end of text, then padding."""
    return jnp.zeros_like(tokens).at[:, 0].set(END_OF_TEXT)


def drop_captions(key: Array, tokens: Array, share: float) -> Array:
    """tokens [B, L] with each caption replaced by the empty one with probability `share`."""
    dropped = jax.random.uniform(key, (tokens.shape[0], 1)) < share
    return jnp.where(dropped, empty_captions(tokens), tokens)


def by_time_bin(errors: Array, t: Array) -> dict[str, Array]:
    """Mean of errors [B] over the samples in each tenth of t [B]: `mse_t0` … `mse_t9`.

    A bin without a sample has NaN, which the mean over batches leaves out.
    """
    bins = jnp.clip((t * NUM_TIME_BINS).astype(jnp.int32), 0, NUM_TIME_BINS - 1)
    members = jax.nn.one_hot(bins, NUM_TIME_BINS)  # [B, bins]
    means = errors @ members / jnp.sum(members, axis=0)
    return {f"mse_t{i}": means[i] for i in range(NUM_TIME_BINS)}


def _schedule(name: str) -> diffusion.Schedule:
    if name not in diffusion.CONTINUOUS:
        known = ", ".join(diffusion.CONTINUOUS)
        raise ValueError(f"no noise schedule is called {name!r}; known are {known}")
    return diffusion.CONTINUOUS[name]()
