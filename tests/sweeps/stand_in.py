"""What `dalle-jax train` and `dalle-jax evaluate` leave behind, without the learning.

    python stand_in.py FOLDER train --workdir=… --stage=…
    python stand_in.py FOLDER evaluate --points=…

Each call is one line of FOLDER/calls, with the cores and GPUs that it was given. A stage takes ten
steps of which each is a checkpoint, and goes on from the newest. A checkpoint holds a hash over all
steps that led to it, from those of the stages that this one stands on: a step that is left out or
made twice changes what is measured. FOLDER/crash names runs and systems, by the start of their
keys, that break: a run at step 3, an evaluation by a kill. A call that begins with the text of
STAND_IN_HOLDS waits as long as FOLDER/hold is there.
"""

import functools
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from dalle_jax.sweeps.points import measure_points

STEPS = 10
NEEDS = {"prior": ("clip",), "decoder": ("clip",)}  # where the workdir has them
STATE = "state"  # of a checkpoint: the hash


def learnt(state: str, *more: str) -> str:
    """The state after one more step, or what is begun with."""
    return hashlib.sha256(" ".join((state, *more)).encode()).hexdigest()


def value_of(state: str) -> int:
    """A number that tells states apart."""
    return int(state[:3], 16)


def state_of(run: Path, step: int = STEPS) -> str:
    return (run / "checkpoints" / str(step) / STATE).read_text()


def save(checkpoints: Path, step: int, state: str) -> None:
    """A checkpoint, whole or not at all."""
    partial = checkpoints.parent / f".{step}.{os.getpid()}"
    partial.mkdir()
    (partial / STATE).write_text(state)
    checkpoints.mkdir(exist_ok=True)
    partial.rename(checkpoints / str(step))


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
    checkpoints = run / "checkpoints"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as a training, which saves first
    before = max((int(path.name) for path in checkpoints.glob("[0-9]*")), default=0)
    call(folder, "train", run.name, f"from={before}")
    upstream = [workdir / name for name in NEEDS.get(stage, ()) if (workdir / name).exists()]
    state = state_of(run, before) if before else learnt(run.name, *map(state_of, upstream))
    for step in range(before + 1, STEPS + 1):
        state = learnt(state, str(step))
        time.sleep(float(os.environ.get("STAND_IN_SECONDS", "0")))
        if breaks(folder, run.name) and step == 3:
            sys.exit(f"{stage} breaks at step 3")
        with open(run / "metrics.jsonl", "a") as file:
            file.write(json.dumps({"step": step, "loss": 1 / step, "images_per_second": 8.0}))
            file.write("\n")
            if step == STEPS:
                loss = {"step": step, "validation/loss": value_of(state)}
                file.write(json.dumps(loss) + "\n")
        save(checkpoints, step, state)


def evaluate(folder: Path, point: dict, on_progress) -> None:
    workdir = Path(point["workdir"])
    runs = {path.name: Path(os.path.realpath(path)) for path in workdir.iterdir() if path.is_dir()}
    call(folder, "evaluate", workdir.name)
    on_progress(0, 8)
    if breaks(folder, workdir.name):
        print("it is killed", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(STEPS * float(os.environ.get("STAND_IN_SECONDS", "0.001")))
    assert runs and all((run / "checkpoints" / str(STEPS)).is_dir() for run in runs.values())
    guidance = point["sampling"]["guidance_scale"]
    value = guidance / 100 + value_of(state_of(runs["decoder"]))
    row = {
        "protocol": {"num_images": 8, "features": "oracle", "sampling": {"seeds": [0]}},
        "protocol_hash": f"oracle{guidance}",
        "metrics": {"oracle/caption": {"value": value, "interval": [value - 1, value + 1]}},
        "floor": {"oracle/caption": 1.0},
        "data": "stand-in",
    }
    (workdir / "results.jsonl").write_text(json.dumps(row) + "\n")


if __name__ == "__main__":
    where, verb, *rest = sys.argv[1:]
    given = dict(option.removeprefix("--").partition("=")[::2] for option in rest)
    if verb == "train":
        train(Path(where), Path(given["workdir"]), given["stage"])
    else:
        measure_points(Path(given["points"]), functools.partial(evaluate, Path(where)))
    print("done")
