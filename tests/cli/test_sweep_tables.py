"""The live table of a sweep in the terminal."""

import io
import json

from rich.console import Console

from dalle_jax.cli.sweep_tables import LiveTable
from dalle_jax.sweeps.jobs import evaluation_key
from dalle_jax.sweeps.local import DONE, RUNNING, Launcher
from tests.sweeps.twelve import graph_of, prepared


def test_the_live_table_has_every_points_state_step_loss_and_time_left(tmp_path, monkeypatch):
    monkeypatch.setenv("LINES", "40")
    graph = graph_of()
    place, jobs = prepared(graph, tmp_path)
    launcher, view = Launcher(jobs, workers=[]), LiveTable(graph, place)
    clip = graph.points[0].runs["clip"]
    line = {"step": 4, "loss": 0.25, "images_per_second": 2.0}
    (place.run(clip) / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    launcher.status[clip].state = RUNNING

    def rows() -> list[str]:
        out = io.StringIO()
        Console(width=200, file=out).print(view.table())
        return [row for row in out.getvalue().splitlines() if "decoder.loss.target" in row]

    with view.shown(launcher):
        assert len(rows()) == 12
        for row in rows():  # all wait for one CLIP: 6 steps of 8 images are left
            cells = [cell.strip() for cell in row.split("│")[2:-1]]
            assert cells == ["running", "clip", "4/10", "0.2500", "0:00:24"]
        first = graph.points[0]
        for key in (*first.runs.values(), evaluation_key(first)):
            launcher.status[key].state = DONE
        assert sum("done" in row for row in rows()) == 1
