"""Does a long training hold its memory and its file handles?

    python experiments/endurance.py --minutes=60

Trains a config as the command line does, in a process of its own, with everything that a training
does now and then: an evaluation and a checkpoint each `--pause` steps, validation and previews
twice as often. Looks into /proc at the
process's resident size, open files, threads and memory maps; ends it with SIGTERM. The warm-up ends
when all that is done now and then was done twice; of the time after it the first tenth is compared
with the last, by medians. The exit code is 0 if the resident size grew by at most 5 % and the
number of open files is the same. Needs Linux.
"""

import argparse
import csv
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GROWTH_ALLOWED = 1.05
WINDOW = 0.1  # share of the time after the warm-up
FIELDS = ("seconds", "step", "resident_mib", "files", "threads", "maps")


def main() -> None:
    """Train, watch, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two looks")
    parser.add_argument("--config", default="configs/quickstart.py", help="with a decoder")
    parser.add_argument("--pause", type=int, default=1000, help="steps between two checkpoints")
    parser.add_argument("--out", default="endurance.csv", help="the looks, as a table")
    args, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        process = start(args.config, args.pause, Path(folder), overrides)
        try:
            samples = watch(process, Path(folder), 60 * args.minutes, args.every)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait()
        if code != 128 + signal.SIGTERM:
            sys.exit(f"the training ended by itself, with exit code {code}; nothing is said")
    with open(args.out, "w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *samples])
    sys.exit(0 if report(samples, args.pause) else 1)


def start(config: str, pause: int, folder: Path, overrides: list[str]) -> subprocess.Popen:
    """A training without an end, on data that is rendered for it."""
    from dalle_jax.config.load import load_config
    from dalle_jax.data.shapes import builder

    size = load_config(config).data.image_size
    splits = {"train": 2000, "validation": 64, "test": 16, "test_novel": 16}
    builder.prepare(folder / "data", "easy", size, split_sizes=splits)
    train = {
        "steps": 10**9,
        "log_every": 10,
        "validate_every": pause // 2,
        "preview_every": pause // 2,
        "evaluate_every": pause,
        "evaluation_images": 32,
        "checkpoint_every": pause,
    }
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "dalle_jax", "train", "--stage=decoder"),
            f"--config={config}",
            f"--workdir={folder / 'run'}",
            f"--config.data.dir={folder / 'data'}",
            *(f"--config.decoder.train.{name}={value}" for name, value in train.items()),
            *overrides,
        ]
    )


def watch(process: subprocess.Popen, folder: Path, seconds: float, every: float) -> list[tuple]:
    """A look each so many seconds, until the time is over or the process is."""
    samples, began = [], time.monotonic()
    while (now := time.monotonic() - began) < seconds and process.poll() is None:
        samples.append((round(now, 1), step_of(folder), *look(process.pid)))
        time.sleep(every)
    return samples


def step_of(folder: Path) -> int:
    """The last step in the run's log, 0 before the first."""
    log = folder / "run/decoder/metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    return json.loads(whole[-1])["step"] if whole else 0


def look(pid: int) -> tuple[float, int, int, int]:
    """Resident size in MiB, open files, threads and memory maps of a process, from /proc."""
    place = Path("/proc", str(pid))
    lines = (place / "status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return (
        int(status["VmRSS"].split()[0]) / 1024,
        len(list((place / "fd").iterdir())),
        int(status["Threads"]),
        (place / "maps").read_text().count("\n"),
    )


def report(samples: list[tuple], pause: int) -> bool:
    """Print each quantity after the warm-up and at the end; whether they held."""
    warm = [sample for sample in samples if sample[1] >= 2 * pause]
    size = int(WINDOW * len(warm))
    if not size:
        sys.exit(f"step {samples[-1][1]} was reached, too few; give more --minutes")
    first, last = (
        [statistics.median(column) for column in zip(*window)]
        for window in (warm[:size], warm[-size:])
    )
    print(f"\n{'':14}{'after warm-up':>14}{'at the end':>12}{'ratio':>8}{'largest':>10}")
    ratios = {}
    for name, before, after, column in zip(FIELDS, first, last, zip(*samples)):
        ratios[name] = after / before
        print(f"{name:14}{before:14.1f}{after:12.1f}{ratios[name]:8.3f}{max(column):10.1f}")
    return ratios["resident_mib"] <= GROWTH_ALLOWED and ratios["files"] == 1


if __name__ == "__main__":
    main()
