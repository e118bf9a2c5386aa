"""Incomplete figures are drawn as far as they are measured, or a sentence says that nothing is."""

import csv
import json
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest

from dalle_jax.cli import figure
from dalle_jax.config import places
from dalle_jax.config.places import experiment_files, find_experiment
from dalle_jax.figures import cache, measurements
from dalle_jax.figures import sweep as figure_sweep
from dalle_jax.figures.files import load_figure
from dalle_jax.figures.record import read_record
from dalle_jax.figures.summaries import BEGIN, END, write_readme
from dalle_jax.figures.verdict import UNDECIDED
from dalle_jax.sweeps.record import read_attempts
from tests.cli.test_figure import OF_A_SWEEP, project, quick  # noqa: F401 (fixtures)
from tests.conftest import ROOT
from tests.sweeps.twelve import launch, stand_in_jobs

RESULTS = ROOT / "experiments/results"
SWEPT = [
    name for name, path in experiment_files("get_figure").items() if "Sweep(" in path.read_text()
]
BLANK = np.zeros((32, 64, 3), np.uint8)


def rows_of(name: str) -> list[dict]:
    """The rows that a figure was made of, as its table has them."""

    def value(text: str):
        try:
            return json.loads(text)
        except ValueError:
            return {"True": True, "False": False}.get(text, text)

    with open(RESULTS / f"{name}.csv", newline="") as file:
        return [{k: value(v) for k, v in row.items() if v != ""} for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", SWEPT)
def test_a_figure_is_drawn_of_what_is_there(name):
    made = load_figure(find_experiment(name, "get_figure"), "tiny")
    assert all(claim.verdict == UNDECIDED for claim in made.claims([]))
    rows = rows_of(name)
    points = list(dict.fromkeys(row["point"] for row in rows if "point" in row))
    if len(points) == 1 or made.together:  # all of it is measured, or nothing
        return
    parts = [[row for row in rows if row["point"] != missing] for missing in points]
    # An evaluation that breaks may have what the oracle finds, and no distances yet.
    parts.append([row for row in rows if row["point"] != points[0] or row["metric"][:2] != "FD"])
    for part in parts:
        made.claims(part)
        # One picture a system, as unclip_binding has them.
        systems = {f"{row['point']}/{row['system']}": BLANK for row in part if "system" in row}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a legend of nothing
            made.draw(part, systems)
        plt.close("all")


@pytest.fixture
def only_trained(project, monkeypatch):  # noqa: F811
    """Trainings end well, by a stand-in, and no evaluation starts."""

    def run(graph, layout, config, **options):
        jobs = stand_in_jobs(graph, layout, config, project)
        launch([job for job in jobs if not job.key.startswith("evaluation-")], workers=1)
        return 75

    monkeypatch.setattr(figure_sweep, "run", run)
    return project


@pytest.mark.parametrize("measured", ["by evaluations", "by itself"])
def test_where_only_losses_are_there_a_sentence_says_so(only_trained, capsys, measured):
    text = OF_A_SWEEP.replace("plt.figure()", 'images["drawn"]')
    if measured == "by itself":
        text = text.replace('evaluation={"n": 8}', "evaluation=None")
        text = text.replace('[{"metric": "own", "value": len(workdir.name)}]', "[]")
    else:
        text = text.replace(", measure=measure", "")
    (only_trained / "experiments/figures/own.py").write_text(text)
    assert figure.run(["own"]) == 75
    assert "nothing is measured yet; the same command goes on" in capsys.readouterr().out
    assert list((only_trained / "runs/sweeps/runs").glob("decoder-*/checkpoints/10"))


def test_where_the_network_of_distances_fails_a_sentence_says_so(project, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(figure_sweep, "run", lambda *given, **options: 1)
    text = OF_A_SWEEP.replace(
        "measure=measure", "features='configs/features.py', together=True, measure=measure"
    ).replace("lambda workdir:", "lambda workdirs, extractor:")
    (project / "experiments/figures/judged.py").write_text(text)
    assert figure.run(["judged"]) == 1
    assert "nothing is measured yet" in capsys.readouterr().out


# Two points of one decoder each; what is measured of each takes a while, and may break.
MEASURES = """
import time
from pathlib import Path


def measure(workdir):
    with open("measured", "a") as file:
        file.write(workdir.name + "\\n")
    if Path("breaks").exists() and len(Path("measured").read_text().splitlines()) == 2:
        raise ValueError("it breaks")
    time.sleep(0.3)
    images = {"seen": np.full((2, 2, 3), 7, np.uint8)}
    return Measured([{"metric": "own", "value": 3}], images, seed=5)
"""


@pytest.fixture
def measuring(quick):  # noqa: F811
    """A figure that measures two points itself, by a file that says of which."""
    text = OF_A_SWEEP.replace('sample.guidance_scale", [1.0, 3.0]', "loss.target\", ['v', 'eps']")
    text = text.replace("import matplotlib", "import numpy as np\nimport matplotlib")
    text = text.replace("def claims", MEASURES + "\n\ndef claims")
    text = text.replace("measure = lambda workdir", "unused = lambda workdir")
    text = text.replace("guidance_scale=scale) for scale in (1.0, 3.0)", "point=p) for p in 'ab'")
    (quick / "experiments/figures/own.py").write_text(text)
    return quick


def times_measured(project) -> int:  # noqa: F811
    path = project / "measured"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_what_a_figure_measured_itself_is_stored_with_its_cost(measuring, capsys):
    began = time.monotonic()
    assert figure.run(["own"]) == 0
    elapsed = time.monotonic() - began
    assert times_measured(measuring) == 2
    first = read_record(measuring / "figures", "own")
    table = (measuring / "figures/own.csv").read_text()
    assert first["complete"] and "missing" not in first
    trained = sum(
        attempt["seconds"]
        for job in (measuring / "runs/sweeps/jobs").iterdir()
        for attempt in read_attempts(job)
    )
    rounded = 0.06  # the record has tenths of a second, the attempts hundredths
    assert trained + 2 * 0.3 - rounded <= first["seconds"] <= trained + elapsed + rounded
    assert figure.run(["own"]) == 0
    assert times_measured(measuring) == 2
    assert (measuring / "figures/own.csv").read_text() == table
    assert read_record(measuring / "figures", "own") == first  # drawn anew, at the same cost
    capsys.readouterr()
    figure.run(["own", "--dry-run"])
    assert capsys.readouterr().out.count("own measure of decoder.loss.target=") == 2
    # Drawn and worded anew it is not measured anew; other code measures again.
    file = measuring / "experiments/figures/own.py"
    file.write_text(file.read_text().replace("Guidance guides.", "It guides."))
    assert figure.run(["own"]) == 0
    assert times_measured(measuring) == 2
    assert read_record(measuring / "figures", "own")["claims"][0]["statement"] == "It guides."
    file.write_text(file.read_text().replace('"value": 3', '"value": 4'))
    figure.run(["own", "--dry-run"])
    assert capsys.readouterr().out.count("eps: measure\n") == 1
    assert figure.run(["own"]) == 0
    assert times_measured(measuring) == 4


def test_measurements_under_the_keys_of_earlier_versions_are_found(measuring, monkeypatch):
    """They are hashes of the figure's whole file, as it is or as git has it."""
    file = measuring / "experiments/figures/own.py"
    whole = file.read_text()
    monkeypatch.setattr(measurements, "measuring_code", lambda text: text)
    assert figure.run(["own"]) == 0
    monkeypatch.undo()
    monkeypatch.chdir(measuring)
    monkeypatch.setattr(places, "EXPERIMENTS", measuring / "experiments")
    monkeypatch.setattr(measurements, "earlier_texts", lambda path: iter(["{", whole]))
    monkeypatch.setattr(figure_sweep, "run", lambda *given, **options: 0)
    before = set((measuring / "runs/sweeps/measures").iterdir())
    file.write_text(whole.replace("Guidance guides.", "It guides."))
    assert figure.run(["own"]) == 0
    assert times_measured(measuring) == 2
    after = set((measuring / "runs/sweeps/measures").iterdir())
    assert len(after) == len(before) == 2 and not after & before


def test_after_a_stop_a_figure_goes_on_with_the_point_that_is_not_measured(measuring):
    (measuring / "breaks").touch()
    with pytest.raises(ValueError, match="it breaks"):
        figure.run(["own"])
    assert times_measured(measuring) == 2
    assert figure.run(["own"]) == 0
    first, broken, again = (measuring / "measured").read_text().split()
    assert first != broken == again


def test_hours_that_are_over_stop_the_figures_own_measures_too(measuring, monkeypatch, capsys):
    moment = time.monotonic

    def slow_run(graph, layout, config, max_hours, **options):
        """As a run after which ten minutes are left, of which each measure takes an hour."""
        assert 0.9 < max_hours < 1
        end = moment() + 3600 * max_hours
        launch(stand_in_jobs(graph, layout, config, measuring), workers=1)
        since = end - moment() - 600
        clock = lambda: moment() + since + 3600 * times_measured(measuring)
        monkeypatch.setattr(time, "monotonic", clock)
        return 0

    monkeypatch.setattr(figure_sweep, "run", slow_run)
    assert figure.run(["own", "--max-hours=1"]) == 75
    assert times_measured(measuring) == 1  # which ended as usual
    record = read_record(measuring / "figures", "own")
    assert not record["complete"]
    assert record["missing"] == ["the figure's own measure of decoder.loss.target=eps"]
    assert "IN PART: the figure's own measure of decoder" in capsys.readouterr().out
    monkeypatch.setattr(time, "monotonic", moment)
    monkeypatch.setattr(figure_sweep, "run", lambda *given, **options: 75)
    assert figure.run(["own", "--max-hours=1"]) == 75
    assert times_measured(measuring) == 1  # nothing is begun where the run's time was over
    monkeypatch.setattr(figure_sweep, "run", lambda *given, **options: 0)
    assert figure.run(["own", "--max-hours=1"]) == 0
    assert times_measured(measuring) == 2
    assert read_record(measuring / "figures", "own")["complete"]


def test_the_hours_are_those_of_all_runs_together(project, monkeypatch):  # noqa: F811
    text = OF_A_SWEEP.replace("measure=measure", "features='configs/features.py'")
    (project / "experiments/figures/judged.py").write_text(text)
    moment, given = time.monotonic, []

    def run(graph, layout, config, max_hours, **options):
        given.append(max_hours)
        monkeypatch.setattr(time, "monotonic", lambda: moment() + 0.75 * 3600)
        return 0

    monkeypatch.setattr(figure_sweep, "run", run)
    assert figure.run(["judged", "--max-hours=1"]) in (0, 75)
    assert given == pytest.approx([1, 0.25], abs=0.02)


def test_a_part_of_a_figure_is_marked_and_replaces_no_whole_one(measuring, monkeypatch, capsys):
    run, out = figure_sweep.run, measuring / "experiments/results"

    def over_after_the_first_point(graph, layout, config, **given):
        launch(stand_in_jobs(graph, layout, config, measuring)[:2], workers=1)
        return 75

    monkeypatch.setattr(figure_sweep, "run", over_after_the_first_point)
    assert figure.run(["own", f"--out={out}"]) == 75
    missing = [f"the figure's own measure of decoder.loss.target={t}" for t in ("v", "eps")]
    missing = ["training of decoder.loss.target=eps", *missing]
    part = read_record(out, "own")
    assert not part["complete"] and part["missing"] == missing
    capsys.readouterr()
    figure.run(["--list"])
    assert f"IN PART: {missing[0]} and 2 more are missing" in capsys.readouterr().out
    readme = measuring / "experiments/README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    write_readme(experiment_files("get_figure"), out, readme)
    assert f"Made in part: {missing[0]} and 2 more are missing." in readme.read_text()

    monkeypatch.setattr(figure_sweep, "run", run)
    assert figure.run(["own", f"--out={out}"]) == 0
    whole = read_record(out, "own")
    assert whole["complete"]
    monkeypatch.setattr(figure_sweep, "run", over_after_the_first_point)
    assert figure.run(["own", f"--out={out}", "--config.decoder.train.batch_size=4"]) == 75
    err = capsys.readouterr().err
    assert "own.json is a whole figure and is not replaced by a part of one" in err
    assert "give another --out" in err and read_record(out, "own") == whole
    # With overrides it is another sweep, with a column for them.
    assert figure.run(["own", "--out=part", "--config.decoder.train.batch_size=4"]) == 75
    assert read_record(measuring / "part", "own")["scale"] == "tiny, decoder.train.batch_size=4"
    with open("part/own.csv", newline="") as file:
        assert {row["decoder.train.batch_size"] for row in csv.DictReader(file)} == {"4"}
    assert {path.name for path in (measuring / "runs/sweeps").glob("own-tiny*")} == {
        "own-tiny",
        "own-tiny-decoder.train.batch_size=4",
    }


def test_a_figure_says_where_and_by_what_code_it_was_measured(measuring):
    assert figure.run(["own"]) == 0
    for path in (measuring / "runs/sweeps/jobs").glob("*/attempts.jsonl"):
        (line,) = read_attempts(path.parent)
        here = {"machine": "one Abacus", "git_revision": "1", "versions": {"jax": "1"}}
        path.write_text(json.dumps({**line, **here, "ended": "2031-01-02T12:00:00+0000"}) + "\n")
    for path in (measuring / "runs/sweeps/measures").glob("*.npz"):
        stored = cache.read(path)
        there = {"machine": "two Abaci", "git_revision": "2", "versions": {"jax": "2"}}
        made = {**stored.made, **there, "ended": "2032-01-02T12:00:00+0000"}
        cache.write(path, stored._replace(made=made))
    assert figure.run(["own"]) == 0
    record = read_record(measuring / "figures", "own")
    assert record["date"] == "2032-01-02" and record["machine"] == "one Abacus and two Abaci"
    assert record["git_revision"] == "1 2" and record["versions"] == {"jax": "2"}
    for path in (measuring / "runs/sweeps/jobs").glob("*/attempts.jsonl"):  # an earlier version's
        line = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in line.items() if k != "machine"}) + "\n")
    assert figure.run(["own"]) == 0
    assert read_record(measuring / "figures", "own")["machine"] == "two Abaci"
