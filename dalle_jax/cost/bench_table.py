"""Times of training steps and of sampling, as a table in the terminal and in a CSV file."""

import contextlib
import copy
import csv
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from dalle_jax.cost.bench import COLUMNS, measure_drawing, measure_training
from dalle_jax.training.sharding import AXES, mesh_sizes

HEADINGS = "".join(
    f"{heading:{'<' if width < 0 else '>'}{abs(width)}}" for heading, width, _ in COLUMNS.values()
)


def bench(
    config: Mapping[str, Any],
    stages: Sequence[str],
    sweeps: Sequence[str] = (),
    *,
    rounds: int = 5,
    block: int = 10,
    csv_path: str | None = None,
) -> int:
    """Print a row for each stage, training and sampling, and each point of the sweep.

    A point that can't be measured, as one that does not fit into memory, is an error row.

    Args:
        config: of the stages.
        stages: that are timed.
        sweeps: of SWEEPS, what is varied, one at a time.
        rounds: whose median is reported.
        block: steps a round.
        csv_path: a file that the rows are written to as well.

    Returns:
        How many points could not be measured.
    """
    device = jax.devices()[0]
    print(
        f"{jax.device_count()} × {device.device_kind}, jax {jax.__version__}; median of "
        f"{rounds} rounds of {block} steps\n\n{HEADINGS}"
    )
    if "mesh" in sweeps and jax.device_count() == 1:
        print("on one device there is no other mesh", file=sys.stderr)
    all_points = [
        (stage, label, point)
        for stage in stages
        for label, point in points(stage, config, sweeps, jax.device_count())
    ]
    failed = 0
    with _table(csv_path) as write:
        for stage, label, point in all_points:
            for measure in (measure_training, measure_drawing):
                try:
                    row = measure(stage, point, label, rounds, block)
                except (ValueError, jax.errors.JaxRuntimeError) as error:
                    failed += 1
                    reason = str(error).partition("\n")[0]
                    write({"stage": stage, "point": label, "error": reason})
                    print(f"{stage:14}{'':7}{label:20}  {reason}", flush=True)
                    break
                if row is not None:
                    write(row)
                    print(line(row), flush=True)
    return failed


@contextlib.contextmanager
def _table(path: str | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What writes a row to a CSV file as soon as it is measured; nothing where there is no path."""
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
    stage: str, config: Mapping[str, Any], sweeps: Sequence[str], num_devices: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The config as it is, then with one setting changed after the other.

    Raises:
        ValueError: the stage has no such setting.
    """
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
    settings = {
        "batch": ("train", "batch_size"),
        "dtype": ("model", "dtype"),
        "scan": ("model", "scan_blocks"),
    }
    yield "as configured", dict(config)
    for sweep in sweeps:
        section, setting = settings.get(sweep, ("train", sweep))
        if setting not in config[stage].get(section, {}):
            raise ValueError(f"{stage} has no {section}.{setting} of its own to sweep")
        own = config[stage][section][setting]
        if sweep == "mesh":
            own = dict(zip(AXES, mesh_sizes(own, num_devices)))
        seen = [own]
        for value in values[sweep]:
            if value in seen:
                continue
            seen.append(value)
            changed = copy.deepcopy(dict(config))
            changed[stage][section][setting] = value
            shown = "×".join(map(str, value.values())) if sweep == "mesh" else value
            yield f"{sweep} {shown}", changed


def line(row: Mapping[str, Any]) -> str:
    """A row as text, under HEADINGS; what does not apply is left blank."""
    cells = []
    for name, (_, width, shape) in COLUMNS.items():
        text = "" if row[name] is None else format(row[name], shape)
        cells.append(f"{text:{'<' if width < 0 else '>'}{abs(width)}}")
    return "".join(cells)
