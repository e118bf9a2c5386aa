import io
import warnings

import pytest
from PIL import Image

from dalle_jax.data.checked import Finding, Report, inspect_item, scan
from dalle_jax.data.options import ReadingOptions


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


def scan_findings(tmp_path, findings, ids=None, others=None, signature="a", **options):
    ids = ids or [f"item{i}" for i in range(len(findings))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return scan(
            "set",
            ids,
            lambda i: findings[i],
            signature=signature,
            report_path=tmp_path / "report.json",
            max_bad_share=0.5,
            left_out=others,
            **options,
        )


def test_what_is_left_out_is_no_item_and_never_an_error(tmp_path):
    findings = [Finding(), *[Finding(left_out="too small")] * 8, Finding("torn")]
    for _ in range(2):  # inspected, then read from the report
        good, report = scan_findings(tmp_path, findings, others={"suffix .npy": ["item0"]})
        assert good.tolist() == [0] and report.total == 2
        assert str(report) == (
            "set: 1 of 2 items used; 1 skipped: torn (item9); 1 left out: suffix .npy (item0); "
            "8 left out: too small (item1, item2, item3, …)."
        )


def test_a_note_names_items_that_are_used(tmp_path):
    for _ in range(2):
        good, report = scan_findings(tmp_path, [Finding(note="with a border"), Finding()])
        assert good.tolist() == [0, 1] and "1 with a border (item0)" in str(report)


def test_the_content_is_that_of_the_items_in_any_order(tmp_path):
    findings = [Finding(content=("a", 3)), Finding("torn", content=("b", 4)), Finding(content="c")]
    contents = [
        scan_findings(tmp_path, found, signature=str(n))[1].content
        for n, found in enumerate(
            [findings, findings[::-1], findings[:2], [*findings, findings[0]]]
        )
    ]
    assert contents[0] == contents[1] and len(set(contents)) == 3
    assert scan_findings(tmp_path, [*findings, None], signature="3")[1].content == contents[3]


@pytest.mark.parametrize(
    ("size", "options", "reason"),
    [
        ((64, 64), {"min_side": 64}, None),
        ((640, 63), {"min_side": 64}, "side below 64 pixels"),
        ((30, 10), {"max_aspect_ratio": 3.0}, None),
        ((10, 31), {"max_aspect_ratio": 3.0}, "aspect ratio above 3"),
        ((1, 1), {}, None),
    ],
)
def test_images_of_other_sizes_are_left_out(size, options, reason):
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    assert inspect_item(file.getvalue(), ["a"], ReadingOptions(**options)) == Finding(
        left_out=reason
    )


def test_a_bad_item_is_bad_whatever_its_size():
    assert inspect_item(b"torn", ["a"], ReadingOptions(min_side=10**6)).bad == "unreadable image"
    assert (
        inspect_item(None, [], ReadingOptions(max_aspect_ratio=1.0)).bad == "image without caption"
    )
