"""The live table of a sweep in the terminal, and the progress of evaluations that it shows."""

import io
import json

import pytest
from rich.console import Console

from dalle_jax.sweeps.jobs import evaluation_key
from dalle_jax.sweeps.launcher import Launcher, State
from dalle_jax.sweeps.live_table import LiveTable
from dalle_jax.sweeps.progress import IMAGES_FILE, ImageProgress, read_images
from tests.sweeps.twelve import graph_of, prepared

WIDTH = 200


class Shown:
    """The table of twelve points in a terminal of so many lines."""

    def __init__(self, workdir, monkeypatch, lines: int, columns: int = WIDTH):
        monkeypatch.setenv("LINES", str(lines))
        monkeypatch.setenv("COLUMNS", str(columns))
        self.graph = graph_of()
        self.layout, jobs = prepared(self.graph, workdir)
        self.launcher, self._view = Launcher(jobs, workers=[]), LiveTable(self.graph, self.layout)
        self._columns = columns

    def set(self, point: int, state: State, stages=("clip", "prior", "decoder", "evaluation")):
        """Let the jobs of a point be in a state."""
        keys = self.graph.points[point].runs | {
            "evaluation": evaluation_key(self.graph.points[point])
        }
        for stage in stages:
            self.launcher.status[keys[stage]].state = state

    def lines(self) -> list[str]:
        out = io.StringIO()
        with self._view.shown(self.launcher):
            Console(width=self._columns, file=out).print(self._view.table())
        return out.getvalue().splitlines()

    def rows(self) -> list[list[str]]:
        """Of each point the cells after its name."""
        rows = [line for line in self.lines() if "target=" in line]
        return [[cell.strip() for cell in row.split("│")[2:-1]] for row in rows]

    def states(self) -> list[str]:
        return [row[0] for row in self.rows()]


def test_every_point_has_its_state_step_loss_and_time_left(tmp_path, monkeypatch):
    shown = Shown(tmp_path, monkeypatch, lines=40)
    line = {"step": 4, "loss": 0.25, "images_per_second": 2.0}
    clip = shown.graph.points[0].runs["clip"]
    (shown.layout.run(clip) / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    shown.set(0, State.RUNNING, stages=["clip"])
    # All wait for one CLIP: 6 steps of 8 images are left.
    assert shown.rows() == [["running", "clip", "4/10", "0.2500", "0:00:24"]] * 12
    shown.set(0, State.ELSEWHERE, stages=["clip"])  # another launcher's, whose log is the same
    assert shown.rows() == [["elsewhere", "clip", "4/10", "0.2500", "0:00:24"]] * 12
    shown.set(0, State.DONE)
    assert shown.states().count("done") == 1


def test_an_evaluation_shows_its_images_and_the_time_left(tmp_path, monkeypatch):
    shown = Shown(tmp_path, monkeypatch, lines=40)
    shown.set(0, State.DONE)
    shown.set(0, State.RUNNING, stages=["evaluation"])
    point = shown.graph.points[0]
    job = shown.layout.job(evaluation_key(point))
    job.mkdir(parents=True)
    assert shown.rows()[0] == ["running", "evaluation", "", "", ""]
    now = [0.0]
    progress = ImageProgress(job, now=lambda: now[0])
    for now[0], drawn in ((10, 8), (14, 16)):  # then 8 in 4 seconds: 4 are left
        progress(drawn, 20)
    assert shown.rows()[0] == ["running", "evaluation", "16/20", "", "0:00:02"]


@pytest.mark.parametrize("columns, lines, left_out", [(WIDTH, 11, 7), (80, 23, 4)])
def test_where_lines_are_few_what_runs_and_failed_comes_first(
    tmp_path, monkeypatch, columns, lines, left_out
):
    """And the caption counts the others. Names that take two lines leave room for fewer points."""
    shown = Shown(tmp_path, monkeypatch, lines, columns)
    for point in range(12):
        shown.set(point, State.WAITING, stages=["evaluation"])
        shown.set(point, State.DONE, stages=["clip", "prior", "decoder"])
    shown.set(0, State.DONE)
    shown.set(1, State.DONE)
    shown.set(11, State.RUNNING, stages=["evaluation"])
    shown.set(10, State.FAILED, stages=["evaluation"])
    shown.set(9, State.ELSEWHERE, stages=["evaluation"])
    shown.set(8, State.BLOCKED, stages=["evaluation"])
    written = shown.lines()
    assert len(written) <= lines - 1
    states = [s for s in shown.states() if s]
    assert states[:4] == ["running", "elsewhere", "failed", "blocked"]
    assert set(states[4:]) <= {"waiting"}
    assert len(states) == 12 - left_out
    assert f"and {left_out} more: {left_out - 2} waiting, 2 done" in " ".join(written)


def test_where_lines_suffice_points_are_in_the_sweeps_order(tmp_path, monkeypatch):
    shown = Shown(tmp_path, monkeypatch, lines=12 + 5)
    shown.set(11, State.RUNNING, stages=["evaluation"])
    assert shown.states() == ["waiting"] * 11 + ["running"]
    assert "more" not in " ".join(shown.lines())


@pytest.mark.parametrize("lines", [1, 3, 6])
def test_the_lowest_terminal_still_shows_what_runs(tmp_path, monkeypatch, lines):
    shown = Shown(tmp_path, monkeypatch, lines)
    shown.set(11, State.RUNNING, stages=["evaluation"])
    assert shown.states() == ["running"]
    assert "and 11 more: 11 waiting" in " ".join(shown.lines())


@pytest.mark.parametrize(
    "calls, left",
    [
        ([(1, 0)], None),
        ([(1, 0), (10, 8)], 15.0),  # the only images took the start, too
        ([(1, 0), (10, 8), (14, 16)], 2.0),
        ([(1, 0), (10, 8), (14, 16), (16, 20)], None),  # now they are measured
    ],
)
def test_the_time_left_is_by_the_rate_after_the_first_images(tmp_path, calls, left):
    now = [0.0]
    progress = ImageProgress(tmp_path, now=lambda: now[0])
    for now[0], drawn in calls:
        progress(drawn, 20)
    assert read_images(tmp_path) == (calls[-1][1], 20, left)
    ImageProgress(tmp_path)  # of the next attempt
    assert read_images(tmp_path) is None
    (tmp_path / IMAGES_FILE).write_text("{")
    assert read_images(tmp_path) is None
