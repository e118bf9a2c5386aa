"""From a config to trained runs: each stage's run directory, data, hooks and loop."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from flax import traverse_util

from dalle_jax import console
from dalle_jax.config.load import load_config
from dalle_jax.config.ranges import flatten
from dalle_jax.evaluation.checks import check_later_data, check_stage
from dalle_jax.nn.remat import rematerialized
from dalle_jax.runs import Run, create_run, open_run
from dalle_jax.runs.data import check_moved
from dalle_jax.runs.history import Phase
from dalle_jax.stages import data_of
from dalle_jax.trainer.data import Data, open_data, training_batches
from dalle_jax.trainer.hooks import make_hooks
from dalle_jax.trainer.start import check_start, load_base, load_start
from dalle_jax.training import pending
from dalle_jax.training.checkpoint import newest_whole
from dalle_jax.training.distributed import exclusive, in_turn, naming_the_dead
from dalle_jax.training.loop import fit
from dalle_jax.training.lora import BASE, Adapted
from dalle_jax.training.optim import Optimizer, make_optimizer
from dalle_jax.training.sharding import make_mesh, put_tree
from dalle_jax.training.training import Settings, Training


def train(
    config: str | Path | Mapping[str, Any],
    workdir: str | Path,
    *,
    stages: Sequence[str] | None = None,
    data_source: str = "",
    from_step: int | None = None,
) -> dict[str, Run]:
    """Train the stages of a config, each in WORKDIR/STAGE; what is trained already stays.

    A training that was stopped continues from its newest checkpoint, with the numbers that it
    would have had. For example::

        config = load_config("quickstart")  # of dalle_jax.config.load
        config.decoder.train.steps = 2000
        runs = dalle_jax.train(config, "runs/quickstart")

    Args:
        config: of a system, or the name or path of a config file.
        workdir: of the runs.
        stages: only these, in this order; by default all of the config.
        data_source: where the data of runs that continue lies now, as folder:PATH.
        from_step: at which the run of a stage goes on with other steps, batch size, EMA or
            optimizer settings, those of `config`, than it had; see `runs.going_on.begin_phase`.

    Returns:
        The runs by stage.

    Raises:
        FileNotFoundError: data, or a run that a stage needs, is not there.
        ValueError: a setting or the data is wrong, a run there has another config, another process
            trains it, or the training diverged (`training.loop.Diverged`).
        training.signals.Interrupted: a signal came; a checkpoint is saved.
    """
    config, workdir = as_dict(config), Path(workdir).expanduser()
    names = list(config["stages"] if stages is None else stages)
    if unknown := [name for name in names if name not in config["stages"]]:
        raise ValueError(
            f"the config has no stage {unknown[0]!r}; it has {', '.join(config['stages'])}"
        )
    if from_step is not None and len(names) > 1:
        raise ValueError(
            f"--from_step is of one stage, and the config has {', '.join(names)}; name one --stage"
        )
    if data_source:
        check_moved([data_of(name, config)["source"] for name in names], data_source)
    for name in names:
        check_stage(name, config)
        check_start(name, config, is_begun=(workdir / name / "config.json").exists())
    check_later_data(names, config, workdir, data_source)
    with naming_the_dead():
        if from_step is not None:
            config = go_on(names[0], config, workdir, data_source, from_step)
        return {name: train_stage(name, config, workdir, data_source) for name in names}


def train_stage(name: str, config: Mapping[str, Any], workdir: Path, data_source: str = "") -> Run:
    """Train one stage to its last step, if that is not done; see `train`."""
    run = make_run(name, config, workdir, data_source)
    directory, phases = run.directory / "checkpoints", run.phases
    if (
        run.step == run.steps
        and newest_whole(directory) == run.step
        and not pending.read_as_first(run.directory, run.steps)
    ):
        console.note(f"{name}: trained to step {run.steps} already, in {run.directory}")
        return run
    with exclusive(run.directory), rematerialized(config[name]["train"]["remat"]):
        data = open_data(run, record=True)
        for i, phase in enumerate(phases):
            # Of the earlier ones there are steps left only where later checkpoints are damaged.
            if phase is phases[-1] or newest_whole(directory) < phase.end:
                if i and run.step == phase.first_step:
                    console.note(describe_phase(name, phase, phases[i - 1]))
                fit(build_training(run, data, phase))
    return run


def as_dict(config: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """A config, or that of a file, as a plain dict."""
    if isinstance(config, str | Path):
        config = load_config(config)
    return config if isinstance(config, dict) else config.to_dict()


def make_run(name: str, config: Mapping[str, Any], workdir: Path, data_source: str) -> Run:
    """The run of a stage, made if it is not there; of several processes the first makes it."""
    directory = workdir / name
    with in_turn(f"make the run of {name}"):
        if not (directory / "config.json").exists():
            # First: a mistake leaves no run behind that would refuse the mended config.
            planned = Run(directory, name, config, data_source)
            planned.build_stage()
            planned.check_known_data()
            for split in ("train", "validation"):
                planned.open_source(split)
        return create_run(directory, name, config, data_source)


def go_on(
    name: str, config: dict[str, Any], workdir: Path, data_source: str, from_step: int
) -> dict[str, Any]:
    """Record that a run goes on with other settings; the config that its directory is known by."""
    directory = open_run(workdir / name).directory
    with exclusive(directory), in_turn(f"go on with {name}"):
        return create_run(directory, name, config, data_source, from_step).config


def describe_phase(name: str, phase: Phase, before: Phase) -> str:
    """Which settings change, and the learning rates around it."""
    was, now = (dict(flatten(one.settings)) for one in (before, phase))
    changes = [f"{key} {was[key]} → {now[key]}" for key in now if was[key] != now[key]]
    last = float(optimizer_of(before).learning_rate(phase.first_step - 1))
    first = float(optimizer_of(phase).learning_rate(phase.first_step))
    return (
        f"{name} goes on from step {phase.first_step} with {', '.join(changes) or 'the same'}; the "
        f"learning rate was {last:.3g} in the last step and is {first:.3g} in the next"
    )


def optimizer_of(phase: Phase) -> Optimizer:
    """The optimizer of a phase, whose schedule counts from its first step."""
    settings = phase.settings
    return make_optimizer(
        **settings["optimizer"],
        steps=settings["steps"],
        first_step=phase.first_step,
        freeze=settings["freeze"],
    )


def build_training(run: Run, data: Data, phase: Phase) -> Training:
    """A phase of a run's training, with the weights of the stages before it on the devices."""
    name, settings, stage = run.stage_name, phase.settings, run.build_stage()
    start, local = stage.start_from(run.load_frozen())
    start = traverse_util.flatten_dict(start or {}, sep="/") | load_start(run, data.tokenizer)
    stage.prepare(local, training_batches(run, data, run.phases[0]))
    if settings["lora"]["rank"]:
        start, local = {}, {**local, BASE: load_base(run, stage, start)}
        stage = Adapted(stage, **settings["lora"])
    mesh = make_mesh(settings["mesh"])
    start, frozen = put_tree(start, mesh), put_tree(local, mesh)
    del local  # what is on one device; `frozen` is cut over the mesh
    names = [field.name for field in fields(Settings) if field.name not in ("seed", "steps")]
    return Training(
        stage,
        training_batches(run, data, phase),
        run.directory,
        optimizer_of(phase),
        Settings(
            steps=phase.end, seed=run.config["seed"], **{name: settings[name] for name in names}
        ),
        make_hooks(run, data, settings, stage, frozen, mesh),
        frozen=frozen,
        start=start,
        title=name,
        quiet=console.is_quiet(),
    )
