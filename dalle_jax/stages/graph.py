"""A system as a graph of stages, joined by what they take and give; see `stages.base.Stage`."""

from collections.abc import Mapping

from dalle_jax.stages.base import Stage

AT_HAND = {"tokens", "sample_index"}  # of each caption
PICTURES = {"image", "latents", "image_tokens"}


def drawing_chain(stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """The stages that make an image of a caption, in the order in which they are run.

    Each takes what a caption gives or what stages before it give. Where no stage gives it, one that
    encodes it is enough: without a prior an image embedding is CLIP's, of an image or a text. Left
    out are stages whose outputs nothing needs, and those that continue others. Empty if no image
    can be made.
    """
    waiting = {name: stage for name, stage in stages.items() if not stage.continues}
    reached: dict[str, Stage] = {}
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


def main_stage(stages: Mapping[str, Stage]) -> str | None:
    """The first stage of a chain that makes a picture, as pixels, latents or tokens; None if none.

    The settings of a call are its own; those of other stages are given by their names.
    """
    return next((name for name, stage in stages.items() if PICTURES & {*stage.gives}), None)


def drawing_names(stages: Mapping[str, Stage]) -> tuple[str, ...]:
    """The main stage of a chain and what follows it."""
    names, main = tuple(stages), main_stage(stages)
    return names[names.index(main) :] if main else ()


def giving(stages: Mapping[str, Stage], quantity: str) -> str | None:
    """The stage of a chain that gives something; None if none does."""
    return next((name for name, stage in stages.items() if quantity in stage.gives), None)


def encoding(stages: Mapping[str, Stage], quantity: str) -> str | None:
    """The stage of a chain that makes something of images; None if none does."""
    return next((name for name, stage in stages.items() if quantity == stage.encodes), None)
