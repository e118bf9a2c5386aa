"""Captions in, images out: a trained workdir as one callable."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dalle_jax import __version__
from dalle_jax.data.tokenizer import Tokenizer
from dalle_jax.pipelines.images import GeneratedImage, to_uint8
from dalle_jax.runs import Run, open_run


@dataclass
class PipelineOutput:
    """`images`, in the order of the prompts; several of one prompt stand next to each other."""

    images: list[GeneratedImage]


class DallePipeline:
    """Draws images of captions with the stages of a workdir, on EMA weights."""

    def __init__(self, run: Run):
        self.run = run
        self.stage = run.build_stage()
        self.params = run.load_params()
        self.tokenizer = Tokenizer.load(run.tokenizer_path)
        self.defaults = run.config["decoder"]["sample"]

    @classmethod
    def from_pretrained(cls, workdir: str | Path) -> "DallePipeline":
        """The pipeline of a trained workdir, such as `runs/quickstart`.

        Raises:
            FileNotFoundError: nothing was trained there.
        """
        return cls(open_run(Path(workdir) / "decoder"))

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        seed: int = 0,
        callback: Callable[[int, int, np.ndarray], None] | None = None,
        **settings: Any,
    ) -> PipelineOutput:
        """Draw `num_images_per_prompt` images of each prompt.

        Image j of a prompt depends on (weights, prompt, settings, seed, j) alone, not on the other
        prompts. `settings` take the place of the run's own: num_inference_steps, guidance_scale,
        sampler and what that sampler knows. `callback(step, total, x0_preview)` is called after
        each step with the images so far, uint8 [N, H, W, 3].
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if num_images_per_prompt < 1:
            raise ValueError(f"num_images_per_prompt is {num_images_per_prompt}; it must be ≥ 1")
        if not prompts:
            return PipelineOutput([])
        negatives = [negative_prompt] if isinstance(negative_prompt, str) else negative_prompt
        if negatives is not None and len(negatives) == 1:
            negatives = list(negatives) * len(prompts)
        if negatives is not None and len(negatives) != len(prompts):
            raise ValueError(
                f"{len(negatives)} negative prompts do not fit {len(prompts)} prompts; give one, "
                "or one for each"
            )
        rows = [(i, j) for i in range(len(prompts)) for j in range(num_images_per_prompt)]
        arrays = self.generate(
            [prompts[i] for i, _ in rows],
            sample_index=[j for _, j in rows],
            negative_prompts=negatives and [negatives[i] for i, _ in rows],
            seed=seed,
            callback=callback,
            **settings,
        )
        images = []
        for (i, j), array in zip(rows, arrays):
            record = self.record(prompts[i], negatives and negatives[i], seed, j, settings)
            images.append(GeneratedImage.from_array(array, record))
        return PipelineOutput(images)

    def generate(
        self,
        prompts: Sequence[str],
        *,
        sample_index: Sequence[int],
        negative_prompts: Sequence[str] | None = None,
        seed: int = 0,
        batch_size: int = 64,
        callback: Callable[[int, int, np.ndarray], None] | None = None,
        **settings: Any,
    ) -> np.ndarray:
        """One image a prompt, uint8 [N, H, W, 3]; image n draws the noise of sample_index[n]."""
        inputs = {
            "tokens": self.tokenizer.encode(prompts),
            "sample_index": np.asarray(sample_index, np.uint32),
        }
        if negative_prompts is not None:
            inputs["negative_tokens"] = self.tokenizer.encode(negative_prompts)
        sample = self._sampler(callback, tuple(sorted({**self.defaults, **settings}.items())))
        key = jax.random.key(seed)
        batch_size = min(batch_size, len(prompts))
        images = []
        for start in range(0, len(prompts), batch_size):
            batch = {name: a[start : start + batch_size] for name, a in inputs.items()}
            size = len(batch["tokens"])
            # The last batch is filled up, so that one compiled program serves all.
            batch = {name: np.resize(a, (batch_size, *a.shape[1:])) for name, a in batch.items()}
            images.append(to_uint8(sample(self.params, batch, key))[:size])
        return np.concatenate(images)

    @functools.lru_cache(maxsize=16)  # noqa: B019 - a pipeline is meant to live as long as this
    def _sampler(self, callback, settings: tuple[tuple[str, Any], ...]):
        """The compiled sampling of one choice of settings."""

        def shown(step: int, total: int, x0_preview: Any) -> None:
            callback(int(step), int(total), to_uint8(x0_preview))

        return jax.jit(
            functools.partial(
                self.stage.sample, callback=shown if callback else None, **dict(settings)
            )
        )

    def record(
        self, prompt: str, negative_prompt: str | None, seed: int, index: int, settings: dict
    ) -> dict[str, str]:
        """All that makes an image again, as text."""
        made = {**self.defaults, **settings}
        record = {
            "prompt": prompt,
            "negative_prompt": negative_prompt or "",
            "seed": seed,
            "sample_index": index,
            **made,
            "checkpoint": f"{self.run.fingerprint} step {self.run.step}",
            "Software": f"dalle_jax {__version__}",
            "Copyright": self.run.config["licence"],
        }
        return {key: str(value) for key, value in record.items()}
