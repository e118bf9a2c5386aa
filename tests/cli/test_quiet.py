"""`--quiet` prints results, warnings and errors, and nothing of what goes on."""

import sys

import pytest

from dalle_jax import console, trainer
from dalle_jax.cli import prepare, train
from dalle_jax.data.shapes import builder
from dalle_jax.sweeps import live_table
from tests.cli.test_options import VERBS
from tests.conftest import ROOT, SMALLER

WITH_PROGRESS = ("prepare", "train", "evaluate", "sweep", "figure")


@pytest.fixture(autouse=True)
def loud_again():
    yield
    console.be_quiet(False)


@pytest.mark.parametrize("verb", WITH_PROGRESS)
def test_each_verb_that_shows_progress_takes_it(verb):
    needed = {"train": ["--config=a"], "evaluate": ["--workdir=a"], "sweep": ["a", "--workdir=a"]}
    VERBS[verb]().parse_args([*needed.get(verb, []), "--quiet"])
    assert console.is_quiet()
    VERBS[verb]().parse_args(needed.get(verb, []))  # the next command in this process
    assert not console.is_quiet()


class Terminal:
    """A standard error that a person looks at."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


def test_progress_and_notes_are_silent(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Terminal())
    console.be_quiet(True)
    console.progress("64 images")
    console.note("drawing")
    assert sys.stderr.text == "" and capsys.readouterr().out == ""
    console.be_quiet(False)
    console.progress("64 images")
    console.note("drawing")
    assert sys.stderr.text == "\r64 images" and capsys.readouterr().out == "drawing\n"


def test_progress_is_for_terminals_only(capsys):
    console.progress("64 images")
    assert capsys.readouterr().err == ""


def test_a_training_gets_it(shapes_dir, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(trainer, "fit", lambda training: given.append(training.quiet))
    typed = [f"--config={ROOT / 'configs/tiny.py'}", f"--config.data.dir={shapes_dir}"]
    for options in ([], ["--quiet"]):
        assert train.run([*typed, f"--workdir={tmp_path}", *SMALLER, *options]) == 0
    assert given == [False, True]


def test_a_sweep_s_table_is_not_drawn(monkeypatch, capsys):
    monkeypatch.setattr(live_table, "names_of", lambda graph: {})
    console.be_quiet(True)
    view = live_table.LiveTable(None, None)
    with view.shown(None):
        view.refresh()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("options", [[], ["--quiet"]])
def test_prepare_says_what_is_true(options, monkeypatch, capsys):
    def draw(data_dir, config, resolution):
        print("Downloading and preparing dataset Unknown size")  # as TFDS does
        return data_dir / "captioned_shapes"

    monkeypatch.setattr(builder, "prepare", draw)
    typed = ["captioned_shapes/easy", "--data_dir=there", "--resolution=24", *options]
    assert prepare.run(typed) == 0
    said = capsys.readouterr().out
    assert "Downloading" not in said and said.endswith("there/captioned_shapes\n")
    assert ("24 pixels: drawn into there unless it is there" in said) != bool(options)
