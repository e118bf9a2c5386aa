"""`~` is the home folder in every path: of options, of a data set's name, of the library."""

import numpy as np
import pytest
from PIL import Image

from dalle_jax import DallePipeline
from dalle_jax.cli import main, options
from dalle_jax.cli.completion import options_of
from dalle_jax.cli.output_paths import OutputFile, output_folder
from dalle_jax.data.manifest import read_manifest
from dalle_jax.data.open import open_source
from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer
from dalle_jax.evaluation.measurements import open_extractor
from dalle_jax.interop.inception import convert
from dalle_jax.metrics.images import open_images
from dalle_jax.metrics.preprocess import Preprocessing
from dalle_jax.metrics.reference import load_reference
from dalle_jax.runs import create_run, open_run
from tests.data.tars import write

PATHS = (options.local_path, options.path_text, options.local_paths, output_folder)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with a picture, which is not the current folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home/pics").mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "home/pics/a.png")
    (tmp_path / "home/pics/a.txt").write_text("a red square")
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "home"
    assert not (tmp_path / "~").exists()


NAMED = {"workdir", "out", "manifest", "data_dir", "config", "csv", "replay", "reuse", "image"}
NAMED |= {"inception", "features", "reference", "fake", "real", "experiment", "sweeps", "font"}


@pytest.mark.parametrize("verb", main.VERBS)
def test_of_every_option_that_is_a_path(verb, home):
    for action in options_of(verb):
        if action.dest in NAMED or action.type in PATHS or isinstance(action.type, OutputFile):
            name = f"x y{next(iter(getattr(action.type, 'suffixes', ())), '')}"
            found = action.type(f"~/{name}")
            (found,) = found if isinstance(found, list) else [found]
            assert str(found) == str(home / name)


@pytest.mark.parametrize("text", ["~/a", "~", "a/~", "./~/a"])
def test_only_a_tilde_at_the_start_is_the_home_folder(text, home):
    assert options.local_path(text).is_absolute() == text.startswith("~")


def test_of_a_folder_and_of_shards(home):
    content = {name: (home / "pics" / name).read_bytes() for name in ("a.png", "a.txt")}
    write(home / "0.tar", content.items())
    for spec in ("folder:~/pics", "webdataset:~/0.tar", "webdataset:~/*.tar"):
        source = open_source(spec, data_dir="data", split="all", image_size=8)
        assert [source[i]["caption"] for i in range(len(source))] == ["a red square"]


def test_of_prepared_data(home, shapes_dir):
    (home / "data").symlink_to(shapes_dir)
    source = open_source("captioned_shapes/easy", data_dir="~/data", split="test", image_size=24)
    assert len(source) == 40


def test_of_a_tokenizer(home):
    Tokenizer(train_tokenizer(["a red square"], 300), max_length=8).save(home / "tokenizer.json")
    assert Tokenizer.load("~/tokenizer.json").max_length == 8


def test_of_images_and_a_manifest(home):
    assert len(open_images("~/pics")) == 1
    np.savez(home / "images.npz", np.zeros((2, 4, 4, 3), np.uint8))
    assert len(open_images("~/images.npz")) == 2
    with pytest.raises(FileNotFoundError, match=f"{home}/none.jsonl"):
        read_manifest("~/none.jsonl")


OPENED = {
    "open_run": open_run,
    "from_pretrained": DallePipeline.from_pretrained,
    "load_reference": load_reference,
    "create_run": lambda path: create_run(path, "none", {}),
    "features": lambda path: open_extractor(["fid"], None, path, Preprocessing()),
    "convert": lambda path: convert(f"{path}.pth", "~/out.safetensors"),
}


@pytest.mark.parametrize("name", OPENED)
def test_of_what_the_library_opens(name, home):
    with pytest.raises((FileNotFoundError, ValueError, KeyError, ImportError)) as failed:
        OPENED[name]("~/none")
    assert "~" not in str(failed.value)
