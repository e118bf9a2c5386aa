"""Making a run directory for a stage and its config, or taking the one that was made with them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dalle_jax.files import write_atomically
from dalle_jax.runs.fingerprint import with_spelling_of
from dalle_jax.runs.run import FORMAT, Run, open_run

# Of the learning rate: those by which it does not depend on how many steps are to come.
ENDLESS_DECAYS = ("constant", "inverse_sqrt")


def create_run(
    directory: str | Path, stage_name: str, config: Mapping[str, Any], moved_to: str = ""
) -> Run:
    """Make a run directory, or open the one that is there if it was made with this config.

    Where the data of a run lies elsewhere now, `moved_to` says where; its config stays. A training
    whose learning rate does not depend on its length goes on to another number of `steps`, and its
    config is written anew.

    Raises:
        ValueError: the run there has another config, or a stage that it needs does not fit it; the
            differing settings are named.
    """
    directory = Path(directory).expanduser()
    if not (directory / "config.json").exists():
        run = Run(directory, stage_name, config)
        run.upstream()  # first: nothing is left behind where it can't be trained
        directory.mkdir(parents=True, exist_ok=True)
        _write(run)
        return run
    there = open_run(directory)
    if there.is_exported:
        raise ValueError(
            f"{directory} holds a model without the state of its training, so that the training "
            "can't go on there; give another --workdir"
        )
    run = Run(directory, stage_name, with_spelling_of(there.config, config), moved_to)
    if not (differences := there.differences(stage_name, config)):
        return run
    advice = "Give another --workdir, or the same config"
    if [one.partition(" ")[0] for one in differences] == [f"{stage_name}.train.steps"]:
        if _may_be_as_long_as(there, config[stage_name]["train"]):
            _write(run)
            return run
        advice = _how_to_make_longer(there, config[stage_name]["train"]["steps"])
    raise ValueError(
        f"{directory} was made with another config: {'; '.join(differences)}. {advice}"
    )


def _write(run: Run) -> None:
    """The files that make a directory the run's."""
    document = {"format": FORMAT, "stage": run.stage_name, "config": run.config}
    (run.directory / "fingerprint").write_text(run.fingerprint + "\n")
    # Last, and at once: a directory with a config.json is a whole run directory.
    text = json.dumps(document, indent=2) + "\n"
    write_atomically(run.directory / "config.json", lambda file: file.write(text.encode()))


def _may_be_as_long_as(run: Run, train: Mapping[str, Any]) -> bool:
    """Whether a training that has begun can end at another step and be what it would have been."""
    return train["optimizer"]["decay"] in ENDLESS_DECAYS and run.step <= train["steps"]


def _how_to_make_longer(run: Run, steps: int) -> str:
    """What to do where it can't."""
    stage = run.stage_name
    if run.config[stage]["train"]["optimizer"]["decay"] in ENDLESS_DECAYS:
        return f"It is at step {run.step} already; give at least as many steps"
    return (
        "Its learning rate falls until the last step, so a longer training is another one from its "
        f"first step on: train anew with --config.{stage}.train.steps={steps} in another "
        f"--workdir. A training with --config.{stage}.train.optimizer.decay=constant can be made "
        "longer at any time"
    )
