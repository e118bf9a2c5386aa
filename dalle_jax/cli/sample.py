"""`dalle-jax sample`: draw images of captions with a trained workdir."""

import argparse
import ast
from pathlib import Path
from typing import Any

from dalle_jax.cli.counts import count

EXAMPLE = """example:
  dalle-jax sample --workdir=runs/quickstart "a large red circle" \\
      --num_inference_steps=50 --guidance_scale=3 --seed=0 --n=8 --out=circle.png
"""

# What the pipeline takes besides a sampler's options, and the command line does not say.
NO_SETTINGS = ("callback", "output", "images", "batch_size", "sample_index", "negative_prompts")


def run(argv: list[str]) -> int:
    """Draw, save, and say where."""
    args, settings = parse(argv)
    import numpy as np
    from PIL import Image

    from dalle_jax.pipelines.images import GeneratedImage, captioned_grid, shared_record
    from dalle_jax.pipelines.text_to_image import DallePipeline

    out = Path(args.out)
    if out.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"--out={out} does not end as an image file does; give FILE.png")
    if args.image:
        if args.source not in (None, "image-embedding"):
            raise ValueError(
                f"--image is not read with --from={args.source}; leave one of the two out"
            )
        args.source = "image-embedding"
        settings["images"] = [read_image(args.image)] * len(args.prompt)
    if args.source:
        settings["embedding"] = args.source
    pipe = DallePipeline.from_pretrained(args.workdir)
    if args.until:
        settings["until"] = args.until
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


def parse(argv: list[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The arguments, and the sampler's settings among them."""
    parser = argparse.ArgumentParser(
        prog="dalle-jax sample",
        description="Draw images of captions. Any option of a sampler can be given as --name=value;"
        " what is not given is taken from the run's own config. Those of another stage than the "
        "decoder have its name before them: --prior.guidance_scale=2.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("prompt", nargs="+", help="one or more captions")
    parser.add_argument("--workdir", required=True, help="where `dalle-jax train` trained")
    parser.add_argument("--negative_prompt", help="what the images shall not show")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=count, default=1, help="images of each caption")
    parser.add_argument(
        "--from",
        dest="source",
        help="unCLIP: where the decoder's image embedding comes from: prior (as usual), "
        "text-embedding, or image-embedding (of --image)",
    )
    parser.add_argument("--image", help="unCLIP: a picture to draw variations of")
    parser.add_argument("--until", help="unCLIP: the last stage to run, decoder or upsampler")
    parser.add_argument("--out", default="sample.png", help="a PNG; several get _0, _1, … as well")
    args, settings = parse_settings(parser, argv)
    if taken := [name for name in NO_SETTINGS if name in settings]:
        parser.error(f"--{taken[0]} is no option of a sampler")
    return args, settings


def parse_settings(
    parser: argparse.ArgumentParser, argv: list[str]
) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The arguments that `parser` knows, and the sampler's settings: any other --name=value."""
    parser.add_argument("--num_inference_steps", type=int, help="steps of the sampler")
    parser.add_argument("--guidance_scale", type=float, help="1 is no guidance")
    parser.add_argument("--sampler", help="ddpm, ddim, …")
    args, options = parser.parse_known_args(argv)
    settings = {
        name: value
        for name in ("num_inference_steps", "guidance_scale", "sampler")
        if (value := getattr(args, name)) is not None
    }
    for option in options:
        name, equals, value = option.removeprefix("--").partition("=")
        if not option.startswith("--") or not equals:
            parser.error(f"{option!r} is not understood; a sampler's options are --name=value")
        stage, dot, of_stage = name.partition(".")
        if dot:
            settings.setdefault(stage, {})[of_stage] = _literal(value)
        else:
            settings[name] = _literal(value)
    return args, settings


def read_image(path: str) -> Any:
    """A picture as uint8 [H, W, 3].

    Raises:
        FileNotFoundError, ValueError: it is not there, or no picture.
    """
    from dalle_jax.data.images import decode

    return decode(Path(path).read_bytes())


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
