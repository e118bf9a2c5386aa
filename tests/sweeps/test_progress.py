"""How far an evaluation is, as its process writes it and the live table reads it."""

import pytest

from dalle_jax.sweeps.progress import IMAGES_FILE, ImageProgress, read_images


@pytest.mark.parametrize(
    "calls, left",
    [
        ([(1, 0)], None),
        ([(1, 0), (10, 8)], 15.0),  # the only images took the start, too
        ([(1, 0), (10, 8), (14, 16)], 2.0),
        ([(1, 0), (10, 8), (14, 16), (16, 20)], None),  # now they are measured
    ],
)
def test_the_time_left_is_by_the_rate_after_the_first_images(tmp_path, calls, left):
    now = [0.0]
    progress = ImageProgress(tmp_path, now=lambda: now[0])
    for now[0], drawn in calls:
        progress(drawn, 20)
    assert read_images(tmp_path) == (calls[-1][1], 20, left)


def test_what_does_not_draw_has_no_images(tmp_path):
    assert read_images(tmp_path) is None
    ImageProgress(tmp_path)(8, 20)
    assert read_images(tmp_path).drawn == 8
    (tmp_path / IMAGES_FILE).write_text("{")
    assert read_images(tmp_path) is None
    ImageProgress(tmp_path)(8, 20)
    ImageProgress(tmp_path)  # of the next attempt
    assert read_images(tmp_path) is None
