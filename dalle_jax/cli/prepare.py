"""`dalle-jax prepare`: build a data set, or scan one's own."""

import argparse
import sys

EXAMPLE = """examples:
  dalle-jax prepare captioned_shapes/easy --resolution=32
  dalle-jax prepare emoji --resolution=32 --font=NotoColorEmoji.ttf
  dalle-jax prepare folder:my_pictures
"""


def run(argv: list[str]) -> int:
    """Build or scan, and report."""
    parser = argparse.ArgumentParser(
        prog="dalle-jax prepare",
        description="Build a data set (captioned_shapes/easy, captioned_shapes/pairs, "
        "captioned_shapes/full, emoji), or scan one's own (folder:PATH, webdataset:GLOB, "
        "tfds:NAME) for items that can't be used.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source")
    parser.add_argument("--data_dir", default="data", help="where prepared data sets are")
    parser.add_argument("--resolution", type=int, default=32, help="side of the images in pixels")
    parser.add_argument("--font", help="emoji: a colour-emoji font, if it is not found by itself")
    parser.add_argument(
        "--max_bad_share",
        type=float,
        default=0.01,
        help="one's own data: share of items that may be unusable before it is an error",
    )
    args = parser.parse_args(argv)
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    name, _, variant = args.source.partition("/")
    if name == "captioned_shapes":
        from dalle_jax.data.shapes import builder

        print(builder.prepare(args.data_dir, variant or "easy", args.resolution))
    elif name == "emoji":
        from dalle_jax.data.emoji import builder

        print(builder.prepare(args.data_dir, args.resolution, font=args.font))
    else:
        from dalle_jax.data.open import open_source

        source = open_source(
            args.source,
            data_dir=args.data_dir,
            split="train",
            image_size=args.resolution,
            max_bad_share=args.max_bad_share,
        )
        print(f"{args.source}: {len(source)} items for training")
    return 0
