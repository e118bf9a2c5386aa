"""A system as a graph of stages, joined by what they take and give; see `stages.base.Stage`."""

import itertools
from collections.abc import Mapping
from typing import Any

from dalle_jax.stages.base import Stage

# By name; classes where only a name is asked for. What a class takes by its config it has not yet.
Stages = Mapping[str, Stage] | Mapping[str, type[Stage]]

AT_HAND = {"tokens", "sample_index"}  # of each caption
PICTURES = {"image", "latents", "image_tokens"}


def drawing_chain(stages: Stages) -> dict[str, Any]:
    """The stages that make an image of a caption, in the order in which they are run.

    Each takes what a caption gives or what stages before it give. Where no stage gives it, one that
    encodes it is enough: without a prior an image embedding is CLIP's, of an image or a text. Left
    out are stages whose outputs nothing needs, and those that continue others. Empty if no image
    can be made.
    """
    waiting = {name: stage for name, stage in stages.items() if not stage.continues}
    reached: dict[str, Any] = {}
    given, encoded = set(AT_HAND), set()

    def ready(known: set[str]) -> str | None:
        return next((name for name, one in waiting.items() if known.issuperset(one.takes)), None)

    while name := ready(given) or ready(given | encoded):
        stage = reached[name] = waiting.pop(name)
        given.update(stage.gives, ["low_res"] if "image" in stage.gives else [])
        encoded.add(stage.encodes)
    needed, kept = {"image"}, []
    for name, stage in reversed(reached.items()):
        if needed & {*stage.gives, stage.encodes}:
            kept.append(name)
            taken = {"image" if one == "low_res" else one for one in stage.takes}
            needed = (needed - set(stage.gives)) | taken
    names = kept[::-1] if "image" not in needed else []
    return {name: reached[name] for name in names}


def drawing_names(stages: Stages) -> tuple[str, ...]:
    """Those of the chain from the first that makes a picture on, as pixels, latents or tokens."""
    chain = drawing_chain(stages)
    return tuple(itertools.dropwhile(lambda name: not PICTURES & {*chain[name].gives}, chain))


def main_stage(stages: Stages) -> str | None:
    """The first stage that makes a picture; None if no image can be made.

    The settings of a call are its own; those of other stages are given by their names.
    """
    return next(iter(drawing_names(stages)), None)


def giving(stages: Stages, quantity: str) -> str | None:
    """The stage of a chain that gives something; None if none does."""
    return next((name for name, stage in stages.items() if quantity in stage.gives), None)


def encoding(stages: Stages, quantity: str) -> str | None:
    """The stage of a chain that makes something of images; None if none does."""
    return next((name for name, stage in stages.items() if quantity == stage.encodes), None)
