"""What a dry run says that a sweep would cost, against sums made by hand."""

import dataclasses
import json
import re
import socket

import pytest

from dalle_jax.runs import create_run
from dalle_jax.sweeps import plan as sweep_plan
from dalle_jax.sweeps.checks import data_problems
from dalle_jax.sweeps.grid import Sweep, product
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.overrides import load_point
from dalle_jax.sweeps.shared_runs import build_graph
from dalle_jax.sweeps.workers import Worker
from tests.conftest import ROOT

STEPS, BATCH, SPEED = 10, 8, 0.01  # images a second
STEP, FORWARD = 8000.0, 90.0  # operations
WORKER = Worker(frozenset({0}), {})


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Two decoders, each sampled with and without guidance; a third was trained here before."""
    monkeypatch.setattr(sweep_plan, "machine_of", lambda worker: "one Abacus")
    monkeypatch.chdir(tmp_path)  # in which there are no data
    sweep = Sweep(
        "",
        product(
            ("decoder.loss.target", ["v", "eps"]), ("decoder.sample.guidance_scale", [1.0, 3.0])
        ),
        overrides={"decoder.train.batch_size": BATCH, "decoder.train.steps": STEPS},
        evaluation={"n": 100, "seeds": "0,1"},
    )
    graph = build_graph(sweep, lambda overrides: load_point(ROOT / "configs/tiny.py", overrides))
    config = graph.points[0].config
    before = create_run(tmp_path / "runs/before", "decoder", {**config, "seed": 7})
    counted = {f"forward {key}": FORWARD for key in graph.runs}
    counted |= {f"step {key}": STEP for key in (*graph.runs, f"decoder-{before.fingerprint}")}
    (tmp_path / "flops.json").write_text(json.dumps(counted))
    lines = [{"step": i, "images_per_second": speed} for i, speed in enumerate((9, SPEED, 0.001))]
    log = "".join(json.dumps(line) + "\n" for line in lines)
    (before.directory / "metrics.jsonl").write_text(log)
    (tmp_path / "jobs/before").mkdir(parents=True)
    layout = SweepLayout(tmp_path, "planned")
    trained_on(layout, {"machine": "one Abacus", "host": socket.gethostname()})
    return graph, layout


def trained_on(layout, attempt):
    """Let the earlier run be trained there."""
    (layout.job("before") / "attempts.jsonl").write_text(json.dumps(attempt) + "\n")


@pytest.fixture
def printed(planned, capsys):
    """Prints the plan, by some workers."""

    def printed(*workers):
        sweep_plan.print_plan(*planned, [], workers or [WORKER])
        return capsys.readouterr().out

    return printed


def operations(graph):
    passes = 100 * 2 * graph.points[0].config["decoder"]["sample"]["num_inference_steps"]
    return 2 * STEPS * STEP + 2 * (passes + 2 * passes) * FORWARD  # guided twice as many


def test_hours_are_operations_over_the_rate_of_an_earlier_run(planned, printed):
    out = printed()
    hours = operations(planned[0]) / (STEP / BATCH * SPEED) / 3600
    assert hours > 5
    assert f"about {hours:.2f} hours, at the GFLOP/s of earlier runs: decoder 0.0\n" in out
    assert "2 of 2 distinct trainings are to be done, for 4 points" in out
    of_points = [float(row.split("│")[-2]) for row in out.splitlines() if "target=" in row]
    of_training = STEPS * BATCH / SPEED / 3600
    assert of_points[0] - of_points[2] == pytest.approx(0, abs=0.01)
    assert of_points[0] == pytest.approx(of_training + of_points[1] / 2, abs=0.02)


def test_hours_of_several_workers_are_divided_in_words(printed):
    found = re.search(r"about (.*) worker-hours, (.*) hours if 2", printed(WORKER, WORKER))
    one_after_the_other, side_by_side = map(float, found.groups())
    assert side_by_side == pytest.approx(one_after_the_other / 2, abs=0.01)


def test_a_rate_of_another_machine_says_of_which(planned, printed):
    trained_on(planned[1], {"machine": "two Abaci", "host": "elsewhere"})
    assert "decoder 0.0 (on two Abaci, elsewhere)" in printed()


def test_without_earlier_runs_hours_are_guessed_from_the_machine(planned, printed, monkeypatch):
    (planned[1].run("before") / "metrics.jsonl").unlink()
    monkeypatch.setattr(sweep_plan, "guessed_rate", lambda cores, machine, cache: cores * 100.0)
    out, hours = printed(), operations(planned[0]) / 100 / 3600
    assert f"about {hours:.2f} hours, guessed from how fast this machine multiplies" in out
    assert "within a factor of two" in out
    monkeypatch.setattr(sweep_plan, "visible_gpus", lambda environment: ["0"])
    assert "hours are not known" in printed()  # of a GPU


def test_missing_data_are_named_once(printed):
    out = printed()
    assert out.count("missing: captioned_shapes/easy is not prepared at 24 pixels in data: ") == 1
    assert "run `dalle-jax prepare captioned_shapes/easy --resolution=24" in out


def test_data_of_stages_that_are_trained_or_reused_may_be_missing(planned, monkeypatch):
    graph, layout = planned
    points = [dataclasses.replace(point, evaluation=None) for point in graph.points]
    graph = dataclasses.replace(graph, points=points)
    first, second = graph.runs
    assert len(data_problems(graph, layout, {first})) == 1
    assert data_problems(graph, layout, {first, second}) == []
    monkeypatch.setattr(type(layout), "is_trained", lambda layout, run: True)
    assert data_problems(graph, layout) == []
