import pytest

from dalle_jax.data.checked import Report, scan


def run(tmp_path, problems, signature="a", share=0.5):
    asked = []

    def problem(i):
        asked.append(i)
        return problems[i]

    good, report = scan(
        "set",
        [f"item{i}" for i in range(len(problems))],
        problem,
        signature=signature,
        report_path=tmp_path / "report.json",
        max_bad_share=share,
    )
    return good.tolist(), report, asked


def test_bad_items_are_skipped_counted_and_named(tmp_path):
    with pytest.warns(UserWarning, match=r"3 of 5 items used; 2 skipped: torn \(item1, item3\)"):
        good, report, _ = run(tmp_path, [None, "torn", None, "torn", None])
    assert good == [0, 2, 4]
    assert report.skipped == {"torn": ["item1", "item3"]} and report.num_skipped == 2
    assert Report.load(tmp_path / "report.json") == report


@pytest.mark.filterwarnings("ignore:set")
def test_asked_once_while_the_signature_is_the_same(tmp_path):
    problems = [None, "torn", None]
    assert len(run(tmp_path, problems)[2]) == 3
    good, _, asked = run(tmp_path, problems)
    assert good == [0, 2] and not asked
    assert len(run(tmp_path, problems, signature="b")[2]) == 3
    (tmp_path / "report.json").write_text('{"what": "set"')
    assert len(run(tmp_path, problems, signature="b")[2]) == 3


def test_too_many_are_an_error_each_time(tmp_path):
    problems = [None, "torn", "empty caption", None]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"2 of 4 .*max_bad_share = 0.25"):
            run(tmp_path, problems, share=0.25)


def test_none_left_is_an_error_whatever_the_share(tmp_path):
    with pytest.raises(ValueError, match="0 of 1 items used"):
        run(tmp_path, ["torn"], share=1.0)
    with pytest.raises(ValueError, match="holds no items"):
        run(tmp_path / "empty", [])


def test_a_place_that_cannot_be_written_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="could not be written"):
        assert run(tmp_path / "file", [None])[0] == [0]
