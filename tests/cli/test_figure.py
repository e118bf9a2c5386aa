"""`dalle-jax figure` as a person types it."""

import csv
import json
import shutil
from functools import partial

import numpy as np
import pytest
from PIL import Image

from dalle_jax import cpu
from dalle_jax.cli import figure
from dalle_jax.cli.main import main
from dalle_jax.config import places
from dalle_jax.config.places import experiment_files
from dalle_jax.config.user_files import find_config
from dalle_jax.figures import sweep as figure_sweep
from dalle_jax.figures.files import full_scale, load_figure
from dalle_jax.figures.record import found_text, read_record
from dalle_jax.figures.summaries import BEGIN, END, write_readme
from dalle_jax.figures.verdict import UNDECIDED, Claim, Estimate
from dalle_jax.runs import create_run
from dalle_jax.sweeps.overrides import load_point
from dalle_jax.sweeps.shared_runs import build_graph
from tests.conftest import ROOT
from tests.sweeps.twelve import calls, launch, stand_in_jobs

WITHOUT_NETWORK = '''"""Paper, figure 1: squares grow."""

import matplotlib.pyplot as plt

from dalle_jax.figures.figure import Claim, Estimate, Figure, Measured


def draw(rows, images):
    figure, axes = plt.subplots()
    axes.plot([row["x"] for row in rows], [row["value"] for row in rows])
    return figure


def claims(rows):
    last = Estimate(rows[-1]["value"], (3.5, 4.5), "one square")
    return [
        Claim("The last is above 3.", last, above=3, unit="m²", published="4 | 5"),
        Claim("The last is above 4.", last, above=4),
    ]


SCALES = {"tiny": (1, 2)}


def get_figure(scale):
    rows = [{"metric": "square", "x": x, "value": x * x} for x in SCALES[scale]]
    return Figure(draw, claims, measure=lambda: Measured(rows))
'''
OF_A_SWEEP = '''"""Paper, table 2: guidance guides."""

import matplotlib.pyplot as plt

from dalle_jax.figures.figure import Claim, Figure, Measured
from dalle_jax.figures.rows import difference, find
from dalle_jax.sweeps.grid import Sweep, product


def claims(rows):
    a, b = (find(rows, "oracle/caption", guidance_scale=scale) for scale in (1.0, 3.0))
    return [Claim("Guidance guides.", difference(a, b), above=0)]


def get_figure(scale):
    sweep = Sweep(
        config="configs/tiny.py",
        points=product(("decoder.sample.guidance_scale", [1.0, 3.0])),
        overrides={"decoder.train.steps": 10},
        evaluation={"n": 8},
    )
    measure = lambda workdir: Measured([{"metric": "own", "value": len(workdir.name)}])
    draw = lambda rows, images: plt.figure()
    return Figure(draw, claims, sweep=sweep, measure=measure)
'''


