"""The trained stages of a workdir, and how a batch goes through them one after the other.

caption → tokens → (CLIP's text embedding → prior → image embedding) → decoder → upsamplers
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from dalle_jax.pipelines.memo import Memo
from dalle_jax.pipelines.settings import plain
from dalle_jax.runs import Run, open_run
from dalle_jax.stages.decoder import empty_captions

# Where the decoder's image embedding may come from: which stage loses what is seen by comparing.
EMBEDDINGS = ("prior", "text-embedding", "image-embedding")


@dataclass(frozen=True)
class System:
    """Stages by name, in the order that a caption meets them, with their weights.

    Attributes:
        runs: where they come from.
        stages: as their configs build them.
        params: EMA weights. Those of prior and decoder are the joint run's where there is one.
    """

    runs: Mapping[str, Run]
    stages: Mapping[str, Any]
    params: Mapping[str, Any]

    @property
    def reads_embeddings(self) -> bool:
        """Whether the decoder is conditioned on CLIP image embeddings."""
        return "clip" in self.stages

    @property
    def drawing(self) -> tuple[str, ...]:
        """The stages that make images: the decoder, then its upsamplers."""
        return tuple(name for name in self.stages if name not in ("clip", "prior"))


def load_system(workdir: str | Path, *, joint: bool = True) -> System:
    """What is trained in a workdir; `joint` says whether joint fine-tuning counts, if it is there.

    Raises:
        FileNotFoundError: there is no decoder, or a stage that it stands on is missing.
        ValueError: two stages do not fit each other; the message names both.
    """
    workdir = Path(workdir).expanduser()
    runs, stages = find_stages(workdir)
    params = {name: run.load_params() for name, run in runs.items()}
    if joint and is_trained(workdir / "joint"):
        run = _fitting(open_run(workdir / "joint"))
        params |= run.load_params()
        runs["joint"] = run
    return System(runs, stages, params)


def find_stages(workdir: Path) -> tuple[dict[str, Run], dict[str, Any]]:
    """The runs of a workdir that draw together, and their stages, by name; no weights are loaded.

    Raises:
        FileNotFoundError: there is no decoder, or a stage that it stands on is missing.
        ValueError: two stages do not fit each other; the message names both.
    """
    decoder = open_run(workdir / "decoder")
    runs = dict(decoder.upstream())
    if runs and is_trained(workdir / "prior"):
        runs["prior"] = _fitting(open_run(workdir / "prior"))
    runs["decoder"] = decoder
    for name in decoder.config["stages"]:
        if name.startswith("upsampler") and is_trained(workdir / name):
            runs[name] = _fitting(open_run(workdir / name))
    stages = {name: run.build_stage() for name, run in runs.items()}
    _check_sizes(stages)
    return runs, stages


def is_trained(directory: Path) -> bool:
    """Whether a run with a checkpoint is there."""
    return (directory / "config.json").exists() and open_run(directory).step > 0


def embed(
    system: System,
    tokens: np.ndarray,
    sample_index: np.ndarray,
    key: Array,
    *,
    source: str,
    image: Array | None,
    settings: Mapping[str, Any],
    memo: Memo,
) -> Array:
    """The image embeddings [B, D] that the decoder is given.

    source: "prior", drawn for the captions with `settings`; "text-embedding", CLIP's of the caption
    in the place of one of an image; "image-embedding", CLIP's of the images uint8 [B, H, W, 3].
    What is made of captions is looked for in `memo`.
    """
    clip, weights = system.stages["clip"], system.params["clip"]
    if source == "image-embedding":
        return _jitted(clip.encode_image)(weights, image)
    encode = lambda: _jitted(clip.encode_text)(weights, tokens)
    embedding, features = memo("clip", [tokens], encode)
    if source == "text-embedding":
        return embedding
    inputs = {
        "text_embedding": embedding,
        "text_features": features,
        "tokens": tokens,
        "sample_index": sample_index,
    }
    of_prior = tuple(sorted(settings.items()))
    draw = sampler(system.stages["prior"], of_prior, None)
    seeds = np.asarray(jax.random.key_data(key))
    return memo(
        f"prior {of_prior}",
        [tokens, sample_index, seeds],
        lambda: draw(system.params["prior"], inputs, key),
    )


def read_captions(
    system: System, tokens: np.ndarray, negative_tokens: np.ndarray | None, memo: Memo
) -> dict[str, Any]:
    """`text` and `negative_text` of the decoder's inputs; nothing where it reads no captions."""
    decoder = system.stages["decoder"]
    if not decoder.reads_captions:
        return {}
    if negative_tokens is None:
        negative_tokens = np.asarray(empty_captions(tokens))
    read = lambda of: _jitted(decoder.encode_text)(system.params["decoder"], of)
    return {
        name: memo("decoder", [of], functools.partial(read, of))
        for name, of in {"text": tokens, "negative_text": negative_tokens}.items()
    }


