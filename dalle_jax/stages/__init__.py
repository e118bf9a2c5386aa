"""The table of stages: what each is called, and how one is built from a run's config."""

from collections.abc import Mapping
from typing import Any

from dalle_jax.stages.decoder import Decoder

STAGES = {"decoder": Decoder}


def build_stage(name: str, config: Mapping[str, Any]) -> Decoder:
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
