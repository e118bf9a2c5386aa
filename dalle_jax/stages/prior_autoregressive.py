"""The autoregressive prior: predicts the buckets of an image embedding one after the other."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dalle_jax.models import embedding_codec
from dalle_jax.models.clip import normalize
from dalle_jax.models.embedding_codec import Codec
from dalle_jax.models.prior import AutoregressivePrior, Text
from dalle_jax.stages.base import dtype_named


class ByAutoregression:
    """unCLIP's autoregressive prior (§2.2): cross-entropy over the buckets of each dimension.

    The codec, measured on training embeddings, is stored in the parameters, {"network": …,
    "codec": …}, so that it can't be separated from the weights. It gets no gradient, so no update
    changes it.
    """

    def __init__(
        self,
        *,
        model: Mapping[str, Any],
        max_length: int,
        num_dimensions: int,
        num_buckets: int,
        embedding_width: int,
        embedding_scale: float,
    ):
        self.network = AutoregressivePrior(
            text=dict(model["text"]),
            latent=dict(model["latent"]),
            max_length=max_length,
            num_dimensions=num_dimensions,
            num_buckets=num_buckets,
            embedding_scale=embedding_scale,
            dtype=dtype_named(model["dtype"]),
            scan_blocks=model["scan_blocks"],
        )
        # Without `fit` the codec is NaN, and so is the loss.
        shapes = embedding_codec.shapes(embedding_width, num_dimensions)
        self.codec = Codec(*(np.full(shape, np.nan, np.float32) for shape in shapes))

    def fit(self, image: np.ndarray, text: np.ndarray) -> None:
        """Measure the codec on pairs of embeddings [N, D]; `init` puts it into the parameters."""
        self.codec = embedding_codec.fit(image, text, self.network.num_dimensions)

    def init(self, key: Array, text: Text) -> Any:
        """Random parameters for captions of the shapes of `text`, and the codec."""
        batch = text.mask.shape[0]
        buckets = jnp.zeros((batch, self.network.num_dimensions), int)
        network = self.network.init(key, text, jnp.zeros(batch, int), buckets)["params"]
        return {"network": network, "codec": jax.tree.map(jnp.asarray, self.codec._asdict())}

    def loss(
        self, params: Any, image: Array, text: Text, key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """Cross-entropy in nats a dimension, for image embeddings [B, D] and their captions.

        In validation also the cosine of an embedding and its reconstruction from buckets, the upper
        bound of this prior's cosine.
        """
        del key
        codec, num_buckets = _codec(params), self.network.num_buckets
        buckets = embedding_codec.encode(codec, image, num_buckets)
        dot = jnp.einsum("bd,bd->b", image, text.embedding)
        dot = embedding_codec.encode_dot(codec, dot, num_buckets)
        logits = self.network.apply({"params": params["network"]}, text, dot, buckets)
        of_bucket = jnp.take_along_axis(logits, buckets[..., None], axis=-1)[..., 0]
        loss = jnp.mean(jax.nn.logsumexp(logits, axis=-1) - of_bucket)
        # A codec of NaN still gives whole numbers as buckets.
        loss = jnp.where(jnp.isfinite(codec.low[0]), loss, jnp.nan)
        if train:
            return loss, {}
        decoded = normalize(embedding_codec.decode(codec, buckets, num_buckets))
        return loss, {"cosine_codec": jnp.mean(jnp.einsum("bd,bd->b", decoded, image))}

    def sample(
        self,
        params: Any,
        text: Text,
        key: Array,
        sample_index: Array,
        *,
        guidance_scale: float,
        dot_percentile: float,
    ) -> Array:
        """One embedding [B, D] of length 1 per caption.

        The network is conditioned on a dot product of image and text, sampled from those of the
        training pairs above `dot_percentile` (0.5: their upper half). Logits are guided like a
        denoiser, l_u + scale·(l_c − l_u).
        """
        codec, num_buckets = _codec(params), self.network.num_buckets
        of_sample = jax.vmap(jax.random.fold_in, in_axes=(0 if key.ndim else None, 0))
        keys = of_sample(key, sample_index)
        dot = dot_to_ask(codec, keys, dot_percentile)
        dot = embedding_codec.encode_dot(codec, dot, num_buckets)

        def apply(method, *args):
            return self.network.apply({"params": params["network"]}, *args, method=method)

        plain = isinstance(guidance_scale, Real) and guidance_scale == 1
        twice = lambda x: x if plain else jnp.concatenate([x, x])

        def sample_bucket(logits: Array, k: Array | int) -> Array:
            """The bucket [B] of dimension k."""
            if not plain:
                conditional, unconditional = jnp.split(logits, 2)
                logits = unconditional + guidance_scale * (conditional - unconditional)
            of_dimension = jax.vmap(lambda key: jax.random.fold_in(key, k))(keys)
            return jax.vmap(jax.random.categorical)(of_dimension, logits)

        def step(carry, k):
            logits, caches = carry
            bucket = sample_bucket(logits, k)
            return apply("next", twice(bucket), k, read, caches), bucket

        read = jax.tree.map(twice, text)
        if not plain:
            first = jnp.arange(2 * dot.shape[0]) < dot.shape[0]
            read = read.dropped(~first)
        K = self.network.num_dimensions
        carry = apply("start", read, twice(dot))
        (logits, _), buckets = jax.lax.scan(step, carry, jnp.arange(1, K))
        buckets = jnp.concatenate([buckets, sample_bucket(logits, K)[None]]).T  # [B, K]
        return normalize(embedding_codec.decode(codec, buckets, num_buckets))


def dot_to_ask(codec: Codec, keys: Array, percentile: float) -> Array:
    """One dot product per key [B], from those of the training pairs above `percentile`."""
    u = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 0)))(keys)
    return embedding_codec.dot_at(codec, percentile + (1 - percentile) * u)


def _codec(params: Any) -> Codec:
    return Codec(**jax.lax.stop_gradient(params["codec"]))
