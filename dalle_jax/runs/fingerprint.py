"""What of a run's config its weights depend on: the fingerprint, and which settings may change."""

import copy
import json
from collections.abc import Mapping
from typing import Any

from dalle_jax.data.open import is_same_source
from dalle_jax.files import short_hash
from dalle_jax.stages import OUTSIDE, STAGES, data_of, upstream_of

UPSTREAM = "upstream "  # before the name of a stage whose dependencies follow

# Settings of how a run is logged and laid out, not of what it learns: they may differ when it
# goes on, and the fingerprint leaves them out.
FREE_TRAIN_SETTINGS = (
    "log_every",
    "validate_every",
    "validation_images",
    "preview_every",
    "evaluate_every",
    "evaluation_images",
    "evaluation_features",
    "checkpoint_every",
    "keep_checkpoints",
    "mesh",
    "remat",
)
# Settings that a fingerprint has only where they are set; earlier runs lack them.
OPTIONAL_TRAIN_SETTINGS = ("init_from", "init_only", "freeze")
FREE_DATA_SETTINGS = ("dir", "num_threads", "disk_cache", "max_bad_share")


def fingerprint(
    stage_name: str, config: Mapping[str, Any], history: Mapping[str, Any] | None = None
) -> str:
    """Hash of a stage's config, its data and its upstream: all that its weights depend on.

    A run's `history` is part of it, unless it is empty.
    """
    parts = dependencies(stage_name, config)
    return short_hash({**parts, "history": history} if history else parts)


def differing_settings(there: Any, given: Any, prefix: str = "") -> list[str]:
    """`decoder.train.batch_size is 16 there, 48 given` for each setting that is not the same.

    A data source that is spelled otherwise and leads to the same location is the same.
    """
    if isinstance(there, Mapping) and isinstance(given, Mapping):
        names = [*there, *(name for name in given if name not in there)]
        return [
            difference
            for name in names
            for difference in differing_settings(
                there.get(name), given.get(name), f"{prefix}.{name}" if prefix else name
            )
        ]
    if there == given or (
        prefix.endswith("data.source") and there and given and is_same_source(there, given)
    ):
        return []
    return [f"{prefix} is {there!r} there, {given!r} given"]


def with_spelling_of(there: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The config `given`, its data source spelled as in `there` where both lead to one location.

    So a run that goes on keeps its fingerprint, whichever way its folder is named this time.
    """
    given = copy.deepcopy(dict(given))
    names = [name for name in STAGES if name in there and name in given]
    pairs = [(there, given), *((there[name], given[name]) for name in names)]
    for before, now in pairs:
        old, new = before.get("data", {}), now.get("data", {})
        if "source" in old and "source" in new and is_same_source(old["source"], new["source"]):
            new["source"] = old["source"]
    return given


def dependencies(stage_name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that a stage's weights depend on, as JSON would hold it."""
    own = {
        name: dict(section) if isinstance(section, Mapping) else section
        for name, section in config[stage_name].items()
        if name not in OUTSIDE or name == "train"
    }
    for name in FREE_TRAIN_SETTINGS:
        own["train"].pop(name, None)
    for name in OPTIONAL_TRAIN_SETTINGS:
        if not own["train"].get(name):
            own["train"].pop(name, None)
    if not own["train"].get("lora", {}).get("rank"):
        own["train"].pop("lora", None)
    data = data_of(stage_name, config)
    data = {name: value for name, value in data.items() if name not in FREE_DATA_SETTINGS}
    parts = {
        "seed": config["seed"],
        "data": data,
        "tokenizer": config["tokenizer"],
        stage_name: own,
    }
    for name in upstream_of(stage_name, config):
        parts[UPSTREAM + name] = dependencies(name, config)
    return json.loads(json.dumps(parts))
