"""Captions in, images out: a trained workdir as one callable."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dalle_jax import __version__
from dalle_jax.data.images import center_crop_resize
from dalle_jax.data.tokenizer import Tokenizer
from dalle_jax.data.words import CaptionWords
from dalle_jax.interop.pretrained import save_pretrained
from dalle_jax.pipelines.arguments import (
    FROM_IMAGE,
    check_filled_in,
    check_lengths,
    check_source,
    checked_count,
    checked_indices,
    checked_negatives,
    checked_texts,
    rgb_array,
)
from dalle_jax.pipelines.batch import Memo, sample_batch
from dalle_jax.pipelines.callbacks import Callback, Recorded, check_callback, on_steps
from dalle_jax.pipelines.output import PipelineOutput, as_type, check_types
from dalle_jax.pipelines.records import batch_position
from dalle_jax.pipelines.settings import Settings, as_given, checked_settings
from dalle_jax.pipelines.system import System, load_system, overview
from dalle_jax.runs import warn_of_changed_data
from dalle_jax.runs.workdir import workdir_of
from dalle_jax.seeds import as_whole, checked_seeds, key_data_of
from dalle_jax.stages import sampling_of

BATCH_SIZE = 64  # images sampled at once
MAX_IMAGES = 100_000  # per call: more would fill the memory before the first one is saved


class DallePipeline:
    """Samples images from captions with the trained stages of a workdir, on EMA weights."""

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
        """The pipeline of a trained workdir, such as `runs/quickstart`, or of a saved model.

        A saved model is a folder that `save_pretrained` wrote, or a `model.safetensors` of it.
        `joint=False` ignores joint fine-tuning. Warns if the data of a run has changed since its
        training.

        Raises:
            FileNotFoundError: nothing was trained there.
            ValueError: its stages do not fit each other.
        """
        with workdir_of(path) as workdir:
            system = load_system(workdir, joint=joint)
            warn_of_changed_data(system.runs.values())
            return cls(system)

    def __repr__(self) -> str:
        return (
            f"DallePipeline of {self.run.directory.parent}\n{overview(self.system, self.defaults)}"
        )

    def save_pretrained(self, folder: str | Path, *, dtype: str = "float32") -> Path:
        """Write EMA weights, configs, tokenizer and a model card into a folder to be shared.

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
        seed: int | Sequence[int] = 0,
        callback_on_step_end: Callback | None = None,
        progress: bool | None = None,
        output: str = "images",
        output_type: str = "pil",
        **settings: Any,
    ) -> PipelineOutput:
        """Sample `num_images_per_prompt` images of each prompt.

        Image j of a prompt depends only on (weights, prompt, settings, seed, j), not on the other
        prompts. A list of seeds, one for each image, gives each what j = 0 of its seed is.
        `settings` replace the decoder's defaults: num_inference_steps, guidance_scale,
        sampler and the sampler's options; those of another stage are given as a dict by its name,
        as prior={"guidance_scale": 2.0}; see `generate_all` for `embedding`, `images` and `until`.

        `callback_on_step_end(pipe, step, time, kwargs)` is called after each of the decoder's steps
        with kwargs `x0`, the current estimate of the images, uint8 [N, H, W, 3], `guidance_scale`
        and `stop`. It may change the latter two in kwargs, or return others in a dict: the rest is
        sampled with that guidance, or left out. `progress` shows a bar, by default in a terminal
        and in a notebook.

        With `output="all"` the embeddings and the images of every stage are returned too.
        `output_type` is "pil", or "np" or "jax" for uint8 [N, H, W, 3] without records.
        """
        check_filled_in(settings)
        prompts = checked_texts("prompt", prompt)
        num_images_per_prompt = checked_count("num_images_per_prompt", num_images_per_prompt)
        check_types(output, output_type)
        check_callback(callback_on_step_end)
        if not prompts:
            return PipelineOutput([])
        negatives = checked_negatives(negative_prompt, len(prompts))
        if self.words and (warning := self.words.warning(prompts)):
            warnings.warn(warning, stacklevel=2)
        if len(prompts) * num_images_per_prompt > MAX_IMAGES:
            raise ValueError(
                f"{len(prompts)} × {num_images_per_prompt:,} images are too many for one call, "
                f"which holds at most {MAX_IMAGES:,} in memory; sample them in several calls"
            )
        rows = [(i, j) for i in range(len(prompts)) for j in range(num_images_per_prompt)]
        seeds = checked_seeds(seed, len(rows))
        if as_whole(seed) is None:
            rows = [(i, 0) for i, _ in rows]
        recorded = callback_on_step_end and Recorded(callback_on_step_end)
        if settings.get("images") is not None:
            check_lengths("prompt", len(prompts), images=settings["images"])
            settings["images"] = [settings["images"][i] for i, _ in rows]
        arrays = self.generate_all(
            [prompts[i] for i, _ in rows],
            sample_index=[j for _, j in rows],
            negative_prompts=negatives and [negatives[i] for i, _ in rows],
            seed=seeds,
            callback_on_step_end=recorded,
            progress=progress,
            **settings,
        )
        settings.pop("images", None)
        size = min(settings.pop("batch_size", BATCH_SIZE), len(rows))
        records = [
            self.record(
                prompts[i],
                negatives and negatives[i],
                seeds[n],
                j,
                settings,
                batch_position(n % size, size),
            )
            for n, (i, j) in enumerate(rows)
        ]
        if recorded and recorded.changes:
            records = [{**record, "changes": "; ".join(recorded.changes)} for record in records]
        embeddings = arrays.pop("image_embedding", None)
        resolutions = {name: as_type(a, records, output_type) for name, a in arrays.items()}
        made = PipelineOutput(list(resolutions.values())[-1], [prompts[i] for i, _ in rows])
        if output == "all":
            made.image_embeddings, made.resolutions = embeddings, resolutions
        return made

    def generate(self, prompts: Sequence[str], **options: Any) -> np.ndarray:
        """One image per prompt, uint8 [N, H, W, 3], of the last stage; see `generate_all`."""
        return list(self.generate_all(prompts, **options).values())[-1]

    def generate_all(
        self,
        prompts: Sequence[str],
        *,
        sample_index: Sequence[int],
        negative_prompts: Sequence[str] | None = None,
        seed: int | Sequence[int] = 0,
        batch_size: int = BATCH_SIZE,
        callback_on_step_end: Callback | None = None,
        progress: bool | None = False,
        embedding: str | None = None,
        images: Sequence[Any] | None = None,
        until: str | None = None,
        **settings: Any,
    ) -> dict[str, np.ndarray]:
        """The outputs of each stage for the prompts; image n has the noise of sample_index[n].

        Args:
            seed: one of all images, or one of each.
            embedding: where image embeddings come from, see `batch.conditions`.
            images: for "image-embedding", one per prompt, PIL images or uint8 [H, W, 3].
            until: the last stage to run; all of them if None.

        Returns:
            `image_embedding` [N, D] if there is one, then uint8 [N, H, W, 3] by the stages that
            make images.
        """
        check_source(self.system.stages, embedding, images)
        check_callback(callback_on_step_end)
        main = self.system.main
        if callback_on_step_end and not self.system.stages[main].samples_in_steps():
            raise ValueError(f"{main} does not sample in steps; leave callback_on_step_end out")
        batch_size = checked_count("batch_size", batch_size)
        prompts = checked_texts("prompts", prompts)
        if not prompts:
            raise ValueError("there are no prompts")
        check_lengths(
            "prompt",
            len(prompts),
            sample_index=sample_index,
            negative_prompts=negative_prompts,
            images=images,
        )
        stages, checked = self._stages(until), self.checked(settings)
        inputs = {
            "key_data": key_data_of(checked_seeds(seed, len(prompts))),
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
        batch_size = min(batch_size, len(prompts))
        batches, starts = [], range(0, len(prompts), batch_size)
        with on_steps(self, callback_on_step_end, progress, len(starts)) as on_step_of:
            for start in starts:
                batch = {name: a[start : start + batch_size] for name, a in inputs.items()}
                size = len(batch["tokens"])
                # The last batch is filled up, so that one compiled program serves all.
                batch = {k: np.resize(a, (batch_size, *a.shape[1:])) for k, a in batch.items()}
                outputs = sample_batch(
                    self.system,
                    batch,
                    jax.random.wrap_key_data(batch.pop("key_data")),
                    stages=stages,
                    settings=checked,
                    source=embedding,
                    memo=self.memo,
                    on_step=on_step_of(size),
                )
                batches.append({name: array[:size] for name, array in outputs.items()})
        return {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}

    def checked(self, settings: Mapping[str, Any]) -> Settings:
        """Each stage's sampling settings in a call with these; raises ValueError for bad ones."""
        return checked_settings(self.system.stages, self.defaults, settings)

    def _stages(self, until: str | None) -> tuple[str, ...]:
        known = self.system.image_stages
        if until is None:
            return known
        if until not in known:
            raise ValueError(
                f"no stage {until!r} makes images here; those that do: {', '.join(known)}"
            )
        return known[: known.index(until) + 1]

    def record(
        self,
        prompt: str,
        negative_prompt: str | None,
        seed: int,
        index: int,
        settings: dict,
        position: str = "0 of 1",
    ) -> dict[str, str]:
        """All that is needed to sample an image again, as text; see `records.redraw`."""
        record = {
            "prompt": prompt,
            "negative_prompt": negative_prompt or "",
            "seed": seed,
            "sample_index": index,
            "batch": position,
            **as_given(self.system.stages, self.defaults, settings),
            "checkpoint": self.checkpoint,
            "Software": f"dalle_jax {__version__}",
            "Copyright": self.run.config["licence"],
        }
        return {key: str(value) for key, value in record.items()}


def _checkpoint_of(system: System) -> str:
    """The name of the weights of all stages, different for different weights."""
    names = {name: run.checkpoint_name for name, run in system.runs.items()}
    if len(names) == 1:
        return names[system.main]
    return ", ".join(f"{name} {checkpoint}" for name, checkpoint in names.items())
