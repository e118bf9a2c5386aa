"""Captions in, images out: a trained workdir as one callable."""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from dalle_jax import __version__
from dalle_jax.data.images import center_crop_resize, to_rgb
from dalle_jax.data.tokenizer import Tokenizer
from dalle_jax.data.words import CaptionWords
from dalle_jax.interop.pretrained import save_pretrained, workdir_of
from dalle_jax.pipelines.images import GeneratedImage, to_uint8
from dalle_jax.pipelines.memo import Memo
from dalle_jax.pipelines.records import place_of
from dalle_jax.pipelines.settings import (
    Settings,
    check_callback,
    check_not_filled,
    check_numbers_of,
    checked_count,
    checked_indices,
    checked_settings,
    checked_texts,
)
from dalle_jax.pipelines.system import (
    FROM_IMAGE,
    System,
    as_given,
    by_stage,
    check_source,
    conditions,
    load_system,
    read_captions,
    sampler,
)
from dalle_jax.runs import warn_of_changed_data
from dalle_jax.seeds import checked_seed, key_of
from dalle_jax.stages import sampling_of

BATCH_SIZE = 64  # images that are drawn at once, if there are as many
MAX_IMAGES = 100_000  # of a call; more would fill the memory before the first is saved


@dataclass
class PipelineOutput:
    """What a pipeline made, in the order of the prompts; several of one prompt stand together.

    Attributes:
        images: of the last stage.
        image_embeddings: float32 [N, D] that the decoder was given; with `output="all"`, and None
            where there are none.
        resolutions: the images of each drawing stage by its name; with `output="all"`.
    """

    images: list[GeneratedImage]
    image_embeddings: np.ndarray | None = None
    resolutions: dict[str, list[GeneratedImage]] = field(default_factory=dict)


