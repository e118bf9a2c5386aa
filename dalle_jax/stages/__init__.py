"""The table of stages, and how one is built from a run's config."""

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

# Each stage comes after those whose outputs it takes.
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

# The stages that embed images.
EMBEDDERS = tuple(name for name, stage in STAGES.items() if stage.encodes == "image_embedding")

# The sections of a stage's config that are not arguments of the stage.
OUTSIDE = ("train", "sample", "data")


def upstream_of(name: str, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The stages whose trained weights the training of the stage `name` needs."""
    return _class_named(name).upstream_of(config[name])


def main_of(names: Iterable[str]) -> str | None:
    """The first of some stages that makes an image; None without one."""
    return main_stage({name: _class_named(name) for name in names})


def data_of(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The data settings of a stage: the system's, replaced by the stage's."""
    return {**config["data"], **config[name].get("data", {})}


def sampling_of(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling settings of a stage; none if it does not sample."""
    return dict(config[name].get("sample", {}))


def build_stage(name: str, config: Mapping[str, Any]) -> Stage:
    """The stage `name` of a run's config, with its upstream stages.

    Raises:
        ValueError: the config lacks a setting, or has one that the stage does not take.
    """
    stage = _class_named(name)
    try:
        sections = {key: value for key, value in config[name].items() if key not in OUTSIDE}
        if needed := upstream_of(name, config):
            sections["upstream"] = {other: build_stage(other, config) for other in needed}
        return stage(
            **sections,
            image_size=data_of(name, config)["image_size"],
            vocab_size=config["tokenizer"]["vocab_size"],
            max_length=config["tokenizer"]["max_length"],
        )
    except KeyError as error:
        raise ValueError(f"the config has no setting {error} for the stage {name}") from error
    except (TypeError, AttributeError) as error:
        # from the constructors of networks, losses and schedules, which take settings by name
        raise ValueError(f"config.{name} does not fit the stage {name}: {error}") from error


def _class_named(name: str) -> type[Stage]:
    if name not in STAGES:
        raise ValueError(f"no stage is called {name!r}; known are {', '.join(STAGES)}")
    return STAGES[name]
