"""Figures of which only a part is measured: told in a sentence, or drawn as far as it goes."""

import csv
import json
import re
import subprocess
import warnings

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

from dalle_jax.cli import figure, figure_record, figure_sweep
from dalle_jax.sweeps.figure import UNDECIDED
from dalle_jax.sweeps.jobs import jobs_of
from tests.cli.test_figure import OF_A_SWEEP, project  # noqa: F401 (a fixture)
from tests.conftest import ROOT
from tests.sweeps.twelve import STAND_IN, launch

RESULTS = ROOT / "experiments/results"
SWEPT = [name for name, path in figure.figure_files().items() if "Sweep(" in path.read_text()]
BLANK = np.zeros((32, 64, 3), np.uint8)


def rows_of(name: str) -> list[dict]:
    """The rows that a figure was made of, as its table keeps them."""

    def value(text: str):
        try:
            return json.loads(text)
        except ValueError:
            return {"True": True, "False": False}.get(text, text)

    with open(RESULTS / f"{name}.csv", newline="") as file:
        return [{k: value(v) for k, v in row.items() if v != ""} for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", SWEPT)
def test_a_figure_is_drawn_of_what_is_there(name):
    made = figure.load_figure(figure.find_file(name), "tiny")
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
def trained_alone(project, monkeypatch):  # noqa: F811
    """Trainings end well, by a stand-in, and no evaluation starts."""

    def walk(graph, place, config, **options):
        jobs = jobs_of(graph, place, config, ("python", "-S", str(STAND_IN), str(project)))
        launch([job for job in jobs if not job.key.startswith("evaluation-")], workers=1)
        return 75

    monkeypatch.setattr(figure_sweep, "walk", walk)
    return project


@pytest.mark.parametrize("measured", ["by evaluations", "by itself"])
def test_where_losses_alone_are_there_a_sentence_says_so(trained_alone, capsys, measured):
    text = OF_A_SWEEP.replace("plt.figure()", 'images["drawn"]')
    if measured == "by itself":
        text = text.replace('evaluation={"n": 8}', "evaluation=None")
        text = text.replace('[{"metric": "own", "value": len(workdir.name)}]', "[]")
    else:
        text = text.replace(", measure=measure", "")
    (trained_alone / "experiments/figures/own.py").write_text(text)
    assert figure.run(["own"]) == 75
    assert "nothing is measured yet; the same command goes on" in capsys.readouterr().out
    assert list((trained_alone / "runs/sweeps/runs").glob("decoder-*/checkpoints/10"))


def test_the_machine_is_that_of_the_jobs(monkeypatch):
    asked = []

    def answer(command, env, **options):
        asked.append(command)
        return "one NVIDIA Abacus\n" if env["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false" else ""

    monkeypatch.setattr(subprocess, "check_output", answer)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CPU core" in figure_record.machine() and not asked
    # As after jobs on a GPU, which this process has left to them.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", "cpu")
    try:
        assert figure_record.machine() == "one NVIDIA Abacus"
    finally:
        jax.config.update("jax_platforms", before)
    assert asked[0][-1] == "from dalle_jax.cli.figure_record import machine; print(machine())"


def test_where_the_network_of_distances_fails_a_sentence_says_so(project, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(figure_sweep, "walk", lambda *given, **options: 1)
    text = OF_A_SWEEP.replace(
        "measure=measure", "features='configs/features.py', together=True, measure=measure"
    ).replace("lambda workdir:", "lambda workdirs, extractor:")
    (project / "experiments/figures/judged.py").write_text(text)
    assert figure.run(["judged"]) == 1
    assert "nothing is measured yet" in capsys.readouterr().out


def test_the_readmes_example_of_a_figure_is_one(tmp_path):
    text = (ROOT / "experiments/README.md").read_text()
    path = tmp_path / "larger.py"
    path.write_text(re.search(r"## A new figure.*?```python\n(.*?)```", text, re.DOTALL).group(1))
    made = figure.load_figure(path, "tiny")
    assert [claim.verdict for claim in made.claims([])] == [UNDECIDED]
    head = {"metric": "oracle/caption", "value": 0.5, "num_images": 64}
    sizes = [point["decoder.train.batch_size"] for point in made.sweep.points]
    made.draw([{**head, "batch_size": size} for size in sizes], {})
    plt.close("all")
    configs = figure.full_scale(path)
    assert configs and all((ROOT / config).is_file() for config in configs)
