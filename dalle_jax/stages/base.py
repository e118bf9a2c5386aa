"""The interface of a stage: what training and pipelines call."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dalle_jax.diffusion.samplers.coefficients import State
from dalle_jax.stages.denoising import Denoising

# Settings that a compiled program takes as arrays, and the values at which it does less instead.
NUMBERS = {
    "guidance_scale": 1.0,
    "guidance_rescale": 0.0,
    "guidance_interval": None,
    "dot_percentile": None,
}

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Stage:
    """Base class of everything that is trained; parameters are explicit arguments.

    The constructor of a subclass takes the sections of its config, `image_size`, `vocab_size` and
    `max_length`, and `upstream`, stages by name, if `upstream_of` names any.

    Attributes:
        takes: the inputs of `sample`: of tokens, text_features, text_embedding, image_embedding,
            image_tokens, latents, low_res and image; sample_index if it draws noise.
        gives: the outputs of `sample`: of the same, caption and score. A stage that gives several
            returns them by name.
        encodes: the output of `encode_image`: image_embedding, image_tokens or latents; "" for a
            stage that encodes no images.
        continues: the stages that it continues to train. Its parameters contain theirs by name and
            replace them.
        reads_captions: whether it has a text encoder. Then `sample` accepts `text` and
            `negative_text`, outputs of `encode_text`, in place of tokens.
        image_shape: (H, W, 3) of the images that it makes or, for latents, learns from.
        low_res_size: side of the images that it enlarges.
        denoising: how it removes noise, if it does.
        num_gradients: how many gradients of a batch `value_and_grad` computes.
    """

    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    encodes: str = ""
    continues: tuple[str, ...] = ()
    reads_captions: bool = False
    image_shape: tuple[int, int, int]
    low_res_size: int
    denoising: Denoising | None = None
    num_gradients: int = 1

    @staticmethod
    def upstream_of(section: Mapping[str, Any]) -> tuple[str, ...]:
        """The stages whose weights `loss` needs as `frozen`, given the stage's config section."""
        return ()

    @classmethod
    def has_preview(cls) -> bool:
        """Whether `preview` makes images."""
        return cls.preview is not Stage.preview

    @classmethod
    def embeds_captions(cls) -> bool:
        """Whether it embeds images and captions into one space, as CLIP does."""
        return cls.encodes == "image_embedding" and "text_embedding" in cls.gives

    def init(self, key: Array) -> Any:
        """Random parameters, float32."""
        raise NotImplementedError

    def start_from(self, frozen: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        """(Parameters before the first step, or None for those of `init`; what stays frozen)."""
        return None, frozen

    def prepare(self, frozen: Any, batches: Iterable[Mapping[str, Array]]) -> None:
        """Measure statistics of training batches that `init` puts into the parameters."""

    def loss(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """The loss of one batch and further metrics to log, all scalars."""
        raise NotImplementedError

    def value_and_grad(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array
    ) -> tuple[tuple[Array, dict[str, Array]], Any]:
        """((loss, metrics), gradient) of a training batch, for the update."""
        gradient_of = jax.value_and_grad(self.loss, has_aux=True)
        return gradient_of(params, frozen, batch, key, train=True)

    def sample(self, params: Any, inputs: Mapping[str, Array], key: Array, **settings: Any) -> Any:
        """The stage's outputs for its inputs; sample i depends only on row i and `key`."""
        raise NotImplementedError

    def as_arrays(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of `sample` in the form that a compiled program takes.

        Those whose values change only numbers are numpy arrays; the others are part of the program.
        """
        made = self.denoising.as_arrays(settings) if self.denoising else dict(settings)
        for name, without in NUMBERS.items():
            if made.get(name, without) != without:
                made[name] = np.asarray(made[name], np.float32)
        return made

    @classmethod
    def samples_in_steps(cls) -> bool:
        """Whether `start` and `advance` do what `sample` does, step by step."""
        return cls.advance is not Stage.advance

    def start(
        self, params: Any, inputs: Mapping[str, Array], key: Array, *, table: Mapping[str, Array]
    ) -> State:
        """The state of sampling before the first step."""
        raise NotImplementedError

    def advance(
        self,
        params: Any,
        inputs: Mapping[str, Array],
        key: Array,
        state: State,
        first: Array,
        last: Array,
        **settings: Any,
    ) -> State:
        """The state of sampling after the rows from `first` up to `last` of the sampler's table.

        `settings` are those of `as_arrays`.
        """
        raise NotImplementedError

    def check_settings(self) -> None:
        """Raise ValueError for settings that `sample` can't use; a subclass names its settings."""

    def passes(self, **settings: Any) -> int:
        """The number of forward passes of `loss` that a sample takes; 0 if unknown."""
        return self.denoising.passes(**settings) if self.denoising else 0

    def preview(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, **settings: Any
    ) -> Array | None:
        """Float32 images [B, H, W, 3] in [−1, 1] for a held-out batch; None by default."""
        return None

    def encode_image(self, params: Any, image: Array) -> Array:
        """uint8 [B, H, W, 3] → the quantity that `encodes` names."""
        raise NotImplementedError


def dtype_named(name: str) -> jnp.dtype:
    """The dtype that a network computes in, by a config's `model.dtype`.

    Raises:
        ValueError: there is no such dtype.
    """
    if name not in DTYPES:
        raise ValueError(
            f"no network computes in {name!r}; model.dtype is one of {', '.join(DTYPES)}"
        )
    return jnp.dtype(DTYPES[name])
