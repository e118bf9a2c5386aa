"""`dalle-jax sample`: draw images of captions with a trained workdir."""

import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

from dalle_jax.cli.inputs import check_files, check_workdir
from dalle_jax.cli.options import Number, Parser, Suggested, count, local_path
from dalle_jax.cli.output_paths import OutputFile
from dalle_jax.cli.sampling_options import add_sampling, sampling_settings
from dalle_jax.config.choices import EMBEDDINGS
from dalle_jax.seeds import LIMIT

EXAMPLE = """example:
  dalle-jax sample --workdir=runs/quickstart "a large red circle" \\
      --num_inference_steps=50 --guidance_scale=3 --seed=0 --n=8 --out=circle.png
  dalle-jax sample --workdir=runs/quickstart --from_png=circle_3.png --out=again.png
"""


def run(argv: list[str]) -> int:
    """Draw, save, and say where."""
    parser = make_parser()
    args = parser.parse_args(argv)
    settings = sampling_settings(parser, args)
    if not args.prompt and not args.from_png:
        parser.error("a caption is needed, or --from_png=FILE")
    check_workdir(args.workdir)
    check_files("picture", [args.image, args.from_png])
    for path in (args.image, args.from_png):
        if path and path.is_dir():
            raise ValueError(f"{path} is a folder; give a picture in it")
    import numpy as np
    from PIL import Image

    from dalle_jax.pipelines.checks import check_drawing
    from dalle_jax.pipelines.images import GeneratedImage, captioned_grid, shared_record
    from dalle_jax.pipelines.text_to_image import DallePipeline

    out = args.out
    if out.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"--out={out} does not end as an image file does; give FILE.png")
    if Image.registered_extensions()[out.suffix.lower()] != "PNG":
        warnings.warn(
            f"{out} will not hold the record of how it was drawn, which only a PNG has: it can't "
            "be drawn again with --from_png",
            stacklevel=2,
        )
    if args.from_png:
        return again(parser, args, settings)
    if args.image:
        if args.source not in (None, "image-embedding"):
            raise ValueError(
                f"--image is not read with --from={args.source}; leave one of the two out"
            )
        args.source = "image-embedding"
        settings["images"] = [read_image(args.image)] * len(args.prompt)
    if args.source:
        settings["embedding"] = args.source
    if args.until:
        settings["until"] = args.until
    check_drawing(args.workdir, settings)
    pipe = DallePipeline.from_pretrained(args.workdir)
    images = pipe(
        args.prompt,
        negative_prompt=args.negative_prompt,
        num_images_per_prompt=args.n,
        seed=args.seed,
        **settings,
    ).images
    out.parent.mkdir(parents=True, exist_ok=True)
    if len(images) == 1:
        images[0].save(out)
        print(out)
        return 0
    for i, image in enumerate(images):
        path = out.with_name(f"{out.stem}_{i}{out.suffix}")
        image.save(path)
        print(path)
    captions = [prompt for prompt in args.prompt for _ in range(args.n)]
    grid = captioned_grid(np.stack([np.asarray(image) for image in images]), captions)
    record = shared_record([image.record for image in images])
    GeneratedImage.from_array(np.asarray(grid), record).save(out)
    print(f"{out} (all of them)")
    return 0


def make_parser() -> Parser:
    """The options of the verb."""
    parser = Parser("sample", "Draw images of captions with a trained workdir.", EXAMPLE)
    parser.add_argument("prompt", nargs="*", help="one or more captions")
    parser.add_argument(
        "--from_png",
        type=local_path,
        help="draw the image of a PNG again, by the record in it, in place of a caption's",
    )
    parser.add_argument(
        "--workdir", type=local_path, required=True, help="where `dalle-jax train` trained"
    )
    parser.add_argument("--negative_prompt", help="what the images shall not show")
    parser.add_argument("--seed", type=Number(int, 0, LIMIT - 1), default=0, help="of the noise")
    parser.add_argument("--n", type=count, default=1, help="images of each caption")
    parser.add_argument(
        "--from",
        dest="source",
        type=Suggested(EMBEDDINGS),
        help="unCLIP: where the decoder's image embedding comes from, if not from the prior: "
        "text-embedding, or image-embedding (of --image)",
    )
    parser.add_argument("--image", type=local_path, help="unCLIP: a picture to draw variations of")
    parser.add_argument("--until", metavar="STAGE", help="the last stage to run")
    parser.add_argument(
        "--out",
        type=OutputFile(),
        default="sample.png",
        help="a PNG, which says how it was drawn; several get _0, _1, … as well",
    )
    add_sampling(parser)
    return parser


def again(parser: Parser, args: Namespace, settings: dict[str, Any]) -> int:
    """Draw the image of `--from_png` once more, and say whether it is the same."""
    typed = {**settings, "negative_prompt": args.negative_prompt, "until": args.until}
    typed |= {"from": args.source, "seed": args.seed != 0, "n": args.n != 1}
    if args.prompt or any(typed.values()):
        what = "the caption" if args.prompt else f"--{next(k for k, v in typed.items() if v)}"
        parser.error(f"--from_png draws by the record of the file: leave out {what}")
    from dalle_jax.pipelines.images import GeneratedImage
    from dalle_jax.pipelines.records import difference, read_record, redraw
    from dalle_jax.pipelines.text_to_image import DallePipeline

    record, there = read_record(args.from_png)
    image = read_image(args.image) if args.image else None
    drawn = redraw(DallePipeline.from_pretrained(args.workdir), record, image)
    differs = difference(drawn, there)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    GeneratedImage.from_array(drawn, record).save(args.out)
    if differs:
        print(
            f"{args.out}: {differs}, from {args.from_png}, which another kind of machine or "
            f"another version ({record['Software']}) drew, or which was changed"
        )
    else:
        print(f"{args.out} (the same as {args.from_png} to the bit)")
    return 0


def read_image(path: Path) -> Any:
    """A picture as uint8 [H, W, 3].

    Raises:
        FileNotFoundError, ValueError: it is not there, or no picture.
    """
    from dalle_jax.data.images import decode

    return decode(path.read_bytes())
