"""`dalle-jax train`: train the stages of a config, each into its own run."""

import dataclasses
import functools
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dalle_jax import console
from dalle_jax.cli.inputs import check_files
from dalle_jax.cli.options import Number, OneOf, Parser, count, local_path
from dalle_jax.cli.output_paths import output_folder
from dalle_jax.config.load import PREFIX, as_options, chosen_stages, load_config
from dalle_jax.data.open import check_spec

NUM_PREVIEWS = 12

EXAMPLE = """examples:
  dalle-jax train --config=configs/shapes.py --workdir=runs/shapes \\
      --config.decoder.train.steps=20000
  dalle-jax train --config=configs/dalle2/decoder.py --stage=decoder --explain --mesh=data=4,fsdp=64

Under Slurm, in a Kubernetes JobSet and on a TPU pod the processes find each other (launch/).
"""


def run(argv: list[str]) -> int:
    """Train what is not trained yet; the same command goes on where an earlier one stopped."""
    parser = make_parser()
    args = parser.parse_args(argv)
    overrides = args.overrides
    if not (args.explain or args.print_config or args.workdir):
        parser.error("--workdir is needed")
    if args.mesh and not args.explain:
        parser.error("--mesh goes with --explain; a training's is --config.STAGE.train.mesh.fsdp=8")
    config = load_config(args.config, overrides)
    if args.replay:
        check_files("batch", [args.replay])
        args.stage = args.stage or args.replay.absolute().parent.name  # whose run it lies in
    stages = chosen_stages(args.config, config, args.stage)
    if args.print_config:
        print(*as_options(config), sep="\n")
        return 0
    if args.explain:
        from dalle_jax.cost.explain import explain, use_virtual_devices

        if args.explain == "compiled":
            use_virtual_devices(args.mesh)
        for stage in stages:
            explain(stage, config.to_dict(), args.mesh, args.explain == "compiled")
        return 0
    if not args.data_source:
        for stage in stages:
            if not (args.workdir / stage / "config.json").exists():
                check_spec(config[stage].get("data", {}).get("source", config.data.source))
    from dalle_jax.evaluation.checks import check_later_data, check_stage
    from dalle_jax.runs import open_run
    from dalle_jax.runs.data import check_moved
    from dalle_jax.stages import data_of
    from dalle_jax.training import distributed

    if args.data_source:
        check_moved([data_of(s, config.to_dict())["source"] for s in stages], args.data_source)
    from dalle_jax.training.loop import Interrupted

    distributed.join(distributed.find_place(args.coordinator, args.num_processes, args.process_id))
    for stage in stages:
        check_stage(stage, config.to_dict())
    if args.replay:
        from dalle_jax.training.replay import read_batch

        open_run(args.workdir / stages[0])  # only what is there can be replayed
        read_batch(args.replay)
    else:
        check_later_data(stages, config.to_dict(), args.workdir, args.data_source)
    for stage in stages:
        try:
            with distributed.naming_the_dead():
                train_stage(stage, config.to_dict(), args.workdir, args.replay, args.data_source)
        except Interrupted as stop:
            print(f"dalle-jax train: {stop}", file=sys.stderr)
            return stop.exit_code
    return 0


