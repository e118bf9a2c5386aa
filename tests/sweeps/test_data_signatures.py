"""A sweep shares a training among points and with other sweeps only where its data is the same."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from dalle_jax.runs import FORMAT, create_run
from dalle_jax.runs.data import DataRecord, Reading, read_record, write_record
from dalle_jax.sweeps.data_signatures import data_signatures
from dalle_jax.sweeps.definition import read_definition, write_definition
from dalle_jax.sweeps.directories import find_reusable, lay_out
from dalle_jax.sweeps.grid import Sweep, product
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.overrides import load_point
from dalle_jax.sweeps.shared_runs import build_graph
from dalle_jax.training import pending
from tests.conftest import ROOT

STAGES = ("clip", "prior", "decoder")


def graph_of(signatures=None, **overrides):
    """Two seeds of the three stages, on data of the given signatures by stage."""
    overrides = {"data.source": "folder:cards", **overrides}
    points = product(("decoder.sample.guidance_scale", [1.0, 3.0]))
    sweep = Sweep("", points, STAGES, overrides=overrides, evaluation=None)
    signature_of = lambda stage, config: (signatures or {}).get(stage, "")
    return build_graph(sweep, partial(load_point, ROOT / "configs/unclip_tiny.py"), signature_of)


def same(signature):
    return dict.fromkeys(STAGES, signature)


def trained(directory: Path, stage: str, graph, content: str | None = None):
    """A run at its last step, of the data of that content; None makes one without a record."""
    (run,) = [run for run in graph.runs.values() if run.stage == stage]
    document = {"format": FORMAT, "stage": stage, "config": json.loads(json.dumps(run.config))}
    (directory / f"checkpoints/{run.steps}").mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(document))
    if content is not None:
        write_record(directory, DataRecord([Reading(0, "folder:cards", content, content)]))
    return run


def test_keys_on_built_in_data_are_fingerprints_alone():
    assert all(run.key == f"{run.stage}-{run.fingerprint}" for run in graph_of().runs.values())


def test_the_same_content_is_shared_and_another_is_not():
    one, again, other = (set(graph_of(same(s)).runs) for s in ("aa", "aa", "bb"))
    assert one == again and len(one) == 3
    assert not one & other


@pytest.mark.parametrize(
    ("changed", "trained_anew"),
    [
        ("clip", {"clip", "prior", "decoder"}),
        ("prior", {"prior"}),
        ("decoder", {"decoder"}),
    ],
)
def test_what_depends_on_a_changed_stage_is_trained_anew(changed, trained_anew):
    before, after = graph_of(same("aa")), graph_of({**same("aa"), changed: "bb"})
    anew = {key.partition("-")[0] for key in after.runs.keys() - before.runs.keys()}
    assert anew == trained_anew


def test_a_run_is_trained_once_what_was_pending_at_its_last_step_is_made(tmp_path):
    layout, run = SweepLayout(tmp_path, "sweep"), SimpleNamespace(key="decoder-0", steps=10)
    directory = layout.run(run.key)
    assert not layout.is_trained(run)
    (directory / "checkpoints/10").mkdir(parents=True)
    assert layout.is_trained(run)
    pending.write(directory, 10, ["preview", "evaluation"])
    assert not layout.is_trained(run)
    pending.write(directory, 5, ["preview"])  # of a step before
    assert layout.is_trained(run)


def test_laying_out_notes_the_content_that_a_run_is_shared_by(tmp_path):
    layout, graph = SweepLayout(tmp_path, "s"), graph_of(same("aa"))
    lay_out(layout, graph)
    for key, run in graph.runs.items():
        record = read_record(layout.run(key))
        assert record.shared and record.content == run.content
    lay_out(layout, graph_of())  # built-in data have nothing to be noted
    assert all(read_record(layout.run(key)) is None for key in graph_of().runs)


@pytest.mark.parametrize(("content", "taken"), [("aa", True), (None, True), ("bb", False)])
def test_runs_of_other_workdirs_are_taken_where_their_data_is_the_same(tmp_path, content, taken):
    layout, graph = SweepLayout(tmp_path / "sweeps", "s"), graph_of(same("aa"))
    run = trained(tmp_path / "own/clip", "clip", graph, content)
    assert (run.key in find_reusable(layout, graph, [tmp_path / "own"])) == taken
    lay_out(layout, graph)  # a sweep that began without them
    lay_out(layout, graph, [tmp_path / "own"])
    assert layout.run(run.key).is_symlink() == taken


def test_a_training_on_two_readings_of_data_is_shared_by_none(tmp_path):
    layout, graph = SweepLayout(tmp_path / "sweeps", "s"), graph_of(same("aa"))
    run = trained(tmp_path / "own/clip", "clip", graph)
    readings = [Reading(step, "folder:cards", text, text) for step, text in ((0, "bb"), (2, "aa"))]
    write_record(tmp_path / "own/clip", DataRecord(readings))
    assert run.key not in find_reusable(layout, graph, [tmp_path / "own"])


def config(source="folder:cards", **data):
    config = load_point(ROOT / "configs/tiny.py", {})
    return {**config, "data": {**config["data"], "source": source, **data}}


def test_each_data_set_is_loaded_once_and_built_in_ones_never(tmp_path, monkeypatch):
    loaded = []

    def open_source(source, *, data_dir, **_):
        loaded.append(source)
        return SimpleNamespace(signature=f"of {source} in {data_dir}")

    monkeypatch.setattr("dalle_jax.runs.opening.open_source", open_source)
    signature = data_signatures(tmp_path)
    assert signature("decoder", config("captioned_shapes/easy")) == ""
    assert signature("decoder", config("emoji")) == ""
    assert signature("decoder", config()) == signature("decoder", config())
    assert loaded == ["folder:cards"]
    here, there = (signature("decoder", config("tfds:coco", dir=d)) for d in ("a", "b"))
    assert here != there  # the same fingerprint, other data


def test_data_that_is_gone_has_the_signature_of_what_was_trained_on_it(tmp_path):
    source = f"folder:{tmp_path}/gone"
    assert data_signatures(tmp_path)("decoder", config(source)) == ""
    run = create_run(tmp_path / "r", "decoder", config(source))
    directory = tmp_path / f"runs/decoder-{run.fingerprint}-aa"
    directory.mkdir(parents=True)
    write_record(directory, DataRecord([Reading(0, source, "aa", "aa")], shared=True))
    assert data_signatures(tmp_path)("decoder", config(source)) == "aa"
    directory.rename(directory.with_name(directory.name + "bb"))
    directory.mkdir()
    write_record(directory, DataRecord([Reading(0, source, "bb", "bb")], shared=True))
    assert data_signatures(tmp_path)("decoder", config(source)) == ""  # which of the two?


def test_the_keys_of_a_written_sweep_are_read_back(tmp_path):
    layout, graph = SweepLayout(tmp_path, "s"), graph_of(same("aa"))
    write_definition(layout, graph, Path("config.py"))
    _, read = read_definition(layout.directory)
    assert list(read.runs) == [run.key for run in read.runs.values()] == list(graph.runs)
