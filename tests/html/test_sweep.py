"""`dalle-jax report` as a person types it, and its page as a person opens it."""

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dalle_jax.cli import report
from dalle_jax.html import sweep
from dalle_jax.html.sweep_table import duration_text
from dalle_jax.sweeps.definition import write_definition
from dalle_jax.sweeps.grid import chain
from dalle_jax.sweeps.record import read_attempts
from tests.html.browser import dom_after, greys_seen, needs_browser, width_on_a_phone
from tests.sweeps.twelve import CONFIG, SWEEP, graph_of, launch, prepared

REVISION = "0123456789abcdef+"
CURVE = r"<g><title>(.*?)</title>"  # what the mouse shows over one


def swept_in(workdir: Path, points=SWEEP.points) -> Path:
    """A sweep as it lies when it is done, with images of four captions."""
    graph = graph_of(dataclasses.replace(SWEEP, points=points))
    place, jobs = prepared(graph, workdir)
    launch(jobs)
    write_definition(place, graph, CONFIG)
    # A CLIP's step is one GFLOP, that of the first prior two, and so on.
    of_steps = {f"step {key}": 1e9 * (1 + n) for n, key in enumerate(graph.runs)}
    (workdir / "flops.json").write_text(json.dumps(of_steps))
    for path in workdir.glob("jobs/*/attempts.jsonl"):  # as from one commit with changed files
        path.write_text(
            re.sub(r'"git_revision": "[^"]*"', f'"git_revision": "{REVISION}"', path.read_text())
        )
    for i, point in enumerate(graph.points):
        made_of = {"seed": 0, "captions": [f"caption <{n}>" for n in range(4)]}
        folder = place.system(point) / "generated/0123456789ab"
        folder.mkdir(parents=True)
        (folder / "made_of.json").write_text(json.dumps(made_of))
        images = np.full((4, 8, 8, 3), 20 * i, np.uint8)
        np.savez_compressed(folder / "shard_00000000.npz", images=images)
    return place.directory


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """Twelve points."""
    return swept_in(tmp_path_factory.mktemp("swept"))


class Page(HTMLParser):
    """The sortable table, what stands below it, and all pictures' sources."""

    def __init__(self, text: str):
        super().__init__()
        self.heads, self.rows, self.facts = [], [], []
        self.pictures, self.addresses = [], []
        self._into: list[str] | None = None
        self._number: str | None = None
        self._sortable = False
        self.feed(text)

    def column(self, head: str) -> list[str]:
        """What the column whose heading begins so holds: what it is sorted by."""
        (at,) = (i for i, name in enumerate(self.heads) if name.startswith(head))
        return [row[at] for row in self.rows]

    def numbers(self, head: str) -> list[float]:
        """The same as numbers."""
        return list(map(float, self.column(head)))

    def same(self, name: str) -> str:
        """What is told once, for all points."""
        return self.facts[self.facts.index(name) + 1]

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.addresses += [given[name] for name in ("src", "href") if name in given]
        if tag == "img":
            self.pictures.append(given["src"])
        if tag == "table":
            self._sortable = given.get("class") == "sortable"
        if tag == "tr" and "title" in given:
            self.rows.append([])
        if tag in ("dt", "dd"):
            self._begin(self.facts)
        if tag in ("th", "td") and not self.facts and self._sortable:
            self._begin(self.rows[-1] if tag == "td" else self.heads)
            self._number = given.get("data-value")

    def _begin(self, into: list[str]):
        self._into, self._number = into, None
        into.append("")

    def handle_data(self, data):
        if self._into is not None:
            self._into[-1] += data

    def handle_endtag(self, tag):
        if tag in ("th", "td", "dt", "dd") and self._into is not None:
            if self._number is not None:
                self._into[-1] = self._number
            self._into = None


def test_the_report_has_each_point_and_needs_no_other_file(swept, capsys):
    assert report.run([str(swept.parent)]) == 0  # the only sweep in it
    assert str(swept / "report.html") in capsys.readouterr().out
    text = (swept / "report.html").read_text()
    page = Page(text)
    assert len(page.rows) == 12 and len(page.pictures) == 12 * 4
    assert all(address.startswith("data:") for address in page.addresses)
    assert "http" not in text
    assert "60.00 GFLOP" in text and " GiB" in text
    # The score says the guidance in hundredths as the stand-in makes it.
    assert [round(100 * (score % 1)) for score in page.numbers("caption")] == [1, 2, 3] * 4
    assert "caption &lt;0&gt;" in text and "caption <0>" not in text
    names = re.findall(CURVE, text)  # by what only the run's points have
    assert len(names) == 2 * (1 + 2 + 2)  # two curves of each run, once
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