def make_parser() -> Parser:
    """The options of the verb."""
    parser = Parser(
        "train",
        "Train the stages of a config. Any setting of it is given as --config.some.name=value. "
        "Ctrl-C or SIGTERM, and only SIGTERM where processes train together, saves a checkpoint; "
        "the same command continues from there.",
        EXAMPLE,
    )
    parser.add_argument("--config", required=True, type=local_path, help="a file of configs/")
    parser.add_argument(
        "--workdir", type=output_folder, help="each stage is trained in WORKDIR/STAGE"
    )
    parser.add_argument("--stage", help="only this stage of the config")
    parser.add_argument(
        "--data_source",
        metavar="SOURCE",
        default="",
        help="where the data of a run that continues are now, as folder:PATH",
    )
    parser.add_argument(
        "--replay",
        metavar="FILE",
        type=local_path,
        help="a diverged_STEP.npz of a run: say what in that step is not finite; trains nothing",
    )
    parser.add_argument(
        "--explain",
        nargs="?",
        const="computed",
        type=OneOf(("computed", "compiled")),
        help="report what a step takes of each device, and train nothing; `compiled` compiles it "
        "for as many virtual CPU devices, which takes minutes",
    )
    parser.add_argument("--mesh", help="with --explain: sizes such as data=8,fsdp=64, of any pod")
    parser.add_argument(
        "--print_config",
        action="store_true",
        help="print the config with what is typed, as options that can be pasted; trains nothing",
    )
    parser.add_quiet()
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 is")
    parser.add_argument("--num_processes", type=count, help="that train together")
    parser.add_argument("--process_id", type=Number(int, 0), help="of this one, from 0")
    parser.add_prefix(PREFIX, "overrides")
    return parser


def train_stage(
    name: str,
    config: Mapping[str, Any],
    workdir: Path,
    replayed: Path | None = None,
    moved_to: str = "",
) -> None:
    """Train one stage to its last step; returns at once if it is there already.

    With the file `replayed` nothing is trained: the step that diverged is looked into. `moved_to`
    is where the data that the config names lies now.
    """
    from dalle_jax.cli.alone import alone_in
    from dalle_jax.runs import Run, create_run
    from dalle_jax.training import pending
    from dalle_jax.training.checkpoint import newest_is_damaged
    from dalle_jax.training.distributed import in_turn

    directory = workdir / name
    with in_turn(f"make the run of {name}"):
        if not (directory / "config.json").exists():
            # First: a mistake leaves no run behind that would refuse the mended config.
            planned = Run(directory, name, config, moved_to)
            planned.build_stage()
            planned.check_known_data()
            for split in ("train", "validation"):
                planned.open_source(split)
        run = create_run(directory, name, config, moved_to)
    steps = config[name]["train"]["steps"]
    if replayed is not None:
        learn(run, replayed)
    elif (
        run.step == steps
        and not newest_is_damaged(run.directory / "checkpoints")
        and not pending.read_as_first(run.directory, steps)
    ):
        console.note(f"{name}: trained to step {steps} already, in {run.directory}")
    else:
        with alone_in(run.directory):
            learn(run)


