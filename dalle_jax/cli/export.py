"""`dalle-jax export`: a trained system as a folder of safetensors that can be handed on."""

from pathlib import Path

from dalle_jax.cli.inputs import check_workdir
from dalle_jax.cli.options import OneOf, Parser, local_path
from dalle_jax.cli.output_paths import output_folder
from dalle_jax.config.choices import ADAPTERS, DTYPES, WEIGHTS

EXAMPLE = """example:
  dalle-jax export --workdir=runs/quickstart --out=quickstart_model
"""
DESCRIPTION = """Write what is trained in a workdir as a folder that can be handed on.

It holds weights as .safetensors, configs, the tokenizer and a model card (README.md) with what was
measured. DallePipeline.from_pretrained, `dalle-jax sample` and `dalle-jax evaluate` take it as a
workdir; its training can't go on."""


def run(argv: list[str]) -> int:
    """Write the folder and print where it is."""
    args = make_parser().parse_args(argv)
    check_workdir(args.workdir)
    from dalle_jax.interop.pretrained import save_pretrained
    from dalle_jax.pipelines.system import load_system

    runs = load_system(args.workdir).runs.values()
    folder = save_pretrained(runs, args.out, weights=args.weights, dtype=args.dtype, lora=args.lora)
    print(f"model: {folder} ({_megabytes(folder):.1f} MB)")
    return 0


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser("export", DESCRIPTION, EXAMPLE)
    option = parser.add_argument
    option("--workdir", type=local_path, required=True, help="of a trained system")
    option("--out", type=output_folder, required=True, help="a folder that is not there yet")
    option(
        "--weights",
        type=OneOf(WEIGHTS),
        default="ema",
        help="averaged over training, or as the optimizer left them",
    )
    option(
        "--dtype",
        type=OneOf(DTYPES),
        default="float32",
        help="of the tensors; float32 keeps every bit",
    )
    option(
        "--lora",
        type=OneOf(ADAPTERS),
        default="merged",
        help="adapters merged into the weights, or alone: a small file that needs what it adapts",
    )
    return parser


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
