"""`train` and `evaluate` on data that has changed or lies elsewhere now; nothing is computed."""

import dataclasses
import os
import shutil
import warnings

import numpy as np
import pytest

from dalle_jax import trainer
from dalle_jax.cli import train
from dalle_jax.data import disk_cache
from dalle_jax.evaluation.captions import open_held_out
from dalle_jax.runs import open_run
from tests.conftest import ROOT
from tests.data.pictures import write
from tests.data.tars import png


@pytest.fixture
def cards(tmp_path):
    folder = write(tmp_path / "cards", {f"{i}.png": png(i, (24, 24)) for i in range(60)})
    return caption(folder, "a card")


def caption(folder, text):
    rows = [{"file_name": f"{i}.png", "text": f"{text} {i}"} for i in range(60)]
    return write(folder, {"metadata.jsonl": rows})


@pytest.fixture
def go(cards, tmp_path, monkeypatch):
    """Types the command of a training, which takes no step, with further options."""
    monkeypatch.setattr(trainer, "fit", lambda training: None)
    monkeypatch.setattr("dalle_jax.trainer.hooks.make_preview", lambda *_: None)
    typed = [f"--config={ROOT / 'configs/tiny.py'}", f"--workdir={tmp_path / 'work'}"]
    typed += [f"--config.data.source=folder:{cards}", "--config.data.max_bad_share=0.7"]
    return lambda *more: train.run([*typed, *more])


def warned(function, *arguments):
    """What is warned of the run's data."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        function(*arguments)
    texts = {str(warning.message) for warning in found}
    return [text for text in texts if "training of" in text or "trained on" in text]


def test_a_training_that_goes_on_says_how_its_data_has_changed(go, cards, tmp_path):
    assert warned(go) == []
    assert warned(go) == []
    os.utime(cards / "3.png", (1, 1))
    assert warned(go) == []  # read again, and the same
    caption(cards, "quite another thing")
    (sentence,) = warned(go)
    assert sentence.endswith("read it: 60 have another size or captions.")
    assert warned(go) == []  # which was read at this start


def test_where_images_go_that_do_not_fit_in_memory_is_said(go, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(disk_cache, "fits_in_memory", lambda *_: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    go("--config.data.disk_cache=0")
    assert "decoded once" not in capsys.readouterr().out and not (tmp_path / "cache").exists()
    go()
    (file,) = (tmp_path / "cache/dalle_jax/data").iterdir()
    said = f"decoder: 54 of 54 images are decoded once and then read from {file}, at most 0.0 GB"
    assert said in capsys.readouterr().out


def test_added_and_removed_items_are_counted(go, cards):
    go()
    (cards / "7.png").unlink()
    write(cards, {"new.png": png(0, (24, 24))})
    with open(cards / "metadata.jsonl", "a") as table:
        table.write('{"file_name": "new.png", "text": "a new card"}\n')
    (sentence,) = warned(go)
    assert sentence.endswith("1 item was added, 1 item was removed.")


def test_moved_data_is_read_where_it_lies_now(go, cards, tmp_path):
    go()
    before = open_run(tmp_path / "work/decoder")
    moved = cards.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        go()
    assert warned(go, f"--data_source=folder:{moved}") == []
    assert open_run(before.directory).fingerprint == before.fingerprint
    assert open_run(before.directory).data["source"] == f"folder:{cards}"


def test_data_that_is_gone_is_asked_for_by_the_option(go, cards, tmp_path, monkeypatch):
    go()
    run = open_run(tmp_path / "work/decoder")
    shutil.rmtree(cards)
    with pytest.raises(FileNotFoundError, match=r"there is no folder \S+cards$"):
        run.open_source("test")  # nothing was trained yet
    monkeypatch.setattr("dalle_jax.runs.run.steps_in", lambda _: [4])
    with pytest.raises(FileNotFoundError, match=r"elsewhere now, .* --data_source=folder:PLACE"):
        run.open_source("test")


def test_other_data_at_the_stated_place_is_refused(go, cards, tmp_path):
    go()
    other = shutil.copytree(cards, tmp_path / "other")
    caption(other, "a stamp")
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="60 have another size or capt"):
        go(f"--data_source=folder:{other}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data_source=folder:x"], "holds no run whose data could have moved to folder:x"),
        (["--data_source=webdataset:x"], "give folder:PLACE"),
        (["--config.data.source=emoji", "--data_source=folder:x"], "the run reads emoji"),
    ],
)
def test_a_place_that_can_t_be_meant_is_refused_before_a_run_is_made(
    go, tmp_path, options, message
):
    with pytest.raises(ValueError, match=message):
        go(*options)
    assert not (tmp_path / "work/decoder").exists()


def test_an_evaluation_of_moved_data_has_the_same_manifest(go, cards, tmp_path):
    go()
    run = open_run(tmp_path / "work/decoder")
    before = open_held_out(run, None, None, "train", 12)
    moved = shutil.move(cards, tmp_path / "elsewhere")
    run = dataclasses.replace(run, moved_to=f"folder:{moved}")
    after = open_held_out(run, None, None, "train", 12)
    assert after.manifest.sha256 == before.manifest.sha256
    np.testing.assert_array_equal(after.images[5][0, 0, 0], int(after.captions[5].split()[-1]))


def test_an_evaluation_of_other_data_than_was_trained_on_is_warned_of(go, cards, tmp_path):
    go()
    run = dataclasses.replace(open_run(tmp_path / "work/decoder"), moved_to=f"folder:{cards}")
    assert warned(open_held_out, run, None, None, "train", 12) == []
    caption(cards, "a stamp")
    (sentence,) = warned(open_held_out, run, None, None, "train", 12)
    assert sentence.startswith(f"folder:{cards} is not the data that")
