"""What each of the settings for a CPU gives, in processes of their own, in turns.

    taskset -c 0 python experiments/cpu_settings.py

Runs `dalle-jax bench` of a config's decoder under the settings of `dalle_jax/cpu.py`, one more from
line to line, and prints the medians of what it reports: milliseconds of a training step and of
drawing a batch; and the page faults of the whole process for each second of CPU time. In a turn
before the others all is compiled.
"""

import argparse
import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from dalle_jax import cpu

HUGE = cpu.HEAP.split(":")[0]
SETTINGS = {  # by line: XLA's flags, the C library's tunables
    "none": ("", ""),
    "convolutions on Eigen": (cpu.CONVOLUTION_FLAG, ""),
    "huge pages": (cpu.CONVOLUTION_FLAG, HUGE),
    "freed memory is kept": (cpu.CONVOLUTION_FLAG, cpu.HEAP),
}


def main() -> None:
    """Bench in turns, print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/quickstart.py")
    parser.add_argument("--turns", type=int, default=3)
    args, overrides = parser.parse_known_args()
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in SETTINGS}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(args.turns + 1):
            for name, (flags, tunables) in SETTINGS.items():
                row = bench(args.config, overrides, flags, tunables, Path(folder))
                if turn:
                    found[name].append(row)
    print("| settings | train step, ms | batch sampled, ms | page faults a CPU second |")
    print("|---|---|---|---|")
    for name, rows in found.items():
        print(f"| {name} |", *(f"{statistics.median(column):.1f} |" for column in zip(*rows)))


def bench(
    config: str, overrides: list[str], flags: str, tunables: str, folder: Path
) -> tuple[float, ...]:
    """Milliseconds of training and of drawing, and page faults a second."""
    environ = {
        **os.environ,
        cpu.SWITCH: "off",
        "XLA_FLAGS": flags,
        "GLIBC_TUNABLES": tunables,
        "JAX_COMPILATION_CACHE_DIR": str(folder / "xla"),
    }
    table = folder / "bench.csv"
    command = [sys.executable, "-m", "dalle_jax", "bench", f"--config={config}", "--stage=decoder"]
    command += ["--rounds=5", "--block=5", f"--csv={table}", *overrides]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    faults = after.ru_minflt - before.ru_minflt
    rows = {row["what"]: row for row in csv.DictReader(table.open())}
    milliseconds = (float(rows[what]["milliseconds"]) for what in ("train", "sample"))
    return (*milliseconds, faults / seconds)


if __name__ == "__main__":
    main()
