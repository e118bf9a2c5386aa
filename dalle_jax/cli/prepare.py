"""`dalle-jax prepare`: build a data set, scan one's own, fix the captions of an evaluation."""

import argparse
import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dalle_jax import console
from dalle_jax.cli.inputs import check_run
from dalle_jax.cli.options import (
    Number,
    OneOf,
    Parser,
    Suggested,
    count,
    local_path,
    local_paths,
    share,
    whole,
)
from dalle_jax.cli.output_paths import OutputFile
from dalle_jax.config.choices import CAPTIONS, OWN_SPLITS, RULES, SOURCES, SPLITS
from dalle_jax.data.open import check_spec, is_at_path

EXAMPLE = """examples:
  dalle-jax prepare captioned_shapes/easy --resolution=32
  dalle-jax prepare emoji --resolution=32 --font=NotoColorEmoji.ttf
  dalle-jax prepare folder:my_pictures
  dalle-jax prepare --embeddings --workdir=runs/unclip

a caption manifest, which an evaluation is of:
  dalle-jax prepare captioned_shapes/easy --resolution=32 --split=test --rule=one --n=512 \\
      --seed=0 --manifest=data/manifests/easy_test.jsonl
  dalle-jax prepare --coco_captions=captions_val2014.json --manifest=data/manifests/coco30k.jsonl
"""
size, ratio = Number(int, 0), Number(float, 0)
MANIFEST_DEFAULTS = {
    "split": "test",
    "rule": "one",
    "n": None,
    "seed": 0,
    "captions": "short",
    "languages": "en",
}


def run(argv: list[str]) -> int:
    """Build or scan, and report; write the manifest, if one is asked for."""
    args = parse(argv)
    if args.embeddings:
        check_run(args.workdir, "clip")
        from dalle_jax.cli import embeddings

        for split in embeddings.SPLITS:
            print(embeddings.store(args.workdir, split))
        return 0
    if args.source:
        check_spec(args.source)
    if args.coco_captions:
        from dalle_jax.data.coco import NUM_CAPTIONS, make_coco_manifest

        n = NUM_CAPTIONS if args.n is None else args.n
        manifest = make_coco_manifest(
            args.coco_captions,
            rule=args.rule,
            n=n,
            seed=args.seed,
            max_bad_share=args.max_bad_share,
        )
    else:
        prepare(args)
        if not args.manifest:
            return 0
        manifest = manifest_of(args)
    write(args.manifest, manifest)
    return 0


def make_parser() -> Parser:
    """The options of the verb."""
    parser = Parser(
        "prepare",
        "Build a data set (captioned_shapes/easy, captioned_shapes/pairs, captioned_shapes/full, "
        "emoji), or scan one's own (folder:PATH, webdataset:SHARDS, parquet:FILES, tfds:NAME) for "
        "items that can't be used. With --manifest, also fix the captions that an evaluation is "
        "of: a hashed file that is made once. With --embeddings, store the image embeddings of a "
        "trained CLIP.",
        EXAMPLE,
    )
    parser.add_argument("source", nargs="?", type=Suggested(SOURCES), help="what data")
    parser.add_argument(
        "--data_dir", type=local_path, default="data", help="where prepared data sets are"
    )
    parser.add_argument("--resolution", type=count, default=32, help="side of the images in pixels")
    parser.add_argument(
        "--font", type=local_path, help="emoji: a colour-emoji font; found by itself"
    )
    own = parser.add_argument_group("one's own data")
    own.add_argument(
        "--max_bad_share",
        type=share,
        default=0.01,
        help="share of items that may be unusable before it is an error",
    )
    own.add_argument("--encoding", default="utf-8", help="of captions and tables, such as cp1252")
    own.add_argument(
        "--image_column", default="", help="of a table; found by its usual names if not given"
    )
    own.add_argument("--caption_column", default="", help="the same; several with commas")
    own.add_argument(
        "--min_side", type=size, default=0, help="pixels; images with a shorter side are left out"
    )
    own.add_argument(
        "--max_aspect_ratio",
        type=ratio,
        default=0.0,
        help="longer side / shorter side; images beyond it are left out, 0 is any",
    )
    manifest = parser.add_argument_group("caption manifest")
    manifest.add_argument(
        "--manifest", metavar="FILE.jsonl", type=OutputFile(), help="write one of the data set"
    )
    manifest.add_argument(
        "--split", type=Suggested(SPLITS), help="that it is of (default: test), such as"
    )
    manifest.add_argument(
        "--rule",
        type=OneOf(RULES),
        help="one: the first caption of each image; all: every caption (default: one)",
    )
    manifest.add_argument(
        "--n", type=count, help="draw as many captions (default: all; of COCO 30,000)"
    )
    manifest.add_argument("--seed", type=whole, help="of the drawing (default: 0)")
    manifest.add_argument(
        "--captions",
        type=OneOf(CAPTIONS),
        help="captioned_shapes: the kind of caption (default: short)",
    )
    manifest.add_argument("--languages", help="emoji: of the captions, as en,zh (default: en)")
    manifest.add_argument(
        "--coco_captions",
        metavar="FILE.json",
        type=local_paths,
        help="COCO's annotation file of captions, or several with commas, in place of a source",
    )
    parser.add_quiet()
    embeddings = parser.add_argument_group("image embeddings")
    embeddings.add_argument(
        "--embeddings",
        action="store_true",
        help="compute the image embeddings of a workdir's trained CLIP once and store them in it; "
        "prior and decoder then read them, with the same results as without",
    )
    embeddings.add_argument("--workdir", type=local_path, help="of the trained CLIP")
    return parser


