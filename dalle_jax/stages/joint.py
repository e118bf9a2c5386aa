"""Joint fine-tuning of the decoder, on the prior's samples, and of the prior.

unCLIP's decoder is trained on the embeddings of real images but samples from the prior's
embeddings (Ramesh et al. 2022, 2204.06125, §2), which differ. Here both continue from their trained
weights, the decoder on the prior's samples for a share of the batch.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dalle_jax.stages.base import Stage

NEEDED = ("clip", "prior", "decoder")
SAMPLE_SHARE = 0.5  # of the batch, for which the decoder gets the prior's embeddings
PRIOR_WEIGHT = 1.0  # of the prior's loss relative to the decoder's


class Joint(Stage):
    """Prior and decoder, trained together; parameters are {"prior": …, "decoder": …}.

    Args:
        loss: `stop_gradient`, whether the gradient of the decoder's loss stops at the embedding or
            flows through the prior's sampling.
        prior_sampling: settings of `Prior.sample` for training samples, with few steps.
        image_size, vocab_size, max_length: of the data and the tokenizer; unused.
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
                "joint trains a decoder that reads image embeddings, and this one reads only "
                "captions; give decoder.model.image_embedding"
            )
        if self.prior.kind == "autoregressive" and not loss["stop_gradient"]:
            raise ValueError(
                "no gradient goes through the samples of an autoregressive prior, which are "
                "sampled as buckets; set joint.loss.stop_gradient to True"
            )
        self.takes = self.decoder.takes
        self.stop_gradient = loss["stop_gradient"]
        self.prior_sampling = dict(prior_sampling)

    @staticmethod
    def upstream_of(section: Mapping[str, Any]) -> tuple[str, ...]:
        """CLIP, which stays frozen, and the two stages to continue."""
        return NEEDED

    def start_from(self, frozen: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """(The trained parameters of both; CLIP's, which stay frozen)."""
        start = {name: frozen[name] for name in self.continues}
        return start, {"clip": frozen["clip"]}

    def init(self, key: Array) -> dict[str, Any]:
        """Random parameters of both, of which only the shapes are used; see `start_from`."""
        prior_key, decoder_key = jax.random.split(key)
        return {"prior": self.prior.init(prior_key), "decoder": self.decoder.init(decoder_key)}

    def loss(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """The decoder's loss on a mix of true and sampled embeddings, plus the prior's loss.

        batch: image uint8 [B, H, W, 3], tokens int32 [B, L]. With `train=False` the metrics include
        the decoder's loss for the true embeddings (`decoder_true`) and for sampled ones
        (`decoder_drawn`) at the same noise; joint training is meant to close this gap.
        """
        keys = jax.random.split(key, 4)
        prior_loss, prior_metrics = self.prior.loss(
            params["prior"], frozen, batch, keys[0], train=train
        )
        true, _ = self.prior.embed(frozen, batch)
        sampled = self._sample_prior(params["prior"], frozen, batch["tokens"], keys[1])

        def decoder_loss(embedding: Array):
            given = {**batch, "image_embedding": embedding}
            return self.decoder.loss(params["decoder"], frozen, given, keys[2], train=train)

        metrics = {f"prior_{name}": value for name, value in prior_metrics.items()}
        if train:
            uses_sampled = jax.random.uniform(keys[3], true.shape[:1]) < SAMPLE_SHARE
            loss, _ = decoder_loss(jnp.where(uses_sampled[:, None], sampled, true))
        else:
            loss, _ = decoder_loss(sampled)
            metrics |= {"decoder_true": decoder_loss(true)[0], "decoder_drawn": loss}
        metrics |= {"decoder": loss, "prior": prior_loss}
        return loss + PRIOR_WEIGHT * prior_loss, metrics

    def _sample_prior(self, params: Any, frozen: Any, tokens: Array, key: Array) -> Array:
        """Image embeddings [B, D] of captions [B, L], differentiable unless stopped."""
        embedding, features = self.clip.encode_text(frozen["clip"], tokens)
        inputs = {
            "text_embedding": embedding,
            "text_features": features,
            "tokens": tokens,
            "sample_index": jnp.arange(tokens.shape[0], dtype=jnp.uint32),
        }
        sampled = self.prior.sample(params, inputs, key, **self.prior_sampling)
        return jax.lax.stop_gradient(sampled) if self.stop_gradient else sampled

    def sample(
        self, params: Any, inputs: Mapping[str, Array], key: Array, **settings: Any
    ) -> Array:
        """Images by the fine-tuned decoder, see `Decoder.sample`."""
        return self.decoder.sample(params["decoder"], inputs, key, **settings)

    def check_settings(self, **settings: Any) -> None:
        """Raise ValueError for settings that `sample`, or the prior in training, can't use."""
        self.prior.check_settings(**self.prior_sampling)
        self.decoder.check_settings(**settings)

    def preview(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, **settings: Any
    ) -> Array:
        """Samples for a held-out batch's captions from the prior's embeddings."""
        sampled = self._sample_prior(params["prior"], frozen, batch["tokens"], key)
        given = {**batch, "image_embedding": sampled}
        return self.decoder.preview(params["decoder"], frozen, given, key, **settings)
