import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from dalle_jax.cli import evaluate
from dalle_jax.metrics.protocol import protocol_hash
from tests.data.encoded import encoded
from tests.data.pictures import write
from tests.metrics.random_inception import random_images, random_tensors


@pytest.fixture
def folders(tmp_path):
    for name, seed in (("fake", 1), ("real", 2)):
        images = map(Image.fromarray, random_images(20, seed))
        write(tmp_path / name, {f"{i}.png": encoded(image) for i, image in enumerate(images)})
    return tmp_path


def arguments(root, *more):
    return [f"--fake={root}/fake", f"--real={root}/real", *more]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--metrics=fid", "nothing is downloaded here"),
        ("--n=50", "has 20 images, fewer than the 50 of the protocol"),
        ("--fake=empty", "empty holds no images"),
    ],
)
def test_what_two_sets_lack_is_an_error(folders, monkeypatch, option, message):
    (folders / "empty").mkdir()
    monkeypatch.chdir(folders)
    with pytest.raises(ValueError, match=message):
        evaluate.run(arguments(folders, option))


NAMES = ("n", "batch_size", "kid_subset_size", "kid_subsets", "is_splits")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--metrics=fid,fvd", "has no 'fvd'; did you mean fid?"),
        ("--metrics=", "names none"),
        *((f"--{name}=0", f"--{name} is a whole number of at least 1") for name in NAMES),
    ],
)
def test_what_is_counted_is_one_at_least_and_metrics_are_known(folders, option, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        evaluate.run(arguments(folders, option))
    assert message in capsys.readouterr().err


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
