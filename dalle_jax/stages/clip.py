"""CLIP: image and text encoders trained by a contrastive loss (Radford et al. 2021, 2103.00020).

unCLIP's prior predicts its image embeddings and its decoder is conditioned on them (Ramesh et al.
2022, §2).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from dalle_jax.models import clip
from dalle_jax.stages.base import Stage, dtype_named
from dalle_jax.stages.images import shrink, to_model_range


class Clip(Stage):
    """Image and text encoders with one embedding space.

    Args:
        model: `image` and `text`, keyword arguments of `models.clip.ImageEncoder` and TextEncoder;
            `embedding_width`, D; `image_size`, side in pixels of the encoder's input (larger images
            are shrunk; 0 for that of the data); `dtype` of the computation (parameters are
            float32); `scan_blocks`, see `nn.transformer.Transformer`.
        loss: `sam_radius`, ρ of `sharpness_aware`; 0 for the plain gradient.
        image_size: side of the images in the data.
        vocab_size, max_length: of the tokenizer.

    Attributes:
        embedding_width: D.
        feature_width: width of the text features.
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
        image = self._shrunk(image)
        return self.network.apply({"params": params}, image, method="encode_image")

    def encode_text(self, params: Any, tokens: Array) -> tuple[Array, Array]:
        """tokens int32 [B, L] → embeddings float32 [B, D] of length 1, features [B, L, W]."""
        return self.network.apply({"params": params}, tokens, method="encode_text")

    def loss(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """Mean of the two cross-entropies of `contrastive_loss`, in nats, over the whole batch.

        batch: image uint8 [B, H, W, 3], tokens int32 [B, L]. Metrics: how often the nearest caption
        is the image's (or equal to it), the same for images, and 1 / τ.
        """
        del frozen, key, train
        image, text, logit_scale = self.network.apply(
            {"params": params}, self._shrunk(batch["image"]), batch["tokens"]
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
        """`Stage.value_and_grad`, sharpness-aware if there is a `sam_radius`."""
        gradient_of = sharpness_aware(self.loss, self.sam_radius)
        return gradient_of(params, frozen, batch, key, train=True)

    def sample(self, params: Any, inputs: Mapping[str, Array], key: Array) -> dict[str, Array]:
        """The embeddings of the inputs; `key` is unused.

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

    def _shrunk(self, image: Array) -> Array:
        """uint8 images of the data → the encoder's input."""
        return to_model_range(shrink(image, self.image_size))


def contrastive_loss(image: Array, text: Array, logit_scale: Array) -> tuple[Array, Array]:
    """−½ mean_i [log softmax_j(s·I_i·T_j)_i + log softmax_j(s·T_i·I_j)_i], and s·I·Tᵀ [B, B].

    CLIP, figure 3. image and text are embeddings [B, D] of length 1 of the same B pairs. B is the
    global batch: if it is sharded over devices, the compiler gathers the embeddings.
    """
    logits = logit_scale * jnp.einsum("id,jd->ij", image, text)
    of_pairs = jnp.diagonal(logits)
    of_image = jax.nn.logsumexp(logits, axis=1) - of_pairs
    of_text = jax.nn.logsumexp(logits, axis=0) - of_pairs
    return jnp.mean(of_image + of_text) / 2, logits


def _accuracy(logits: Array, tokens: Array) -> Array:
    """How often [B, B] is largest where the captions [B, L] of row and column are equal."""
    found = tokens[jnp.argmax(logits, axis=1)]
    return jnp.mean(jnp.all(found == tokens, axis=1).astype(jnp.float32))


def sharpness_aware(loss: Callable, radius: float) -> Callable:
    """`jax.value_and_grad(loss, has_aux=True)` with the gradient at w + ρ ∇L(w) / ‖∇L(w)‖.

    Sharpness-aware minimization (Foret et al. 2021, 2010.01412, equations 2 and 3), ρ being
    `radius`. DALL-E 2 trains its CLIP with it (appendix C), since it lowers the rank of the
    embeddings. The value and the metrics of `loss(params, ...) -> (scalar, metrics)` are those at
    w; the metric `sharpness` is the loss at the other point minus that at w. It costs a second
    gradient of the same batch with the same noise. Each microbatch has its own point
    ("m-sharpness", §4.1).
    """
    plain = jax.value_and_grad(loss, has_aux=True)
    if radius == 0:
        return plain

    def value_and_grad(params: Any, *args: Any, **kwargs: Any):
        (value, metrics), slope = plain(params, *args, **kwargs)
        scale = radius / jnp.maximum(optax.tree.norm(slope), 1e-12)
        there = jax.tree.map(lambda w, g: w + scale * g, params, slope)
        (value_there, _), gradient = plain(there, *args, **kwargs)
        return (value, {**metrics, "sharpness": value_there - value}), gradient

    return value_and_grad
