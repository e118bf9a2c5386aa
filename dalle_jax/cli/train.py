"""`dalle-jax train`: train the stages of a config, each into its own run."""

import sys

from dalle_jax.cli.inputs import check_files
from dalle_jax.cli.options import Number, OneOf, Parser, count, local_path
from dalle_jax.cli.output_paths import output_folder
from dalle_jax.config.load import PREFIX, as_options, chosen_stages, load_config, read_settings
from dalle_jax.data.open import check_spec

EXAMPLE = """examples:
  dalle-jax train --config=shapes --workdir=runs/shapes \\
      --config.decoder.train.steps=20000
  dalle-jax train --config=dalle2/decoder --stage=decoder --explain --mesh=data=4,fsdp=64

Under Slurm, in a Kubernetes JobSet and on a TPU pod the processes find each other (launch/).
"""
DESCRIPTION = (
    "Train the stages of a config. Any setting of it is given as --config.some.name=value. Ctrl-C "
    "or SIGTERM, and only SIGTERM where processes train together, saves a checkpoint; the same "
    "command continues from there."
)


def run(argv: list[str]) -> int:
    """Train what is not trained yet; the same command goes on where an earlier one stopped."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if not (args.explain or args.print_config or args.workdir):
        parser.error("--workdir is needed")
    if args.mesh and not args.explain:
        parser.error("--mesh goes with --explain; a training's is --config.STAGE.train.mesh.fsdp=8")
    check_files("--settings", [args.settings])
    settings = read_settings(args.settings) if args.settings else {}
    config = load_config(args.config, args.overrides, settings)
    if args.replay:
        check_files("batch", [args.replay])
        args.stage = args.stage or args.replay.absolute().parent.name  # whose run it lies in
    stages = chosen_stages(args.config, config, args.stage)
    for stage in stages if args.init_from else ():
        config[stage].train.init_from = str(args.init_from)
    if args.print_config:
        print(*as_options(config), sep="\n")
        return 0
    if args.explain:
        from dalle_jax.cost.explain import explain

        explain(stages, config.to_dict(), args.mesh, args.explain == "compiled")
        return 0
    if not args.data_source:
        for stage in stages:
            if not (args.workdir / stage / "config.json").exists():
                check_spec(config[stage].get("data", {}).get("source", config.data.source))
    from dalle_jax import trainer
    from dalle_jax.trainer.replay import replay_step
    from dalle_jax.training import distributed
    from dalle_jax.training.signals import Interrupted

    distributed.join(
        distributed.find_address(args.coordinator, args.num_processes, args.process_id)
    )
    try:
        if args.replay:
            replay_step(stages[0], config, args.workdir, args.replay, args.data_source)
        else:
            where = {"data_source": args.data_source, "from_step": args.from_step}
            trainer.train(config, args.workdir, stages=stages, **where)
    except Interrupted as stop:
        print(f"dalle-jax train: {stop}", file=sys.stderr)
        return stop.exit_code
    return 0


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser("train", DESCRIPTION, EXAMPLE)
    option = parser.add_argument
    option("--config", required=True, type=local_path, help="a name such as quickstart, or a file")
    option("--workdir", type=output_folder, help="each stage is trained in WORKDIR/STAGE")
    option("--stage", help="only this stage of the config")
    text = 'settings of the config as JSON, {"some.name": value}; `sweep` passes them so'
    option("--settings", metavar="FILE", type=local_path, help=text)
    text = "where the data of a run that continues are now, as folder:PATH"
    option("--data_source", metavar="SOURCE", default="", help=text)
    text = "start from the weights of this run, workdir or saved model: train.init_from of a stage"
    option("--init_from", metavar="PATH", type=local_path, help=text)
    text = "where a run goes on with other steps, batch_size, ema_decay or optimizer settings"
    option("--from_step", metavar="STEP", type=count, help=text)
    text = "a diverged_STEP.npz of a run: say what in that step is not finite; trains nothing"
    option("--replay", metavar="FILE", type=local_path, help=text)
    kinds = OneOf(("computed", "compiled"))
    text = (
        "report what a step takes of each device, and train nothing; `compiled` compiles it "
        "for as many virtual CPU devices, which takes minutes"
    )
    option("--explain", nargs="?", const="computed", type=kinds, help=text)
    option("--mesh", help="with --explain: sizes such as data=8,fsdp=64, of any pod")
    text = "print the config with what is typed, as options that can be pasted; trains nothing"
    option("--print_config", action="store_true", help=text)
    parser.add_quiet()
    option("--coordinator", metavar="HOST:PORT", help="where process 0 is")
    option("--num_processes", type=count, help="that train together")
    option("--process_id", type=Number(int, 0), help="of this one, from 0")
    parser.add_prefix(PREFIX, "overrides")
    return parser
