import json

import numpy as np
import pytest
from PIL import Image

from dalle_jax.training import progress
from dalle_jax.training.logging import RunLog
from dalle_jax.training.meter import Meter
from dalle_jax.training.progress import ProgressBar


def read(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_going_on_drops_what_comes_again_and_torn_lines(tmp_path):
    log = RunLog(tmp_path)
    for step in (10, 20, 30):
        log.scalars(step, {"loss": 1 / step})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 15, "loss": 0.')  # a kill in the middle of a line
    log = RunLog(tmp_path, from_step=20)
    log.scalars(25, {"loss": 0.5})
    log.close()
    assert read(tmp_path) == [
        {"step": 10, "loss": 0.1},
        {"step": 20, "loss": 0.05},
        {"step": 25, "loss": 0.5},
    ]


def test_of_its_own_step_going_on_drops_the_kinds_that_are_made_again(tmp_path):
    log = RunLog(tmp_path)
    for values in ({"loss": 1.0}, {"validation/loss": 2.0}, {"evaluation/caption": 3.0}):
        log.scalars(10, values)
        log.scalars(20, values)
    log.close()
    RunLog(tmp_path, from_step=20, again=["validation"]).close()
    assert [tuple(line)[1] for line in read(tmp_path) if line["step"] == 20] == [
        "loss",
        "evaluation/caption",
    ]
    assert sum(line["step"] == 10 for line in read(tmp_path)) == 3


def test_what_is_not_finite_is_left_out(tmp_path):
    log = RunLog(tmp_path)
    log.scalars(1, {"loss": np.float32(0.5), "empty_bin": np.nan, "big": np.inf})
    log.close()
    assert read(tmp_path) == [{"step": 1, "loss": 0.5}]


def test_picture(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    log = RunLog(tmp_path)
    log.image(3, "preview", image)
    log.close()
    saved = np.asarray(Image.open(tmp_path / "samples" / "preview_00000003.png"))
    np.testing.assert_array_equal(saved, image)


def test_only_one_process_writes(tmp_path):
    log = RunLog(tmp_path / "run", write=False)
    log.scalars(1, {"loss": 1.0})
    log.image(1, "preview", np.zeros((2, 2, 3), np.uint8))
    log.close()
    assert not (tmp_path / "run").exists()


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr("dalle_jax.training.meter.time.perf_counter", lambda: Clock.now)
    return Clock


def test_meter(clock):
    meter = Meter()
    meter.stalled(50.0)
    clock.now += 60  # compilation
    meter.add({"loss": 3.0, "bin": np.nan})
    for loss in (1.0, 2.0):
        meter.stalled(0.5)
        clock.now += 2
        meter.add({"loss": loss, "bin": loss})
    with meter.paused():
        clock.now += 1000
    assert meter.close(batch_size=8) == {
        "loss": 2.0,
        "bin": 1.5,
        "images_per_second": 2 * 8 / 4,
        "data_stall": 1 / 4,
    }
    clock.now += 1
    meter.add({"loss": 7.0})
    assert meter.close(8) == {"loss": 7.0, "images_per_second": 8.0, "data_stall": 0.0}


def test_plain_lines_where_there_is_no_terminal(capsys, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    bar = ProgressBar(20, start=10, title="decoder")
    values = {"loss": 0.25, "images_per_second": 12.34, "data_stall": 0.011}
    now += 500  # the first step is compiled
    bar.advance(11)
    bar.numbers(11, values)
    now += 60
    bar.advance(14)
    bar.numbers(14, values)
    bar.message("a line")
    bar.close()
    told = "loss 0.2500 · 12.3 images/s · data stall 1.1 %"
    assert capsys.readouterr().err.splitlines() == [
        f"decoder 11/20 · {told}",
        f"decoder 14/20 · {told} · 0:02:00 left",
        "a line",
    ]


def test_the_first_twenty_steps_say_how_long_all_take(capsys, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    bar = ProgressBar(5500, start=10, title="decoder")
    now += 500  # the first step is compiled
    for step in range(11, 60):
        bar.advance(step)
        now += 0.1
    bar.close()
    said = "decoder: about 9 minutes to step 5,500 on this machine\n"
    assert capsys.readouterr().err == said


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    bar = ProgressBar(20, title="decoder")
    bar.numbers(5, {"loss": 0.25, "images_per_second": 12.34, "data_stall": 0.011})
    bar.message("a line")
    bar.close()
    shown = capsys.readouterr().err
    assert "decoder" in shown
    assert "5/20" in shown
    assert "12.3 images/s" in shown
    assert "a line" in shown
