"""A training that goes on with other settings from its newest checkpoint: a phase begins."""

import copy
from collections.abc import Mapping
from typing import Any

from dalle_jax.runs.fingerprint import differing_settings
from dalle_jax.runs.history import PHASE_SETTINGS, recorded, write_history
from dalle_jax.runs.run import Run
from dalle_jax.runs.workdir import runs_in
from dalle_jax.stages import upstream_of


def begin_phase(run: Run, config: Mapping[str, Any], first_step: int) -> dict[str, Any]:
    """Record that a run goes on from `first_step` with the settings of `config`.

    The same once more changes nothing. While no checkpoint is later than `first_step`, other
    settings replace those that were recorded.

    Returns:
        `config` with the settings that the run began with, which its directory is known by.

    Raises:
        ValueError: the run is at another step, `config` differs in more than `PHASE_SETTINGS`, the
            phase would be empty, or runs there were trained on the present weights.
    """
    name, directory = run.stage_name, run.directory
    began, train = run.config[name]["train"], config[name]["train"]
    settings = {key: copy.deepcopy(train[key]) for key in PHASE_SETTINGS}
    base = {**config, name: {**config[name], "train": {**train}}}
    base[name]["train"] |= {key: began[key] for key in PHASE_SETTINGS}
    differences = run.differences(name, base)
    if settings["optimizer"]["name"] != began["optimizer"]["name"]:
        differences += differing_settings(
            began["optimizer"]["name"], train["optimizer"]["name"], f"{name}.train.optimizer.name"
        )
    if differences:
        raise ValueError(
            f"{directory} can't go on with these settings: {'; '.join(differences)}. Only "
            f"{', '.join(PHASE_SETTINGS)} of config.{name}.train may change, but not optimizer.name"
        )
    phase, phases = {"first_step": first_step, "settings": settings}, recorded(run.history)
    if phase in phases:
        return base
    _check_step(run, first_step, settings["steps"])
    if directory.is_symlink():
        raise ValueError(
            f"{directory} is a link to a run that others use too, as the points of a sweep do; "
            "copy that into another workdir and go on there"
        )
    for other in runs_in(directory.parent).values():
        if other.step and name in upstream_of(other.stage_name, other.config):
            raise ValueError(
                f"{other.directory} was trained on the weights that {directory} has now and would "
                f"not fit others; copy {directory} into another workdir and go on there"
            )
    before = [other for other in phases if other["first_step"] < first_step]
    write_history(directory, {**run.history, "phases": [*before, phase]})
    (directory / "fingerprint").write_text(run.fingerprint + "\n")
    return base


def _check_step(run: Run, first_step: int, steps: int) -> None:
    if not run.step:
        raise ValueError(
            f"{run.directory} has no checkpoint to go on from; train it first without --from_step"
        )
    if run.step != first_step:
        known = [phase["first_step"] for phase in recorded(run.history)]
        other = ", which it reached from there with other settings" if first_step in known else ""
        raise ValueError(
            f"--from_step={first_step}: {run.directory} is at step {run.step}{other}; a training "
            f"goes on with other settings from its newest checkpoint: give --from_step={run.step}"
        )
    if steps <= first_step:
        raise ValueError(
            f"config.{run.stage_name}.train.steps is {steps}, and {run.directory} is at step "
            f"{first_step} already; give a step beyond that, at which the training ends"
        )
