"""`dalle-jax sweep` and `dalle-jax report` as a person types them."""

import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from dalle_jax.cli import sweep, sweep_report
from dalle_jax.cli.sweep_tables import LiveTable
from dalle_jax.sweeps import slurm
from dalle_jax.sweeps.jobs import evaluation_key
from dalle_jax.sweeps.local import DONE, RUNNING, Launcher
from tests.cli.browser import dom_after, greys_seen, needs_browser, width_on_a_phone
from tests.conftest import ONE_DEVICE, ROOT
from tests.sweeps.twelve import CONFIG, graph_of, launch, prepared

EXPERIMENT = """
from dalle_jax.sweeps.grid import Sweep, product

def get_sweep(scale):
    points = product(
        ("decoder.loss.target", ["v", "eps"]), ("decoder.sample.guidance_scale", [1.0, 3.0])
    )
    steps = {"tiny": 4}[scale]
    return Sweep(
        config="configs/tiny.py",
        points=points,
        overrides={"decoder.train.steps": steps, "decoder.train.validation_images": 8},
        evaluation={"n": 8, "metrics": "oracle"},
    )
"""


@pytest.fixture
def experiment(tmp_path) -> Path:
    """A project of its own, whose configs are the real ones."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    path = tmp_path / "experiments/targets.py"
    path.parent.mkdir()
    path.write_text(EXPERIMENT)
    return path


def test_a_dry_run_tells_what_would_be_done_and_does_nothing(experiment, tmp_path, capsys):
    workdir = tmp_path / "sweeps"
    assert sweep.run([str(experiment), f"--workdir={workdir}", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "targets-tiny: 4 points" in out
    assert "2 of 2 distinct trainings are to be done, for 4 points" in out
    assert "hours are not known" in out
    assert not (workdir / "runs").exists() and not (workdir / "targets-tiny").exists()
    # Counted once: a decoder's step and forward pass for each of two targets.
    assert len(json.loads((workdir / "flops.json").read_text())) == 4


def test_what_is_mistyped_is_told_in_a_sentence(experiment, tmp_path):
    def refused(*options, match):
        with pytest.raises((ValueError, OSError), match=match):
            sweep.run([str(experiment), f"--workdir={tmp_path}/w", *options])

    refused("--max-hour=3", match="did you mean --max-hours")
    refused("--scale=paper", match="has no scale 'paper'")
    refused("--config.decoder.loss.target=x0", match="is what the sweep varies")
    refused("--config.decoder.train.stepz=3", match=r"did you mean decoder\.train\.steps")
    refused(f"--reuse={tmp_path}/none", "--dry-run", match="no workdir .*none")
    with pytest.raises(FileNotFoundError, match="no experiment file"):
        sweep.run([f"{tmp_path}/none.py", f"--workdir={tmp_path}/w"])
    (tmp_path / "experiments/script.py").write_text("print('not one')")
    with pytest.raises(ValueError, match="defines no get_sweep"):
        sweep.run([f"{tmp_path}/experiments/script.py", f"--workdir={tmp_path}/w"])


def test_data_that_is_not_there_is_told_before_any_job_starts(experiment, tmp_path):
    workdir = tmp_path / "sweeps"
    with pytest.raises(FileNotFoundError, match="dalle-jax prepare captioned_shapes/easy"):
        sweep.run([str(experiment), f"--workdir={workdir}", f"--config.data.dir={tmp_path}/none"])
    assert not (workdir / "jobs").exists()


def test_the_slurm_backend_submits_this_sweep_for_each_task(
    experiment, tmp_path, monkeypatch, capsys
):
    submitted = []
    monkeypatch.setattr(slurm, "submit", lambda *given: submitted.append(given) or ["17_0", "17_1"])
    workdir = tmp_path / "sweeps"
    options = ["--backend=slurm", "--workers=2", "--retries=3", "--slurm.partition=gpu"]
    options += ["--slurm.gpus_per_node=1", "--config.decoder.train.batch_size=8"]
    assert sweep.run([str(experiment), f"--workdir={workdir}", *options]) == 0
    assert "submitted: ['17_0', '17_1']" in capsys.readouterr().out
    ((command, count, folder, resources),) = submitted
    assert count == 2 and folder == workdir / "targets-tiny/slurm"
    assert resources == {"partition": "gpu", "gpus_per_node": 1}
    # What a task is given is a sweep of the local backend, over the same points.
    assert command[1:4] == ["-m", "dalle_jax", "sweep"]
    args, typed, rest = sweep._parse(command[4:])
    assert (args.backend, args.experiment, args.workdir) == (
        "local",
        str(experiment),
        str(workdir),
    )
    assert (args.scale, args.retries, rest) == ("tiny", 3, {})
    assert typed == ["--config.decoder.train.batch_size=8"]
    assert (workdir / "targets-tiny/sweep.json").exists()


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


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """A sweep of twelve points as it lies when it is done, with images of four captions."""
    graph = graph_of()
    place, jobs = prepared(graph, tmp_path_factory.mktemp("swept"))
    launch(jobs)
    sweep.write_definition(place, graph, CONFIG)
    for i, point in enumerate(graph.points):
        made_of = {"seed": 0, "captions": [f"caption <{n}>" for n in range(4)]}
        folder = place.system(point) / "generated/0123456789ab"
        folder.mkdir(parents=True)
        (folder / "made_of.json").write_text(json.dumps(made_of))
        images = np.full((4, 8, 8, 3), 20 * i, np.uint8)
        np.savez_compressed(folder / "shard_00000000.npz", images=images)
    return place.directory


# Sort by the last column, largest first; compare the first point with the fourth; count pictures.
CLICKS = """
const heads = document.querySelectorAll("table.sortable th");
heads[heads.length - 1].click();
heads[heads.length - 1].click();
const second = document.querySelectorAll("select")[1];
second.selectedIndex = 3;
second.dispatchEvent(new Event("change"));
document.title = [...document.images].filter(image => image.naturalWidth === 8).length;
"""


class Page(HTMLParser):
    """The rows of the sortable table, and all pictures' sources."""

    def __init__(self, text: str):
        super().__init__()
        self.rows, self.pictures, self.addresses = [], [], []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.addresses += [given[name] for name in ("src", "href") if name in given]
        if tag == "tr" and "title" in given:
            self.rows.append([])
        if tag == "td" and self.rows and "data-value" in given:
            self.rows[-1].append(float(given["data-value"] or "nan"))
        if tag == "img":
            self.pictures.append(given["src"])


