"""`dalle-jax convert`: other people's weights to files of this project, and back."""

from dalle_jax.cli.inputs import check_files
from dalle_jax.cli.options import OneOf, Parser, local_path
from dalle_jax.cli.output_paths import OutputFile

EXAMPLE = """example:
  dalle-jax convert inception --from pt_inception-2015-12-05-6726825d.pth --to inception.safetensors
"""


def run(argv: list[str]) -> int:
    """Convert, and say what the weights are."""
    args = make_parser().parse_args(argv)
    check_files("file of weights", [args.source])
    from dalle_jax.interop import inception

    print(f"{args.target}: tensors' sha256 {inception.convert(args.source, args.target)}")
    return 0


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser(
        "convert",
        "Convert weights of other projects to .safetensors, or back to .pth. `inception` is FID's "
        "Inception-v3, in the file that pytorch-fid or torch-fidelity downloads; reading .pth "
        "needs torch (the `parity` extra). Nothing is downloaded.",
        EXAMPLE,
    )
    parser.add_argument("what", type=OneOf(("inception",)), help="which network")
    parser.add_argument("--from", dest="source", required=True, metavar="FILE", type=local_path)
    parser.add_argument("--to", dest="target", required=True, metavar="FILE", type=OutputFile())
    return parser
