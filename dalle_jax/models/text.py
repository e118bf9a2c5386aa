"""The text transformer that conditions the decoder."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from dalle_jax.nn.embeddings import TextEmbedding, at_last_token, token_mask
from dalle_jax.nn.transformer import Transformer


class TextTransformer(nn.Module):
    """Encodes caption tokens into a pooled vector and a sequence of vectors (GLIDE, §4.1).

    Tokens attend to each other and not to padding, so that the output does not depend on the amount
    of padding. The pooled vector is that of the end of text. In GLIDE's released code padding has
    learned vectors, which are attended to, and the last position is pooled.
    """

    vocab_size: int
    max_length: int
    width: int
    depth: int
    num_heads: int
    dtype: jnp.dtype = jnp.float32
    scan_blocks: bool = False

    @nn.compact
    def __call__(self, tokens: Array) -> tuple[Array, Array, Array]:
        """tokens [B, L] → pooled [B, width], context [B, L, width], mask of it bool [B, L]."""
        x = TextEmbedding(
            self.vocab_size, self.max_length, self.width, self.dtype, name="embedding"
        )(tokens)
        mask = token_mask(tokens)
        x = Transformer(
            self.depth,
            self.num_heads,
            dtype=self.dtype,
            scan_blocks=self.scan_blocks,
            name="transformer",
        )(x, mask=mask)
        return at_last_token(x, mask), x, mask
