"""What `dalle-jax train` and `dalle-jax evaluate` leave behind, without the learning.

    python stand_in.py FOLDER train|evaluate --workdir=… --stage=…

Each call is one line of FOLDER/calls. A stage takes ten steps of which each is a checkpoint, and
goes on from the newest. FOLDER/crash names runs, by the start of their keys, that break at step 3.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

STEPS = 10


def call(folder: Path, *words: str) -> None:
    with open(folder / "calls", "a") as file:  # one write: lines of several processes do not mix
        file.write(" ".join(words) + "\n")


def train(folder: Path, workdir: Path, stage: str) -> None:
    run = Path(os.path.realpath(workdir / stage))
    crash = folder / "crash"
    breaks = crash.exists() and any(run.name.startswith(k) for k in crash.read_text().split())
    checkpoints = run / "checkpoints"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as a training, which saves first
    before = max((int(path.name) for path in checkpoints.glob("*")), default=0)
    call(folder, "train", run.name, f"from={before}")
    for step in range(before + 1, STEPS + 1):
        time.sleep(float(os.environ.get("STAND_IN_SECONDS", "0")))
        if breaks and step == 3:
            sys.exit(f"{stage} breaks at step 3")
        with open(run / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"step": step, "loss": 1 / step, "images_per_second": 8.0}))
            file.write("\n")
            if step == STEPS:
                loss = {"step": step, "validation/loss": int(run.name[-3:], 16)}
                file.write(json.dumps(loss) + "\n")
        (checkpoints / str(step)).mkdir(parents=True)


def evaluate(folder: Path, workdir: Path, options: list[str]) -> None:
    runs = {path.name: Path(os.path.realpath(path)) for path in workdir.iterdir() if path.is_dir()}
    call(folder, "evaluate", workdir.name)
    time.sleep(STEPS * float(os.environ.get("STAND_IN_SECONDS", "0")))
    assert runs and all((run / "checkpoints" / str(STEPS)).is_dir() for run in runs.values())
    guidance = next(o.partition("=")[2] for o in options if o.startswith("--guidance_scale="))
    value = float(guidance) / 100 + int(runs["decoder"].name[-3:], 16)
    row = {
        "protocol": {"num_images": 8, "features": "oracle", "sampling": {"seeds": [0]}},
        "protocol_hash": f"oracle{guidance}",
        "metrics": {"oracle/caption": {"value": value, "interval": [value - 1, value + 1]}},
        "floor": {"oracle/caption": 1.0},
        "data": "stand-in",
    }
    (workdir / "results.jsonl").write_text(json.dumps(row) + "\n")
    (workdir / "report.html").touch()


if __name__ == "__main__":
    where, verb, *rest = sys.argv[1:]
    given = dict(option.removeprefix("--").partition("=")[::2] for option in rest)
    if verb == "train":
        train(Path(where), Path(given["workdir"]), given["stage"])
    else:
        evaluate(Path(where), Path(given["workdir"]), rest)
    print("done")