def parse(argv: list[str]) -> argparse.Namespace:
    """The arguments."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.embeddings != bool(args.workdir):
        parser.error("--embeddings and --workdir go together")
    if args.embeddings:
        if args.source or args.coco_captions or args.manifest:
            parser.error("--embeddings are of the workdir's own data; leave out the data set")
        return args
    if bool(args.source) == bool(args.coco_captions):
        parser.error("give either a source, as captioned_shapes/easy, or --coco_captions")
    if args.coco_captions and not args.manifest:
        parser.error("--coco_captions is there to write a manifest: give --manifest=FILE.jsonl")
    if args.font and not args.font.is_file():
        parser.error(f"--font={args.font}: there is no such font file")
    if args.coco_captions and args.split:
        parser.error("COCO's file is of a split of its own: leave out --split")
    if 0 < args.max_aspect_ratio < 1:
        parser.error("--max_aspect_ratio is longer side / shorter side: 0 for any, or at least 1")
    if args.split and is_at_path(args.source or "") and args.split not in OWN_SPLITS:
        kind = args.source.partition(":")[0]
        parser.error(f"--split={args.split}: {kind}: has the splits {', '.join(OWN_SPLITS)}")
    for name, default in MANIFEST_DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
        elif not args.manifest:
            parser.error(f"--{name} is of a manifest: give --manifest=FILE.jsonl")
    return args


def prepare(args: argparse.Namespace) -> None:
    """Build or scan the data set, unless that is done, and print what there is."""
    name, _, variant = args.source.partition("/")
    if name == "captioned_shapes":
        from dalle_jax.data.shapes import builder

        with _drawn_here(args):
            folder = builder.prepare(args.data_dir, variant or "easy", args.resolution)
        print(folder)
    elif args.source == "emoji":
        from dalle_jax.data.emoji import builder

        with _drawn_here(args):
            report = builder.prepare(args.data_dir, args.resolution, font=args.font)
        print(report)
    else:
        from dalle_jax.cli.prepare_own import show

        show(args.source, lambda split: open_split(args, split, {}), args.data_dir)


@contextlib.contextmanager
def _drawn_here(args: argparse.Namespace) -> Iterator[None]:
    """Say what is done, in the place of what TFDS prints: a download of unknown size."""
    console.note(
        f"{args.source}, {args.resolution} pixels: drawn into {args.data_dir} unless it is there; "
        "nothing is downloaded"
    )
    import tensorflow_datasets as tfds

    if args.quiet or not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def manifest_of(args: argparse.Namespace) -> Any:
    """The manifest of a split of the data set, by the rule and the seed."""
    from dalle_jax.data.manifest_source import make_manifest

    data = {
        "image_size": args.resolution,
        "captions": args.captions,
        "languages": args.languages.split(","),
    }
    return make_manifest(
        open_split(args, args.split, data),
        name=args.source,
        split=args.split,
        rule=args.rule,
        n=args.n,
        seed=args.seed,
        data=data,
    )


def open_split(args: argparse.Namespace, split: str, data: dict[str, Any]) -> Any:
    """A split of the data set."""
    from dalle_jax.data.open import open_source
    from dalle_jax.data.options import reading_options

    return open_source(
        args.source,
        data_dir=args.data_dir,
        split=split,
        max_bad_share=args.max_bad_share,
        **{"image_size": args.resolution, **data, **reading_options(vars(args))},
    )


def write(path: Path, manifest: Any) -> None:
    """Write the manifest and print what it is known by."""
    from dalle_jax.data.manifest import RULES, write_manifest

    write_manifest(path, manifest)
    header = manifest.header
    print(
        f"{path}: {header.count} of {header.of} captions of {header.source} {header.split}, "
        f"{RULES[header.rule]}, seed {header.seed}\nsha256 {manifest.sha256}"
    )
