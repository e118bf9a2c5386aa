"""What is made of the lines that each attempt at a job leaves."""

import json
import subprocess

import pytest

import dalle_jax
from dalle_jax.sweeps.record import Used, made_by, origin_now, record_attempt, time_covered


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
    for _ in range(2):
        used = Used(seconds=100, core_seconds=1, peak_bytes=1)
        record_attempt(tmp_path, code=0, used=used, log="attempt_1.log", origin={})
    lines = [json.loads(line) for line in (tmp_path / "attempts.jsonl").open()]
    assert 100 <= time_covered(lines) <= 110


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