def test_the_report_has_all_columns_of_the_tidy_table(swept):
    page = Page(sweep.render(swept))
    assert page.column("decoder.loss.target") == (["v"] * 3 + ["eps"] * 3) * 2
    assert page.heads[:3] == [
        *("prior.loss.text_dropout", "decoder.loss.target", "decoder.sample.guidance_scale"),
    ]
    assert page.column("protocol") == ["oracle1.0", "oracle2.0", "oracle3.0"] * 4
    counted = json.loads((swept.parent / "flops.json").read_text())
    points = json.loads((swept / "sweep.json").read_text())["points"]
    for point, operations in zip(points, page.numbers("operations"), strict=True):
        steps = {s: point["config"][s]["train"]["steps"] for s in point["runs"]}
        by_hand = sum(steps[s] * counted[f"step {key}"] for s, key in point["runs"].items())
        assert operations == by_hand
    for cost in ("training", "evaluation", "peak memory"):
        assert all(number > 0 for number in page.numbers(cost))
    # What is the same for all points stands below the table, once.
    assert page.same("seed") == "0" and "seed" not in page.heads
    assert page.same("8 images, oracle") == (
        "captions stand-in; seeds of sampling 0; floors caption 1"
    )
    assert page.same("git revision") == "0123456789+" + REVISION  # in short, and unfolded
    assert "numpy " + np.__version__ in page.same("versions")


def test_what_the_points_do_not_share_is_a_column(tmp_path):
    """The seed, and a second version of a package; what is not there is an empty cell."""
    directory = swept_in(tmp_path, chain([{}], ("seed", [1, 2])))
    path = sorted(tmp_path.glob("jobs/evaluation-*/attempts.jsonl"))[0]
    (attempt,) = read_attempts(path.parent)
    attempt["versions"]["jax"] = "0.0.1"
    path.write_text(json.dumps(attempt) + "\n")
    (tmp_path / "flops.json").unlink()
    page = Page(sweep.render(directory))
    assert page.column("seed") == ["0", "1", "2"]
    assert sum("jax 0.0.1" in cell for cell in page.column("versions")) == 1
    assert "operations" not in page.heads  # of which none are counted


@pytest.mark.parametrize(
    "seconds, text", [(0.25, "0.2 s"), (119, "119.0 s"), (7000, "116.7 min"), (90000, "25.0 h")]
)
def test_durations_have_the_unit_in_which_they_are_short(seconds, text):
    assert duration_text(seconds) == text


def test_overrides_of_the_command_line_are_stated_once(swept, tmp_path):
    shutil.copytree(swept.parent, tmp_path / "sweeps", symlinks=True)
    path = tmp_path / "sweeps" / swept.name / "sweep.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"cli_overrides": {"decoder.train.batch_size": 7}}))
    assert Page(sweep.render(path.parent)).same("decoder.train.batch_size") == "7"
    del document["cli_overrides"]
    path.write_text(json.dumps(document | {"typed": {"decoder.train.batch_size": 8}}))
    assert Page(sweep.render(path.parent)).same("decoder.train.batch_size") == "8"
    path.write_text(json.dumps(document))  # as the first version wrote it
    assert "decoder.train.batch_size" not in Page(sweep.render(path.parent)).facts


def test_a_point_without_results_is_an_empty_line(tmp_path):
    directory = swept_in(tmp_path, chain([{}], ("decoder.loss.target", ["eps"])))
    shutil.rmtree(tmp_path / "jobs")
    shutil.rmtree(tmp_path / "runs")
    for path in tmp_path.glob("systems/*/results.jsonl"):
        path.unlink()
    text = sweep.render(directory)
    page = Page(text)
    assert [row[0] for row in page.rows] == ["base", "eps"]
    assert "0 of 2 points have results so far" in text


def test_a_metric_under_two_protocols_is_two_columns(tmp_path):
    """A point that was drawn in two ways has both numbers, each with its protocol's hash."""
    directory = swept_in(tmp_path, chain([{}], ("decoder.loss.target", ["eps"])))
    system = json.loads((directory / "sweep.json").read_text())["points"][1]["system"]
    path = tmp_path / "systems" / system / "results.jsonl"
    row = json.loads(path.read_text())
    row["protocol"]["sampling"], row["protocol_hash"] = {"seeds": [1]}, "another"
    row["metrics"]["oracle/caption"]["value"] = 7.0
    path.write_text(path.read_text() + json.dumps(row) + "\n")
    page = Page(sweep.render(directory))
    first, second = (i for i, head in enumerate(page.heads) if head.startswith("caption"))
    assert page.rows[0][second] == "" and float(page.rows[1][second]) == 7.0
    assert float(page.rows[1][first]) != 7.0
    assert page.heads[first] != page.heads[second]
    about = [fact for fact in page.facts if "protocol another" in fact]
    assert len(about) == 1 and "seeds of sampling 1" in about[0]


