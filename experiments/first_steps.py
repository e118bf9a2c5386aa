"""The first steps of a training in several trees: how long they take to come, and whether they are
the same to the bit.

    git worktree add ../older COMMIT
    python experiments/first_steps.py --trees=../older,. --data_dir=data --turns=3

Each tree trains the config by its own `dalle-jax train`, with its learning-rate schedule of the
whole training, and is ended after the last step that is compared. It starts twice in each turn,
with an empty compilation cache and with what the first start left there, each time in a new
workdir. The table has medians of the seconds from the command to the first step in the log, of CPU
time (user and system, all cores) and by the clock. Parameters, their average, the log without its
speeds, and the preview are compared by hash; `--steps=0` only times.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from dalle_jax.training.checkpoint import load_params

CLOCK = ("images_per_second", "data_stall")
STARTS = ("nothing compiled", "second start")


def main() -> int:
    """Train in each tree in turns, print a table and what differs; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trees", required=True, help="folders of checkouts, by commas")
    parser.add_argument("--config", default="configs/quickstart.py", help="in each tree")
    parser.add_argument("--stage", default="decoder", help="the first of the config")
    parser.add_argument("--data_dir", default="data", help="with the config's prepared data")
    parser.add_argument("--steps", type=int, default=20, help="that are compared")
    parser.add_argument("--turns", type=int, default=1)
    args = parser.parse_args()
    trees = args.trees.split(",")
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = {}
    found = []
    for _ in range(args.turns):
        for tree in trees:
            with tempfile.TemporaryDirectory() as cache:
                for start in STARTS:
                    with tempfile.TemporaryDirectory() as workdir:
                        taken = train(Path(tree).resolve(), Path(workdir), Path(cache), args)
                        if args.steps:
                            found.append(digests(Path(workdir) / args.stage, args.steps))
                    print(f"{tree}, {start}: {taken[0]:.1f} s of CPU, {taken[1]:.1f} s", flush=True)
                    seconds.setdefault((tree, start), []).append(taken)
    print("| tree | start | CPU seconds to the first step | of the first tree's | seconds |")
    print("|---|---|---|---|---|")
    for (tree, start), taken in seconds.items():
        used, clock = map(statistics.median, zip(*taken))
        first = statistics.median(used for used, _ in seconds[trees[0], STARTS[0]])
        print(f"| {tree} | {start} | {used:.1f} | {used / first:.2f} | {clock:.1f} |")
    different = [what for what in found[0] if len({o[what] for o in found}) > 1] if found else []
    for what, digest in found[0].items() if found else ():
        print(f"{what}: {'DIFFERENT' if what in different else digest}")
    return int(bool(different))


def train(tree: Path, workdir: Path, cache: Path, args: argparse.Namespace) -> tuple[float, float]:
    """CPU seconds and seconds to the first step; ends the training after those to compare."""
    settings = {"log_every": 1, "validation_images": 32}
    if args.steps:
        settings |= {f"{what}_every": args.steps for what in ("preview", "validate", "checkpoint")}
    options = [f"--config.{args.stage}.train.{name}={value}" for name, value in settings.items()]
    options += [f"--config.data.dir={Path(args.data_dir).resolve()}", f"--workdir={workdir}"]
    command = [sys.executable, "-m", "dalle_jax", "train", f"--config={tree / args.config}"]
    environ = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, f"--stage={args.stage}", *options],
        cwd=tree,
        env={**environ, "PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log, first = workdir / args.stage / "metrics.jsonl", None
    while first is None or f'"step": {args.steps + 1},' not in log.read_text():
        if process.poll() is not None:
            raise RuntimeError(f"{tree}: the training ended with {process.returncode}")
        if first is None and log.exists() and '"step": 1,' in log.read_text():
            first = cpu_seconds(process.pid), time.monotonic() - began
        time.sleep(0.1)
    process.kill()
    process.wait()
    return first


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def digests(run: Path, step: int) -> dict[str, str]:
    """Hashes of what a run has of its first steps."""
    found = {}
    for weights in ("raw", "ema"):
        params = load_params(run / "checkpoints", step, weights)
        leaves = jax.tree_util.tree_leaves_with_path(params)
        content = [str(path).encode() + np.asarray(leaf).tobytes() for path, leaf in leaves]
        found[f"{weights} parameters after step {step}"] = digest(b"".join(content))
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    logged = [
        {name: value for name, value in line.items() if name not in CLOCK}
        for line in lines
        if line["step"] <= step
    ]
    found["log"] = digest(json.dumps(logged).encode())
    found["preview"] = digest((run / f"samples/preview_{step:08d}.png").read_bytes())
    return found


def digest(content: bytes) -> str:
    """The first 16 hexadecimal digits of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
