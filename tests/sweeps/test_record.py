"""What is made of the lines that each attempt at a job leaves."""

import json
import os
import subprocess

import pytest

import dalle_jax
from dalle_jax.sweeps.record import (
    Used,
    begin_attempt,
    end_attempt,
    made_by,
    origin_now,
    read_attempts,
    time_covered,
)


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


def test_attempts_that_are_recorded_can_be_added_up(tmp_path):
    for code in (1, 0):
        log = begin_attempt(tmp_path, {"host": "here"})
        end_attempt(log, code, Used(seconds=100, core_seconds=1, peak_bytes=1))
    attempts = read_attempts(tmp_path)
    assert 100 <= time_covered(attempts) <= 110
    assert [(a["log"], a["exit_code"]) for a in attempts] == [
        ("attempt_1.log", 1),
        ("attempt_2.log", 0),
    ]
    assert made_by(attempts)["host"] == ["here"]


def test_an_attempt_without_an_end_lasted_until_the_last_line_of_its_log(tmp_path):
    log = begin_attempt(tmp_path, {})
    began = log.stat().st_mtime
    os.utime(log, (began + 50, began + 50))
    (attempt,) = read_attempts(tmp_path)
    assert attempt["exit_code"] is None and attempt["seconds"] == pytest.approx(50, abs=1)
    assert time_covered([attempt]) == pytest.approx(50, abs=1)
    assert (attempt["core_seconds"], attempt["peak_bytes"]) == (0, 0)
    log.unlink()  # to make room
    assert read_attempts(tmp_path)[0]["seconds"] == 0


def test_attempts_of_earlier_versions_are_a_line_each_and_torn_lines_are_left_out(tmp_path):
    lines = [{"exit_code": code, "log": f"attempt_{i}.log"} for i, code in ((1, 1), (2, 0))]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "attempts.jsonl").write_text(text + '{"exit_co')
    assert read_attempts(tmp_path) == lines
    end_attempt(begin_attempt(tmp_path, {}), 0, Used(1, 1, 1))
    assert len(read_attempts(tmp_path)) == 3


def test_where_and_of_what_code_is_known_of_all_attempts_that_tell():
    first = {"ended": "2031-01-02T12:30:00+0100", "host": "a", "git_revision": "1", "peak_bytes": 1}
    second = {"ended": "2031-01-02T12:00:00+0000", "host": "b", "git_revision": "2"}
    second |= {"machine": "one Abacus", "versions": {"jax": "2"}}
    last = {"ended": "2031-01-02T12:00:01+0000", "host": "a", "git_revision": ""}
    assert made_by([last, second, first]) == {
        "host": ["a", "b"],
        "machine": ["one Abacus"],
        "git_revision": ["1", "2"],
        "versions": {"jax": "2"},
    }
    assert made_by([]) == {"host": [], "machine": [], "git_revision": [], "versions": {}}


def test_the_revision_is_that_of_the_moment_at_which_it_is_asked(tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    monkeypatch.setattr(dalle_jax, "__file__", str(tmp_path / "__init__.py"))
    found = []
    for text in ("first", "second"):
        (tmp_path / "file").write_text(text)
        git("add", "file")
        git("commit", "-q", "-m", text)
        found.append((origin_now("one Abacus")["git_revision"], git("rev-parse", "HEAD")))
    (tmp_path / "file").write_text("third")
    assert [told for told, _ in found] == [head for _, head in found] and found[0] != found[1]
    assert origin_now("one Abacus")["git_revision"] == found[1][1] + "+"
    assert origin_now("one Abacus")["machine"] == "one Abacus"
