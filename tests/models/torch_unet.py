"""The decoder's network as a PyTorch user would write it, and flax's parameters put into it.

An independent implementation: NCHW, torch's own layers, nothing shared with the package. Modules
are named as in flax, so that a parameter's path there is its name here.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

RESAMPLE = {
    "same": nn.Identity(),
    "down": nn.AvgPool2d(2),
    "up": nn.Upsample(scale_factor=2, mode="nearest"),
}
LEAVES = {"kernel": "weight", "scale": "weight"}
KERNELS = {2: "i o -> o i", 4: "h w i o -> o i h w"}  # of linear and convolutional layers


def from_flax(params: Any) -> dict[str, Tensor]:
    """A state dict of `ConditionedUNet` from the parameters of the package's."""
    state = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        *modules, name = (entry.key for entry in path)
        array = np.array(leaf)
        if name == "kernel":
            array = rearrange(array, KERNELS[array.ndim])
        state[".".join([*modules, LEAVES.get(name, name)])] = torch.from_numpy(array.copy())
    return state


class Attention(nn.Module):
    """One softmax over the context, where there is any, and the sequence."""

    def __init__(self, width: int, num_heads: int, context_width: int = 0):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        if context_width:
            self.context_kv = nn.Linear(context_width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor, context: Tensor | None = None) -> Tensor:
        """`mask` [B, M + L] is of the keys, those of the context first."""
        split = "b l (n h d) -> n b h l d"
        q, k, v = rearrange(self.qkv(x), split, n=3, h=self.num_heads)
        if context is not None:
            more_k, more_v = rearrange(self.context_kv(context), split, n=2, h=self.num_heads)
            k, v = torch.cat([more_k, k], 2), torch.cat([more_v, v], 2)
        y = F.scaled_dot_product_attention(q, k, v, mask[:, None, None])
        return self.out(rearrange(y, "b h l d -> b l (h d)"))


class SpatialAttention(nn.Module):
    def __init__(self, width: int, head_channels: int, groups: int, context_width: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width)
        self.attention = Attention(width, width // head_channels, context_width)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        h = rearrange(self.norm(x), "b c h w -> b (h w) c")
        mask = torch.cat([mask, torch.ones(h.shape[:2], dtype=torch.bool)], dim=1)
        h = self.attention(h, mask, context)
        return x + rearrange(h, "b (h w) c -> b c h w", h=x.shape[2])


class ResidualBlock(nn.Module):
    def __init__(self, inputs: int, width: int, embedding: int, groups: int, resample: str):
        super().__init__()
        self.resample = RESAMPLE[resample]
        self.norm_in = nn.GroupNorm(groups, inputs)
        self.conv_in = nn.Conv2d(inputs, width, 3, padding=1)
        self.embedding = nn.Linear(embedding, 2 * width)
        self.norm_out = nn.GroupNorm(groups, width)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Conv2d(inputs, width, 1) if inputs != width else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv_in(self.resample(F.silu(self.norm_in(x))))
        scale, shift = self.embedding(F.silu(embedding))[:, :, None, None].chunk(2, dim=1)
        h = self.conv_out(F.silu(self.norm_out(h) * (1 + scale) + shift))
        return self.skip(self.resample(x)) + h


class TransformerBlock(nn.Module):
    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, num_heads)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), mask)
        h = F.gelu(self.mlp_in(self.mlp_norm(x)), approximate="tanh")
        return x + self.mlp_out(h)


class TextEmbedding(nn.Module):
    def __init__(self, vocab_size: int, max_length: int, width: int):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(vocab_size, width))
        self.position = nn.Parameter(torch.zeros(max_length, width))

    def forward(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.token) + self.position[: tokens.shape[1]]


class TextTransformer(nn.Module):
    def __init__(self, vocab_size: int, max_length: int, width: int, depth: int, num_heads: int):
        super().__init__()
        self.embedding = TextEmbedding(vocab_size, max_length, width)
        self.depth = depth
        blocks = {f"block_{i}": TransformerBlock(width, num_heads) for i in range(depth)}
        self.transformer = nn.ModuleDict({**blocks, "final_norm": nn.LayerNorm(width, eps=1e-6)})

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, mask = self.embedding(tokens), tokens != 0
        for i in range(self.depth):
            x = self.transformer[f"block_{i}"](x, mask)
        x = self.transformer["final_norm"](x)
        end_of_text = x[torch.arange(len(x)), mask.sum(1) - 1]
        return end_of_text, x, mask


