"""`dalle-jax sample`: sample images of captions with a trained workdir."""

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
    """Sample, save, and print where."""
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
    if args.from_png:
        typed = {**settings, "negative_prompt": args.negative_prompt, "until": args.until}
        typed |= {"from": args.source, "seed": args.seed != 0, "n": args.n != 1}
        if args.prompt or any(typed.values()):
            what = "the caption" if args.prompt else f"--{next(k for k, v in typed.items() if v)}"
            parser.error(f"--from_png draws by the record of the file: leave out {what}")
    from dalle_jax.data.images import decode
    from dalle_jax.pipelines.images import check_image_file, save_images
    from dalle_jax.pipelines.records import redraw_file
    from dalle_jax.pipelines.settings import check_sampling
    from dalle_jax.pipelines.text_to_image import DallePipeline

    check_image_file(args.out)
    image = decode(args.image.read_bytes()) if args.image else None
    if args.from_png:
        pipe = DallePipeline.from_pretrained(args.workdir)
        print(redraw_file(pipe, args.from_png, args.out, image))
        return 0
    if args.image:
        if args.source not in (None, "image-embedding"):
            raise ValueError(
                f"--image is not read with --from={args.source}; leave one of the two out"
            )
        args.source = "image-embedding"
        settings["images"] = [image] * len(args.prompt)
    if args.source:
        settings["embedding"] = args.source
    if args.until:
        settings["until"] = args.until
    check_sampling(args.workdir, settings)
    images = DallePipeline.from_pretrained(args.workdir)(
        args.prompt,
        negative_prompt=args.negative_prompt,
        num_images_per_prompt=args.n,
        seed=args.seed,
        **settings,
    ).images
    captions = [prompt for prompt in args.prompt for _ in range(args.n)]
    print(*save_images(images, captions, args.out), sep="\n")
    return 0


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser("sample", "Sample images of captions with a trained workdir.", EXAMPLE)
    option = parser.add_argument
    option("prompt", nargs="*", help="one or more captions")
    text = "make the image of a PNG again, by the record in it, instead of a caption's"
    option("--from_png", type=local_path, help=text)
    text = "where `dalle-jax train` trained"
    option("--workdir", type=local_path, required=True, help=text)
    option("--negative_prompt", help="what the images shall not show")
    option("--seed", type=Number(int, 0, LIMIT - 1), default=0, help="of the noise")
    option("--n", type=count, default=1, help="images of each caption")
    text = (
        "unCLIP: where the decoder's image embedding comes from, if not from the prior: "
        "text-embedding, or image-embedding (of --image)"
    )
    option("--from", dest="source", type=Suggested(EMBEDDINGS), help=text)
    option("--image", type=local_path, help="unCLIP: a picture to make variations of")
    option("--until", metavar="STAGE", help="the last stage to run")
    text = "a PNG, which records how it was made; several get _0, _1, … as well"
    option("--out", type=OutputFile(), default="sample.png", help=text)
    add_sampling(parser)
    return parser