class DallePipeline:
    """Draws images of captions with the stages of a workdir, on EMA weights."""

    def __init__(self, system: System):
        self.system = system
        self.run = system.runs[system.main]
        self.tokenizer = Tokenizer.load(self.run.tokenizer_path)
        self.words = CaptionWords.load(self.run.words_path)
        self.defaults = {name: sampling_of(name, run.config) for name, run in system.runs.items()}
        self.memo = Memo()
        self.checkpoint = _checkpoint_of(system)

    @classmethod
    def from_pretrained(cls, path: str | Path, *, joint: bool = True) -> "DallePipeline":
        """The pipeline of a trained workdir, such as `runs/quickstart`, or of a model.

        A model is a folder that `save_pretrained` wrote, or a `model.safetensors` of it.

        `joint=False` leaves joint fine-tuning out where there was one. A warning says so where the
        data of a run has changed since its training.

        Raises:
            FileNotFoundError: nothing was trained there.
            ValueError: its stages do not fit each other.
        """
        with workdir_of(path) as workdir:
            system = load_system(workdir, joint=joint)
            warn_of_changed_data(system.runs.values())
            return cls(system)

    def save_pretrained(self, folder: str | Path, *, dtype: str = "float32") -> Path:
        """Write EMA weights, configs, tokenizer and a model card as a folder that travels.

        Raises:
            FileExistsError: the folder is not empty.
            ValueError: there is no such dtype, or the weights do not fit into it.
        """
        return save_pretrained(self.system.runs.values(), folder, dtype=dtype)

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        seed: int = 0,
        callback: Callable[[int, int, np.ndarray], None] | None = None,
        output: str = "images",
        **settings: Any,
    ) -> PipelineOutput:
        """Draw `num_images_per_prompt` images of each prompt.

        Image j of a prompt depends on (weights, prompt, settings, seed, j) alone, not on the other
        prompts. `settings` take the place of the decoder's own: num_inference_steps,
        guidance_scale, sampler and what that sampler knows; those of another stage are given as a
        dict by its name, as prior={"guidance_scale": 2.0}; see `generate_all` for `embedding`,
        `images` and `until`. `callback(step, total, x0_preview)` is called after each of the
        decoder's steps with the images so far, uint8 [N, H, W, 3]. With `output="all"` the
        embeddings and the images of every stage are returned as well.
        """
        check_not_filled(settings)
        prompts = checked_texts("prompt", prompt)
        num_images_per_prompt = checked_count("num_images_per_prompt", num_images_per_prompt)
        seed = checked_seed(seed)
        if output not in ("images", "all"):
            raise ValueError(f'output is {output!r}; it can be "images" or "all"')
        if not prompts:
            return PipelineOutput([])
        negatives = negative_prompt
        if negatives is not None:
            negatives = checked_texts("negative_prompt", negatives)
        if negatives is not None and len(negatives) == 1:
            negatives = negatives * len(prompts)
        if negatives is not None and len(negatives) != len(prompts):
            raise ValueError(
                f"{len(negatives)} negative prompts do not fit {len(prompts)} prompts; give one, "
                "or one for each"
            )
        if self.words and (warning := self.words.warning(prompts)):
            warnings.warn(warning, stacklevel=2)
        if len(prompts) * num_images_per_prompt > MAX_IMAGES:
            raise ValueError(
                f"{len(prompts)} × {num_images_per_prompt:,} images are too many for one call, "
                f"which holds at most {MAX_IMAGES:,} in memory; draw them in several calls"
            )
        rows = [(i, j) for i in range(len(prompts)) for j in range(num_images_per_prompt)]
        if settings.get("images") is not None:
            check_numbers_of("prompt", len(prompts), images=settings["images"])
            settings["images"] = [settings["images"][i] for i, _ in rows]
        arrays = self.generate_all(
            [prompts[i] for i, _ in rows],
            sample_index=[j for _, j in rows],
            negative_prompts=negatives and [negatives[i] for i, _ in rows],
            seed=seed,
            callback=callback,
            **settings,
        )
        settings.pop("images", None)
        size = min(settings.pop("batch_size", BATCH_SIZE), len(rows))
        places = [place_of(n % size, size) for n in range(len(rows))]
        embeddings = arrays.pop("image_embedding", None)
        resolutions = {
            name: [
                GeneratedImage.from_array(
                    array,
                    self.record(prompts[i], negatives and negatives[i], seed, j, settings, place),
                )
                for (i, j), place, array in zip(rows, places, of_stage)
            ]
            for name, of_stage in arrays.items()
        }
        last = list(resolutions.values())[-1]
        return (
            PipelineOutput(last, embeddings, resolutions)
            if output == "all"
            else (PipelineOutput(last))
        )

    def generate(self, prompts: Sequence[str], **options: Any) -> np.ndarray:
        """One image a prompt, uint8 [N, H, W, 3], of the last stage; see `generate_all`."""
        return list(self.generate_all(prompts, **options).values())[-1]

    def generate_all(
        self,
        prompts: Sequence[str],
        *,
        sample_index: Sequence[int],
        negative_prompts: Sequence[str] | None = None,
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
        callback: Callable[[int, int, np.ndarray], None] | None = None,
        embedding: str | None = None,
        images: Sequence[Any] | None = None,
        until: str | None = None,
        **settings: Any,
    ) -> dict[str, np.ndarray]:
        """What each stage makes of the prompts; image n draws the noise of sample_index[n].

        Args:
            embedding: where image embeddings come from, see `system.conditions`.
            images: for "image-embedding", one a prompt, PIL images or uint8 [H, W, 3].
            until: the last stage to run; all of them if None.

        Returns:
            `image_embedding` [N, D] if there is one, then uint8 [N, H, W, 3] by the stages that
            make images.
        """
        check_source(self.system.stages, embedding, images)
        check_callback(callback)
        batch_size = checked_count("batch_size", batch_size)
        prompts = checked_texts("prompts", prompts)
        if not prompts:
            raise ValueError("there are no prompts to draw")
        check_numbers_of(
            "prompt",
            len(prompts),
            sample_index=sample_index,
            negative_prompts=negative_prompts,
            images=images,
        )
        stages, key = self._stages(until), key_of(seed)
        made = self.checked(settings)
        inputs = {
            "tokens": self.tokenizer.encode(prompts),
            "sample_index": checked_indices(sample_index),
        }
        if negative_prompts is not None:
            negative_prompts = checked_texts("negative_prompts", negative_prompts)
            inputs["negative_tokens"] = self.tokenizer.encode(negative_prompts)
        if embedding == FROM_IMAGE:
            side = self.run.data["image_size"]
            inputs["image"] = np.stack(
                [center_crop_resize(rgb_array(image), side) for image in images]
            )
        shown = None if callback is None else _shown(callback)
        batch_size = min(batch_size, len(prompts))
        batches = []
        for start in range(0, len(prompts), batch_size):
            batch = {name: a[start : start + batch_size] for name, a in inputs.items()}
            size = len(batch["tokens"])
            # The last batch is filled up, so that one compiled program serves all.
            batch = {name: np.resize(a, (batch_size, *a.shape[1:])) for name, a in batch.items()}
            outputs = self._draw(batch, key, embedding, stages, made, shown)
            batches.append({name: array[:size] for name, array in outputs.items()})
        return {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}

    def checked(self, settings: Mapping[str, Any]) -> Settings:
        """Each stage's settings: its defaults and what of `settings`, a call's, takes their place.

        Raises:
            ValueError: there is no such setting, or a value is none that can be drawn with.
        """
        stages = self.system.stages
        callables = (self.__call__, self.generate_all)
        return checked_settings(stages, self.defaults, by_stage(stages, settings), callables)

    def _draw(self, batch, key, source, stages, settings, callback) -> dict[str, np.ndarray]:
        """One batch through the stages."""
        system, tokens, sample_index = self.system, batch["tokens"], batch["sample_index"]
        known = conditions(
            system,
            tokens,
            sample_index,
            jax.random.fold_in(key, 1),
            source=source,
            image=batch.get("image"),
            settings=settings,
            memo=self.memo,
        )
        outputs = {name: np.asarray(known[name]) for name in known if name == "image_embedding"}
        captions = read_captions(system, tokens, batch.get("negative_tokens"), self.memo)
        inputs = {"sample_index": sample_index, **captions, **known}
        for i, name in enumerate(stages):
            stage = system.stages[name]
            draw = sampler(stage, settings[name], callback if i == 0 else None)
            # The main stage draws from the root key, so that it draws the same with and without a
            # prior; each other stage from its own.
            made = draw(system.params[name], inputs, jax.random.fold_in(key, 1 + i) if i else key)
            if "image" in stage.gives:
                outputs[name] = to_uint8(made, name)
            given = {**batch, "low_res": made, stage.gives[0]: made}
            if i + 1 < len(stages):
                inputs = {taken: given[taken] for taken in system.stages[stages[i + 1]].takes}
        return outputs

    def _stages(self, until: str | None) -> tuple[str, ...]:
        drawing = self.system.drawing
        if until is None:
            return drawing
        if until not in drawing:
            raise ValueError(f"no stage {until!r} draws here; those that do: {', '.join(drawing)}")
        return drawing[: drawing.index(until) + 1]

    def record(
        self,
        prompt: str,
        negative_prompt: str | None,
        seed: int,
        index: int,
        settings: dict,
        place: str = "0 of 1",
    ) -> dict[str, str]:
        """All that makes an image again, as text; see `records.redraw`."""
        record = {
            "prompt": prompt,
            "negative_prompt": negative_prompt or "",
            "seed": seed,
            "sample_index": index,
            "batch": place,
            **as_given(self.system.stages, self.defaults, settings),
            "checkpoint": self.checkpoint,
            "Software": f"dalle_jax {__version__}",
            "Copyright": self.run.config["licence"],
        }
        return {key: str(value) for key, value in record.items()}


def _checkpoint_of(system: System) -> str:
    """The name of the weights of all stages, by which no two models are taken for each other."""
    names = {name: run.checkpoint_name for name, run in system.runs.items()}
    if len(names) == 1:
        return names[system.main]
    return ", ".join(f"{name} {checkpoint}" for name, checkpoint in names.items())


def rgb_array(image: Image.Image | np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] of a PIL image of any mode, or of such an array.

    Raises:
        ValueError: the array is another one.
    """
    if isinstance(image, Image.Image):
        return to_rgb(image)
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"images are PIL images or uint8 [H, W, 3]; got {image.dtype} {list(image.shape)}"
        )
    return image


@functools.lru_cache(maxsize=16)  # so that one callback means one compiled program
def _shown(callback: Callable[[int, int, np.ndarray], None]):
    """`callback` as the sampler calls it, from arrays of the device."""

    def shown(step: int, total: int, x0_preview: Any) -> None:
        callback(int(step), int(total), to_uint8(np.nan_to_num(x0_preview)))

    return shown