def learn(run: Any, replayed: Path | None = None) -> None:
    """Train the stage of a run to its last step, or look into the step of the file `replayed`."""
    import jax

    from dalle_jax.data.disk_cache import OnDisk, on_disk
    from dalle_jax.data.loader import keep_in_memory, make_loader
    from dalle_jax.nn.remat import rematerialized
    from dalle_jax.training.distributed import in_turn
    from dalle_jax.training.loop import fit
    from dalle_jax.training.optim import make_optimizer
    from dalle_jax.training.replay import replay
    from dalle_jax.training.sharding import make_mesh, put_tree
    from dalle_jax.training.training import Hooks, Settings, Training

    name, config = run.stage_name, run.config
    data, settings = run.data, config[name]["train"]
    steps, batch_size = settings["steps"], settings["batch_size"]
    opened = {split: run.open_source(split) for split in ("train", "validation")}
    if not replayed:
        with in_turn(f"record the data of {name}"):
            run.record_data(opened["train"], opened["validation"])
    # Here, since the tokenizer goes through the captions before the loader does.
    limit = int(data["disk_cache"] * 1e9)
    source = on_disk(opened["train"], data["image_size"], limit=limit)
    if isinstance(source, OnDisk):
        console.note(f"{name}: {source}; config.data.disk_cache is the limit")
    source = run.with_embeddings(source, "train")
    source = keep_in_memory(source, data["image_size"])
    held_out = run.with_embeddings(opened["validation"], "validation")
    with in_turn(f"make the tokenizer of {name}"):
        tokenizer = run.tokenizer(source)
    stage = run.build_stage()
    loading = {
        "image_size": data["image_size"],
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
        "num_threads": data["num_threads"],
    }
    start, local = stage.start_from(run.load_frozen())
    mesh = make_mesh(settings["mesh"])
    start, frozen = None if start is None else put_tree(start, mesh), put_tree(local, mesh)
    augmentation = {"flip": data["flip"], "max_shift": data["max_shift"]}
    evaluation = None
    if settings["evaluate_every"]:
        from dalle_jax.evaluation.during_training import make_evaluation

        evaluation = make_evaluation(
            run,
            stage,
            frozen,
            tokenizer,
            config[name].get("sample", {}),
            settings["evaluation_images"],
            settings["evaluation_features"],
            mesh,
        )
    num_validation = validation_size(name, settings["validation_images"], len(held_out), batch_size)

    def eval_batches():
        loader = make_loader(
            held_out, tokenizer, batch_size=batch_size, shuffle=False, repeat=False, **loading
        )
        for batch in itertools.islice(loader, num_validation // batch_size):
            del batch["mask"]  # whole batches alone
            yield batch

    def training_batches():
        return make_loader(
            source,
            tokenizer,
            batch_size=batch_size,
            seed=config["seed"],
            **augmentation,
            **loading,
        )

    stage.prepare(local, training_batches())
    del local  # what is on one device; `frozen` is cut over the mesh
    named = [field.name for field in dataclasses.fields(Settings) if field.name != "seed"]
    training = Training(
        stage,
        training_batches(),
        run.directory,
        make_optimizer(**settings["optimizer"], steps=steps),
        Settings(seed=config["seed"], **{name: settings[name] for name in named}),
        Hooks(
            validation=eval_batches if num_validation else None,
            preview=make_preview(
                stage,
                frozen,
                tokenizer,
                held_out if len(held_out) else source,
                data["image_size"],
                config[name].get("sample", {}),
                mesh,
            ),
            evaluation=evaluation,
        ),
        frozen=frozen,
        start=start,
        title=name,
        quiet=console.is_quiet(),
    )
    with rematerialized(settings["remat"]):
        if replayed:
            replay(training, replayed)
        else:
            fit(training)


def validation_size(name: str, asked: int, held_out: int, batch_size: int) -> int:
    """How many images a held-out loss is of; if it is none though asked for, that is said.

    Whole batches alone: a padded row would count as an image.
    """
    wanted = min(asked, held_out)
    if asked and not held_out:
        print(f"{name}: the data has no items for validation, so there is no held-out loss")
    elif 0 < wanted < batch_size:
        print(
            f"{name}: no held-out loss is told, since its {wanted} images do not fill a batch of "
            f"{batch_size}; lower config.{name}.train.batch_size to have it"
        )
    return wanted - wanted % batch_size


def make_preview(
    stage, frozen, tokenizer, source, image_size: int, settings: Mapping[str, Any], mesh
):
    """(params, step) -> what the stage makes of the first items, with the same noise each time.

    None for a stage that makes no images.
    """
    import jax
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    from dalle_jax.data.images import center_crop_resize
    from dalle_jax.pipelines.images import captioned_grid, to_uint8

    if not stage.has_preview():
        return None
    items = [source[i] for i in range(min(NUM_PREVIEWS, len(source)))]
    captions = [item["caption"] for item in items]
    batch = {
        "image": np.stack([center_crop_resize(item["image"], image_size) for item in items]),
        "tokens": tokenizer.encode(captions),
    }
    # Whole on each device, so that each process has the images.
    whole = NamedSharding(mesh, PartitionSpec())
    draw = jax.jit(functools.partial(stage.preview, **settings), out_shardings=whole)
    # Traced, not compiled: settings by which nothing can be drawn are told before the first step.
    params = jax.eval_shape(stage.init, jax.random.key(0))
    jax.eval_shape(draw, params, frozen, batch, jax.random.key(0))

    def preview(params, step: int, wait):
        key = jax.random.key(0)
        images = to_uint8(wait(lambda: draw(params, frozen, batch, key)))
        return np.asarray(captioned_grid(images, captions))

    return preview
