import pytest

from dalle_jax.data.parquet_table import RowGroups
from dalle_jax.data.shard_index import Sample
from tests.conftest import ROOT


@pytest.fixture
def fuzz(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import fuzz_data

    return fuzz_data


READERS = ("folder", "table", "shard", "parquet", "text", "image", "coco", "manifest")


@pytest.mark.parametrize("reader", READERS)
def test_made_up_and_damaged_inputs_give_items_of_their_own_or_a_sentence(fuzz, reader):
    assert reader in fuzz.READERS and len(fuzz.READERS) == len(READERS)
    counts, findings = fuzz.fuzz([reader], 60, seed=10**6)
    assert not findings
    # Both happen often, or the inputs would show nothing.
    assert counts[reader]["items"] >= 4 and counts[reader]["sentence"] >= 4


def shifted_row(self, file, group, row, row_of=RowGroups.row):
    """The image of a row with the caption of the next one, or of the first."""
    try:
        _, *texts = row_of(self, file, group, row + 1)
    except ValueError:
        _, *texts = row_of(self, file, group, 0)
    return row_of(self, file, group, row)[0], *texts


def crashes(self, file, group, row):
    raise KeyError("no reader may raise this")


@pytest.mark.parametrize(
    ("reader", "of", "name", "fault", "word"),
    [
        ("parquet", RowGroups, "row", shifted_row, "has the captions"),
        ("parquet", RowGroups, "row", crashes, "KeyError"),
        ("shard", Sample, "problem", lambda self: None, "has the captions"),
    ],
)
def test_a_fault_of_a_reader_is_found(fuzz, monkeypatch, reader, of, name, fault, word):
    monkeypatch.setattr(of, name, fault)
    _, findings = fuzz.fuzz([reader], 150, seed=0)
    assert findings and all(word in found for _, _, found in findings)
    # The seed that is printed makes the same input again.
    _, seed, _ = findings[0]
    assert fuzz.fuzz([reader], 1, seed=seed)[1]


def test_an_input_that_takes_too_long_is_found(fuzz, monkeypatch):
    def endless(*_):
        while True:
            pass

    monkeypatch.setitem(fuzz.READERS, "text", endless)
    _, ((reader, seed, found),) = fuzz.fuzz(["text"], 1, seed=3, seconds=0.05)
    assert (reader, seed, found) == ("text", 3, "more than 0.05 s")
