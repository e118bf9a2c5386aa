"""A system as a graph of stages, joined by what they take and give; see `stages.base.Stage`."""

import itertools
from collections.abc import Mapping
from typing import Any

from dalle_jax.stages.base import Stage

# Stages by name, or their classes, whose `takes` do not depend on a config yet.
Stages = Mapping[str, Stage] | Mapping[str, type[Stage]]

GIVEN = {"tokens", "sample_index"}  # with each caption
PICTURES = {"image", "latents", "image_tokens"}


def sampling_chain(stages: Stages) -> dict[str, Any]:
    """The stages that make an image from a caption, in the order in which they run.

    Each takes what the caption or earlier stages give. A quantity that no stage gives may come from
    a stage that encodes it: without a prior, CLIP's embedding of an image or a text. Stages whose
    outputs nothing needs are left out, as are those that continue others. Empty if no image can be
    made.
    """
    waiting = {name: stage for name, stage in stages.items() if not stage.continues}
    reached: dict[str, Any] = {}
    given, encoded = set(GIVEN), set()

    def ready(known: set[str]) -> str | None:
        return next((name for name, one in waiting.items() if known.issuperset(one.takes)), None)

    while name := ready(given) or ready(given | encoded):
        stage = reached[name] = waiting.pop(name)
        given.update(stage.gives, ["low_res"] if "image" in stage.gives else [])
        encoded.add(stage.encodes)
    needed, names = {"image"}, []
    for name, stage in reversed(reached.items()):
        if needed & {*stage.gives, stage.encodes}:
            names.insert(0, name)
            taken = {"image" if one == "low_res" else one for one in stage.takes}
            needed = (needed - set(stage.gives)) | taken
    return {name: reached[name] for name in names} if "image" not in needed else {}


def image_stages(stages: Stages) -> tuple[str, ...]:
    """The chain from the first stage on that makes an image, as pixels, latents or tokens."""
    chain = sampling_chain(stages)
    return tuple(itertools.dropwhile(lambda name: not PICTURES & {*chain[name].gives}, chain))


def main_stage(stages: Stages) -> str | None:
    """The first stage that makes an image, whose settings need no stage name; None without one."""
    return next(iter(image_stages(stages)), None)


def giving(stages: Stages, quantity: str) -> str | None:
    """The stage of a chain that gives `quantity`, if any."""
    return next((name for name, stage in stages.items() if quantity in stage.gives), None)


def encoding(stages: Stages, quantity: str) -> str | None:
    """The stage of a chain that encodes images as `quantity`, if any."""
    return next((name for name, stage in stages.items() if quantity == stage.encodes), None)
