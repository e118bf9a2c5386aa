"""A small residual network that predicts which tokens an image's caption contains."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from dalle_jax.nn.norms import GroupNorm


class Classified(NamedTuple):
    """The classifier's features and logits for a batch of images."""

    features: Array  # [B, D] float32, the pooled activations before the last layer
    logits: Array  # [B, V] float32, one per token


class PreActivationBlock(nn.Module):
    """GroupNorm → ReLU → conv, twice, + skip (He et al. 2016, arXiv 1603.05027, figure 4e).

    With `stride` 2 it halves the resolution; the skip is then a strided 1×1 convolution.
    """

    channels: int
    stride: int = 1
    norm_groups: int = 8
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] → [B, ⌈H / stride⌉, ⌈W / stride⌉, channels]."""
        strides = (self.stride, self.stride)
        h = jax.nn.relu(GroupNorm(self.norm_groups, self.dtype, name="norm_in")(x))
        if x.shape[-1] != self.channels or self.stride > 1:
            x = nn.Conv(self.channels, (1, 1), strides, dtype=self.dtype, name="skip")(h)
        h = nn.Conv(self.channels, (3, 3), strides, dtype=self.dtype, name="conv_in")(h)
        h = jax.nn.relu(GroupNorm(self.norm_groups, self.dtype, name="norm_out")(h))
        return x + nn.Conv(self.channels, (3, 3), dtype=self.dtype, name="conv_out")(h)


class Classifier(nn.Module):
    """Levels of pre-activation blocks, a global mean and a linear layer to one logit per token.

    Attributes:
        vocab_size: V, the number of logits.
        channels: width of the first level. Level i has width channels·channel_mult[i] and, from the
            second on, half the side of the level before. The features have the last level's width.
        num_res_blocks: blocks per level.
        dropout: rate on the features in training.
    """

    vocab_size: int
    channels: int
    channel_mult: Sequence[int]
    num_res_blocks: int
    norm_groups: int = 8
    dropout: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Classified:
        """x [B, H, W, 3] in [−1, 1] → features [B, D] and logits [B, V], float32."""
        # Stride 2 at once: the objects that captions name are larger than two pixels.
        h = nn.Conv(self.channels, (3, 3), (2, 2), dtype=self.dtype, name="conv_in")(
            x.astype(self.dtype)
        )
        for level, mult in enumerate(self.channel_mult):
            for i in range(self.num_res_blocks):
                stride = 2 if level > 0 and i == 0 else 1
                h = PreActivationBlock(
                    self.channels * mult,
                    stride,
                    self.norm_groups,
                    self.dtype,
                    name=f"level_{level}_{i}",
                )(h)
        h = jax.nn.relu(GroupNorm(self.norm_groups, self.dtype, name="norm_out")(h))
        features = jnp.mean(h.astype(jnp.float32), axis=(1, 2))
        dropped = nn.Dropout(self.dropout, deterministic=not train)(features)
        # A new network predicts each token with probability 1 / V. Otherwise it would spend its
        # first steps on learning that nearly all tokens are absent.
        rare = nn.initializers.constant(-math.log(self.vocab_size))
        logits = nn.Dense(self.vocab_size, bias_init=rare, name="tokens")(dropped)
        return Classified(features, logits)
