"""Joint fine-tuning: the decoder meets what the prior really gives it, and the prior learns along.

unCLIP's decoder is trained on the embeddings of true images and at sampling is given those of the
prior (Ramesh et al. 2022, 2204.06125, §2): the two differ. Here both go on from their trained
weights, the decoder on the prior's own samples for a share of the batch, so that the loss it is
judged by is the one it meets.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dalle_jax.stages.base import Stage

NEEDED = ("clip", "prior", "decoder")
SAMPLE_SHARE = 0.5  # of the batch, for which the decoder is given the prior's own embeddings
PRIOR_WEIGHT = 1.0  # of the prior's loss beside the decoder's


class Joint(Stage):
    """What prior and decoder learn together; parameters are {"prior": …, "decoder": …}.

    Args:
        loss: `stop_gradient`, whether the decoder's loss stops at the embedding or goes on through
            the prior's sampling.
        prior_sampling: settings of `Prior.sample` for the samples that it trains on; few steps.
        image_size, vocab_size, max_length: of the data and the tokenizer; the stages below know.
        upstream: the stages clip, prior and decoder.
    """

    gives = ("image",)
    continues = ("prior", "decoder")

    def __init__(
        self,
        *,
        loss: Mapping[str, Any],
        prior_sampling: Mapping[str, Any],
        image_size: int,
        vocab_size: int,
        max_length: int,
        upstream: Mapping[str, Any],
    ):
        del image_size, vocab_size, max_length
        self.clip, self.prior, self.decoder = (upstream[name] for name in NEEDED)
        if self.decoder.clip is None:
            raise ValueError(
                "joint trains a decoder that reads image embeddings, and this one reads captions "
                "alone; give decoder.model.image_embedding"
            )
        if self.prior.kind == "autoregressive" and not loss["stop_gradient"]:
            raise ValueError(
                "no gradient goes through the samples of an autoregressive prior, which are "
                "drawn from buckets; set joint.loss.stop_gradient to True"
            )
        self.takes = self.decoder.takes
        self.stop_gradient = loss["stop_gradient"]
        self.prior_sampling = dict(prior_sampling)

    @staticmethod
    def upstream_of(own: Mapping[str, Any]) -> tuple[str, ...]:
        """CLIP, which stays as it is, and the two that it goes on from."""
        return NEEDED

    def start_from(self, frozen: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The parameters before the first step, and what stays frozen."""
        start = {name: frozen[name] for name in self.continues}
        return start, {"clip": frozen["clip"]}

    def init(self, key: Array) -> dict[str, Any]:
        """Random parameters of both, which `start_from` replaces; their shapes are what counts."""
        prior_key, decoder_key = jax.random.split(key)
        return {"prior": self.prior.init(prior_key), "decoder": self.decoder.init(decoder_key)}

    def loss(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """The decoder's loss on true and drawn embeddings mixed, and the prior's own beside it.

        batch: image uint8 [B, H, W, 3], tokens int32 [B, L]. With `train=False` the decoder's loss
        is told for the true embeddings (`decoder_true`) and for the drawn ones (`decoder_drawn`) at
        the same noise: their difference is the gap that joint training is to close.
        """
        keys = jax.random.split(key, 4)
        prior_loss, prior_metrics = self.prior.loss(
            params["prior"], frozen, batch, keys[0], train=train
        )
        true, _ = self.prior.embed(frozen, batch)
        drawn = self._draw(params["prior"], frozen, batch["tokens"], keys[1])

        def decoder_loss(embedding: Array):
            given = {**batch, "image_embedding": embedding}
            return self.decoder.loss(params["decoder"], frozen, given, keys[2], train=train)

        metrics = {f"prior_{name}": value for name, value in prior_metrics.items()}
        if train:
            uses_drawn = jax.random.uniform(keys[3], true.shape[:1]) < SAMPLE_SHARE
            loss, _ = decoder_loss(jnp.where(uses_drawn[:, None], drawn, true))
        else:
            loss, _ = decoder_loss(drawn)
            metrics |= {"decoder_true": decoder_loss(true)[0], "decoder_drawn": loss}
        metrics |= {"decoder": loss, "prior": prior_loss}
        return loss + PRIOR_WEIGHT * prior_loss, metrics

    def _draw(self, params: Any, frozen: Any, tokens: Array, key: Array) -> Array:
        """The prior's image embeddings [B, D] of captions [B, L], differentiable unless stopped."""
        embedding, features = self.clip.encode_text(frozen["clip"], tokens)
        inputs = {
            "text_embedding": embedding,
            "text_features": features,
            "tokens": tokens,
            "sample_index": jnp.arange(tokens.shape[0], dtype=jnp.uint32),
        }
        drawn = self.prior.sample(params, inputs, key, **self.prior_sampling)
        return jax.lax.stop_gradient(drawn) if self.stop_gradient else drawn

    def sample(
        self, params: Any, inputs: Mapping[str, Array], key: Array, **settings: Any
    ) -> Array:
        """Images of image embeddings: what the fine-tuned decoder draws, see `Decoder.sample`."""
        return self.decoder.sample(params["decoder"], inputs, key, **settings)

    def check_settings(self, **settings: Any) -> None:
        """Refuse settings that `sample` can't draw with, or samples can't be trained on."""
        self.prior.check_settings(**self.prior_sampling)
        self.decoder.check_settings(**settings)

    def preview(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, **settings: Any
    ) -> Array:
        """Images of a held-out batch's captions by way of the prior's embeddings."""
        drawn = self._draw(params["prior"], frozen, batch["tokens"], key)
        given = {**batch, "image_embedding": drawn}
        return self.decoder.preview(params["decoder"], frozen, given, key, **settings)
