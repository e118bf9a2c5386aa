from dalle_jax.data.checked import Finding, inspect_all, inspect_item
from dalle_jax.data.options import ReadingOptions


def inspected(findings, **options):
    report, good = inspect_all(
        "set", [f"item{i}" for i in range(len(findings))], lambda i: findings[i], **options
    )
    return good.tolist(), report


def test_bad_items_are_skipped_counted_and_named():
    good, report = inspected([Finding(bad) for bad in (None, "torn", None, "torn", None)])
    assert good == [0, 2, 4]
    assert report.skipped == {"torn": ["item1", "item3"]} and report.num_skipped == 2
    assert str(report) == "set: 3 of 5 items used; 2 skipped: torn (item1, item3)"


def test_what_is_left_out_is_no_item():
    findings = [Finding(), *[Finding(left_out="too small")] * 8, Finding("torn")]
    good, report = inspected(findings, left_out={"suffix .npy": ["item0"], "hidden": []})
    assert good == [0] and report.total == 2
    assert str(report) == (
        "set: 1 of 2 items used; 1 skipped: torn (item9); 1 left out: suffix .npy (item0); "
        "8 left out: too small (item1, item2, item3, …)"
    )


def test_a_note_names_items_that_are_used():
    good, report = inspected([Finding(note="with a border"), Finding()])
    assert good == [0, 1] and "1 with a border (item0)" in str(report)


def test_the_content_is_that_of_the_items_in_any_order():
    findings = [Finding(content=("a", 3)), Finding("torn", content=("b", 4)), Finding(content="c")]
    contents = [
        inspected(found)[1].content
        for found in (findings, findings[::-1], findings[:2], [*findings, findings[0]])
    ]
    assert contents[0] == contents[1] and len(set(contents)) == 3


def test_a_bad_item_is_bad_whatever_its_size():
    options = ReadingOptions(min_side=10**6, max_aspect_ratio=1.0)
    assert inspect_item(b"torn", ["a"], options).bad == "unreadable image"
    assert inspect_item(None, [], options).bad == "image without caption"
