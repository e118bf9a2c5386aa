"""`dalle-jax bench`: how fast a config trains and draws here, against what the device can do."""

import contextlib
import copy
import csv
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dalle_jax.cli.options import OneOf, Parser, SomeOf, count, local_path
from dalle_jax.cli.output_paths import OutputFile
from dalle_jax.config.choices import STAGES
from dalle_jax.config.load import PREFIX, load_config

EXAMPLE = """examples:
  dalle-jax bench --config=configs/quickstart.py
  dalle-jax bench --config=configs/quickstart.py --sweep=batch,remat --csv=bench.csv
"""

# What a sweep varies, one at a time, the rest being the config's.
SWEEPS = ("batch", "mesh", "dtype", "remat", "scan", "accumulate")


def run(argv: list[str]) -> int:
    """Print a row for each stage, training and sampling, and each point of the sweep.

    A point that can't be measured, as one that the memory does not hold, is told in its row, and
    makes the exit code 1.
    """
    args = make_parser().parse_args(argv)
    config = load_config(args.config, args.overrides).to_dict()
    stages = [args.stage] if args.stage else list(config["stages"])
    if unknown := set(stages) - set(config["stages"]):
        raise ValueError(
            f"{args.config} has no stage {min(unknown)!r}; it has {', '.join(config['stages'])}"
        )
    sweeps = args.sweep

    import jax

    from dalle_jax.cost.bench import measure_drawing, measure_training

    device = jax.devices()[0]
    print(
        f"{jax.device_count()} × {device.device_kind}, jax {jax.__version__}; median of "
        f"{args.rounds} rounds of {args.block} steps\n\n{HEADINGS}"
    )
    if "mesh" in sweeps and jax.device_count() == 1:
        print("on one device there is no other mesh", file=sys.stderr)
    all_points = [
        (stage, label, point)
        for stage in stages
        for label, point in points(stage, config, sweeps, jax.device_count())
    ]
    failed = 0
    with _table(args.csv) as write:
        for stage, label, point in all_points:
            for measure in (measure_training, measure_drawing):
                try:
                    row = measure(stage, point, label, args.rounds, args.block)
                except (ValueError, jax.errors.JaxRuntimeError) as error:
                    failed += 1
                    reason = str(error).partition("\n")[0]
                    write({"stage": stage, "point": label, "error": reason})
                    print(f"{stage:14}{'':7}{label:20}  {reason}", flush=True)
                    break
                if row is not None:
                    write(row)
                    print(line(row), flush=True)
    return 1 if failed else 0


def make_parser() -> Parser:
    """The options of the verb."""
    parser = Parser(
        "bench",
        "Time the training step and the drawing of a config's stages with random weights, images "
        "and captions. Between the steps a matrix product is timed, for the share of this device's "
        "peak. Any setting of the config is given as --config.some.name=value.",
        EXAMPLE,
    )
    parser.add_argument("--config", required=True, type=local_path, help="a file of configs/")
    parser.add_argument("--stage", type=OneOf(STAGES), help="only this stage")
    parser.add_argument("--sweep", type=SomeOf(SWEEPS), default=(), help="some, with commas, of")
    parser.add_argument("--rounds", type=count, default=5, help="whose median is reported")
    parser.add_argument("--block", type=count, default=10, help="steps a round")
    parser.add_argument(
        "--csv", type=OutputFile(), metavar="FILE", help="also write the rows to this file"
    )
    parser.add_prefix(PREFIX, "overrides")
    return parser


@contextlib.contextmanager
def _table(path: str | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What writes a row to a CSV file as soon as it is measured; nothing where there is no path."""
    from dalle_jax.cost.bench import COLUMNS

    if not path:
        yield lambda row: None
        return
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, (*COLUMNS, "error"))
        writer.writeheader()

        def write(row: Mapping[str, Any]) -> None:
            writer.writerow(row)
            file.flush()

        yield write
    print(f"\nwritten to {path}", file=sys.stderr)


def points(
    stage: str, config: Mapping[str, Any], sweeps: list[str], num_devices: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The config as it is, then with one knob changed after the other.

    Raises:
        ValueError: the stage has no such knob.
    """
    from dalle_jax.train.sharding import AXES, mesh_sizes

    train = config[stage]["train"]
    values: dict[str, list[Any]] = {
        "batch": [max(train["batch_size"] // 2, 1), 2 * train["batch_size"]],
        "mesh": [
            {"data": num_devices // fsdp, "fsdp": fsdp, "tensor": 1}
            for fsdp in (1, 2, num_devices)
            if num_devices % fsdp == 0
        ],
        "dtype": ["float32", "bfloat16"],
        "remat": ["none", "products", "blocks"],
        "scan": [True, False],
        "accumulate": [1, 2, 4],
    }
    knobs = {
        "batch": ("train", "batch_size"),
        "dtype": ("model", "dtype"),
        "scan": ("model", "scan_blocks"),
    }
    yield "as configured", dict(config)
    for sweep in sweeps:
        section, knob = knobs.get(sweep, ("train", sweep))
        if knob not in config[stage].get(section, {}):
            raise ValueError(f"{stage} has no {section}.{knob} of its own to sweep")
        own = config[stage][section][knob]
        if sweep == "mesh":
            own = dict(zip(AXES, mesh_sizes(own, num_devices)))
        seen = [own]
        for value in values[sweep]:
            if value in seen:
                continue
            seen.append(value)
            changed = copy.deepcopy(dict(config))
            changed[stage][section][knob] = value
            shown = "×".join(map(str, value.values())) if sweep == "mesh" else value
            yield f"{sweep} {shown}", changed


HEADINGS = "".join(
    (
        f"{'stage':14}{'':7}{'point':20}{'compile s':>10}{'ms':>10}{'steps/s':>9}{'images/s':>10}",
        f"{'GFLOP':>10}{'of peak':>9}{'peak MiB':>10}{'in loop':>9}{'stall':>8}",
    )
)


def line(row: Mapping[str, Any]) -> str:
    """A row as text, under HEADINGS; what does not apply is left blank."""

    def cell(name: str, width: int, text: str) -> str:
        return f"{'' if row[name] is None else text.format(row[name]):>{width}}"

    return "".join(
        itertools.chain(
            (f"{row['stage']:14}{row['what']:7}{row['point']:20}",),
            itertools.starmap(
                cell,
                (
                    ("compile_seconds", 10, "{:.1f}"),
                    ("milliseconds", 10, "{:.1f}"),
                    ("steps_per_second", 9, "{:.2f}"),
                    ("images_per_second", 10, "{:.1f}"),
                    ("gflop", 10, "{:.2f}"),
                    ("share_of_peak", 9, "{:.1%}"),
                    ("peak_mib", 10, "{:.1f}"),
                    ("loop_ratio", 9, "{:.3f}"),
                    ("data_stall", 8, "{:.1%}"),
                ),
            ),
        )
    )
