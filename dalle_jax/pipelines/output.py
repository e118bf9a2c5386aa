"""What a call of a pipeline returns."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
from jax import Array

from dalle_jax.pipelines.images import GeneratedImage, captioned_grid

TYPES = ("pil", "np", "jax")
MAX_SHOWN = 60  # images of a grid in a notebook


@dataclass
class PipelineOutput:
    """The images of a call, in the order of the prompts; those of one prompt are consecutive.

    In a notebook it is shown as a grid of the images above their prompts.

    Attributes:
        images: of the last stage: PIL images with their records, or uint8 [N, H, W, 3] of numpy
            or jax, by the call's `output_type`.
        prompts: of each image.
        image_embeddings: float32 [N, D] that conditioned the decoder, if any; with `output="all"`.
        resolutions: the images of each stage that makes images, by its name; with `output="all"`.
    """

    images: list[GeneratedImage] | np.ndarray | Array
    prompts: list[str] = field(default_factory=list)
    image_embeddings: np.ndarray | None = None
    resolutions: dict[str, list[GeneratedImage] | np.ndarray | Array] = field(default_factory=dict)

    def _repr_png_(self) -> bytes | None:
        if not len(self.images):
            return None
        shown = np.stack([np.asarray(image) for image in self.images[:MAX_SHOWN]])
        file = io.BytesIO()
        captioned_grid(shown, self.prompts[:MAX_SHOWN]).save(file, "PNG")
        return file.getvalue()


def check_types(output: str, output_type: str) -> None:
    """Raise ValueError for what a call can't return."""
    if output not in ("images", "all"):
        raise ValueError(f'output is {output!r}; it can be "images" or "all"')
    if output_type not in TYPES:
        raise ValueError(f"output_type is {output_type!r}; known are {', '.join(TYPES)}")


def as_type(
    images: np.ndarray, records: Sequence[dict[str, str]], output_type: str
) -> list[GeneratedImage] | np.ndarray | Array:
    """Images uint8 [N, H, W, 3] as PIL images with records, or as an array."""
    if output_type == "pil":
        return list(map(GeneratedImage.from_array, images, records))
    return jnp.asarray(images) if output_type == "jax" else images