def test_the_report_has_each_point_and_needs_no_other_file(swept, capsys):
    assert sweep_report.run([str(swept.parent)]) == 0  # the only sweep in it
    assert str(swept / "report.html") in capsys.readouterr().out
    text = (swept / "report.html").read_text()
    page = Page(text)
    assert len(page.rows) == 12 and len(page.pictures) == 12 * 4
    assert all(address.startswith("data:") for address in page.addresses)
    assert "http" not in text
    # Three validation losses and the score of each point; the score says the guidance in hundredths
    # as the stand-in makes it.
    scores = [row[3] for row in page.rows]
    assert [round(100 * (score % 1)) for score in scores] == [1, 2, 3] * 4
    assert "caption &lt;0&gt;" in text and "caption <0>" not in text
    assert text.count("<polyline") == 2 * (1 + 2 + 2)  # two curves of each run, once
    names = re.findall(r"<polyline[^>]*><title>(.*?)</title>", text)  # by what is the run's own
    assert set(names[:2]) == {"all points"} and names[2] == "prior.loss.text_dropout=0.1"
    varying = json.loads(re.search(r'id="varying">(.*?)</script>', text).group(1))
    first = varying[
        "decoder.loss.target=v,decoder.sample.guidance_scale=1.0,prior.loss.text_dropout=0.1"
    ]
    assert first == {
        "decoder.loss.target": '"v"',
        "decoder.sample.guidance_scale": "1.0",
        "prior.loss.text_dropout": "0.1",
    }


def test_the_report_names_the_sweeps_where_there_is_not_one(swept, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no sweep"):
        sweep_report.run([str(tmp_path)])
    for name in ("a-tiny", "b-tiny"):
        (tmp_path / name).mkdir()
        shutil.copy(swept / "sweep.json", tmp_path / name)
    with pytest.raises(ValueError, match=r"name one: .*a-tiny, .*b-tiny"):
        sweep_report.run([str(tmp_path)])


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"points": [{}]}', '{"points": 3}'])
def test_a_torn_definition_is_named(tmp_path, content):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(ValueError, match=r"sweep\.json is not what `dalle-jax sweep` writes"):
        sweep_report.run([str(tmp_path)])


@needs_browser
def test_the_report_sorts_and_shows_pictures_in_a_browser(swept, tmp_path):
    sweep_report.run([str(swept)])
    text = (swept / "report.html").read_text()
    opened = dom_after(text, CLICKS, tmp_path)
    scores = [row[3] for row in Page(opened).rows]
    assert scores == sorted(scores, reverse=True) and scores != [r[3] for r in Page(text).rows]
    assert "<title>48</title>" in opened  # the pictures were decoded
    differences = opened.partition('id="differences"')[2].partition("</tbody>")[0]
    assert "decoder.loss.target" in differences and "guidance_scale" not in differences
    # Each point's pictures are of a grey of its own.
    seen = greys_seen(text, tmp_path)
    assert all(seen.get(20 * i, 0) >= 4 * 80 * 80 for i in range(12))
    assert width_on_a_phone(text, tmp_path) <= 390


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_from_the_command_line_to_its_table(experiment, shapes_dir, tmp_path):
    workdir = tmp_path / "sweeps"

    def type_(verb, *options):
        return subprocess.run(
            [sys.executable, "-m", "dalle_jax", verb, *map(str, options)],
            capture_output=True,
            text=True,
            env=ONE_DEVICE,
        )

    command = [experiment, f"--workdir={workdir}", f"--config.data.dir={shapes_dir}"]
    first = type_("sweep", *command)
    assert first.returncode == 0, first.stderr + first.stdout
    assert len(list((workdir / "runs").iterdir())) == 2
    for run in (workdir / "runs").iterdir():
        assert (run / "checkpoints/4").is_dir()
    results = (workdir / "targets-tiny/results.csv").read_text()
    assert results.count("oracle/caption,") == 4 and results.count("decoder/validation/loss,") == 4

    again = type_("sweep", *command)
    assert again.returncode == 0 and "running" not in again.stdout
    assert (workdir / "targets-tiny/results.csv").read_text() == results

    plan = type_("sweep", *command, "--dry-run").stdout
    assert "0 of 2 distinct trainings" in plan and "GFLOP/s of earlier runs: decoder" in plan

    assert type_("report", workdir / "targets-tiny").returncode == 0
    page = Page((workdir / "targets-tiny/report.html").read_text())
    assert len(page.rows) == 4 and len(page.pictures) == 4 * 8