def rows_of(name, folder="figures"):
    with open(f"{folder}/{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of its own with two figures and no results, whose configs are the real ones."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    folder = tmp_path / "experiments/figures"
    folder.mkdir(parents=True)
    (folder / "squares.py").write_text(WITHOUT_NETWORK)
    (folder / "guided.py").write_text(OF_A_SWEEP)
    monkeypatch.setattr(places, "EXPERIMENTS", tmp_path / "experiments")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def quick(project, monkeypatch):
    """The jobs of sweeps are those of a stand-in for training, which writes down its calls."""

    def run(graph, layout, config, **options):
        launch(stand_in_jobs(graph, layout, config, project), workers=1)
        return 0

    monkeypatch.setattr(figure_sweep, "run", run)
    return project


def test_a_figure_is_plotted_and_its_claims_are_printed(project, capsys):
    assert figure.run(["squares"]) == 0
    out = capsys.readouterr().out
    assert (
        "HOLDS: The last is above 3.\n    4 [3.5, 4.5] m² (one square)\n    published: 4 | 5" in out
    )
    assert "NOT ENOUGH DATA: The last is above 4." in out
    assert rows_of("squares") == [
        {"metric": "square", "x": "1", "value": "1"},
        {"metric": "square", "x": "2", "value": "4"},
    ]
    assert np.asarray(Image.open("figures/squares.png")).std() > 0
    assert (project / "figures/squares.pdf").read_bytes().startswith(b"%PDF")
    record = read_record(project / "figures", "squares")
    assert record["verdict"] == UNDECIDED
    assert [claim["estimate"] for claim in record["claims"]] == [4, 4]
    assert record["claims"][0]["above"] == 3 and record["claims"][0]["below"] is None
    assert " CPU core" in record["machine"] and record["core_seconds"] > 0


def test_what_is_missing_is_trained_and_measured_once(quick, capsys):
    assert figure.run(["guided"]) == 0
    (trained,) = (quick / "runs/sweeps/runs").glob("decoder-*")
    systems = [path.name for path in (quick / "runs/sweeps/systems").iterdir()]
    assert calls(quick) == {f"train {trained.name}": 1, **{f"evaluate {s}": 1 for s in systems}}
    rows = rows_of("guided")
    measured = [row for row in rows if row["metric"] == "oracle/caption"]
    assert [row["guidance_scale"] for row in measured] == ["1.0", "3.0"]
    assert float(measured[1]["value"]) - float(measured[0]["value"]) == pytest.approx(0.02)
    assert [row["value"] for row in rows if row["metric"] == "own"] == ["12", "12"]
    # The stand-in stores no scores of captions, so the difference has no error.
    assert "NOT ENOUGH DATA: Guidance guides.\n    0.02 [-inf, inf]" in capsys.readouterr().out
    before = calls(quick)
    assert figure.run(["guided", "--out=again"]) == 0
    assert calls(quick) == before
    record = read_record(quick / "again", "guided")
    assert record["seeds"] == {"training": ["0"], "sampling": ["0"]}
    assert record["seconds"] >= 0.1  # those of the jobs are in it


def test_a_figure_of_a_workdir_trains_nothing(quick):
    config = load_point(ROOT / "configs/tiny.py", {"decoder.train.steps": 4})
    create_run(quick / "mine/decoder", "decoder", config)
    with pytest.raises(FileNotFoundError, match="mine/decoder has no checkpoint yet; train one"):
        figure.run(["guided", "--workdir=mine"])
    (quick / "mine/decoder/checkpoints/2").mkdir(parents=True)
    with pytest.raises(ValueError, match="mine/decoder is at step 2 of 4; train it to its end"):
        figure.run(["guided", "--workdir=mine"])
    (quick / "mine/decoder/checkpoints/10").mkdir(parents=True)
    assert figure.run(["guided", "--workdir=mine"]) == 0
    assert {call.split()[0] for call in calls(quick)} == {"evaluate"}
    with pytest.raises(ValueError, match=r"is trained already, so --config\.seed=1 can't be"):
        figure.run(["guided", "--workdir=mine", "--config.seed=1"])
    text = OF_A_SWEEP.replace('sample.guidance_scale", [1.0, 3.0]', "loss.target\", ['v', 'eps']")
    (quick / "experiments/figures/targets.py").write_text(text)
    with pytest.raises(ValueError, match=r"targets varies decoder\.loss\.target"):
        figure.run(["targets", "--workdir=mine"])


def test_the_network_of_distances_is_trained_on_the_same_data(quick):
    text = OF_A_SWEEP.replace("measure=measure", "features='configs_of_mine/small.py'")
    (quick / "experiments/figures/distances.py").write_text(text)
    (quick / "configs_of_mine").mkdir()
    (quick / "configs_of_mine/small.py").write_text(
        "from configs import features\n\ndef get_config():\n"
        "    config = features.get_config()\n    config.classifier.train.steps = 10\n"
        "    return config\n"
    )
    assert figure.run(["distances"]) == 0
    (trained,) = (quick / "runs/sweeps/runs").glob("classifier-*")
    assert calls(quick)[f"train {trained.name}"] == 1
    sweep = json.loads((quick / "runs/sweeps/distances-tiny/sweep.json").read_text())
    for point in sweep["points"]:
        options = point["evaluation"]["options"]
        assert options == {"n": 8, "features": f"runs/sweeps/runs/{trained.name}"}
    # Of the data and tokens of configs/tiny.py, which are not those of configs/features.py.
    classifier = json.loads((quick / "runs/sweeps/features/sweep.json").read_text())
    of_both = [document["points"][0]["config"] for document in (sweep, classifier)]
    assert of_both[0]["data"] == of_both[1]["data"]
    assert of_both[0]["tokenizer"] == of_both[1]["tokenizer"]


EACH = 'lambda workdir: Measured([{"metric": "own", "value": len(workdir.name)}])'
FEW = 'lambda workdir, num_captions: Measured([{"metric": "own", "value": num_captions}])'
BOTH = """lambda workdirs, num_captions: Measured(
        [{"metric": "own", "value": 10 * len(workdirs) + num_captions}]
    )"""


@pytest.mark.parametrize(
    ("code", "options", "found"),
    [
        (FEW, "measure=measure, num_captions=7", ["5", "5"]),
        (BOTH, "measure=measure, num_captions=7, together=True", ["25"]),
    ],
)
def test_a_figure_s_measure_is_of_each_point_or_of_all_at_once(quick, code, options, found):
    text = OF_A_SWEEP.replace(EACH, code).replace('evaluation={"n": 8}', "evaluation=None")
    text = text.replace("measure=measure", options)
    (quick / "experiments/figures/mine.py").write_text(text)
    assert figure.run(["mine", "--captions=5"]) == 0
    rows = [row for row in rows_of("mine") if row["metric"] == "own"]
    assert [row["value"] for row in rows] == found
    assert len(found) == 1 or all(row["guidance_scale"] for row in rows)
    assert read_record(quick / "figures", "mine")["scale"] == "tiny, 5 captions"


def test_a_figure_that_counts_no_captions_takes_none(quick):
    text = OF_A_SWEEP.replace('evaluation={"n": 8}', "evaluation=None")
    (quick / "experiments/figures/mine.py").write_text(text)
    with pytest.raises(ValueError, match="mine measures its own, and takes no --captions"):
        figure.run(["mine", "--captions=5"])


def test_what_is_mistyped_is_named_in_a_sentence(project, capsys, monkeypatch):
    def refused(*options, match):
        with pytest.raises((ValueError, FileNotFoundError), match=match):
            figure.run(list(options))

    refused("guide", match="no figure 'guide', .*; did you mean guided.; known are guided, squares")
    refused("squares", "--scale=paper", match="squares.py has no scale 'paper'; it has tiny")
    squares = project / "experiments/figures/squares.py"
    squares.write_text(WITHOUT_NETWORK + 'PAPER = ("clip", "decoder")\n')
    assert figure.run(["squares", "--scale=paper"]) == 0
    out = capsys.readouterr().out
    assert "of configs/dalle2/clip.py, configs/dalle2/decoder.py: for a pod" in out
    refused("squares", "--workdir=runs/x", match="squares needs no trained network")
    refused(match="name a figure; `dalle-jax figure --list`")
    (project / "experiments/figures/none.py").write_text("")
    refused("experiments/figures/none.py", match="defines no get_figure")
    monkeypatch.setattr(cpu, "restart_with_heap", lambda: None)
    with pytest.raises(SystemExit) as ended:
        main(["figure", "nothing"])
    assert ended.value.code == 1
    assert "there is no figure 'nothing'" in capsys.readouterr().err


def test_what_was_found_says_that_chance_of_a_training_may_decide():
    found = Estimate(0.5, (0.4, 0.6), "8 captions, paired; one training each")
    assert found_text(Claim("It does.", found)).endswith("paired; one training each)")
    said = found_text(Claim("It does.", found, one_training=True))
    assert said.endswith("; one training each, whose chance may decide)")


def test_the_list_and_the_readme_say_what_the_results_say(project, capsys):
    figure.run(["squares", f"--out={project}/experiments/results"])
    readme = project / "experiments/README.md"
    readme.write_text(f"# Mine\n\n{BEGIN}\noutdated\n{END}\nafter\n")
    capsys.readouterr()
    figure.run(["--list"])
    out = capsys.readouterr().out
    assert "squares " in out and "Paper, figure 1: squares grow." in out
    assert "not enough data (tiny, 20" in out and out.count("not made yet") == 1
    (project / "experiments/results/squares.md").write_text("Squares were looked into.\n")
    figure.run(["--readme"])
    text = readme.read_text()
    assert "What was looked into: [notes](results/squares.md).\n" in text
    assert text.startswith("# Mine\n") and text.endswith(f"{END}\nafter\n")
    assert "outdated" not in text and 'src="results/squares.png"' in text
    assert "| The last is above 3. | 4 [3.5, 4.5] m² (one square) | 4 \\| 5 | holds |" in text
    assert "| [squares](#squares) | Paper, figure 1: squares grow. | 1 of 2 |" in text
    assert " | not made yet |" in text
    readme.write_text("no marks")
    with pytest.raises(ValueError, match="has no line"):
        figure.run(["--readme"])


def test_every_figure_of_the_project_is_one_at_its_scales_and_listed_as_it_was_made(tmp_path):
    known = experiment_files("get_figure")
    assert {"schedules", "unipc_orders", "ddim_steps"} <= known.keys()
    for path in known.values():
        found = load_figure(path, "tiny")
        assert callable(found.draw) and callable(found.claims)
        if found.sweep is not None:  # its knobs are those of its config
            config = find_config(found.sweep.config, path.parent)
            assert build_graph(found.sweep, partial(load_point, config)).points
        assert len(path.read_text().splitlines()) <= 95
        configs = full_scale(path)
        assert configs or callable(load_figure(path, "paper").draw)
        assert all((ROOT / config).is_file() for config in configs)
    shutil.copy(ROOT / "experiments/README.md", tmp_path)
    write_readme(known, ROOT / "experiments/results", tmp_path / "README.md")
    text = (tmp_path / "README.md").read_text()
    assert text == (ROOT / "experiments/README.md").read_text(), "run `dalle-jax figure --readme`"
    for path in (ROOT / "experiments/results").glob("*.json"):
        assert path.stem in known and "/" not in json.loads(path.read_text())["machine"]
