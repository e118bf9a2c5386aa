"""`dalle-jax prepare`: build a data set, scan one's own, fix the captions of an evaluation."""

import argparse

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
DESCRIPTION = (
    "Build a data set (captioned_shapes/easy, captioned_shapes/pairs, captioned_shapes/full, "
    "emoji), or scan one's own (folder:PATH, webdataset:SHARDS, parquet:FILES, tfds:NAME) for "
    "items that can't be used. With --manifest, also fix the captions that an evaluation is of: a "
    "hashed file that is made once. With --embeddings, store the image embeddings of a trained "
    "CLIP."
)
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
    from dalle_jax.data.options import reading_options
    from dalle_jax.prepare import datasets

    reading = {"max_bad_share": args.max_bad_share, **reading_options(vars(args))}
    if args.source:
        where = {"image_size": args.resolution, "font": args.font, "quiet": args.quiet}
        datasets.prepare(args.source, args.data_dir, **where, **reading)
    if args.manifest:
        choice = {name: getattr(args, name) for name in ("rule", "n", "seed")}
        if args.coco_captions:
            manifest = datasets.manifest_of_coco(
                args.coco_captions, **choice, max_bad_share=args.max_bad_share
            )
        else:
            data = {"image_size": args.resolution, "captions": args.captions}
            data["languages"] = args.languages.split(",")
            manifest = datasets.manifest_of_split(
                args.source, args.split, args.data_dir, data=data, reading=reading, **choice
            )
        datasets.save_manifest(args.manifest, manifest)
    return 0


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser("prepare", DESCRIPTION, EXAMPLE)
    option = parser.add_argument
    option("source", nargs="?", type=Suggested(SOURCES), help="what data")
    option("--data_dir", type=local_path, default="data", help="where prepared data sets are")
    option("--resolution", type=count, default=32, help="side of the images in pixels")
    option("--font", type=local_path, help="emoji: a colour-emoji font; found by itself")
    option = parser.add_argument_group("one's own data").add_argument
    text = "share of items that may be unusable before it is an error"
    option("--max_bad_share", type=share, default=0.01, help=text)
    option("--encoding", default="utf-8", help="of captions and tables, such as cp1252")
    text = "of a table; found by its usual names if not given"
    option("--image_column", default="", help=text)
    option("--caption_column", default="", help="the same; several with commas")
    text = "pixels; images with a shorter side are left out"
    option("--min_side", type=Number(int, 0), default=0, help=text)
    text = "longer side / shorter side; images beyond it are left out, 0 is any"
    option("--max_aspect_ratio", type=Number(float, 0), default=0.0, help=text)
    option = parser.add_argument_group("caption manifest").add_argument
    text = "write one of the data set"
    option("--manifest", metavar="FILE.jsonl", type=OutputFile(), help=text)
    text = "that it is of (default: test), such as"
    option("--split", type=Suggested(SPLITS), help=text)
    text = "one: the first caption of each image; all: every caption (default: one)"
    option("--rule", type=OneOf(RULES), help=text)
    option("--n", type=count, help="sample as many captions (default: all; of COCO 30,000)")
    option("--seed", type=whole, help="of the sampling (default: 0)")
    text = "captioned_shapes: the kind of caption (default: short)"
    option("--captions", type=OneOf(CAPTIONS), help=text)
    option("--languages", help="emoji: of the captions, as en,zh (default: en)")
    text = "COCO's annotation file of captions, or several with commas, instead of a source"
    option("--coco_captions", metavar="FILE.json", type=local_paths, help=text)
    parser.add_quiet()
    option = parser.add_argument_group("image embeddings").add_argument
    text = (
        "compute the image embeddings of a workdir's trained CLIP once and store them in it; "
        "prior and decoder then read them, with the same results as without"
    )
    option("--embeddings", action="store_true", help=text)
    option("--workdir", type=local_path, help="of the trained CLIP")
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
