import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from dalle_jax.cli import evaluate
from dalle_jax.metrics.protocol import protocol_hash
from tests.metrics.random_inception import random_images, random_tensors


@pytest.fixture
def folders(tmp_path):
    for name, seed in (("fake", 1), ("real", 2)):
        (tmp_path / name).mkdir()
        for i, image in enumerate(random_images(20, seed)):
            Image.fromarray(image).save(tmp_path / name / f"{i}.png")
    return tmp_path


def arguments(root, *more):
    return [f"--fake={root}/fake", f"--real={root}/real", *more]


def test_without_weights_it_says_where_they_come_from(folders):
    with pytest.raises(ValueError, match="nothing is downloaded here"):
        evaluate.run(arguments(folders))


def test_fewer_images_than_the_protocol_says_are_an_error(folders):
    with pytest.raises(ValueError, match="has 20 images, fewer than the 50 of the protocol"):
        evaluate.run(arguments(folders, "--n=50"))


def test_an_empty_folder_and_an_unknown_metric(folders, capsys):
    (folders / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no images"):
        evaluate.run(["--fake", f"{folders}/empty", "--real", f"{folders}/real"])
    for metrics, message in (("fid,fvd", "has no 'fvd'; did you mean fid?"), ("", "names none")):
        with pytest.raises(SystemExit, match="2"):
            evaluate.run(arguments(folders, f"--metrics={metrics}"))
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    ["--n=0", "--batch_size=0", "--kid_subset_size=0", "--kid_subsets=-1", "--is_splits=0"],
)
def test_what_is_counted_is_one_at_least(folders, option, capsys):
    with pytest.raises(SystemExit, match="2"):
        evaluate.run(arguments(folders, option))
    assert f"{option.partition('=')[0]} is a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed=2"], "no option --seed; did you mean --seeds?"),
        (["--batch_size=2"], "no option --batch_size"),
        (["--images=folder:x"], "--images says where a manifest's images lie"),
        (["--n=0"], "--n is a whole number of at least 1"),
    ],
)
def test_options_that_a_workdir_has_not(options, message, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        evaluate.run([f"--workdir={tmp_path}", *options])
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_row_of_two_folders(folders, capsys):
    save_file(random_tensors(), folders / "inception.safetensors")
    options = ["--metrics=fid,kid,prdc,is", "--kid_subset_size=15", "--kid_subsets=3"]
    options += [f"--inception={folders}/inception.safetensors", "--batch_size=24"]
    options += [f"--out={folders}/out/results.jsonl"]
    assert evaluate.run(arguments(folders, *options)) == 0
    (line,) = (folders / "out" / "results.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert row["protocol_hash"] == protocol_hash(row["protocol"])
    assert {"fid", "kid", "precision", "is"} <= set(row["metrics"])
    assert np.isfinite(row["metrics"]["fid"]["value"])
    assert row["metrics"]["fid"]["value"] > 0
    assert "real against real" in capsys.readouterr().out
