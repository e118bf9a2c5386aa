"""`dalle-jax evaluate`: measure a trained workdir on held-out captions, or two sets of images."""

import argparse
from pathlib import Path

from dalle_jax.cli.counts import count
from dalle_jax.cli.opened import Opened

EXAMPLE = """examples:
  dalle-jax evaluate --workdir=runs/quickstart --split=test --n=512
  dalle-jax evaluate --workdir=runs/quickstart --manifest=test.jsonl --seeds=0,1,2 \\
      --metrics=oracle,fid,kid,prdc --features=runs/features --guidance_scale=2
  dalle-jax evaluate --fake=samples/ --real=photos/ --inception=inception.safetensors
"""
DESCRIPTION = """Draw an image of each held-out caption with a trained workdir, and measure them.

The images are kept in WORKDIR/generated: several processes may run the same command at once, and
one that was stopped goes on. A row for each kind of metric is added to WORKDIR/results.jsonl, what
is there already is printed as it stands, and WORKDIR/report.html shows it all. Any option of a
sampler can be given as --name=value; what is not given is taken from the run's own config."""
# What evaluation itself gives to the pipeline, and so no option of a sampler may be called.
OWN = ("seed", "batch_size", "prompts", "sample_index", "negative_prompts", "callback")


def run(argv: list[str], opened: Opened | None = None) -> int:
    """Measure, write, print; with what earlier calls in this process have `opened`."""
    if any(option.partition("=")[0] == "--fake" for option in argv):
        from dalle_jax.cli import evaluate_folders

        return evaluate_folders.run(argv)
    parser = argparse.ArgumentParser(
        prog="dalle-jax evaluate",
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--manifest", help="captions; made by `dalle-jax prepare --manifest`")
    parser.add_argument("--images", help="where a manifest's images lie, as folder:PATH")
    parser.add_argument(
        "--data_source",
        metavar="SOURCE",
        default="",
        help="where the data of the run lies now, as folder:PATH",
    )
    parser.add_argument("--split", default="test", help="captions, where no manifest is given")
    parser.add_argument("--n", type=count, help="how many captions; 512 of a split, else all")
    parser.add_argument(
        "--metrics",
        default="oracle",
        help="of oracle (captions of shapes), clip, fid, sfid, kid, prdc, is, cmmd, memorisation",
    )
    parser.add_argument("--inception", metavar="FILE", help="the network of fid and its kin")
    parser.add_argument("--features", metavar="RUN", help="or a trained classifier or clip")
    parser.add_argument("--clip", metavar="RUN", help="of the metric clip; WORKDIR's own, if none")
    parser.add_argument(
        "--preprocess", default="torch-fidelity", help="of inception: pytorch-fid, clean-fid"
    )
    parser.add_argument("--fit", default="squeeze", help="squeeze, or crop to a square")
    parser.add_argument("--round_trip", default="none", help="none, png, or jpeg:QUALITY")
    parser.add_argument("--reference", metavar="PATH", help="reals; the manifest's own, if none")
    parser.add_argument("--seeds", default="0", help="of sampling, as 0,1,2")
    parser.add_argument("--kid_subset_size", type=count, help="1,000, or half of n if that is less")
    parser.add_argument(
        "--leakage",
        action="store_true",
        help="look for the captions and images in the training data, and measure without them too",
    )
    parser.add_argument(
        "--weights", choices=("ema", "raw"), default="ema", help="ema: averaged over training"
    )
    from dalle_jax.cli.sample import parse_settings

    args, settings = parse_settings(parser, argv)
    for name in OWN:
        if name in settings:
            hint = "; several seeds are --seeds=0,1,2" if name == "seed" else ""
            parser.error(f"--{name} is no option of a sampler{hint}")
    if args.images and not args.manifest:
        parser.error("--images says where a manifest's images lie: give --manifest=FILE.jsonl too")
    from dalle_jax.cli.evaluate_workdir import Evaluation, evaluate
    from dalle_jax.metrics.preprocess import Preprocessing

    evaluation = Evaluation(
        workdir=Path(args.workdir),
        manifest=args.manifest,
        images=args.images,
        data_source=args.data_source,
        split=args.split,
        n=args.n,
        metrics=tuple(name.strip() for name in args.metrics.split(",") if name.strip()),
        seeds=_seeds(args.seeds),
        inception=args.inception,
        features=args.features,
        clip=args.clip,
        preprocessing=Preprocessing(args.preprocess, args.fit, args.round_trip),
        reference=args.reference,
        kid_subset_size=args.kid_subset_size,
        leakage=args.leakage,
        weights=args.weights,
        sampling=settings,
    )
    evaluate(evaluation, opened or Opened())
    return 0


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(seed) for seed in text.split(","))
    except ValueError:
        seeds = ()
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds={text} is no list of different whole numbers such as 0,1,2")
    return seeds
