"""The text transformer that conditions the decoder."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from dalle_jax.nn.embeddings import TextEmbedding
from dalle_jax.nn.transformer import Transformer


class TextTransformer(nn.Module):
    """Caption tokens → one vector and one sequence of vectors (GLIDE, §4.1).

    Every position, padding included, attends to every other; the pooled vector is the last
    position's, as in GLIDE's released code.
    """

    vocab_size: int
    max_length: int
    width: int
    depth: int
    num_heads: int
    dtype: jnp.dtype = jnp.float32
    scan_blocks: bool = False

    @nn.compact
    def __call__(self, tokens: Array) -> tuple[Array, Array]:
        """tokens [B, L] → pooled [B, width], context [B, L, width]."""
        x = TextEmbedding(
            self.vocab_size, self.max_length, self.width, self.dtype, name="embedding"
        )(tokens)
        x = Transformer(
            self.depth,
            self.num_heads,
            dtype=self.dtype,
            scan_blocks=self.scan_blocks,
            name="transformer",
        )(x)
        return x[:, -1], x
