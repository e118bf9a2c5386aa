"""What is made of the lines that each attempt at a job leaves."""

import json

import pytest

from dalle_jax.sweeps.record import record_attempt, time_covered


def ran(ended: str, seconds: float) -> dict:
    return {"ended": f"2031-01-02T{ended}+0000", "seconds": seconds}


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [
        ([], 0),
        ([ran("10:00:30", 10.5)], 10.5),
        ([ran("10:00:30", 10), ran("10:05:00", 10)], 20),  # one after the other, with a pause
        ([ran("10:00:30", 30), ran("10:00:40", 20)], 40),  # side by side for ten seconds
        ([ran("10:00:20", 5), ran("10:00:30", 30)], 30),  # one within the other
        ([ran("10:00:30", 30), {"ended": "2031-01-02T11:00:30+0100", "seconds": 30}], 30),
    ],
)
def test_what_ran_side_by_side_is_covered_once(attempts, seconds):
    assert time_covered(attempts) == pytest.approx(seconds)
    assert time_covered(reversed(attempts)) == pytest.approx(seconds)


def test_lines_that_are_written_can_be_added_up(tmp_path):
    told = {"code": 0, "core_seconds": 1, "peak_bytes": 1, "log": "attempt_1.log"}
    for _ in range(2):
        record_attempt(tmp_path, seconds=100, **told)
    lines = [json.loads(line) for line in (tmp_path / "attempts.jsonl").open()]
    assert 100 <= time_covered(lines) <= 110
