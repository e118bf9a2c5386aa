"""CLIP: image and text encoders learned by telling each image's caption from the others' captions.

Radford et al. 2021 (2103.00020). unCLIP's prior predicts these embeddings and its decoder draws
from them (Ramesh et al. 2022, §2).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dalle_jax.models import clip
from dalle_jax.stages import sam
from dalle_jax.stages.base import Stage
from dalle_jax.stages.dtypes import dtype_named
from dalle_jax.stages.images import shrink, to_model_range


class Clip(Stage):
    """What CLIP learns and, once learned, does. It stands on no other stage.

    Args:
        model: `image` and `text`, keyword arguments of `models.clip.ImageEncoder` and TextEncoder;
            `embedding_width`, D; `image_size`, side in pixels of what the encoder sees (larger
            images are shrunk to it; 0 for that of the data); `dtype`, in which both compute
            (parameters are float32); `scan_blocks`, see `nn.transformer.Transformer`.
        loss: `sam_radius`, see below.
        image_size: side of the images in the data.
        vocab_size, max_length: of the tokenizer.

    Attributes:
        embedding_width: D.
        feature_width: width of the text features.
        sam_radius: ρ of sharpness-aware minimization, see `sam`; 0 is without.
    """

    takes = ("tokens",)
    gives = ("text_embedding", "text_features")
    encodes = "image_embedding"

    def __init__(
        self,
        *,
        model: Mapping[str, Any],
        loss: Mapping[str, Any],
        image_size: int,
        vocab_size: int,
        max_length: int,
    ):
        text = {**model["text"], "vocab_size": vocab_size, "max_length": max_length}
        self.network = clip.Clip(
            image=dict(model["image"]),
            text=text,
            embedding_width=model["embedding_width"],
            dtype=dtype_named(model["dtype"]),
            scan_blocks=model["scan_blocks"],
        )
        self.sam_radius = loss["sam_radius"]
        self.num_gradients = 2 if self.sam_radius else 1
        self.embedding_width = model["embedding_width"]
        self.feature_width = text["width"]
        self.image_size = model["image_size"] or image_size
        self.max_length = max_length

    def init(self, key: Array) -> Any:
        """Random parameters, float32."""
        image = jnp.zeros((1, self.image_size, self.image_size, 3))
        tokens = jnp.zeros((1, self.max_length), int)
        return self.network.init(key, image, tokens)["params"]

    def encode_image(self, params: Any, image: Array) -> Array:
        """image uint8 [B, H, W, 3] → embeddings float32 [B, D] of length 1."""
        image = self._seen(image)
        return self.network.apply({"params": params}, image, method="encode_image")

    def encode_text(self, params: Any, tokens: Array) -> tuple[Array, Array]:
        """tokens int32 [B, L] → embeddings float32 [B, D] of length 1, features [B, L, W]."""
        return self.network.apply({"params": params}, tokens, method="encode_text")

    def loss(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """Mean of the two cross-entropies of `contrastive_loss`, in nats, over the whole batch.

        batch: image uint8 [B, H, W, 3], tokens int32 [B, L]. Also told: how often the nearest
        caption is the image's (or equal to it), the same for images, and 1 / τ.
        """
        del frozen, key, train  # it stands on no other stage and draws nothing
        image, text, logit_scale = self.network.apply(
            {"params": params}, self._seen(batch["image"]), batch["tokens"]
        )
        loss, logits = contrastive_loss(image, text, logit_scale)
        metrics = {
            "image_to_text_accuracy": _accuracy(logits, batch["tokens"]),
            "text_to_image_accuracy": _accuracy(logits.T, batch["tokens"]),
            "logit_scale": logit_scale,
        }
        return loss, metrics

    def value_and_grad(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array
    ) -> tuple[tuple[Array, dict[str, Array]], Any]:
        """As of every stage; with `sam_radius` the gradient is the sharpness-aware one."""
        gradient_of = sam.value_and_grad(self.loss, self.sam_radius)
        return gradient_of(params, frozen, batch, key, train=True)

    def sample(self, params: Any, inputs: Mapping[str, Array], key: Array) -> dict[str, Array]:
        """The embeddings of what is in `inputs`; nothing is drawn.

        inputs: image uint8 [B, H, W, 3], tokens int32 [B, L], or both. Gives `image_embedding`, or
        `text_embedding` and `text_features`.
        """
        del key
        outputs = {}
        if "image" in inputs:
            outputs["image_embedding"] = self.encode_image(params, inputs["image"])
        if "tokens" in inputs:
            embedding, features = self.encode_text(params, inputs["tokens"])
            outputs |= {"text_embedding": embedding, "text_features": features}
        return outputs

    def _seen(self, image: Array) -> Array:
        """uint8 images of the data → what the encoder is given."""
        return to_model_range(shrink(image, self.image_size))


def contrastive_loss(image: Array, text: Array, logit_scale: Array) -> tuple[Array, Array]:
    """−½ mean_i [log softmax_j(s·I_i·T_j)_i + log softmax_j(s·T_i·I_j)_i], and s·I·Tᵀ [B, B].

    CLIP, figure 3. image and text are embeddings [B, D] of length 1 of the same B pairs. The batch
    is the whole one: where it is cut over devices, the compiler gathers the embeddings.
    """
    logits = logit_scale * jnp.einsum("id,jd->ij", image, text)
    own = jnp.diagonal(logits)
    of_image = jax.nn.logsumexp(logits, axis=1) - own
    of_text = jax.nn.logsumexp(logits, axis=0) - own
    return jnp.mean(of_image + of_text) / 2, logits


def _accuracy(logits: Array, tokens: Array) -> Array:
    """How often [B, B] is largest where the captions [B, L] of row and column are equal."""
    found = tokens[jnp.argmax(logits, axis=1)]
    return jnp.mean(jnp.all(found == tokens, axis=1).astype(jnp.float32))
