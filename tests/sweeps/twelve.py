"""A sweep of twelve points, many of which share a stage, run by a stand-in (stand_in.py)."""

import dataclasses
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from dalle_jax.config.load import load_config
from dalle_jax.sweeps import launcher as launchers
from dalle_jax.sweeps.directories import lay_out
from dalle_jax.sweeps.grid import Sweep, product
from dalle_jax.sweeps.jobs import Job, jobs_of
from dalle_jax.sweeps.launcher import Launcher
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.shared_runs import Graph, build_graph
from dalle_jax.sweeps.workers import Worker

CONFIG = Path(__file__).parents[2] / "configs/unclip_tiny.py"
STAND_IN = Path(__file__).with_name("stand_in.py")
SWEEP = Sweep(
    config=str(CONFIG),
    points=product(
        ("prior.loss.text_dropout", [0.1, 0.2]),
        ("decoder.loss.target", ["v", "eps"]),
        ("decoder.sample.guidance_scale", [1.0, 2.0, 3.0]),
    ),
    stages=("clip", "prior", "decoder"),
    evaluation={"n": 8},
)
# Of each of its runs one point: a sweep for the tests that are slow.
FOUR = dataclasses.replace(SWEEP, points=SWEEP.points[::3])
# By hand: the CLIP is one, a prior for each dropout, a decoder for each target; guidance is
# sampling alone.
DISTINCT = {"clip": 1, "prior": 2, "decoder": 2}


def graph_of(sweep: Sweep = SWEEP) -> Graph:
    return build_graph(sweep, lambda settings: load_config(CONFIG, settings=settings).to_dict())


def stand_in_jobs(graph: Graph, layout: SweepLayout, config: Path, folder: Path) -> list[Job]:
    """The jobs of a sweep by the stand-in, which writes its calls into a folder."""
    return jobs_of(graph, layout, config, (sys.executable, "-S", str(STAND_IN), str(folder)))


def prepared(graph: Graph, workdir: Path) -> tuple[SweepLayout, list[Job]]:
    """The sweep laid out, and its jobs by the stand-in."""
    workdir.mkdir(exist_ok=True)
    layout = SweepLayout(workdir, "twelve-tiny")
    lay_out(layout, graph)
    return layout, stand_in_jobs(graph, layout, CONFIG, workdir)


def launch(jobs: list[Job], workers: int | list[Worker] = 2, **options) -> Launcher:
    """Run the jobs; by workers, or by so many on the cores that this process may use."""
    launchers.POLL_SECONDS = 0.02  # the stand-in is quick
    if isinstance(workers, int):
        workers = [Worker(frozenset(os.sched_getaffinity(0)), {})] * workers
    launcher = Launcher(jobs, workers, **options)
    launcher.run()
    return launcher


def calls(workdir: Path) -> Counter:
    """How often the stand-in was called, by what it was to do."""
    path = workdir / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(" ".join(line.split()[:2]) for line in lines)


if __name__ == "__main__":  # what a task of a Slurm array runs in its test
    cores = frozenset(os.sched_getaffinity(0))
    launcher = Launcher(prepared(graph_of(FOUR), Path(sys.argv[1]))[1], [Worker(cores, {})])
    signal.signal(signal.SIGTERM, lambda *_: launcher.stop())
    launcher.run()
