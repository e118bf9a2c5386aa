"""Stands in for `dalle-jax train` and `dalle-jax evaluate`; it learns nothing.

    python -S stand_in.py FOLDER train --workdir=… --stage=…
    python -S stand_in.py FOLDER evaluate --points=…

Each call is a line of FOLDER/calls. A stage takes ten steps, each of which is a checkpoint that
lists all steps that led to it, upstream included: a step left out or made twice changes the
measured value. FOLDER/crash names runs and systems, by the start of their keys, that break: a run
at step 3, an evaluation by a kill. A call that begins with the text of STAND_IN_HOLDS waits as long
as FOLDER/hold is there.
"""

import functools
import json
import os
import signal
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from dalle_jax.sweeps.points import measure_points

STEPS = 10
NEEDS = {"prior": ["clip"], "decoder": ["clip"]}  # where the workdir has them


def state_of(key: str, *upstream: str, steps: int = STEPS) -> str:
    """What the checkpoint of a run holds."""
    return " ".join((key, *upstream, *map(str, range(1, steps + 1))))


def value_of(state: str) -> int:
    return zlib.crc32(state.encode()) % 4096


def read(run: Path, step: int = STEPS) -> str:
    return (run / f"checkpoints/{step}/state").read_text()


def call(folder: Path, *words: str) -> None:
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    given = f"cores={cores}", f"gpus={os.environ.get('CUDA_VISIBLE_DEVICES', '')}"
    with open(folder / "calls", "a") as file:  # one write: lines of several processes do not mix
        file.write(" ".join((*words, *given)) + "\n")
    held = " ".join(words).startswith(os.environ.get("STAND_IN_HOLDS", "none"))
    while held and (folder / "hold").exists():
        time.sleep(0.01)


def breaks(folder: Path, name: str) -> bool:
    crash = folder / "crash"
    return crash.exists() and any(name.startswith(key) for key in crash.read_text().split())


def train(folder: Path, workdir: Path, stage: str) -> None:
    run = Path(os.path.realpath(workdir / stage))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as a training, which saves first
    before = max((int(path.name) for path in run.glob("checkpoints/[0-9]*")), default=0)
    call(folder, "train", run.name, f"from={before}")
    upstream = [workdir / name for name in NEEDS.get(stage, []) if (workdir / name).exists()]
    state = read(run, before) if before else state_of(run.name, *map(read, upstream), steps=0)
    for step in range(before + 1, STEPS + 1):
        state += f" {step}"
        time.sleep(float(os.environ.get("STAND_IN_SECONDS", "0")))
        if breaks(folder, run.name) and step == 3:
            sys.exit(f"{stage} breaks at step 3")
        line = {"step": step, "loss": 1 / step, "images_per_second": 8.0}
        if step == STEPS:
            line["validation/loss"] = value_of(state)
        with open(run / "metrics.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
        partial = run / f".{step}.{os.getpid()}"  # a checkpoint is there whole or not at all
        partial.mkdir()
        (partial / "state").write_text(state)
        (run / "checkpoints").mkdir(exist_ok=True)
        partial.rename(run / f"checkpoints/{step}")
        print(f"{stage} {step}/{STEPS}", flush=True)  # the time of a log's last line is read


def evaluate(folder: Path, point: dict, on_progress) -> None:
    workdir = Path(point["workdir"])
    call(folder, "evaluate", workdir.name)
    on_progress(0, 8)
    if breaks(folder, workdir.name):
        print("it is killed", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(STEPS * float(os.environ.get("STAND_IN_SECONDS", "0.001")))
    states = {run.name: read(run) for run in workdir.iterdir() if run.is_dir()}
    guidance = point["sampling"]["guidance_scale"]
    value = guidance / 100 + value_of(states["decoder"])
    row = {
        "protocol": {"num_images": 8, "features": "oracle", "sampling": {"seeds": [0]}},
        "protocol_hash": f"oracle{guidance}",
        "metrics": {"oracle/caption": {"value": value, "interval": [value - 1, value + 1]}},
        "floor": {"oracle/caption": 1.0},
        "data": "stand-in",
    }
    (workdir / "results.jsonl").write_text(json.dumps(row) + "\n")


if __name__ == "__main__":
    where, command, *rest = sys.argv[1:]
    given = dict(option.removeprefix("--").partition("=")[::2] for option in rest)
    if command == "train":
        train(Path(where), Path(given["workdir"]), given["stage"])
    else:
        measure_points(Path(given["points"]), functools.partial(evaluate, Path(where)))
