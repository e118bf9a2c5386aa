"""The table of a running sweep in the terminal."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console
from rich.live import Live
from rich.table import Table

from dalle_jax.console import is_quiet
from dalle_jax.sweeps.jobs import Job, evaluation_key
from dalle_jax.sweeps.launcher import Launcher, State, Status
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.progress import read_images, read_progress
from dalle_jax.sweeps.shared_runs import Graph, PlannedPoint, names_of

# States in the order in which a person wants to know of them.
URGENCY = (
    *(State.RUNNING, State.ELSEWHERE, State.FAILED, State.BLOCKED),
    *(State.READY, State.WAITING, State.NOT_STARTED, State.DONE),
)


class Row(NamedTuple):
    """A point in the live table."""

    point: str
    state: State
    stage: str = ""
    step: str = ""
    loss: str = ""
    left: str = ""


class LiveTable:
    """Every point's state, step, loss and time left; on no terminal, a line for each change.

    A point is named by its overrides in short, each by the last part of its setting.
    """

    def __init__(self, graph: Graph, layout: SweepLayout):
        self._graph, self._layout = graph, layout
        self._console = Console(markup=False, highlight=False, quiet=is_quiet())
        self._live: Live | None = None
        self._launcher: Launcher | None = None
        self._names = names_of(graph)

    @contextmanager
    def shown(self, launcher: Launcher) -> Iterator[None]:
        """Show the table of a launcher in this block."""
        self._launcher = launcher
        if not self._console.is_terminal or is_quiet():
            yield
            return
        with Live(console=self._console, auto_refresh=False) as self._live:
            yield
            self._live.update(self.table(), refresh=True)

    def changed(self, job: Job, status: Status) -> None:
        """Print a line above the table where a state has a note."""
        if self._live is None or status.note:
            note = f": {status.note}" if status.note else ""
            self._console.print(f"{status.state.value:8} {job.title}{note}", soft_wrap=True)

    def refresh(self) -> None:
        """Update it."""
        if self._live is not None:
            self._live.update(self.table(), refresh=True)

    def table(self) -> Table:
        """The present table.

        If the terminal has too few lines for all points, those that run or have failed come first,
        then those that wait, then those that are done; the caption counts the others.
        """
        rows = [self._row(point) for point in self._graph.points]
        if self._fits(table := _table_of(rows)):
            return table
        rows.sort(key=lambda row: URGENCY.index(row.state))
        fitting = range(1, min(len(rows), max(self._console.height, 2)))
        # More rows need more lines; where not even one fits, one is shown.
        number = bisect_right(fitting, False, key=lambda n: not self._fits(_table_of(rows, n)))
        return _table_of(rows, max(number, 1))

    def _fits(self, table: Table) -> bool:
        room = self._console.height - 1
        if table.row_count > room:
            return False
        return len(self._console.render_lines(table, pad=False)) <= room

    def _row(self, point: PlannedPoint) -> Row:
        name, status = self._names[point.name], self._launcher.status
        keys = [*point.runs.values()]
        if point.evaluation is not None:
            keys.append(evaluation_key(point))
        # What has failed or runs says more than what waits for it.
        order = {State.FAILED: 0, State.RUNNING: 1, State.ELSEWHERE: 2}
        left = [key for key in keys if status[key].state is not State.DONE]
        if not left:
            return Row(name, State.DONE)
        key = min(left, key=lambda key: order.get(status[key].state, len(order)))
        state = status[key].state
        runs = state in (State.RUNNING, State.ELSEWHERE)
        run = self._graph.runs.get(key)
        if run is None:
            images = read_images(self._layout.job(key)) if runs else None
            if images is None:
                return Row(name, state, "evaluation")
            sampled = f"{images.drawn}/{images.wanted}"
            return Row(name, state, "evaluation", sampled, "", _clock(images.seconds_left))
        progress = read_progress(self._layout.run(key))
        seconds = progress.seconds_left(run.steps, run.config[run.stage]["train"]["batch_size"])
        return Row(
            name,
            state,
            run.stage,
            f"{progress.step}/{run.steps}",
            "" if progress.loss is None else f"{progress.loss:.4f}",
            _clock(seconds if runs else None),
        )


def _table_of(rows: Sequence[Row], number: int | None = None) -> Table:
    """The first rows as a table, and how many others there are of each state."""
    shown, rest = rows[:number], rows[number:] if number is not None else []
    counts = Counter(row.state for row in rest)
    others = ", ".join(f"{counts[state]} {state.value}" for state in URGENCY if counts[state])
    table = Table(caption=f"and {len(rest)} more: {others}" if rest else None)
    for name in ("point", "state", "stage"):
        # A name that is too long goes on in the next line.
        table.add_column(name, overflow="fold")
    for name in ("step", "loss", "left"):
        table.add_column(name, justify="right")
    for row in shown:
        table.add_row(row.point, row.state.value, *row[2:])
    return table


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return ""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
