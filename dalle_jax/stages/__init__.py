"""The table of stages: what each is called, and how one is built from a run's config."""

from collections.abc import Iterable, Mapping
from typing import Any

from dalle_jax.stages.base import Stage
from dalle_jax.stages.classifier import Classifier
from dalle_jax.stages.clip import Clip
from dalle_jax.stages.decoder import Decoder
from dalle_jax.stages.graph import main_stage
from dalle_jax.stages.joint import Joint
from dalle_jax.stages.prior import Prior
from dalle_jax.stages.upsampler import Upsampler

# In an order in which each comes after those whose outputs it takes.
STAGES: dict[str, type[Stage]] = {
    "classifier": Classifier,
    "clip": Clip,
    "prior": Prior,
    "decoder": Decoder,
    "upsampler": Upsampler,
    "upsampler_256": Upsampler,
    "upsampler_1024": Upsampler,
    "joint": Joint,
}

# Those that make features of images.
EMBEDDERS = tuple(name for name, stage in STAGES.items() if stage.encodes == "image_embedding")

# What of a stage's config is not the stage's own: how it is trained, drawn from, and on which data.
OUTSIDE = ("train", "sample", "data")


def upstream_of(name: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The stages whose trained weights the stage `name` learns with."""
    return _stage(name).upstream_of(config[name])


def main_of(names: Iterable[str]) -> str | None:
    """Of some stages the one that draws the first picture of a caption; None if none does."""
    return main_stage({name: _stage(name) for name in names})


def data_of(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a stage: those of the system, but for what the stage has otherwise."""
    return {**config["data"], **config[name].get("data", {})}


def sampling_of(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a stage samples with; none for a stage that draws nothing."""
    return dict(config[name].get("sample", {}))


def build_stage(name: str, config: Mapping[str, Any]) -> Stage:
    """The stage `name` as a run's config describes it, and the stages that it stands on.

    Raises:
        ValueError: the config lacks a setting, or has one that the stage does not take.
    """
    stage = _stage(name)
    try:
        own = {section: value for section, value in config[name].items() if section not in OUTSIDE}
        if needed := upstream_of(name, config):
            own["upstream"] = {other: build_stage(other, config) for other in needed}
        return stage(
            **own,
            image_size=data_of(name, config)["image_size"],
            vocab_size=config["tokenizer"]["vocab_size"],
            max_length=config["tokenizer"]["max_length"],
        )
    except KeyError as error:
        raise ValueError(f"the config has no setting {error} for the stage {name}") from error
    except (TypeError, AttributeError) as error:
        # Of a stage's model, losses and schedule, whose settings its own classes take by name.
        raise ValueError(f"config.{name} does not fit the stage {name}: {error}") from error


def _stage(name: str) -> type[Stage]:
    if name not in STAGES:
        raise ValueError(f"no stage is called {name!r}; known are {', '.join(STAGES)}")
    return STAGES[name]