def check_source(stages: Iterable[str], source: str, image: Any) -> None:
    """Refuse a source of embeddings that a system of these stages or these inputs do not have.

    Raises:
        ValueError: they do not have it.
    """
    if source not in EMBEDDINGS:
        raise ValueError(f"no embedding comes from {source!r}; known are {', '.join(EMBEDDINGS)}")
    if "clip" not in stages:
        if source != "prior" or image is not None:
            wanted = repr(source) if source != "prior" else "drawing from images"
            raise ValueError(
                f"this decoder reads captions alone; {wanted} needs one that was trained with "
                "image embeddings, as configs/unclip_shapes.py has it"
            )
        return
    if image is not None and source != "image-embedding":
        raise ValueError(
            f'images are not read with embedding="{source}"; give embedding="image-embedding", or '
            "leave them out"
        )
    if source == "prior" and "prior" not in stages:
        raise ValueError(
            "there is no trained prior in this workdir; train it with `dalle-jax train "
            "--stage=prior`, or draw from text-embedding or image-embedding"
        )
    if source == "image-embedding" and image is None:
        raise ValueError("image-embedding needs the images whose embeddings are to be drawn from")


def by_stage(stages: Iterable[str], settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings by the stage that they are of; the decoder's may be given without its name.

    Numbers and arrays of numpy and jax are Python's in it.

    Raises:
        ValueError: those of a stage are no mapping, there is no such stage, or the decoder has one
            twice.
    """
    settings = plain(settings)
    given = {name: settings[name] for name in stages if name in settings}
    for name, value in given.items():
        if not isinstance(value, Mapping):
            raise ValueError(
                f"settings of {name} are given by their names, as --{name}.guidance_scale=2 or "
                f'{name}={{"guidance_scale": 2.0}}; got {value!r}'
            )
    rest = {name: value for name, value in settings.items() if name not in given}
    if absent := [name for name, value in rest.items() if isinstance(value, Mapping)]:
        raise ValueError(
            f"there is no stage {absent[0]!r} here to give settings to; there are "
            f"{', '.join(stages)}"
        )
    own = given.get("decoder", {})
    if twice := [name for name in own if name in rest]:
        raise ValueError(f"{twice[0]} of decoder is given twice; leave one of the two out")
    return {**given, "decoder": {**rest, **own}}


@functools.lru_cache(maxsize=32)
def sampler(stage: Any, settings: tuple[tuple[str, Any], ...], callback: Callable | None):
    """A stage's compiled `sample` with one choice of settings; not all take a callback."""
    options = dict(settings) | ({"callback": callback} if callback else {})
    return jax.jit(functools.partial(stage.sample, **options))


@functools.lru_cache(maxsize=32)
def _jitted(function: Callable) -> Callable:
    return jax.jit(function)


def _fitting(run: Run) -> Run:
    """The run, once those it stands on are found to fit it."""
    run.upstream()
    return run


def _check_sizes(stages: Mapping[str, Any]) -> None:
    """Each upsampler takes images of the side that the stage before makes."""
    name, side = "decoder", stages["decoder"].image_shape[0]
    for upsampler, stage in stages.items():
        if not upsampler.startswith("upsampler"):
            continue
        if stage.low_res_size != side:
            raise ValueError(
                f"{upsampler} was trained on images of {stage.low_res_size} pixels and {name} "
                f"makes images of {side}; train one that fits the other"
            )
        name, side = upsampler, stage.image_size
