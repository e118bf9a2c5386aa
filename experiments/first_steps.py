"""Whether two trees train the same: the first steps of a config, compared bit for bit.

    git worktree add ../older COMMIT
    python experiments/first_steps.py --trees=../older,. --data_dir=data

Each tree trains the config by its own `dalle-jax train`, with its learning-rate schedule of the
whole training, and is ended after the last step that is compared. Parameters, their average, the
log but for its speeds, and the preview are compared by hash; beside them, the seconds from the
command to the first step and the CPU seconds of all.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from dalle_jax.training.checkpoint import load_params

CLOCK = ("images_per_second", "data_stall")


def main() -> int:
    """Train in each tree, print a line a tree and what differs; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trees", required=True, help="folders of checkouts, by commas")
    parser.add_argument("--config", default="configs/quickstart.py", help="in each tree")
    parser.add_argument("--stage", default="decoder", help="the first of the config")
    parser.add_argument("--data_dir", default="data", help="with the config's prepared data")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    found = {}
    for tree in args.trees.split(","):
        with tempfile.TemporaryDirectory() as workdir:
            first, used = train(Path(tree).resolve(), Path(workdir), args)
            found[tree] = digests(Path(workdir) / args.stage, args.steps)
        print(f"{tree}: first step after {first:.1f} s, {used:.1f} CPU s in all", flush=True)
    reference, *others = found.values()
    different = [what for what in reference if any(o[what] != reference[what] for o in others)]
    for what, digest in reference.items():
        print(f"{what}: {'DIFFERENT' if what in different else digest}")
    return int(bool(different))


def train(tree: Path, workdir: Path, args: argparse.Namespace) -> tuple[float, float]:
    """Seconds to the first step, and CPU seconds until the step after the last is logged."""
    settings = {"log_every": 1, "validation_images": 32, "preview_every": args.steps}
    settings |= {"validate_every": args.steps, "checkpoint_every": args.steps}
    options = [f"--config.{args.stage}.train.{name}={value}" for name, value in settings.items()]
    options += [f"--config.data.dir={Path(args.data_dir).resolve()}", f"--workdir={workdir}"]
    command = [sys.executable, "-m", "dalle_jax", "train", f"--config={tree / args.config}"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(
        [*command, f"--stage={args.stage}", *options],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        stderr=subprocess.DEVNULL,
    )
    log, first = workdir / args.stage / "metrics.jsonl", None
    while first is None or f'"step": {args.steps + 1},' not in log.read_text():
        if process.poll() is not None:
            raise RuntimeError(f"{tree}: the training ended with {process.returncode}")
        if first is None and log.exists() and '"step": 1,' in log.read_text():
            first = time.monotonic() - start
        time.sleep(0.1)
    process.kill()
    process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return first, used


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