@pytest.mark.parametrize(
    ("knob", "value", "stage", "columns"),
    [
        ("decoder.loss.target", "eps", "decoder", ["target eps", "target v"]),
        ("decoder.loss.weighting", "snr", "decoder", ["weighting simple", "weighting snr"]),
        ("prior.loss.text_dropout", 0.3, "prior", [""]),
    ],
)
def test_losses_stand_together_only_where_they_measure_the_same(
    knob, value, stage, columns, tmp_path
):
    text = sweep.render(swept_in(tmp_path, chain([{}], (knob, [value]))))
    heading = f"{stage} validation loss"
    found = [h.removeprefix(heading) for h in Page(text).heads if h.startswith(heading)]
    assert sorted(found) == columns
    plots = re.findall(rf"<h3>{stage}: validation/loss(?:, )?(.*?)</h3>", text)
    assert sorted(plots) == columns


def test_a_point_that_overrides_nothing_is_the_base(tmp_path):
    """In the table, in the curves of its run, and above its pictures."""
    points = chain([{}], ("decoder.loss.target", ["eps"]), ("prior.loss.text_dropout", [0.3]))
    text = sweep.render(swept_in(tmp_path, points))
    names = re.findall(CURVE, text)
    # A prior is the base's and that of the other target, a decoder that of the other dropout.
    of_prior, of_decoder = (
        ["base", "prior.loss.text_dropout=0.3"],
        ["base", "decoder.loss.target=eps"],
    )
    assert names == ["all points"] * 2 + of_prior * 2 + of_decoder * 2
    assert re.search(r'<th [^>]*title="base">base</th>', text)
    assert [row[0] for row in Page(text).rows] == ["base", "eps", ""]


def test_the_report_names_the_sweeps_where_there_is_not_one(swept, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no sweep"):
        report.run([str(tmp_path)])
    for name in ("a-tiny", "b-tiny"):
        (tmp_path / name).mkdir()
        shutil.copy(swept / "sweep.json", tmp_path / name)
    with pytest.raises(ValueError, match=r"name one: .*a-tiny, .*b-tiny"):
        report.run([str(tmp_path)])


def test_the_report_is_made_from_within_the_sweep_too(swept, monkeypatch):
    monkeypatch.chdir(swept)
    assert len(Page(sweep.render(Path("."))).pictures) == 12 * 4


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"points": [{}]}', '{"points": 3}'])
def test_a_torn_definition_is_named(tmp_path, content):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(ValueError, match=r"sweep\.json is not what `dalle-jax sweep` writes"):
        report.run([str(tmp_path)])


# Sort by operations, largest first; compare the first point with the fourth; count pictures.
CLICKS = """
const heads = [...document.querySelectorAll("table.sortable th")];
const operations = heads.find(head => head.textContent === "operations").querySelector("button");
operations.click();
operations.click();
const second = document.querySelectorAll("select")[1];
second.selectedIndex = 3;
second.dispatchEvent(new Event("change"));
document.title = [...document.images].filter(image => image.naturalWidth === 8).length;
"""


@needs_browser
def test_the_report_sorts_and_shows_pictures_in_a_browser(swept, tmp_path):
    report.run([str(swept)])
    text = (swept / "report.html").read_text()
    opened = dom_after(text, CLICKS, tmp_path)
    costs = Page(opened).numbers("operations")
    assert costs == sorted(costs, reverse=True) and costs != Page(text).numbers("operations")
    assert sorted(Page(opened).numbers("caption")) == sorted(Page(text).numbers("caption"))
    assert "<title>48</title>" in opened  # the pictures were decoded
    differences = opened.partition('id="differences"')[2].partition("</tbody>")[0]
    assert "decoder.loss.target" in differences and "guidance_scale" not in differences
    # Each point's pictures are of a grey of its own.
    seen = greys_seen(text, tmp_path, width=1800, height=4000)
    assert all(seen.get(20 * i, 0) >= 4 * 80 * 80 for i in range(12))
    assert width_on_a_phone(text, tmp_path) <= 390
