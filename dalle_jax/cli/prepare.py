"""`dalle-jax prepare`: build a data set, scan one's own, fix the captions of an evaluation."""

import argparse
import warnings
from typing import TYPE_CHECKING, Any

from dalle_jax.cli.inputs import check_workdir
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

if TYPE_CHECKING:
    from dalle_jax.data.manifest import Manifest

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
        check_workdir(args.workdir)
        from dalle_jax.prepare import embeddings

        for split in embeddings.SPLITS:
            print(embeddings.store(args.workdir, split))
        return 0
    if args.source:
        check_spec(args.source)
    from dalle_jax.prepare.datasets import prepare, save_manifest

    if args.source:
        where = {"image_size": args.resolution, "font": args.font, "quiet": args.quiet}
        prepare(args.source, args.data_dir, **where, **_reading(args))
    if args.manifest:
        save_manifest(args.manifest, manifest_of(args))
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


def _reading(args: argparse.Namespace) -> dict[str, Any]:
    """How the items of one's own data are read."""
    from dalle_jax.data.options import reading_options

    return {"max_bad_share": args.max_bad_share, **reading_options(vars(args))}


def manifest_of(args: argparse.Namespace) -> "Manifest":
    """The manifest that the options ask for: of COCO's annotations or of a split of a data set."""
    if args.coco_captions:
        from dalle_jax.data.coco import NUM_CAPTIONS, make_coco_manifest

        return make_coco_manifest(
            args.coco_captions,
            rule=args.rule,
            n=NUM_CAPTIONS if args.n is None else args.n,
            seed=args.seed,
            max_bad_share=args.max_bad_share,
        )
    from dalle_jax.data.manifest_source import make_manifest
    from dalle_jax.data.open import open_source

    data = {
        "image_size": args.resolution,
        "captions": args.captions,
        "languages": args.languages.split(","),
    }
    where = {"data_dir": args.data_dir, "split": args.split}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The report before it has said all of it.
        source = open_source(args.source, **where, **data, **_reading(args))
    return make_manifest(
        source,
        name=args.source,
        split=args.split,
        rule=args.rule,
        n=args.n,
        seed=args.seed,
        data=data,
    )
