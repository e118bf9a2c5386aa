"""`dalle-jax train`: train the stages of a config, each into its own run."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dalle_jax.cli.config import load_config

EXAMPLE = """example:
  dalle-jax train --config=configs/shapes.py --workdir=runs/shapes \\
      --config.decoder.train.steps=20000
"""


def run(argv: list[str]) -> int:
    """Train what is not trained yet; the same command goes on where an earlier one stopped."""
    parser = argparse.ArgumentParser(
        prog="dalle-jax train",
        description="Train the stages of a config. Any knob is set as --config.some.knob=value. "
        "Ctrl-C or SIGTERM saves a checkpoint; the same command goes on from there.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="a file of configs/")
    parser.add_argument("--workdir", required=True, help="each stage is trained in WORKDIR/STAGE")
    parser.add_argument("--stage", help="this stage alone")
    args, overrides = parser.parse_known_args(argv)
    config = load_config(args.config, overrides)
    stages = [args.stage] if args.stage else list(config.stages)
    unknown = [stage for stage in stages if stage not in config.stages]
    if unknown:
        raise ValueError(
            f"{args.config} has no stage {unknown[0]!r}; it has {', '.join(config.stages)}"
        )
    from dalle_jax.train.loop import Interrupted

    for stage in stages:
        try:
            train_stage(stage, config.to_dict(), Path(args.workdir))
        except Interrupted as stop:
            print(f"dalle-jax train: {stop}", file=sys.stderr)
            return stop.exit_code
    return 0


def train_stage(name: str, config: Mapping[str, Any], workdir: Path) -> None:
    """Train one stage to its last step; returns at once if it is there already."""
    import jax

    from dalle_jax.data.loader import make_loader
    from dalle_jax.data.open import open_source
    from dalle_jax.runs import create_run
    from dalle_jax.train.loop import fit
    from dalle_jax.train.optim import make_optimizer

    data, settings = dict(config["data"]), dict(config[name]["train"])
    run = create_run(workdir / name, name, config)
    if run.step == settings["steps"]:
        print(f"{name}: trained to step {run.step} already, in {run.directory}")
        return
    train_source, validation_source = (
        open_source(
            data["source"],
            data_dir=data["dir"],
            split=split,
            image_size=data["image_size"],
            captions=data["captions"],
            languages=data["languages"],
            max_bad_share=data["max_bad_share"],
        )
        for split in ("train", "validation")
    )
    tokenizer = run.tokenizer(train_source)
    stage = run.build_stage()
    loading = {
        "image_size": data["image_size"],
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
        "num_threads": data["num_threads"],
    }
    batch_size = settings.pop("batch_size")
    train_iterator = make_loader(
        train_source,
        tokenizer,
        batch_size=batch_size,
        seed=config["seed"],
        flip=data["flip"],
        max_shift=data["max_shift"],
        **loading,
    )
    steps = settings.pop("steps")
    fit(
        stage,
        train_iterator,
        run_dir=run.directory,
        steps=steps,
        seed=config["seed"],
        optimizer=make_optimizer(**settings.pop("optimizer"), steps=steps),
        **settings,
    )
