import subprocess
import sys
import threading
import time

import pytest

from dalle_jax.data.prefetch import Prefetch, Stalled
from tests.conftest import PATIENCE, ROOT


def prefetch(make, count=10, **settings):
    defaults = {"num_threads": 2, "patience": 20.0, "doing": lambda k: f"part {k}"}
    return Prefetch(make, count, **{**defaults, **settings})


@pytest.mark.parametrize("num_threads", [0, 1, 3])
def test_batches_come_in_order_and_end(num_threads):
    def make(k):
        time.sleep(0.002 * (k % 3))
        return k

    assert list(prefetch(make, num_threads=num_threads)) == list(range(10))


@pytest.mark.parametrize(("num_threads", "ahead"), [(0, 0), (1, 2), (3, 6)])
def test_so_many_are_made_ahead_and_no_more(num_threads, ahead):
    made = []
    batches = prefetch(made.append, 100, num_threads=num_threads)
    for _ in range(3):
        next(batches)
    deadline = time.monotonic() + PATIENCE
    while len(made) < 3 + ahead and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert sorted(made) == list(range(3 + ahead))


def test_it_goes_on_from_a_state_backwards_and_forwards():
    batches = prefetch(lambda k: k)
    assert [next(batches) for _ in range(4)] == [0, 1, 2, 3]
    assert batches.get_state() == {"next_index": 4}
    for k in (2, 7, 0):
        batches.set_state({"next_index": k})
        assert [next(batches), next(batches)] == [k, k + 1]


@pytest.mark.parametrize("error", [ValueError("torn"), TimeoutError("the server"), MemoryError()])
def test_a_worker_that_dies_is_an_error_where_its_batch_was_due(error):
    def make(k):
        if k == 3:
            raise error
        return k

    batches = prefetch(make)
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    for _ in range(2):  # and stays one
        with pytest.raises(type(error)) as raised:
            next(batches)
        assert raised.value is error
    assert batches.get_state() == {"next_index": 3}


@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_worker_that_hangs_is_named_in_bounded_time(num_threads):
    answer = threading.Event()

    def make(k):
        if k == 3:
            answer.wait()
        return k

    batches = prefetch(make, num_threads=num_threads, patience=1)
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(Stalled, match=r"no batch came in 1 s: batch 3 hangs at part 3; see"):
        next(batches)
    answer.set()  # The disk answers after all.
    assert [next(batches), next(batches)] == [3, 4]


def test_a_worker_that_hangs_keeps_no_process_alive():
    code = """
import threading
from dalle_jax.data.prefetch import Prefetch
next(Prefetch(lambda k: threading.Event().wait(), 9, num_threads=2, patience=0.2, doing=str))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 1 and "no batch came in 0.2 s: batch 0 hangs at 0" in done.stderr


def test_the_end_of_a_program_waits_for_batches_that_are_being_made():
    """Python would end their threads in the middle of compiled code, which may abort."""
    code = """
import os
import time
from dalle_jax.data.prefetch import Prefetch

def make(k):
    if k:
        os.write(1, f"{k} begins\\n".encode())
        time.sleep(0.5)
        os.write(1, f"{k} ends\\n".encode())

batches = Prefetch(make, 9, num_threads=2, patience=60, doing=str)
next(batches)
time.sleep(0.2)  # both threads are in the middle of one
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    said = done.stdout.splitlines()
    assert done.returncode == 0 and said
    assert {line.removesuffix(" begins") for line in said if "begins" in line} == {
        line.removesuffix(" ends") for line in said if "ends" in line
    }
    assert len(said) < 2 * 8  # no more were made


def test_threads_go_with_it():
    before = threading.active_count()
    for _ in range(20):
        batches = prefetch(lambda k: k, 1000, num_threads=3)
        next(batches)
    del batches
    deadline = time.monotonic() + PATIENCE
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
