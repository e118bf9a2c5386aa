import json
import os
from pathlib import Path

import pytest

from dalle_jax.sweeps.drawing import read_drawing
from dalle_jax.sweeps.local import BEGUN

BEGAN = 1_000_000.0


def begin_drawing(job: Path, system: Path, wanted: int, seconds_of_shards=()) -> None:
    """An evaluation that began to draw, its shards of eight images, written so long after it."""
    job.mkdir(parents=True, exist_ok=True)
    (job / "attempt_1.log").write_text(f"drawing {wanted} images of held-out captions …\n")
    (job / BEGUN).write_text("{}")
    os.utime(job / BEGUN, (BEGAN, BEGAN))
    folder = system / "generated/0123456789ab"
    folder.mkdir(parents=True, exist_ok=True)
    made_of = {"captions": [""] * wanted, "seed": 0, "shard_size": 8}
    (folder / "made_of.json").write_text(json.dumps(made_of))
    for n, seconds in enumerate(seconds_of_shards):
        shard = folder / f"shard_{8 * n:08d}.npz"
        shard.touch()
        os.utime(shard, (BEGAN + seconds, BEGAN + seconds))


@pytest.mark.parametrize(
    "seconds, drawn, left",
    [
        ((), 0, None),
        ((10,), 8, 15.0),  # its start is part of the only shard's time
        ((10, 14), 16, 2.0),
        ((10, 14, 16), 20, None),  # the last is a short one; now they are measured
        ((-5, 10), 8, 15.0),  # the first was there before
    ],
)
def test_images_and_time_left_by_the_shards_since_it_began(tmp_path, seconds, drawn, left):
    begin_drawing(tmp_path / "job", tmp_path / "system", 20, seconds)
    found = read_drawing(tmp_path / "job", tmp_path / "system")
    assert (found.drawn, found.wanted, found.seconds_left) == (drawn, 20, left)


def test_what_does_not_draw_has_no_images(tmp_path):
    job, system = tmp_path / "job", tmp_path / "system"
    assert read_drawing(job, system) is None
    begin_drawing(job, system, 20, (10,))
    (job / "attempt_1.log").write_text("opening …\n")
    assert read_drawing(job, system) is None  # not yet
    begin_drawing(job, system, 20, (10,))
    (job / BEGUN).unlink()
    assert read_drawing(job, system) is None  # no more


def test_a_torn_description_of_images_is_passed_over(tmp_path):
    begin_drawing(tmp_path / "job", tmp_path / "system", 20, (10,))
    (tmp_path / "system/generated/0123456789ab/made_of.json").write_text("{")
    assert read_drawing(tmp_path / "job", tmp_path / "system").drawn == 0
