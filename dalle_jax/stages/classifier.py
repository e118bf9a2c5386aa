"""The classifier: which tokens does an image's caption hold?

It is trained for its features: where Inception's weights are not at hand, or its photographs are
far from the data, Fréchet and kernel distances are taken between these (and named for them).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dalle_jax.models import classifier
from dalle_jax.stages.base import Stage
from dalle_jax.stages.dtypes import dtype_named

NUM_SPECIAL = 2  # padding and end of text, the tokens 0 and 1, say nothing of the image


class Classifier(Stage):
    """What the classifier learns and, once learned, does.

    Args:
        model: keyword arguments of `models.classifier.Classifier`, but for the vocabulary.
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
        """Features [B, D] and a logit [B, V] a token of images uint8 [B, H, W, 3]."""
        x = image.astype(jnp.float32) / 127.5 - 1.0
        return self.network.apply({"params": params}, x, train=train, rngs=rngs)

    def encode_image(self, params: Any, image: Array) -> Array:
        """Features float32 [B, D] of images uint8 [B, H, W, 3]."""
        return self.classify(params, image).features

    def loss(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """Sigmoid cross-entropy, summed over the vocabulary, mean over the batch, in nats.

        batch: image uint8 [B, H, W, 3], tokens int32 [B, L]. Also told: precision and recall of
        the tokens held more likely present than absent, and the share of images with all right.
        """
        del frozen  # this stage stands on no other
        logits = self.classify(params, batch["image"], train=train, rngs={"dropout": key}).logits
        logits = logits[:, NUM_SPECIAL:]
        present = present_tokens(batch["tokens"], self.network.vocab_size)
        # −log σ(z) where the token is present, −log σ(−z) where it is not.
        entropy = jax.nn.softplus(jnp.where(present, -logits, logits))
        told = logits > 0
        right = jnp.sum(told & present)
        metrics = {
            "precision": right / jnp.maximum(jnp.sum(told), 1),
            "recall": right / jnp.maximum(jnp.sum(present), 1),
            "all_right": jnp.mean(jnp.all(told == present, axis=1)),
        }
        return jnp.mean(jnp.sum(entropy, axis=1)), metrics

    def sample(
        self, params: Any, inputs: Mapping[str, Array], key: Array, **settings: Any
    ) -> Array:
        """Features float32 [B, D] of inputs["image"], uint8 [B, H, W, 3]; nothing is drawn."""
        del key
        if settings:
            raise ValueError(f"a classifier has no setting {min(settings)!r}: it draws nothing")
        return self.encode_image(params, inputs["image"])


def present_tokens(tokens: Array, vocab_size: int) -> Array:
    """Which tokens, special ones left out, each caption [B, L] holds: bool [B, V − 2]."""
    held = jax.nn.one_hot(tokens, vocab_size, dtype=jnp.bool_)  # [B, L, V]
    return jnp.any(held, axis=1)[:, NUM_SPECIAL:]
