"""A training that is stopped, at whatever it is, saves, and goes on as if it never was."""

import functools
import itertools
import os
import resource
import signal
import threading
import time

import numpy as np
import pytest

from dalle_jax.training import events, loop, pending, sharding
from dalle_jax.training.checkpoint import Checkpoints, load_params, steps_in
from dalle_jax.training.signals import Interrupted
from tests.conftest import PATIENCE
from tests.training.started import assert_equal, lines, start, wait_for_line
from tests.training.tiny import Batches, fit_tiny


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_stopped_and_started_again_it_ends_bit_for_bit_the_same(uninterrupted, tmp_path, signum):
    run_dir, state = uninterrupted
    process = start(tmp_path, SLOW="0.05")
    wait_for_line(tmp_path, 12)
    process.send_signal(signum)
    _, said = process.communicate(timeout=PATIENCE)
    kept = steps_in(tmp_path / "checkpoints")
    if signum == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        assert 0 < kept[-1] < 24
    else:
        assert process.returncode == 128 + signum
        assert 12 <= kept[-1] < 24
        assert f"continues from step {kept[-1]}" in said
    process = start(tmp_path)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert f"goes on from step {kept[-1]}" in said
    assert_equal(load_params(tmp_path / "checkpoints"), state.ema_params)
    # Each step once, and the same numbers but for the windows cut by the stop and the clock.
    logged = [line for line in lines(tmp_path) if "loss" in line]
    assert [line["step"] for line in logged] == [4, 8, 12, 16, 20, 24]
    whole = {line["step"]: line for line in lines(run_dir) if "loss" in line}
    assert logged[-1]["loss"] == whole[24]["loss"]
    validation = [(x["step"], x["validation/loss"]) for x in lines(tmp_path) if "loss" not in x]
    expected = [(x["step"], x["validation/loss"]) for x in lines(run_dir) if "loss" not in x]
    assert validation == expected


class Troubled(Batches):
    """At batch `at`, `trouble()` happens."""

    def __init__(self, at, trouble):
        super().__init__()
        self.at, self.trouble = at, trouble

    def __next__(self):
        if self.k == self.at:
            self.trouble()
        return super().__next__()


def tear():
    raise OSError("17.png is torn")


def hang_and_be_terminated():
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    threading.Event().wait(3600)


