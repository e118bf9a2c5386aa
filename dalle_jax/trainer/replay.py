"""A step that a training diverged at, computed again with the run's own data and weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dalle_jax.evaluation.checks import check_stage
from dalle_jax.nn.remat import rematerialized
from dalle_jax.runs import open_run
from dalle_jax.runs.data import check_moved
from dalle_jax.stages import data_of
from dalle_jax.trainer import as_dict, build_training, make_run, open_data
from dalle_jax.training.replay import read_batch, replay


def replay_step(
    name: str,
    config: str | Path | Mapping[str, Any],
    workdir: str | Path,
    path: Path,
    data_source: str = "",
) -> None:
    """Print what is not finite in the step that a training diverged at; nothing is trained.

    Args:
        name: of the stage.
        config: as of `train`.
        workdir: of its run.
        path: the batch that the training wrote, diverged_STEP.npz.
        data_source: as of `train`.

    Raises:
        FileNotFoundError: there is no such file or run.
        ValueError: it holds no batch of the run, or the run has another config.
    """
    config, workdir = as_dict(config), Path(workdir).expanduser()
    if data_source:
        check_moved([data_of(name, config)["source"]], data_source)
    check_stage(name, config)
    open_run(workdir / name)  # only what is there can be replayed
    step, _ = read_batch(path)
    run = make_run(name, config, workdir, data_source)
    phase = next((one for one in run.phases if step <= one.end), run.phases[-1])
    with rematerialized(config[name]["train"]["remat"]):
        replay(build_training(run, open_data(run, record=False), phase), path)
