"""What a stage is to those who train it and draw with it."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
from jax import Array

from dalle_jax.stages.denoising import Denoising


class Stage:
    """One thing that is trained. Parameters are explicit; what a stage lacks does nothing.

    A subclass has a constructor that takes the sections of its config, `image_size`, `vocab_size`
    and `max_length`, and `upstream`, stages by name, if `upstream_of` names any.

    Attributes:
        takes: what `sample` is given, of tokens, text_features, text_embedding, image_embedding,
            image_tokens, latents, low_res and image; sample_index where it draws noise.
        gives: what `sample` makes, of the same or caption and score. A stage that gives several
            returns them by name.
        encodes: what `encode_image` makes of images: image_embedding, image_tokens or latents; ""
            for a stage that encodes none.
        continues: the stages that it goes on to train. Their weights are in its parameters, by
            name, and take the place of those that they had.
        reads_captions: whether a text encoder of its own reads captions: then `sample` may be given
            `text` and `negative_text`, which `encode_text` made of them, in the place of tokens.
        image_shape: (H, W, 3) of the images that it makes or, making latents, learns from.
        low_res_size: side of the images that it enlarges.
        denoising: how it removes noise, if it does.
        num_gradients: how many gradients of a batch `value_and_grad` takes.
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
    def upstream_of(own: Mapping[str, Any]) -> tuple[str, ...]:
        """The stages whose weights `loss` needs as `frozen`, by the stage's section of a config."""
        return ()

    @classmethod
    def has_preview(cls) -> bool:
        """Whether `preview` makes images."""
        return cls.preview is not Stage.preview

    @classmethod
    def embeds_captions(cls) -> bool:
        """Whether it puts images and captions into one space, as CLIP does."""
        return cls.encodes == "image_embedding" and "text_embedding" in cls.gives

    def init(self, key: Array) -> Any:
        """Random parameters, float32."""
        raise NotImplementedError

    def start_from(self, frozen: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        """Parameters before the first step, None for those of `init`; and what stays frozen."""
        return None, frozen

    def prepare(self, frozen: Any, batches: Iterable[Mapping[str, Array]]) -> None:
        """Measure on training batches what `init` puts into the parameters."""

    def loss(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """The loss of one batch and what else is worth logging, all scalars."""
        raise NotImplementedError

    def value_and_grad(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array
    ) -> tuple[tuple[Array, dict[str, Array]], Any]:
        """((loss, metrics), gradient) of a training batch: what an update is made of."""
        gradient_of = jax.value_and_grad(self.loss, has_aux=True)
        return gradient_of(params, frozen, batch, key, train=True)

    def sample(self, params: Any, inputs: Mapping[str, Array], key: Array, **settings: Any) -> Any:
        """What the stage makes of its inputs; sample i depends on row i of them and on `key`."""
        raise NotImplementedError

    def check_settings(self) -> None:
        """Raise ValueError for settings that `sample` can't draw with; takes those by name."""

    def passes(self, **settings: Any) -> int:
        """How many forward passes of `loss` a sample takes; 0 where that can't be said."""
        return 0

    def preview(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, **settings: Any
    ) -> Array | None:
        """Float32 images [B, H, W, 3] in [−1, 1] of a held-out batch; None: it makes none."""
        return None

    def encode_image(self, params: Any, image: Array) -> Array:
        """uint8 [B, H, W, 3] → what `encodes` names."""
        raise NotImplementedError
