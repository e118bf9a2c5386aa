"""Data that changed since a training read it is reported by a pipeline, without a scan."""

import os
import re
import shutil
import warnings

import pytest

from dalle_jax.configs import tiny
from dalle_jax.data import checked
from dalle_jax.runs import create_run, warn_of_changed_data
from tests.data.tars import pair, png, tar_bytes


def write(folder, numbers):
    """A shard, or a table beside the 40 images of a folder."""
    if folder.name == "webdataset":
        members = [member for i in numbers for member in pair(f"{i:03d}", i)]
        (folder / "cards.tar").write_bytes(tar_bytes(members))
        return
    for i in range(40):
        if not (folder / f"{i}.png").exists():
            (folder / f"{i}.png").write_bytes(png(i))
    rows = [f"{i}.png,card {i} of {len(numbers)}" for i in numbers]
    (folder / "captions.csv").write_text("\n".join(["file_name,caption", *rows]))


@pytest.fixture(params=["webdataset", "folder"])
def cards(tmp_path, request):
    """A data set of 40 items, and a run that was trained on it."""
    folder = tmp_path / request.param
    folder.mkdir()
    write(folder, range(40))
    settings = tiny.get_config()
    settings.data.source = f"{request.param}:{folder}"
    settings.data.max_bad_share = 0.6
    run = create_run(tmp_path / "run", "decoder", settings.to_dict())
    run.record_data(run.open_source("train"), run.open_source("validation"))
    return run, folder


def told(*runs):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warn_of_changed_data(runs)
    return [str(warning.message) for warning in found]


@pytest.fixture
def no_scan(monkeypatch):
    """Nothing may be decoded."""
    monkeypatch.setattr(checked, "decode", lambda encoded: pytest.fail("an image was decoded"))


def test_data_that_is_the_same_is_passed_over_in_silence(cards, no_scan):
    assert told(cards[0]) == []


def test_data_that_was_read_again_since_is_compared_by_its_content(cards):
    run, folder = cards
    write(folder, range(20))
    change = {
        "webdataset": "20 items were removed",
        "folder": "20 .* removed, 20 have another size",
    }
    with pytest.warns(UserWarning, match=f"read it: {change[folder.name]}"):
        run.open_source("train")
    (sentence,) = told(run)
    assert re.search(change[folder.name], sentence)


def test_without_a_record_of_the_items_their_numbers_are_compared(cards):
    run, folder = cards
    (run.directory / "data_items.npz").unlink()
    write(folder, range(20))
    with pytest.warns(UserWarning, match="read it: there were 40 items, now there are 20"):
        run.open_source("train")


def test_data_that_was_written_since_and_not_read_is_named(cards, no_scan):
    run, folder = cards
    write(folder, range(20))
    (sentence,) = told(run)
    assert "may have changed" in sentence and f"dalle-jax prepare {run.data['source']}" in sentence


def test_files_that_were_only_touched_are_no_change_once_they_were_read(cards):
    run, folder = cards
    for path in *folder.glob("cards.tar"), *folder.glob("*.png"):
        os.utime(path, (1, 1))
    assert "may have changed" in told(run)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.open_source("all")
    assert told(run) == []


def test_each_data_set_is_named_once(cards):
    run, folder = cards
    write(folder, range(20))
    assert len(told(run, run, run)) == 1


def test_data_that_is_gone_or_was_never_scanned_here_is_passed_over(cards, no_scan):
    run, folder = cards
    for path in [*folder.glob("*.np*"), *folder.glob("*.json")]:
        path.unlink()  # index and report
    assert told(run) == []
    shutil.rmtree(folder)
    assert told(run) == []


@pytest.mark.parametrize("source", ["tfds:coco_captions", "webdataset:https://host/0.tar", "emoji"])
def test_data_that_would_take_longer_to_look_at_is_not_opened(tmp_path, monkeypatch, source):
    settings = tiny.get_config()
    settings.data.source = source
    run = create_run(tmp_path, "decoder", settings.to_dict())
    data = type("Data", (list,), {"signature": "" if source == "emoji" else "aa"})()
    run.record_data(data, data)
    monkeypatch.setattr(
        "dalle_jax.runs.opening.open_source", lambda *_, **__: pytest.fail("it was opened")
    )
    assert told(run) == []
