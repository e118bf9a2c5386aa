"""What a figure measured itself, kept in a file."""

import math

import numpy as np
import pytest

from dalle_jax.figures.cache import KeptMeasure, key_of, measure_and_keep, read, write
from dalle_jax.figures.figure import Measured

ROWS = [
    {"metric": "a", "value": 0.1 + 0.2, "by_caption": np.array([[0.0], [1.0], [np.nan]]), "x": "é"},
    {"metric": "b/c", "value": math.inf, "left_out": [1.5, 2.5], "low": None, "yes": True},
    {"metric": "c", "value": np.float32(0.5), "count": np.int64(3)},
]


def test_rows_arrays_images_and_cost_come_back_as_they_were(tmp_path):
    images = {"point/one": np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "π": np.zeros((1, 1, 3))}
    path = tmp_path / "measures/x.npz"
    kept = measure_and_keep(path, lambda: Measured(ROWS, images, 7), {"machine": "one Abacus"})
    assert kept.made["machine"] == "one Abacus" and kept.made["seconds"] >= 0
    again = read(path)
    assert again.made == kept.made and again.measured.seed == 7
    for row, told in zip(ROWS, again.measured.rows, strict=True):
        assert list(told) == list(row)  # in its order
        for name, cell in row.items():
            np.testing.assert_array_equal(told[name], cell)
            assert isinstance(told[name], np.ndarray) == isinstance(cell, np.ndarray)
    assert list(again.measured.images) == list(images)
    for name, image in images.items():
        np.testing.assert_array_equal(again.measured.images[name], image)
        assert again.measured.images[name].dtype == image.dtype


def test_what_is_torn_is_not_there(tmp_path):
    path = tmp_path / "x.npz"
    assert read(path) is None
    write(path, KeptMeasure(Measured(ROWS), {}))
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert read(path) is None
    np.savez(path, rows=np.zeros(3))
    assert read(path) is None  # something else


def test_no_pickle_is_written(tmp_path):
    for cell in (np.array([{}, "x"], object), {1, 2}):
        with pytest.raises(ValueError, match=r"can't be kept in .*x\.npz"):
            write(tmp_path / "x.npz", KeptMeasure(Measured([{"metric": "a", "value": cell}]), {}))
    assert not list(tmp_path.iterdir())


def test_a_key_is_of_all_its_parts():
    parts = ["text", "tiny", False, 5, ("run step 3",), [["decoder-1", None]]]
    others = ["text ", "small", True, 6, ("run step 4",), [["decoder-2", None]]]
    keys = {key_of(*parts)}
    for i, other in enumerate(others):
        keys.add(key_of(*parts[:i], other, *parts[i + 1 :]))
    assert len(keys) == 7 and key_of(*parts) in keys
