"""Making a run directory for a stage and its config, or taking the one that was made with them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dalle_jax.files import write_atomically
from dalle_jax.runs.fingerprint import with_spelling_of
from dalle_jax.runs.going_on import begin_phase
from dalle_jax.runs.history import PHASE_SETTINGS, History, recorded, write_history
from dalle_jax.runs.run import FORMAT, Run, open_run
from dalle_jax.runs.source import open_init

# Of the learning rate: those by which it does not depend on how many steps are to come.
ENDLESS_DECAYS = ("constant", "inverse_sqrt")


def create_run(
    directory: str | Path,
    stage_name: str,
    config: Mapping[str, Any],
    moved_to: str = "",
    from_step: int | None = None,
) -> Run:
    """Make a run directory, or open the one that is there if it was made with this config.

    Where the data of a run lies elsewhere now, `moved_to` says where; its config stays. A training
    whose learning rate does not depend on its length goes on to another number of `steps`, and its
    config is written anew. With `from_step` a training that is at that step goes on with other
    settings, see `going_on.begin_phase`; its config stays.

    Raises:
        ValueError: the run there has another config, or a stage that it needs does not fit it; the
            differing settings are named.
    """
    directory = Path(directory).expanduser()
    if from_step is None and not (directory / "config.json").exists():
        run = Run(directory, stage_name, config)
        # First: nothing is left behind where it can't be trained.
        history = _history_before(run)
        directory.mkdir(parents=True, exist_ok=True)
        write_history(directory, history)
        _write(run)
        return run
    there = open_run(directory)
    if there.is_exported:
        raise ValueError(
            f"{directory} holds a model without the state of its training, so that the training "
            "can't go on there; give another --workdir"
        )
    config = with_spelling_of(there.config, config)
    if from_step is not None:
        config = begin_phase(there, config, from_step)
    run = Run(directory, stage_name, config, moved_to)
    if not (differences := there.differences(stage_name, config)):
        return run
    names = [one.partition(" ")[0] for one in differences]
    if names == [f"{stage_name}.train.steps"] and _may_be_as_long_as(there, config):
        _write(run)
        return run
    raise ValueError(
        f"{directory} was made with another config: {'; '.join(differences)}. "
        f"{_advice(there, names, config[stage_name]['train'])}"
    )


def _history_before(run: Run) -> History:
    """What the weights of a run to be made depend on besides its config."""
    history: History = {}
    histories = {name: other.history for name, other in run.upstream().items()}
    if histories := {name: one for name, one in histories.items() if one}:
        history["upstream"] = histories
    if init_from := run.config[run.stage_name]["train"]["init_from"]:
        with open_init(init_from, run.stage_name) as source:
            history["init_from"] = source.checkpoint_name
    return history


def _write(run: Run) -> None:
    """The files that make a directory the run's."""
    document = {"format": FORMAT, "stage": run.stage_name, "config": run.config}
    (run.directory / "fingerprint").write_text(run.fingerprint + "\n")
    # Last, and at once: a directory with a config.json is a whole run directory.
    text = json.dumps(document, indent=2) + "\n"
    write_atomically(run.directory / "config.json", lambda file: file.write(text.encode()))


def _may_be_as_long_as(run: Run, config: Mapping[str, Any]) -> bool:
    """Whether a training that has begun can end at another step and be what it would have been."""
    train = config[run.stage_name]["train"]
    is_endless = train["optimizer"]["decay"] in ENDLESS_DECAYS
    return is_endless and run.step <= train["steps"] and not recorded(run.history)


def _advice(run: Run, names: list[str], train: Mapping[str, Any]) -> str:
    """What to do where these settings differ from those that a run was made with."""
    stage, steps = run.stage_name, train["steps"]
    go_on = f"To go on with these settings from its newest checkpoint add --from_step={run.step}"
    if names == [f"{stage}.train.steps"]:
        if steps < run.step:
            return f"It is at step {run.step} already; give at least as many steps"
        longer = (
            "Its learning rate falls until the last step, so a longer training is another one from "
            f"its first step on: train anew with --config.{stage}.train.steps={steps} in another "
            f"--workdir. A training with --config.{stage}.train.optimizer.decay=constant can be "
            "made longer at any time"
        )
        return f"{longer}. {go_on}" if run.step else longer
    changeable = [f"{stage}.train.{setting}" for setting in PHASE_SETTINGS]
    if run.step and all(
        any(f"{name}.".startswith(f"{one}.") for one in changeable) for name in names
    ):
        return f"Give another --workdir, or the same config. {go_on}"
    return "Give another --workdir, or the same config"
