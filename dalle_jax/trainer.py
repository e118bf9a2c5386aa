"""From a config to trained runs: each stage's run directory, data, hooks and loop."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dalle_jax import console
from dalle_jax.config.load import load_config
from dalle_jax.data.disk_cache import OnDisk, on_disk
from dalle_jax.data.images import center_crop_resize
from dalle_jax.data.loader import Source, keep_in_memory, make_loader
from dalle_jax.data.prefetch import Prefetch
from dalle_jax.data.tokenizer import Tokenizer
from dalle_jax.evaluation.checks import check_later_data, check_stage
from dalle_jax.evaluation.during_training import make_evaluation
from dalle_jax.nn.remat import rematerialized
from dalle_jax.pipelines.images import captioned_grid, to_uint8
from dalle_jax.runs import Run, create_run, open_run
from dalle_jax.runs.data import check_moved
from dalle_jax.stages import data_of, sampling_of
from dalle_jax.stages.base import Stage
from dalle_jax.training import pending
from dalle_jax.training.checkpoint import newest_is_damaged
from dalle_jax.training.distributed import exclusive, in_turn, naming_the_dead
from dalle_jax.training.loop import fit
from dalle_jax.training.optim import make_optimizer
from dalle_jax.training.replay import read_batch, replay
from dalle_jax.training.sharding import make_mesh, put_tree
from dalle_jax.training.training import Hooks, Settings, Training, Wait

NUM_PREVIEWS = 12


def train(
    config: str | Path | Mapping[str, Any],
    workdir: str | Path,
    *,
    stages: Sequence[str] | None = None,
    data_source: str = "",
) -> dict[str, Run]:
    """Train the stages of a config, each in WORKDIR/STAGE; what is trained already is kept.

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

    Returns:
        The runs by stage.

    Raises:
        FileNotFoundError: data, or a run that a stage needs, is not there.
        ValueError: a setting or the data is wrong, a run there has another config, another process
            trains it, or the training diverged (`training.loop.Diverged`).
        training.signals.Interrupted: a signal came; a checkpoint is saved.
    """
    config, workdir = _as_dict(config), Path(workdir).expanduser()
    names = list(config["stages"] if stages is None else stages)
    if unknown := [name for name in names if name not in config["stages"]]:
        raise ValueError(
            f"the config has no stage {unknown[0]!r}; it has {', '.join(config['stages'])}"
        )
    if data_source:
        check_moved([data_of(name, config)["source"] for name in names], data_source)
    for name in names:
        check_stage(name, config)
    check_later_data(names, config, workdir, data_source)
    with naming_the_dead():
        return {name: train_stage(name, config, workdir, data_source) for name in names}


def train_stage(name: str, config: Mapping[str, Any], workdir: Path, data_source: str = "") -> Run:
    """Train one stage to its last step, if that is not done; see `train`."""
    run, steps = _make_run(name, config, workdir, data_source), config[name]["train"]["steps"]
    if (
        run.step == steps
        and not newest_is_damaged(run.directory / "checkpoints")
        and not pending.read_as_first(run.directory, steps)
    ):
        console.note(f"{name}: trained to step {steps} already, in {run.directory}")
        return run
    with exclusive(run.directory), rematerialized(config[name]["train"]["remat"]):
        fit(build_training(run, open_data(run, record=True)))
    return run


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
    config, workdir = _as_dict(config), Path(workdir).expanduser()
    if data_source:
        check_moved([data_of(name, config)["source"]], data_source)
    check_stage(name, config)
    open_run(workdir / name)  # only what is there can be replayed
    read_batch(path)
    run = _make_run(name, config, workdir, data_source)
    with rematerialized(config[name]["train"]["remat"]):
        replay(build_training(run, open_data(run, record=False)), path)


def _as_dict(config: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(config, str | Path):
        config = load_config(config)
    return config if isinstance(config, dict) else config.to_dict()


def _make_run(name: str, config: Mapping[str, Any], workdir: Path, data_source: str) -> Run:
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


@dataclass(frozen=True)
class Data:
    """What a run is trained on.

    Args:
        train: captioned images.
        validation: held-out ones; there may be none.
        tokenizer: of the captions.
    """

    train: Source
    validation: Source
    tokenizer: Tokenizer


def open_data(run: Run, *, record: bool) -> Data:
    """The data of a run and its tokenizer, which is trained on the captions if need be.

    With `record` the run notes what data it reads from now on.
    """
    name, image_size = run.stage_name, run.data["image_size"]
    opened = {split: run.open_source(split) for split in ("train", "validation")}
    if record:
        with in_turn(f"record the data of {name}"):
            run.record_data(opened["train"], opened["validation"])
    # Here, since the tokenizer goes through the captions before the loader does.
    source = on_disk(opened["train"], image_size, limit=int(run.data["disk_cache"] * 1e9))
    if isinstance(source, OnDisk):
        console.note(f"{name}: {source}; config.data.disk_cache is the limit")
    source = keep_in_memory(run.with_embeddings(source, "train"), image_size)
    held_out = run.with_embeddings(opened["validation"], "validation")
    with in_turn(f"make the tokenizer of {name}"):
        return Data(source, held_out, run.tokenizer(source))


def build_training(run: Run, data: Data) -> Training:
    """The training of a run's stage, with the weights of the stages before it on the devices."""
    name, config = run.stage_name, run.config
    settings, stage = config[name]["train"], run.build_stage()
    start, local = stage.start_from(run.load_frozen())
    mesh = make_mesh(settings["mesh"])
    start, frozen = None if start is None else put_tree(start, mesh), put_tree(local, mesh)
    stage.prepare(local, training_batches(run, data))
    del local  # what is on one device; `frozen` is cut over the mesh
    names = [field.name for field in fields(Settings) if field.name != "seed"]
    return Training(
        stage,
        training_batches(run, data),
        run.directory,
        make_optimizer(**settings["optimizer"], steps=settings["steps"]),
        Settings(seed=config["seed"], **{name: settings[name] for name in names}),
        make_hooks(run, data, stage, frozen, mesh),
        frozen=frozen,
        start=start,
        title=name,
        quiet=console.is_quiet(),
    )


