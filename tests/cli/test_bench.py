"""`dalle-jax bench`: what it sweeps, and that its numbers mean what they say."""

import csv
import time

import pytest

from dalle_jax.cli.bench import run
from dalle_jax.config.load import load_config
from dalle_jax.cost import bench as bench_measure
from dalle_jax.cost import bench_table
from dalle_jax.cost.bench_table import HEADINGS, line, points
from tests.conftest import ROOT

CONFIG = ROOT / "configs/unclip_tiny.py"


def test_a_sweep_changes_one_setting_at_a_time():
    config = load_config(CONFIG).to_dict()
    found = {label: c["clip"] for label, c in points("clip", config, ["batch", "mesh", "remat"], 8)}
    assert list(found) == [
        "as configured",
        "batch 4",
        "batch 16",
        "mesh 4×2×1",
        "mesh 1×8×1",
        "remat products",
        "remat blocks",
    ]
    assert found["batch 16"]["train"]["batch_size"] == 16
    assert found["mesh 4×2×1"]["train"] == {
        **config["clip"]["train"],
        "mesh": {"data": 4, "fsdp": 2, "tensor": 1},
    }
    assert config["clip"]["train"]["batch_size"] == 8
    assert {
        label: c["clip"]["model"]["scan_blocks"] for label, c in points("clip", config, ["scan"], 1)
    } == {"as configured": False, "scan True": True}
    with pytest.raises(ValueError, match=r"joint has no model\.dtype of its own"):
        list(points("joint", config, ["dtype"], 1))


def test_a_stage_that_the_config_lacks_is_named():
    with pytest.raises(ValueError, match="no stage 'joint'"):
        run([f"--config={ROOT / 'configs/tiny.py'}", "--stage=joint"])


@pytest.fixture
def bench(monkeypatch, tmp_path, capsys):
    """Type a bench of three batches with a stand-in for the measurement."""

    def typed(measured, code):
        monkeypatch.setattr(bench_table, "measure_training", measured)
        monkeypatch.setattr(bench_table, "measure_drawing", lambda *_: None)
        path = tmp_path / "bench.csv"
        assert run([f"--config={CONFIG}", "--stage=clip", "--sweep=batch", f"--csv={path}"]) == code
        with path.open(newline="") as file:
            return list(csv.DictReader(file)), capsys.readouterr().out.splitlines()[-3:]

    return typed


def test_the_rows_that_are_printed_are_those_of_the_csv(bench):
    def measured(stage, config, label, rounds, block):
        row = dict.fromkeys(bench_measure.COLUMNS, 0.25) | {"error": None}
        width = config[stage]["train"]["batch_size"]
        return row | {"stage": stage, "what": "train", "point": label, "milliseconds": width}

    rows, shown = bench(measured, 0)
    expected = [("as configured", "8"), ("batch 4", "4"), ("batch 16", "16")]
    assert [(row["point"], row["milliseconds"]) for row in rows] == expected
    assert [text.split()[-8] for text in shown] == ["8.0", "4.0", "16.0"]


def test_a_point_that_can_not_be_measured_is_reported_and_the_others_go_on(bench):
    reason = "a batch of 4 can't be cut over 8 devices"

    def measured(stage, config, label, rounds, block):
        if label == "batch 4":
            raise ValueError(f"{reason}\nand more")
        row = {"stage": stage, "what": "train", "point": label}
        return dict.fromkeys(bench_measure.COLUMNS) | row

    rows, shown = bench(measured, 1)
    expected = [("as configured", ""), ("batch 4", reason), ("batch 16", "")]
    assert [(row["point"], row["error"]) for row in rows] == expected
    assert shown[1].endswith(reason) and shown[2].split()[-2:] == ["batch", "16"]


@pytest.mark.long  # it compiles
def test_drawing_is_measured():
    config = load_config(ROOT / "configs/tiny.py").to_dict()
    row = bench_measure.measure_drawing("decoder", config, "as configured", 2, 1)
    assert (row["what"], row["point"]) == ("sample", "as configured")
    assert row["images_per_second"] == pytest.approx(8 / row["milliseconds"] * 1000)
    assert row["gflop"] > 0 and 0 < row["share_of_peak"] < 1 and row["peak_mib"] > 0
    assert row["loop_ratio"] is None and len(line(row)) == len(HEADINGS)


@pytest.mark.long  # it compiles
def test_a_slow_loader_shows_as_a_stall_of_the_loop_and_not_of_the_step(monkeypatch):
    make_loader, pause = bench_measure.make_loader, 0.3

    def slow(*arguments, **options):
        for batch in make_loader(*arguments, **options):
            time.sleep(pause)
            yield batch

    monkeypatch.setattr(bench_measure, "make_loader", slow)
    config = load_config(CONFIG).to_dict()
    row = bench_measure.measure_training("clip", config, "as configured", 1, 3)
    assert row["milliseconds"] * row["steps_per_second"] == pytest.approx(1000)
    assert row["images_per_second"] == pytest.approx(8 * row["steps_per_second"])
    # The step in flight hides its own length of each pause, and the first batch counts as none.
    looped = row["milliseconds"] * row["loop_ratio"] / 1000
    assert looped > 0.95 * pause
    assert 0.5 * (2 / 3 * pause) < row["data_stall"] * looped < 1.1 * pause
    assert 0 < row["share_of_peak"] < 1 and row["peak_mib"] > 0
    assert len(line(row)) == len(HEADINGS)
    assert bench_measure.measure_drawing("clip", config, "as configured", 1, 3) is None
