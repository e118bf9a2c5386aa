import numpy as np
import pytest

from dalle_jax.data.index import (
    Index,
    NotScannedError,
    are_numbers_of,
    open_index,
    without_scan,
)
from dalle_jax.data.report import Report


@pytest.fixture
def opened(tmp_path):
    """Opens an index of a signature; and how often its data was scanned."""
    scans = []

    def scan():
        scans.append(1)
        return Index(Report("set", 2, {"torn": ["b"]}), {"names": np.array(["a", "b"])})

    def is_sound(arrays):
        return len(arrays["names"]) == 2

    def run(signature="a"):
        paths = tmp_path / "index.npz", tmp_path / "report.json"
        report, arrays = open_index(*paths, signature, is_sound, scan)
        assert arrays["names"].tolist() == ["a", "b"] and report.skipped == {"torn": ["b"]}
        assert report.path == paths[1] and report.signature == signature
        return len(scans)

    return run


def test_data_is_scanned_once_while_the_signature_is_the_same(opened):
    assert [opened(signature) for signature in "aabbab"] == [1, 1, 2, 2, 3, 4]


@pytest.mark.parametrize("content", [b"", b"PK\3\4" * 99, None, {"names": np.array(["a"])}])
def test_an_index_that_is_damaged_or_gone_is_made_again(opened, tmp_path, content):
    opened()
    path = tmp_path / "index.npz"
    if isinstance(content, dict):
        with np.load(path) as saved:
            np.savez(path, **{**saved, **content})
    elif content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert opened() == 2 == opened()


def test_the_report_is_written_again_where_it_is_gone(opened, tmp_path):
    opened()
    (tmp_path / "report.json").unlink()
    assert opened() == 1 and Report.load(tmp_path / "report.json").total == 2


def test_without_scan_data_that_would_be_scanned_is_an_error(opened):
    for is_known in (False, True):
        with without_scan(), pytest.raises(NotScannedError) as error:
            opened("b")
        assert error.value.is_known is is_known
        opened("a")
    with without_scan():
        opened("a")


@pytest.mark.parametrize(
    ("numbers", "sound"),
    [([], True), ([0, 2], True), ([2, 3], False), ([-1], False), ([1, 1], False), ([[0]], False)],
)
def test_numbers_of_items_lie_among_them_in_order(numbers, sound):
    assert are_numbers_of(np.array(numbers, np.int64), 3) is sound
    assert not are_numbers_of(np.array(numbers, np.float64), 3)
