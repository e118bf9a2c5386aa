"""The prior: samples a CLIP image embedding given a caption encoded by CLIP.

unCLIP (Ramesh et al. 2022, 2204.06125, §2.2). The diffusion and the autoregressive prior have the
same inputs, caption dropout, choice among candidates and metrics, so that they can be compared.
"""

import math
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils

from dalle_jax.diffusion import guidance
from dalle_jax.diffusion.noise import fold
from dalle_jax.models.prior import Text
from dalle_jax.stages.base import Stage
from dalle_jax.stages.clip import Clip
from dalle_jax.stages.denoising import sampler_names
from dalle_jax.stages.prior_autoregressive import ByAutoregression
from dalle_jax.stages.prior_diffusion import ByDiffusion

KINDS = ("diffusion", "autoregressive")

# Sampling settings for the cosines of validation.
VALIDATION = {
    "diffusion": {"sampler": "unipc", "num_inference_steps": 10},
    "autoregressive": {"dot_percentile": 0.5},
}

# Root mean square of the scaled embeddings: the scale is 17.2 at D = 1024, as in unCLIP.
EMBEDDING_RMS = 0.5375


class Prior(Stage):
    """A diffusion or an autoregressive prior.

    Args:
        kind: "diffusion" or "autoregressive".
        model: `text`, width, depth and num_heads of the transformer over the caption, which in the
            diffusion prior is the only one; `latent`, the same of the autoregressive prior's second
            transformer; `dtype` of the computation (parameters are float32); `scan_blocks`, see
            `nn.transformer.Transformer`.
        diffusion: `schedule` and `num_timesteps`, see `denoising.schedule_named`.
        autoregressive: `num_dimensions` of the PCA; `num_buckets` per dimension; `num_fitted`, the
            number of training pairs that `prepare` measures the PCA and the buckets on.
        loss: `text_dropout`, the share of captions dropped in training.
        image_size, vocab_size, max_length: of the data and the tokenizer.
        upstream: {"clip": the stage of CLIP}.

    Embeddings have length 1 outside. Inside they are multiplied by EMBEDDING_RMS·√D, which makes
    EMBEDDING_RMS their root mean square: with a schedule for data of about unit variance they would
    otherwise be lost in noise at almost all times.
    """

    takes = ("tokens", "text_embedding", "text_features", "sample_index")
    gives = ("image_embedding",)

    def __init__(
        self,
        *,
        kind: str,
        model: Mapping[str, Any],
        diffusion: Mapping[str, Any],
        autoregressive: Mapping[str, Any],
        loss: Mapping[str, Any],
        image_size: int,
        vocab_size: int,
        max_length: int,
        upstream: Mapping[str, Clip],
    ):
        del image_size, vocab_size
        if kind not in KINDS:
            raise ValueError(f"no prior is of kind {kind!r}; known are {', '.join(KINDS)}")
        self.clip = upstream["clip"]
        width = self.clip.embedding_width
        shared = {
            "model": model,
            "max_length": max_length,
            "embedding_width": width,
            "embedding_scale": EMBEDDING_RMS * math.sqrt(width),
        }
        if kind == "diffusion":
            self.by = ByDiffusion(diffusion=diffusion, **shared)
        else:
            sizes = {name: autoregressive[name] for name in ("num_dimensions", "num_buckets")}
            self.by = ByAutoregression(**sizes, **shared)
            if sizes["num_dimensions"] > width:
                raise ValueError(
                    f"prior.autoregressive.num_dimensions is {sizes['num_dimensions']}; it must be "
                    f"at most clip.model.embedding_width, {width}"
                )
        self.kind = kind
        self.num_fitted = autoregressive["num_fitted"]
        self.text_dropout = loss["text_dropout"]
        self.max_length = max_length

    @staticmethod
    def upstream_of(section: Mapping[str, Any]) -> tuple[str, ...]:
        """CLIP, whose embeddings it predicts."""
        return ("clip",)

    def prepare(self, frozen: Any, batches: Iterable[Mapping[str, Array]]) -> None:
        """Measure the autoregressive prior's codec on the first `num_fitted` training items.

        Called before `init`. `batches` are numpy arrays with each process's share of the items, as
        in training; the diffusion prior ignores them.

        Raises:
            ValueError: there are too few items.
        """
        if self.kind == "diffusion":
            return

        @jax.jit
        def embed(frozen: Any, batch: Mapping[str, Array]) -> tuple[Array, Array]:
            image, text = self.embed(frozen, batch)
            return image, text.embedding

        pairs, count = [], 0
        for batch in batches:
            seen = {name: batch[name] for name in ("image", "tokens")}
            pairs.append(multihost_utils.process_allgather(embed(frozen, seen), tiled=True))
            count += len(pairs[-1][0])
            if count >= self.num_fitted:
                break
        if count < self.num_fitted:
            raise ValueError(
                f"prior.autoregressive.num_fitted asks for {self.num_fitted} training items, but "
                f"there are {count}; lower it"
            )
        image, text = (np.concatenate(part)[: self.num_fitted] for part in zip(*pairs))
        self.by.fit(image, text)

    def embed(self, frozen: Any, batch: Mapping[str, Array]) -> tuple[Array, Text]:
        """CLIP's image embeddings [B, D], stored or computed, and its encoding of the captions."""
        embedding, features = self.clip.encode_text(frozen["clip"], batch["tokens"])
        image = batch.get("image_embedding")
        if image is None:
            image = self.clip.encode_image(frozen["clip"], batch["image"])
        return image, Text.of(embedding, features, batch["tokens"])

    def init(self, key: Array) -> Any:
        """Random parameters, float32, and the codec from `prepare`."""
        text = Text(
            jnp.zeros((1, self.clip.embedding_width)),
            jnp.zeros((1, self.max_length, self.clip.feature_width)),
            jnp.ones((1, self.max_length), bool),
        )
        return self.by.init(key, text)

    def loss(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """The loss of its kind for one batch: image uint8 [B, H, W, 3], tokens int32 [B, L].

        With `train=False` no captions are dropped and one embedding is sampled for each, unguided.
        The metrics are then mean cosines: `cosine_image` of the sampled and the true image
        embedding, `cosine_text` of the sampled and the text embedding, and `cosine_baseline` of the
        text embedding and the true image embedding: the score without a prior.
        """
        image, text = self.embed(frozen, batch)
        drop_key, key, sample_key = jax.random.split(key, 3)
        if train:
            text = drop_captions(drop_key, text, self.text_dropout)
            return self.by.loss(params, image, text, key, train=True)
        loss, metrics = self.by.loss(params, image, text, key, train=False)
        index = jnp.arange(image.shape[0])
        settings = {"guidance_scale": 1.0, **VALIDATION[self.kind]}
        sampled = self.by.sample(params, text, sample_key, index, **settings)
        metrics |= {
            "cosine_image": _mean_cosine(sampled, image),
            "cosine_text": _mean_cosine(sampled, text.embedding),
            "cosine_baseline": _mean_cosine(text.embedding, image),
        }
        return loss, metrics

    def sample(
        self,
        params: Any,
        inputs: Mapping[str, Array],
        key: Array,
        *,
        num_candidates: int,
        **settings: Any,
    ) -> Array:
        """Image embeddings of captions: float32 [B, D] of length 1.

        inputs: text_embedding [B, D] and text_features [B, L, W] from `Clip.encode_text`, tokens
        [B, L], and sample_index [B]. Of `num_candidates` samples per caption the one with the
        greatest dot product with the text embedding is returned (§2.2 uses 2). Candidate c does not
        depend on their number; a sample depends only on its caption, key and sample index.

        Of `settings`, guidance_scale, `sampler`, `num_inference_steps` and options of the sampler
        are for the diffusion prior, guidance_scale and `dot_percentile` for the autoregressive
        prior; each ignores what is the other's.
        """
        _check_candidates(num_candidates)
        text = Text.of(inputs["text_embedding"], inputs["text_features"], inputs["tokens"])
        settings = self._own(settings)

        def candidate(c: Array) -> Array:
            key_c = fold(key, c)
            return self.by.sample(params, text, key_c, inputs["sample_index"], **settings)

        candidates = jax.vmap(candidate)(jnp.arange(num_candidates))  # [candidates, B, D]
        dots = jnp.einsum("cbd,bd->cb", candidates, text.embedding)
        best = jnp.argmax(dots, axis=0)
        return jnp.take_along_axis(candidates, best[None, :, None], axis=0)[0]

    def as_arrays(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """As of other stages, without the settings of the other kind of prior."""
        made = super().as_arrays(self._own(settings))
        return self.by.denoising.as_arrays(made) if self.kind == "diffusion" else made

    def _own(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that this kind of prior reads."""
        other = sampler_names() if self.kind == "autoregressive" else ("dot_percentile",)
        return {name: value for name, value in settings.items() if name not in other}

    def check_settings(
        self,
        *,
        num_candidates: int,
        guidance_scale: float,
        sampler: str,
        num_inference_steps: int,
        dot_percentile: float,
        **options: Any,
    ) -> None:
        """Raise ValueError for settings that `sample` can't use."""
        _check_candidates(num_candidates)
        guidance.check_guidance(guidance_scale)
        if self.kind == "diffusion":
            self.by.denoising.check(
                sampler=sampler, num_inference_steps=num_inference_steps, **options
            )
            return
        if options:
            raise ValueError(
                f'an autoregressive prior has no option "{min(options)}"; it takes num_candidates, '
                "guidance_scale, dot_percentile"
            )
        if not 0 <= dot_percentile < 1:
            raise ValueError(f"dot_percentile is {dot_percentile}; it must be in [0, 1)")

    def passes(
        self, *, num_candidates: int, guidance_scale: float, dot_percentile: float, **settings: Any
    ) -> int:
        """For all candidates; the autoregressive network reads each position once."""
        if self.kind == "diffusion":
            return num_candidates * self.by.denoising.passes(
                guidance_scale=guidance_scale, **settings
            )
        return num_candidates * (1 if guidance_scale == 1 else 2)


def _check_candidates(count: int) -> None:
    if not isinstance(count, Integral) or count < 1:
        raise ValueError(f"a prior samples one candidate or more; num_candidates={count!r}")


def drop_captions(key: Array, text: Text, share: float) -> Text:
    """The captions, each dropped with probability `share`."""
    return text.dropped(jax.random.uniform(key, text.mask.shape[:1]) < share)


def _mean_cosine(x: Array, y: Array) -> Array:
    """Of embeddings [B, D] of length 1."""
    return jnp.mean(jnp.einsum("bd,bd->b", x, y))