# Orbax's event loop is closed before its last thread knows of the failed save.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_run_meets_a_full_disk_torn_data_and_a_hanging_disk(uninterrupted, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        while not (tmp_path / "checkpoints/5").exists():  # it is written in the background
            time.sleep(0.01)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))

    try:
        with pytest.raises(OSError, match=r"could not be saved in .* whole ones there: 5"):
            fit_tiny(tmp_path, batches=Troubled(8, fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert steps_in(tmp_path / "checkpoints") == [5]
    # Threads of the save that failed may write on in this process; a person's has ended by now.
    seen = None
    while seen != (seen := sorted((tmp_path / "checkpoints").rglob("*"))):
        time.sleep(1)

    with pytest.raises(OSError, match=r"17\.png is torn"):
        fit_tiny(tmp_path, batches=Troubled(13, tear))
    assert steps_in(tmp_path / "checkpoints")[-1] == 13

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="stopped by SIGTERM at step 18") as stop:
        fit_tiny(tmp_path, batches=Troubled(18, hang_and_be_terminated))
    assert stop.value.exit_code == 143
    assert steps_in(tmp_path / "checkpoints")[-1] == 18
    assert signal.getsignal(signal.SIGTERM) == before

    assert_equal(fit_tiny(tmp_path), uninterrupted[1])
    assert [x["step"] for x in lines(tmp_path) if "loss" in x] == [4, 8, 12, 16, 20, 24]


def what_was_made(run_dir, kind):
    return [x["step"] for x in lines(run_dir) if any(name.startswith(f"{kind}/") for name in x)]


def test_a_signal_in_the_last_validation_is_not_lost_and_neither_is_that(uninterrupted, tmp_path):
    calls = itertools.count(1)

    def last_batches():
        if next(calls) == 3:  # of step 24, after those of 8 and 16
            os.kill(os.getpid(), signal.SIGTERM)
        return itertools.islice(Batches(seed=99), 2)

    with pytest.raises(Interrupted, match="stopped by SIGTERM at step 24") as stop:
        fit_tiny(tmp_path, hooks={"validation": last_batches})
    assert stop.value.exit_code == 143
    assert steps_in(tmp_path / "checkpoints")[-1] == 24
    assert what_was_made(tmp_path, "validation") == [8, 16]
    assert pending.read(tmp_path, 24) == ["validation", "preview"]

    assert int(fit_tiny(tmp_path).step) == 24
    told, expected = (
        [x for x in lines(d) if "loss" not in x] for d in (tmp_path, uninterrupted[0])
    )
    assert told == expected
    assert (tmp_path / "samples/preview_00000024.png").exists()
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert pending.read(tmp_path, 24) == [] and int(fit_tiny(tmp_path).step) == 24
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_signal_does_not_tear_the_last_save(tmp_path, monkeypatch):
    saved, wait = [], Checkpoints.wait
    save = Checkpoints.save

    def note(self, step, *arguments):
        save(self, step, *arguments)
        saved.append(step)

    def be_told_and_wait(self):
        if saved and saved[-1] == 24:
            saved.append("told")
            os.kill(os.getpid(), signal.SIGTERM)
        wait(self)

    def unheard(*_):
        raise AssertionError("nobody listened any more")

    monkeypatch.setattr(Checkpoints, "save", note)
    monkeypatch.setattr(Checkpoints, "wait", be_told_and_wait)
    before = signal.signal(signal.SIGTERM, unheard)
    try:
        with pytest.raises(Interrupted, match="stopped by SIGTERM at step 24"):
            fit_tiny(tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert saved[-1] == "told" and steps_in(tmp_path / "checkpoints")[-1] == 24


def signal_before_step(monkeypatch, step):
    """SIGTERM between the reading of a step's batch and the step."""
    calls = itertools.count(1)

    def put_batch(*arguments):
        if next(calls) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return sharding.put_batch(*arguments)

    monkeypatch.setattr(loop, "put_batch", put_batch)


def test_told_to_stop_it_saves_and_draws_when_it_goes_on(uninterrupted, tmp_path, monkeypatch):
    drawn = []

    def preview(params, step, wait):
        drawn.append((step, steps_in(tmp_path / "checkpoints")))

    signal_before_step(monkeypatch, 12)
    with pytest.raises(Interrupted, match="stopped by SIGTERM at step 12"):
        fit_tiny(tmp_path, hooks={"preview": preview})
    assert drawn == [] and steps_in(tmp_path / "checkpoints")[-1] == 12
    assert_equal(fit_tiny(tmp_path, hooks={"preview": preview}), uninterrupted[1])
    assert [step for step, _ in drawn] == [12, 24]
    # What is due at the last step is drawn after that is saved, or while it is.
    assert drawn[0][1][-1] == 12 and not (tmp_path / pending.FILE).exists()


def test_a_loss_that_was_told_late_makes_its_checkpoint_the_best(tmp_path, monkeypatch):
    losses = iter([4.0, 3.0, 3.0, 3.0, 1.0, *[2.0] * 7])  # of the steps 2, 4, …, 24

    often = {"validate_every": 2, "checkpoint_every": 2}
    monkeypatch.setattr(events, "evaluate", lambda *_: {"loss": next(losses)})
    signal_before_step(monkeypatch, 10)
    with pytest.raises(Interrupted, match="at step 10"):
        fit_tiny(tmp_path, **often)
    fit_tiny(tmp_path, **often)
    assert steps_in(tmp_path / "checkpoints") == [10, 22, 24]


@pytest.mark.parametrize("moment", ["before", "during"])
def test_an_evaluation_of_an_hour_does_not_keep_a_signal_waiting(tmp_path, monkeypatch, moment):
    told, hour = [], [3600]

    def evaluation(params, step, wait):
        if step == 6 and hour:
            told.append(step)
            if moment == "during":
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
            time.sleep(hour.pop())
        return {"oracle/caption": step / 100}

    evaluated = {"hooks": {"evaluation": evaluation}, "evaluate_every": 6}
    if moment == "before":
        signal_before_step(monkeypatch, 6)
    with pytest.raises(Interrupted, match="stopped by SIGTERM at step 6") as stop:
        fit_tiny(tmp_path, **evaluated)
    assert stop.value.exit_code == 143
    assert bool(told) == (moment == "during")
    # No checkpoint was due at this step.
    assert steps_in(tmp_path / "checkpoints") == [5, 6]
    assert what_was_made(tmp_path, "evaluation") == []
    hour.clear()
    fit_tiny(tmp_path, **evaluated)
    assert what_was_made(tmp_path, "evaluation") == [6, 12, 18, 24]
    assert what_was_made(tmp_path, "validation") == [8, 16, 24]


class SlowArray:
    """As one that a device is still computing until `computed` is set."""

    def __init__(self):
        self.computed = threading.Event()

    def is_ready(self):
        return self.computed.is_set()

    def block_until_ready(self):
        assert self.computed.wait(PATIENCE)


@pytest.mark.parametrize("moment", ["in its start", "in its course"])
def test_what_a_device_draws_is_waited_for_after_the_save(tmp_path, monkeypatch, moment):
    array, ready_at_save, save = SlowArray(), [], Checkpoints.save

    def begin():
        if moment == "in its start":
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return array

    def note(self, step, *arguments):
        save(self, step, *arguments)
        if step == 12:  # at which none was due
            ready_at_save.append(array.is_ready())
            threading.Timer(0.5, array.computed.set).start()

    monkeypatch.setattr(Checkpoints, "save", note)
    with pytest.raises(Interrupted, match="stopped by SIGTERM at step 12"):
        fit_tiny(tmp_path, hooks={"preview": lambda params, step, wait: wait(begin)})
    assert ready_at_save == [False] and array.is_ready()
    assert pending.read(tmp_path, 12) == ["preview"]


def test_killed_while_it_draws_it_makes_that_when_it_goes_on(tmp_path):
    class Killed(BaseException):
        pass

    def preview(params, step, wait, dies=False):
        drawn.append(step)
        if dies and step == 24:
            raise Killed  # so that nothing but what is on disk by now is left
        return np.zeros((4, 6, 3), np.uint8)

    drawn = []
    with pytest.raises(Killed):
        fit_tiny(tmp_path, hooks={"preview": functools.partial(preview, dies=True)})
    assert steps_in(tmp_path / "checkpoints")[-1] == 24
    # As if the kill had come between the line of a validation and the record that it is made.
    pending.write(tmp_path, 24, ["validation", "preview"])
    assert int(fit_tiny(tmp_path, hooks={"preview": preview}).step) == 24
    assert drawn == [12, 24, 24] and (tmp_path / "samples/preview_00000024.png").exists()
    assert what_was_made(tmp_path, "validation") == [8, 16, 24]


def test_a_record_of_another_step_or_a_torn_one_has_no_events(tmp_path):
    assert pending.read(tmp_path, 12) == []
    pending.write(tmp_path, 12, ["preview", "evaluation"])
    assert pending.read(tmp_path, 12) == ["preview", "evaluation"]
    assert pending.read(tmp_path, 13) == []
    for text in ("", "{", "[]", '{"step": 12}', '{"step": 12, "events": 3}'):
        (tmp_path / pending.FILE).write_text(text)
        assert pending.read(tmp_path, 12) == []
