"""A figure's own measurements in files, and the part of its code that they depend on."""

import math
import subprocess

import numpy as np
import pytest

from dalle_jax.figures.cache import CachedMeasurement, measure_and_save, read, write
from dalle_jax.figures.figure import Measured
from dalle_jax.figures.measuring_code import earlier_texts, measuring_code

ROWS = [
    {"metric": "a", "value": 0.1 + 0.2, "by_caption": np.array([[0.0], [1.0], [np.nan]]), "x": "é"},
    {"metric": "b/c", "value": math.inf, "left_out": [1.5, 2.5], "low": None, "yes": True},
    {"metric": "c", "value": np.float32(0.5), "count": np.int64(3)},
]


def test_rows_arrays_images_and_cost_come_back_as_they_were(tmp_path):
    images = {"point/one": np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "π": np.zeros((1, 1, 3))}
    path = tmp_path / "measures/x.npz"
    saved = measure_and_save(path, lambda: Measured(ROWS, images, 7), {"machine": "one Abacus"})
    assert saved.made["machine"] == "one Abacus" and saved.made["seconds"] >= 0
    again = read(path)
    assert again.made == saved.made and again.measured.seed == 7
    for row, found in zip(ROWS, again.measured.rows, strict=True):
        assert list(found) == list(row)  # in its order
        for name, cell in row.items():
            np.testing.assert_array_equal(found[name], cell)
            assert isinstance(found[name], np.ndarray) == isinstance(cell, np.ndarray)
    assert list(again.measured.images) == list(images)
    for name, image in images.items():
        np.testing.assert_array_equal(again.measured.images[name], image)
        assert again.measured.images[name].dtype == image.dtype


def test_what_is_torn_is_not_there(tmp_path):
    path = tmp_path / "x.npz"
    assert read(path) is None
    write(path, CachedMeasurement(Measured(ROWS), {}))
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert read(path) is None
    np.savez(path, rows=np.zeros(3))
    assert read(path) is None  # something else


def test_no_pickle_is_written(tmp_path):
    for cell in (np.array([{}, "x"], object), {1, 2}):
        with pytest.raises(ValueError, match=r"can't be stored in .*x\.npz"):
            measured = Measured([{"metric": "a", "value": cell}])
            write(tmp_path / "x.npz", CachedMeasurement(measured, {}))
    assert not list(tmp_path.iterdir())


FIGURE = '''"""Paper, figure 1: it is."""

import numpy as np

from dalle_jax.figures.plots import panels, strip

SCALES = {"tiny": 8}  # images
COLORS = ("red", "blue")
SHOWN = 4
strip.calls = 0


def measure(workdir, count):
    """What is measured."""

    def inner():
        """As much."""
        return [shade(color) for color in COLORS]

    return np.array(inner())


def shade(color):
    return len(color)


def draw(rows, images):
    return panels(SHOWN)


def claims(rows):
    return [f"It is {SHOWN}." for SHOWN in images_of(rows)]


def images_of(rows):
    return rows


def get_figure(scale):
    count = SCALES[scale]
    return Figure(draw, claims, measure=lambda workdir: measure(workdir, count))
'''


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""Paper, figure 1: it is."""', '"""Paper, figure 1.\n\nMore.\n"""'),
        ("# images", "# pictures"),
        ('"""What is measured."""', '"""The measurement."""'),
        ('        """As much."""\n', ""),
        ("SHOWN = 4", "SHOWN = 5"),
        ("return panels(SHOWN)", "return panels(SHOWN + 1)"),
        ("It is", "There are"),
        ("    return rows\n", "    return rows[:1]\n"),
        ("import panels, strip", "import mark, panels, strip"),
        ("figures.plots import", "figures.strips import"),
        ("\n\n\ndef shade", "\n\n\n\ndef shade"),
    ],
)
def test_what_draws_words_and_claims_does_not_change_what_measures(before, after):
    assert before in FIGURE
    assert measuring_code(FIGURE.replace(before, after)) == measuring_code(FIGURE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"tiny": 8', '"tiny": 9'),
        ('("red", "blue")', '("red", "green")'),
        ("return len(color)", "return len(color) + 1"),
        ("np.array(inner())", "np.asarray(inner())"),
        ("import numpy as np", "import jax.numpy as np"),
        ("strip.calls = 0", "strip.calls = 1"),
        ("workdir: measure(workdir, count)", "workdir: measure(workdir, 2 * count)"),
        ("return np.array(inner())", "return np.array(inner()) + len(claims([]))"),
    ],
)
def test_what_measures_changes_with_all_that_it_uses(before, after):
    assert before in FIGURE
    assert measuring_code(FIGURE.replace(before, after)) != measuring_code(FIGURE)


def test_earlier_texts_of_a_file_are_those_of_its_commits(tmp_path):
    def git(*arguments: str):
        who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        subprocess.run(["git", "-C", tmp_path, *who, *arguments], check=True, capture_output=True)

    path = tmp_path / "figures/one.py"
    path.parent.mkdir()
    path.write_text("alone")
    assert list(earlier_texts(path)) == []
    git("init", "-q")
    for text in ("first", "second"):
        path.write_text(text)
        git("add", ".")
        git("commit", "-q", "-m", text)
    assert list(earlier_texts(path)) == ["second", "first"]
