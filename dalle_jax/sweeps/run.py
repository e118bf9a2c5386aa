"""Run the jobs of a sweep on this machine, and write the table of results."""

import os
import signal
import sys
from pathlib import Path

import jax

from dalle_jax.devices import check_platforms
from dalle_jax.sweeps.checks import data_problems
from dalle_jax.sweeps.hours import Counts
from dalle_jax.sweeps.jobs import jobs_of
from dalle_jax.sweeps.launcher import Launcher, State
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.live_table import LiveTable
from dalle_jax.sweeps.results import table, write_table
from dalle_jax.sweeps.shared_runs import Graph
from dalle_jax.sweeps.slurm import TIME_OVER
from dalle_jax.sweeps.workers import divide


def leave_accelerators_to_jobs() -> None:
    """Let this process compute on the CPU, so that it takes no GPU from the jobs it starts."""
    jax.config.update("jax_platforms", "cpu")


def run(
    graph: Graph,
    layout: SweepLayout,
    config: Path,
    *,
    workers: int = 1,
    share: bool = False,
    retries: int = 1,
    max_hours: float = float("inf"),
) -> int:
    """Run the jobs and write the table of what is measured afterwards; returns the exit code."""
    check_platforms(os.environ.get("JAX_PLATFORMS", ""))
    for error in data_problems(graph, layout):
        raise error
    view = LiveTable(graph, layout)
    launcher = Launcher(
        jobs_of(graph, layout, config, (sys.executable, "-m", "dalle_jax")),
        divide(workers, share=share),
        retries=retries,
        max_seconds=3600 * max_hours,
        on_change=view.changed,
    )
    received: list[int] = []

    def stop(number, frame):
        received.append(number)
        launcher.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with view.shown(launcher):
            done = launcher.run(view.refresh)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if not received:  # after a signal there is no time to count operations
        rows = table(graph, layout, Counts(layout.workdir / "flops.json").training)
        if rows:
            print(f"results: {', '.join(map(str, write_table(rows, layout.directory)))}")
    if done:
        print(f"`dalle-jax report {layout.directory}` draws them")
        return 0
    states = [status.state for status in launcher.status.values()]
    for key, status in launcher.status.items():
        if status.state is State.FAILED:
            print(f"failed: {launcher.jobs[key].title}: {status.note}", file=sys.stderr)
    if left := states.count(State.NOT_STARTED):
        print(f"{left} jobs are left; the same command goes on", file=sys.stderr)
    if received:
        return 128 + received[0]
    return 1 if State.FAILED in states else TIME_OVER
