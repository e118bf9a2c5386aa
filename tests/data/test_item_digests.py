"""What has changed in a data set, by short hashes of its items."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalle_jax.data.item_digests import describe_change, digests_of, load_digests, save_digests

ITEMS = {f"{i}.png": f"caption {i}" for i in range(5)}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, ""),
        ({"5.png": "new"}, "1 item was added"),
        ({"5.png": "new", "6.png": "new"}, "2 items were added"),
        ({"4.png": None}, "1 item was removed"),
        ({"3.png": None, "4.png": None}, "2 items were removed"),
        ({"0.png": "other"}, "1 has another size or captions"),
        (
            {"0.png": "other", "1.png": "other", "4.png": None, "7.png": "x"},
            "1 item was added, 1 item was removed, 2 have another size or captions",
        ),
    ],
)
def test_a_change_is_described_by_its_numbers(changes, sentence):
    after = {name: text for name, text in {**ITEMS, **changes}.items() if text is not None}
    assert describe_change(digests_of(ITEMS.items()), digests_of(after.items())) == sentence


def test_the_order_of_the_items_is_no_change():
    backwards = reversed(ITEMS.items())
    assert describe_change(digests_of(ITEMS.items()), digests_of(backwards)) == ""


TEXTS = st.dictionaries(st.text(st.characters(exclude_categories=())), st.text(), max_size=6)


@given(TEXTS, TEXTS)
def test_any_two_data_sets_are_compared_as_sets(before, after):
    added, removed = after.keys() - before.keys(), before.keys() - after.keys()
    changed = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    text = describe_change(digests_of(before.items()), digests_of(after.items()))
    assert text.count("added") == bool(added) and text.count("removed") == bool(removed)
    assert text.count("another size") == bool(changed)
    numbers = [int(part.split()[0]) for part in text.split(", ") if part]
    assert numbers == [len(part) for part in (added, removed, changed) if part]


def test_digests_are_stored_with_the_signature_of_their_data(tmp_path):
    path, digests = tmp_path / "items.npz", digests_of(ITEMS.items())
    save_digests(path, "aa", digests)
    np.testing.assert_array_equal(load_digests(path, "aa"), digests)
    assert load_digests(path, "bb") is None
    content = path.read_bytes()
    for torn in (b"", b"PK", content[:100], content[:-30]):
        path.write_bytes(torn)
        assert load_digests(path, "aa") is None
    assert load_digests(tmp_path / "none", "aa") is None
    save_digests(path, "aa", np.zeros(3))
    assert load_digests(path, "aa") is None
    save_digests(path, "aa", digests_of([]))
    assert load_digests(path, "aa").shape == (0, 2)
