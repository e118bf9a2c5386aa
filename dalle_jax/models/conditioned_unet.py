"""The decoder's network: a U-Net conditioned on a caption, a CLIP image embedding, or both."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax import Array

from dalle_jax.models.text import TextTransformer
from dalle_jax.models.unet import UNet


class Condition(NamedTuple):
    """The U-Net's conditioning on a caption and an image embedding."""

    pooled: Array  # [B, P], projected and added to the timestep embedding
    context: Array  # [B, M, W], more keys and values for every attention
    mask: Array  # bool [B, M], False for padding
    layout: Array | None = None  # [B, S, S, 3], a predicted coarse image, concatenated with x_t


class ConditionedUNet(nn.Module):
    """GLIDE's text (Nichol et al. 2021, §4.1) and unCLIP's image embedding (2204.06125, §2.1).

    The image embedding z_i is projected and added to the timestep embedding, and projected into
    `num_image_tokens` more context tokens, which follow those of the caption. A learned vector
    replaces it where it is dropped. z_i has length 1 and enters as √D z_i, so that its features
    have the scale of any other layer's input.

    With `layout`, a separate text transformer predicts a coarse image that is concatenated with
    x_t. It is trained only on the images (`Decoder.loss`), without a gradient through the U-Net,
    and learns the positions of objects long before attention to the text does
    (docs/log/performance.md).

    Attributes:
        unet: keyword arguments of UNet.
        text: keyword arguments of TextTransformer; None for a network without captions.
        embedding_width: D, the width of the image embeddings; 0 for a network without them.
        num_image_tokens: context tokens per image embedding.
        layout: `size`, the side of the coarse image in pixels, and keyword arguments of its
            TextTransformer; None for no layout prediction, as in the papers.
        scan_blocks: for the text transformers, see `nn.transformer.Transformer`.
    """

    unet: Mapping[str, Any]
    text: Mapping[str, Any] | None = None
    embedding_width: int = 0
    num_image_tokens: int = 4
    layout: Mapping[str, Any] | None = None
    dtype: jnp.dtype = jnp.float32
    scan_blocks: bool = False

    def setup(self):
        """Build the U-Net and the configured conditioning networks."""
        self.network = UNet(**self.unet, dtype=self.dtype)
        shared = {"dtype": self.dtype, "scan_blocks": self.scan_blocks}
        token_width = 4 * self.unet["channels"]  # that of the timestep embedding
        if self.text is not None:
            self.text_transformer = TextTransformer(**self.text, **shared)
            token_width = self.text["width"]
        if self.embedding_width:
            self.null_image_embedding = self.param(
                "null_image_embedding", nn.initializers.zeros, (self.embedding_width,)
            )
            self.image_tokens = nn.Dense(self.num_image_tokens * token_width, dtype=self.dtype)
        if self.layout is not None:
            self.layout_transformer = TextTransformer(
                **{k: v for k, v in self.layout.items() if k != "size"}, **shared
            )
            self.layout_out = nn.Dense(self.layout["size"] ** 2 * 3)

    def encode_text(self, tokens: Array) -> Condition:
        """The part of the conditioning that depends only on the captions [B, L]."""
        pooled, context, mask = self.text_transformer(tokens)
        if self.layout is None:
            return Condition(pooled, context, mask)
        layout = self.layout_out(self.layout_transformer(tokens)[0])
        size = self.layout["size"]
        layout = rearrange(layout, "b (h w c) -> b h w c", h=size, w=size, c=3)
        return Condition(pooled, context, mask, layout)

    def encode(
        self,
        text: Condition | None = None,
        image_embedding: Array | None = None,
        dropped: Array | None = None,
    ) -> Condition:
        """The conditioning on encoded captions and image embeddings [B, D].

        `dropped` [B] is True for image embeddings to leave out. Inputs that the network does not
        read may be None.
        """
        if not self.embedding_width:
            return text
        z = math.sqrt(self.embedding_width) * image_embedding
        z = jnp.where(dropped[:, None], self.null_image_embedding[None, :], z)
        z = z.astype(self.dtype)
        context = rearrange(self.image_tokens(z), "b (m w) -> b m w", m=self.num_image_tokens)
        mask = jnp.ones(context.shape[:2], bool)
        if self.text is None:
            return Condition(z, context, mask)
        # A Dense layer of the concatenation is the sum of one Dense layer of each.
        pooled = jnp.concatenate([text.pooled, z], axis=-1)
        context = jnp.concatenate([text.context, context], axis=1)
        return Condition(pooled, context, jnp.concatenate([text.mask, mask], axis=1), text.layout)

    def predict(self, x_t: Array, t: Array, condition: Condition, *, train: bool = False) -> Array:
        """x_t [B, H, W, 3], t [B] → the network's output [B, H, W, 3 or 6]."""
        if condition.layout is not None:
            size = (*x_t.shape[:3], condition.layout.shape[-1])
            x_t = jnp.concatenate(
                [x_t, jax.image.resize(condition.layout, size, "linear")], axis=-1
            )
        pooled, context, mask, _ = condition
        return self.network(x_t, t, pooled, context, mask, train=train)

    def __call__(
        self,
        x_t: Array,
        t: Array,
        tokens: Array | None = None,
        image_embedding: Array | None = None,
        dropped: Array | None = None,
        *,
        train: bool = False,
    ) -> Array:
        """`predict` from captions and embeddings, for training."""
        text = self.encode_text(tokens) if self.text is not None else None
        return self.predict(x_t, t, self.encode(text, image_embedding, dropped), train=train)