def training_batches(run: Run, data: Data) -> Prefetch:
    """The endless batches of a run's training, this process's share of each."""
    settings = run.data
    return _loader(
        run,
        data.train,
        data.tokenizer,
        seed=run.config["seed"],
        flip=settings["flip"],
        max_shift=settings["max_shift"],
    )


def _loader(run: Run, source: Source, tokenizer: Tokenizer, **options: Any) -> Prefetch:
    return make_loader(
        source,
        tokenizer,
        batch_size=run.config[run.stage_name]["train"]["batch_size"],
        image_size=run.data["image_size"],
        num_threads=run.data["num_threads"],
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        **options,
    )


def make_hooks(run: Run, data: Data, stage: Stage, frozen: Any, mesh: Mesh) -> Hooks:
    """Validation, previews and evaluations of a run, those that its config and data allow."""
    own = run.config[run.stage_name]
    settings, sampling = own["train"], sampling_of(run.stage_name, run.config)
    batch_size, evaluation = settings["batch_size"], None
    if settings["evaluate_every"]:
        evaluation = make_evaluation(
            run,
            stage,
            frozen,
            data.tokenizer,
            sampling,
            settings["evaluation_images"],
            settings["evaluation_features"],
            mesh,
        )
    num_images = validation_size(
        run.stage_name, settings["validation_images"], len(data.validation), batch_size
    )

    def validation() -> Iterator[Mapping[str, np.ndarray]]:
        loader = _loader(run, data.validation, data.tokenizer, shuffle=False, repeat=False)
        for batch in itertools.islice(loader, num_images // batch_size):
            del batch["mask"]  # all batches are whole
            yield batch

    return Hooks(
        validation=validation if num_images else None,
        preview=make_preview(run, data, stage, frozen, mesh) if stage.has_preview() else None,
        evaluation=evaluation,
    )


def validation_size(name: str, asked: int, held_out: int, batch_size: int) -> int:
    """How many images a held-out loss is the mean over; a line says why if it is none.

    Only whole batches: a padded row would count as an image.
    """
    wanted = min(asked, held_out)
    if asked and not held_out:
        print(f"{name}: the data has no items for validation, so there is no held-out loss")
    elif 0 < wanted < batch_size:
        print(
            f"{name}: validation is skipped: its {wanted} images do not fill a batch of "
            f"{batch_size}; lower config.{name}.train.batch_size to have it"
        )
    return wanted - wanted % batch_size


def make_preview(
    run: Run, data: Data, stage: Stage, frozen: Any, mesh: Mesh
) -> Callable[[Any, int, Wait], np.ndarray]:
    """A hook that draws the first held-out captions, with the same noise each time.

    Raises:
        ValueError: nothing can be drawn with the config's settings.
    """
    settings = sampling_of(run.stage_name, run.config)
    source = data.validation if len(data.validation) else data.train
    items = [source[i] for i in range(min(NUM_PREVIEWS, len(source)))]
    captions, side = [item["caption"] for item in items], run.data["image_size"]
    batch = {
        "image": np.stack([center_crop_resize(item["image"], side) for item in items]),
        "tokens": data.tokenizer.encode(captions),
    }
    # Whole on each device, so that each process has the images.
    whole = NamedSharding(mesh, PartitionSpec())
    draw = jax.jit(functools.partial(stage.preview, **settings), out_shardings=whole)
    # Traced, not compiled: settings that can't be drawn with are refused before the first step.
    params = jax.eval_shape(stage.init, jax.random.key(0))
    jax.eval_shape(draw, params, frozen, batch, jax.random.key(0))

    def preview(params: Any, step: int, wait: Wait) -> np.ndarray:
        key = jax.random.key(0)
        images = to_uint8(wait(lambda: draw(params, frozen, batch, key)))
        return np.asarray(captioned_grid(images, captions))

    return preview
