"""The trained stages of a workdir, and how a batch goes through them one after the other.

caption → tokens → (CLIP's text embedding → prior → image embedding) → decoder → upsamplers
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from dalle_jax.nearest import nearest
from dalle_jax.pipelines.memo import Memo
from dalle_jax.pipelines.settings import Settings, plain
from dalle_jax.runs import Run, open_run, runs_in
from dalle_jax.stages import STAGES
from dalle_jax.stages.base import Stage
from dalle_jax.stages.decoder import empty_captions
from dalle_jax.stages.graph import (
    AT_HAND,
    drawing_chain,
    drawing_names,
    encoding,
    giving,
    main_stage,
)

# Where an image embedding may come from besides the stage that draws it: comparing them shows which
# stage loses what.
FROM_TEXT, FROM_IMAGE = "text-embedding", "image-embedding"


@dataclass(frozen=True)
class System:
    """Stages by name, in the order that a caption meets them, with their weights.

    Attributes:
        runs: where they come from, and the runs that continued some of them.
        stages: as their configs build them, see `stages.graph.drawing_chain`.
        params: EMA weights. Those of a stage that was continued are the continued run's.
    """

    runs: Mapping[str, Run]
    stages: Mapping[str, Stage]
    params: Mapping[str, Any]

    @property
    def main(self) -> str:
        """The stage that draws the first picture, whose settings are given without its name."""
        return main_stage(self.stages)

    @property
    def reads_embeddings(self) -> bool:
        """Whether the main stage is conditioned on image embeddings."""
        return "image_embedding" in self.stages[self.main].takes

    @property
    def drawing(self) -> tuple[str, ...]:
        """The main stage, and those that go on from what it draws."""
        return drawing_names(self.stages)


def load_system(workdir: str | Path, *, joint: bool = True) -> System:
    """What is trained in a workdir; `joint` says whether stages that continue others count.

    Raises:
        FileNotFoundError: no stage draws images, or one that it stands on is missing.
        ValueError: two stages do not fit each other; the message names both.
    """
    workdir = Path(workdir).expanduser()
    runs, stages = find_stages(workdir)
    params = {name: run.load_params() for name, run in runs.items()}
    if joint:
        for name, run in runs_in(workdir).items():
            continues = STAGES[run.stage_name].continues
            if run.step and continues and set(continues) <= runs.keys():
                params |= _fitting(run).load_params()
                runs[name] = run
    return System(runs, stages, params)


def find_stages(workdir: Path) -> tuple[dict[str, Run], dict[str, Stage]]:
    """The runs of a workdir that draw together, and their stages, by name; no weights are loaded.

    Raises:
        FileNotFoundError: no stage draws images, or one that it stands on is missing.
        ValueError: two stages do not fit each other; the message names both.
    """
    found = runs_in(workdir)
    trained = {name: run for name, run in found.items() if run.step}
    built = {name: run.build_stage() for name, run in trained.items()}
    stages = drawing_chain(built)
    if not stages:
        if lacking := main_stage(built):
            trained[lacking].upstream()  # says which run is not there
        where = f"{workdir} holds no trained stage that draws images"
        untrained = [name for name in found if name not in trained]
        if untrained:
            where += f": {found[untrained[0]].directory} has no checkpoint yet"
        raise FileNotFoundError(f"{where}; train one with `dalle-jax train`")
    runs = {name: _fitting(found[name]) for name in stages}
    _check_sizes(stages)
    return runs, stages


def is_trained(directory: Path) -> bool:
    """Whether a run with a checkpoint is there."""
    return (directory / "config.json").exists() and open_run(directory).step > 0


def conditions(
    system: System,
    tokens: np.ndarray,
    sample_index: np.ndarray,
    key: Array,
    *,
    source: str | None,
    image: Array | None,
    settings: Settings,
    memo: Memo,
) -> dict[str, Array]:
    """What stages before the main one make of captions [B, L] for it, as image embeddings [B, D].

    Args:
        system: of the stages.
        tokens: of the captions, int32 [B, L].
        sample_index: [B].
        key: of what those stages draw.
        source: of image embeddings: None or the name of the stage that draws them for the captions;
            "text-embedding", that of the caption in the place of one of an image;
            "image-embedding", those of `image`.
        image: uint8 [B, H, W, 3], where embeddings are of images.
        settings: of sampling, by stage.
        memo: in which is looked for what was made of these captions before.
    """
    seeds = np.asarray(jax.random.key_data(key))
    made: dict[str, Any] = {"tokens": tokens, "sample_index": sample_index}
    if source == FROM_IMAGE:
        name = encoding(system.stages, "image_embedding")
        encode = _jitted(system.stages[name].encode_image)
        made["image_embedding"] = encode(system.params[name], image)

    def make(wanted: str) -> Any:
        """Something that a stage gives, and before it what that stage takes."""
        if wanted not in made:
            name = giving(system.stages, wanted)
            stage, of_stage = system.stages[name], settings.get(name, ())
            inputs = {taken: make(taken) for taken in stage.takes}
            # The key and the sample index count where noise is drawn.
            arrays = [tokens, sample_index, seeds] if "sample_index" in stage.takes else [tokens]
            draw = functools.partial(sampler(stage, of_stage, None), system.params[name], inputs)
            outputs = memo(f"{name} {of_stage}", arrays, lambda: draw(key))
            one = {stage.gives[0]: outputs}
            made.update(outputs if isinstance(outputs, Mapping) else one)
        return made[wanted]

    if source == FROM_TEXT:
        made["image_embedding"] = make("text_embedding")
    return {one: make(one) for one in system.stages[system.main].takes if one not in AT_HAND}


def read_captions(
    system: System, tokens: np.ndarray, negative_tokens: np.ndarray | None, memo: Memo
) -> dict[str, Any]:
    """The captions among the main stage's inputs: tokens, or `text` and `negative_text` where a
    text encoder of its own reads them; nothing where it reads none."""
    name = system.main
    stage = system.stages[name]
    if "tokens" not in stage.takes:
        return {}
    if negative_tokens is None:
        negative_tokens = np.asarray(empty_captions(tokens))
    if not stage.reads_captions:
        return {"tokens": tokens, "negative_tokens": negative_tokens}
    read = lambda of: _jitted(stage.encode_text)(system.params[name], of)
    return {
        what: memo(name, [of], functools.partial(read, of))
        for what, of in {"text": tokens, "negative_text": negative_tokens}.items()
    }


def check_source(stages: Mapping[str, Stage], source: str | None, image: Any) -> None:
    """Refuse a source of embeddings that a system of these stages or these inputs do not have.

    Raises:
        ValueError: they do not have it.
    """
    drawn = giving(stages, "image_embedding")
    known = (*([drawn] if drawn else []), FROM_TEXT, FROM_IMAGE)
    if "image_embedding" not in stages[main_stage(stages)].takes:
        if source is not None or image is not None:
            wanted = "drawing from images" if source is None else repr(source)
            raise ValueError(
                f"this decoder reads captions only; {wanted} needs one that was trained with "
                "image embeddings, as configs/unclip_shapes.py has it"
            )
        return
    if source is not None and source not in known:
        raise ValueError(
            f"no embedding comes from {source!r}; known are {', '.join(known)}"
            f"{nearest(source, known)}"
        )
    if image is not None and source != FROM_IMAGE:
        raise ValueError(
            f'images are not read with embedding="{source or drawn}"; give '
            f'embedding="{FROM_IMAGE}", or leave them out'
        )
    if source is None and drawn is None:
        raise ValueError(
            "no trained stage of this workdir draws image embeddings, as a prior does; train one "
            f"with `dalle-jax train`, or draw from {FROM_TEXT} or {FROM_IMAGE}"
        )
    if source == FROM_IMAGE and image is None:
        raise ValueError(f"{FROM_IMAGE} needs the images whose embeddings are to be drawn from")


def by_stage(stages: Mapping[str, Stage], settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings by the stage that they are of; the main stage's may be given without its name.

    Numbers and arrays of numpy and jax are Python's in it.

    Raises:
        ValueError: those of a stage are no mapping, there is no such stage, or the main one has one
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
            f"{', '.join(stages)}{nearest(absent[0], stages)}"
        )
    main = main_stage(stages)
    own = given.get(main, {})
    if twice := [name for name in own if name in rest]:
        raise ValueError(f"{twice[0]} of {main} is given twice; leave one of the two out")
    return {**given, main: {**rest, **own}}


def as_given(
    stages: Mapping[str, Stage],
    defaults: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """All settings of a call, defaults among them, in the form that `by_stage` reads."""
    given, main = by_stage(stages, settings), main_stage(stages)
    others = {
        name: {**defaults[name], **given.get(name, {})}
        for name in stages
        if name != main and (defaults[name] or name in given)
    }
    return {**defaults[main], **given[main], **others}


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


def _check_sizes(stages: Mapping[str, Stage]) -> None:
    """Each stage that enlarges images takes those of the side that the stage before makes."""
    before, side = "", 0
    for name, stage in stages.items():
        if "low_res" in stage.takes and stage.low_res_size != side:
            raise ValueError(
                f"{name} was trained on images of {stage.low_res_size} pixels and {before} "
                f"makes images of {side}; train one that fits the other"
            )
        if "image" in stage.gives:
            before, side = name, stage.image_shape[0]