class TimestepEmbedding(nn.ModuleDict):
    def __init__(self, width: int, features: int):
        super().__init__({"in": nn.Linear(width, features), "out": nn.Linear(features, features)})
        steps = torch.arange(width // 2) / (width // 2 - 1)
        self.register_buffer("frequencies", torch.exp(-math.log(1e4) * steps), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        angles = t[:, None] * self.frequencies
        h = self["in"](torch.cat([angles.sin(), angles.cos()], dim=1))
        return self["out"](F.silu(h))


class UNet(nn.Module):
    """Attention follows the blocks at `attention_resolutions` of images of `image_size`."""

    def __init__(
        self,
        image_size: int,
        condition_width: int,
        *,
        channels: int,
        channel_mult: Sequence[int],
        num_res_blocks: int,
        attention_resolutions: Sequence[int],
        head_channels: int,
        patch_size: int,
        norm_groups: int,
        dropout: float = 0.0,
        out_channels: int = 3,
    ):
        super().__init__()
        assert dropout == 0, "the twin drops nothing"
        features = 4 * channels
        self.patch_size = patch_size
        self.time_embedding = TimestepEmbedding(channels, features)
        self.pooled = nn.Linear(condition_width, features)
        self.conv_in = nn.Conv2d(3 * patch_size**2, channels, 3, padding=1)

        def block(name: str, inputs: int, width: int, resample: str = "same") -> str:
            self.add_module(name, ResidualBlock(inputs, width, features, norm_groups, resample))
            return name

        def attention(name: str, width: int) -> None:
            layer = SpatialAttention(width, head_channels, norm_groups, condition_width)
            self.add_module(f"{name}_attention", layer)

        self.down, self.up = [], []
        side, width, skips = image_size // patch_size, channels, [channels]
        last = len(channel_mult) - 1
        for level, mult in enumerate(channel_mult):
            for i in range(num_res_blocks):
                self.down.append(block(f"down_{level}_{i}", width, channels * mult))
                width = channels * mult
                skips.append(width)
                if side in attention_resolutions:
                    attention(self.down[-1], width)
            if level < last:
                self.down.append(block(f"down_{level}_resample", width, width, "down"))
                skips.append(width)
                side //= 2

        block("middle_0", width, width)
        attention("middle", width)
        block("middle_1", width, width)

        for level, mult in reversed(list(enumerate(channel_mult))):
            for i in range(num_res_blocks + 1):
                self.up.append(block(f"up_{level}_{i}", width + skips.pop(), channels * mult))
                width = channels * mult
                if side in attention_resolutions:
                    attention(self.up[-1], width)
            if level > 0:
                self.up.append(block(f"up_{level}_resample", width, width, "up"))
                side *= 2

        self.norm_out = nn.GroupNorm(norm_groups, width)
        self.conv_out = nn.Conv2d(width, out_channels * patch_size**2, 3, padding=1)

    def forward(
        self, x: Tensor, t: Tensor, pooled: Tensor, context: Tensor, mask: Tensor
    ) -> Tensor:
        p = self.patch_size
        embedding = self.time_embedding(1000 * t) + self.pooled(pooled)

        def run(name: str, h: Tensor) -> Tensor:
            h = getattr(self, name)(h, embedding)
            attention = getattr(self, f"{name}_attention", None)
            return h if attention is None else attention(h, context, mask)

        h = self.conv_in(rearrange(x, "b c (h p) (w q) -> b (p q c) h w", p=p, q=p))
        skips = [h]
        for name in self.down:
            h = run(name, h)
            skips.append(h)
        h = self.middle_attention(self.middle_0(h, embedding), context, mask)
        h = self.middle_1(h, embedding)
        for name in self.up:
            h = run(name, h if "resample" in name else torch.cat([h, skips.pop()], dim=1))
        h = self.conv_out(F.silu(self.norm_out(h)))
        return rearrange(h, "b (p q c) h w -> b c (h p) (w q)", p=p, q=p)


class ConditionedUNet(nn.Module):
    """A U-Net that reads captions: tokens [B, L], x_t [B, 3, H, W], t [B] → [B, out, H, W]."""

    def __init__(self, image_size: int, unet: Mapping[str, Any], text: Mapping[str, Any]):
        super().__init__()
        self.text_transformer = TextTransformer(**text)
        self.network = UNet(image_size, text["width"], **unet)

    def forward(self, x_t: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        return self.network(x_t, t, *self.text_transformer(tokens))
