import pytest

from dalle_jax.data.report import Report


def report(total, **skipped):
    return Report("set", total, {reason: [*items] for reason, items in skipped.items()})


def test_too_many_bad_items_are_an_error():
    half = report(4, torn="a", blank="b")
    half.check(0.5)
    with pytest.raises(ValueError, match=r"2 of 4 .*max_bad_share = 0.25"):
        half.check(0.25)


def test_none_left_is_an_error_whatever_the_share():
    with pytest.raises(ValueError, match="0 of 1 items used"):
        report(1, torn="a").check(1.0)
    with pytest.raises(ValueError, match="holds no items"):
        report(0).check(1.0)


def test_what_is_not_used_is_a_warning_with_the_file_that_names_all(tmp_path):
    found = report(3, torn="ab")
    found.path = tmp_path / "report.json"
    with pytest.warns(UserWarning, match=r"^x: 1 of 3 .*\(a, b\); all are named in .*report"):
        found.check_and_warn("x", 1.0)


def test_what_is_saved_is_loaded(tmp_path):
    found = report(3, torn="ab")
    found.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == found
    (tmp_path / "report.json").write_text('{"what": "set"')
    assert Report.load(tmp_path / "report.json") is Report.load(tmp_path / "none") is None


def test_a_place_that_cannot_be_written_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="could not be written"):
        report(1).save(tmp_path / "file" / "report.json")
