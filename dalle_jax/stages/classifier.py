"""The classifier: predicts which tokens an image's caption contains.

It is trained for its features, between which Fréchet and kernel distances are computed if
Inception's weights are missing or its training photographs are far from the data.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dalle_jax.models import classifier
from dalle_jax.stages.base import Stage, dtype_named

NUM_SPECIAL = 2  # padding and end of text, the tokens 0 and 1, are not predicted


class Classifier(Stage):
    """An image classifier with one logit per token.

    Args:
        model: keyword arguments of `models.classifier.Classifier`, without the vocabulary.
        image_size: side of the images in pixels.
        vocab_size, max_length: of the tokenizer.
    """

    takes = ("image",)
    gives = ("image_embedding",)
    encodes = "image_embedding"

    def __init__(
        self, *, model: Mapping[str, Any], image_size: int, vocab_size: int, max_length: int
    ):
        settings = {**model, "dtype": dtype_named(model["dtype"])}
        self.network = classifier.Classifier(vocab_size=vocab_size, **settings)
        self.image_shape = (image_size, image_size, 3)

    def init(self, key: Array) -> Any:
        """Random parameters, float32."""
        return self.network.init(key, jnp.zeros((1, *self.image_shape)))["params"]

    def classify(
        self, params: Any, image: Array, *, train: bool = False, rngs: Any = None
    ) -> classifier.Classified:
        """Features [B, D] and logits [B, V] of images uint8 [B, H, W, 3]."""
        x = image.astype(jnp.float32) / 127.5 - 1.0
        return self.network.apply({"params": params}, x, train=train, rngs=rngs)

    def encode_image(self, params: Any, image: Array) -> Array:
        """Features float32 [B, D] of images uint8 [B, H, W, 3]."""
        return self.classify(params, image).features

    def loss(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """Sigmoid cross-entropy, summed over the vocabulary, mean over the batch, in nats.

        batch: image uint8 [B, H, W, 3], tokens int32 [B, L]. Metrics: precision and recall of the
        tokens predicted as present, and the share of images with all tokens right.
        """
        del frozen
        logits = self.classify(params, batch["image"], train=train, rngs={"dropout": key}).logits
        logits = logits[:, NUM_SPECIAL:]
        present = present_tokens(batch["tokens"], self.network.vocab_size)
        # −log σ(z) where the token is present, −log σ(−z) where it is not.
        entropy = jax.nn.softplus(jnp.where(present, -logits, logits))
        predicted = logits > 0
        right = jnp.sum(predicted & present)
        metrics = {
            "precision": right / jnp.maximum(jnp.sum(predicted), 1),
            "recall": right / jnp.maximum(jnp.sum(present), 1),
            "all_right": jnp.mean(jnp.all(predicted == present, axis=1)),
        }
        return jnp.mean(jnp.sum(entropy, axis=1)), metrics

    def sample(self, params: Any, inputs: Mapping[str, Array], key: Array) -> Array:
        """Features float32 [B, D] of inputs["image"], uint8 [B, H, W, 3]; `key` is unused."""
        del key
        return self.encode_image(params, inputs["image"])


def present_tokens(tokens: Array, vocab_size: int) -> Array:
    """Which tokens, without special ones, each caption [B, L] contains: bool [B, V − 2]."""
    contained = jax.nn.one_hot(tokens, vocab_size, dtype=jnp.bool_)  # [B, L, V]
    return jnp.any(contained, axis=1)[:, NUM_SPECIAL:]
