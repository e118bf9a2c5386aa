"""The table of stages: what each is called, and how one is built from a run's config."""

from collections.abc import Mapping
from typing import Any, Protocol

from jax import Array

from dalle_jax.stages.decoder import Decoder


class Stage(Protocol):
    """What a stage is to those who train it and draw with it; parameters are explicit."""

    def init(self, key: Array) -> Any:
        """Random parameters, float32."""

    def loss(
        self, params: Any, frozen: Any, batch: Mapping[str, Array], key: Array, *, train: bool
    ) -> tuple[Array, dict[str, Array]]:
        """The loss of one batch and what else is worth logging, all scalars."""

    def sample(self, params: Any, inputs: Mapping[str, Array], key: Array, **settings: Any) -> Any:
        """What the stage makes of its inputs."""


STAGES = {"decoder": Decoder}


def build_stage(name: str, config: Mapping[str, Any]) -> Stage:
    """The stage `name` as a run's config describes it."""
    if name not in STAGES:
        raise ValueError(f"no stage is called {name!r}; known are {', '.join(STAGES)}")
    own = config[name]
    return STAGES[name](
        model=own["model"],
        diffusion=own["diffusion"],
        loss=own["loss"],
        image_size=config["data"]["image_size"],
        vocab_size=config["tokenizer"]["vocab_size"],
        max_length=config["tokenizer"]["max_length"],
    )
