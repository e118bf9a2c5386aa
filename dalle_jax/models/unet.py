"""The diffusion U-Net of ADM and GLIDE, conditioned on time, a pooled vector and context tokens."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax import Array

from dalle_jax.nn.attention import SpatialAttention
from dalle_jax.nn.embeddings import TimestepEmbedding
from dalle_jax.nn.norms import GroupNorm
from dalle_jax.nn.remat import run_block
from dalle_jax.nn.residual import ResidualBlock


class UNet(nn.Module):
    """U-Net with adaptive group norm, resampling residual blocks and attention at some resolutions.

    Dhariwal & Nichol 2021 (ADM, §3) with GLIDE's conditioning on text (Nichol et al. 2021, §4.1):
    unmasked context tokens are extra keys and values of each attention layer, and the pooled vector
    is added to the timestep embedding.

    Attributes:
        channels: width of the first level; level i has channels·channel_mult[i].
        num_res_blocks: residual blocks per level in the encoder; the decoder has one more.
        attention_resolutions: feature-map sides at which attention follows each block.
        middle_attention: whether the middle has attention, whatever `attention_resolutions` lists;
            without either the network is fully convolutional.
        head_channels: channels per attention head.
        patch_size: side of the patches that become channels first (space to depth), which makes
            the first level cheap on small machines; 1 is the papers' network.
        out_channels: 3, or 6 with a learned variance.
    """

    channels: int
    channel_mult: Sequence[int]
    num_res_blocks: int
    attention_resolutions: Sequence[int]
    middle_attention: bool = True
    head_channels: int = 64
    patch_size: int = 1
    out_channels: int = 3
    norm_groups: int = 32
    dropout: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Array,
        t: Array,
        pooled: Array | None = None,
        context: Array | None = None,
        mask: Array | None = None,
        *,
        train: bool = False,
    ) -> Array:
        """x [B, H, W, C], t [B] in [0, 1], pooled [B, D], context [B, M, D], mask bool [B, M] →
        [B, H, W, out] in float32."""
        self._check(x.shape[1:3])
        embedding_width = 4 * self.channels
        embedding = TimestepEmbedding(
            self.channels, embedding_width, dtype=self.dtype, name="time_embedding"
        )(1000.0 * t)
        if pooled is not None:
            embedding += nn.Dense(embedding_width, dtype=self.dtype, name="pooled")(pooled)

        def residual(h: Array, width: int, name: str, resample: str = "same") -> Array:
            block = ResidualBlock(
                width, resample, self.norm_groups, self.dropout, self.dtype, name=name
            )
            return run_block(block, h, embedding, train=train)

        def block(h: Array, width: int, name: str, resample: str = "same") -> Array:
            h = residual(h, width, name, resample)
            if resample == "same" and h.shape[1] in self.attention_resolutions:
                h = attend(h, f"{name}_attention")
            return h

        def attend(h: Array, name: str) -> Array:
            attention = SpatialAttention(
                self.head_channels, self.norm_groups, self.dtype, name=name
            )
            return run_block(attention, h, context, mask)

        p = self.patch_size
        h = rearrange(x.astype(self.dtype), "b (h p) (w q) c -> b h w (p q c)", p=p, q=p)
        h = nn.Conv(self.channels, (3, 3), dtype=self.dtype, name="conv_in")(h)
        skips = [h]
        last = len(self.channel_mult) - 1
        for level, mult in enumerate(self.channel_mult):
            for i in range(self.num_res_blocks):
                h = block(h, self.channels * mult, f"down_{level}_{i}")
                skips.append(h)
            if level < last:
                h = block(h, self.channels * mult, f"down_{level}_resample", "down")
                skips.append(h)

        h = residual(h, h.shape[-1], "middle_0")
        if self.middle_attention:
            h = attend(h, "middle_attention")
        h = residual(h, h.shape[-1], "middle_1")

        for level, mult in reversed(list(enumerate(self.channel_mult))):
            for i in range(self.num_res_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = block(h, self.channels * mult, f"up_{level}_{i}")
            if level > 0:
                h = block(h, self.channels * mult, f"up_{level}_resample", "up")

        h = jax.nn.silu(GroupNorm(self.norm_groups, dtype=self.dtype, name="norm_out")(h))
        out = nn.Conv(
            p * p * self.out_channels,
            (3, 3),
            dtype=jnp.float32,
            kernel_init=nn.initializers.zeros,
            name="conv_out",
        )(h)
        return rearrange(out, "b h w (p q c) -> b (h p) (w q) c", p=p, q=p)

    def _check(self, size: tuple[int, int]) -> None:
        """Check that the patches and all halvings divide the image's sides."""
        factor = self.patch_size * 2 ** (len(self.channel_mult) - 1)
        if any(side % factor for side in size):
            raise ValueError(
                f"a U-Net with patch_size {self.patch_size} and {len(self.channel_mult)} levels "
                f"takes image sides that are multiples of {factor}, not {size[0]}×{size[1]}"
            )
