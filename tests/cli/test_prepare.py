import json

import pytest
from PIL import Image

from dalle_jax.cli import prepare
from dalle_jax.data.manifest import read_manifest


def test_a_manifest_of_captioned_shapes(shapes_dir, tmp_path, capsys):
    path = tmp_path / "manifests/easy.jsonl"
    arguments = [
        *("captioned_shapes/easy", f"--data_dir={shapes_dir}", "--resolution=24"),
        *("--split=test", "--rule=one", "--n=12", "--seed=3", f"--manifest={path}"),
    ]
    assert prepare.run(arguments) == 0
    manifest = read_manifest(path)
    header = manifest.header
    assert (header.source, header.split, header.seed) == ("captioned_shapes/easy", "test", 3)
    assert (header.count, header.of, header.rule) == (12, 40, "one")
    assert header.data == {"image_size": 24, "captions": "short"}
    assert "12 of 40 captions of captioned_shapes/easy test" in capsys.readouterr().out
    before = path.read_bytes()
    assert prepare.run(arguments) == 0 and path.read_bytes() == before
    with pytest.raises(ValueError, match="holds another manifest"):
        prepare.run([*arguments, "--n=13"])


def test_a_manifest_of_ones_own_pictures(tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(30):
        Image.new("RGB", (6, 5), (i, 0, 0)).save(pictures / f"{i}.png")
        (pictures / f"{i}.txt").write_text(f"red {i}\nrot {i}")
    path = tmp_path / "m.jsonl"
    prepare.run([f"folder:{pictures}", "--split=all", "--rule=all", f"--manifest={path}"])
    manifest = read_manifest(path)
    assert len(manifest) == 60 and manifest.header.source == "folder:pictures"
    assert manifest.sha256 in capsys.readouterr().out


def test_a_manifest_of_coco(tmp_path, capsys):
    annotations = tmp_path / "captions_val2014.json"
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(4)]
    notes = [{"id": 9 - i, "image_id": i % 4, "caption": f"caption {9 - i}"} for i in range(8)]
    annotations.write_text(json.dumps({"images": images, "annotations": notes}))
    path = tmp_path / "coco.jsonl"
    prepare.run([f"--coco_captions={annotations}", f"--manifest={path}", "--n=3"])
    assert "3 of 4 captions of coco:captions_val2014.json val2014" in capsys.readouterr().out
    assert len(read_manifest(path)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a source"),
        (["emoji", "--coco_captions=x.json", "--manifest=m"], "give either a source"),
        (["--coco_captions=x.json"], "give --manifest"),
        (["--coco_captions=x.json", "--manifest=m", "--split=test"], "leave out --split"),
        (["emoji", "--n=3"], "--n is of a manifest"),
        (["emoji", "--n=0", "--manifest=m"], "--n is a whole number of at least 1, not '0'"),
        (["emoji", "--resolution=0"], "--resolution is a whole number of at least 1"),
        (["--embeddings"], "--embeddings and --workdir go together"),
        (["emoji", "--workdir=x"], "--embeddings and --workdir go together"),
        (["emoji", "--embeddings", "--workdir=x"], "leave out the data set"),
        (["emoji", "--languages=zh"], "--languages is of a manifest"),
    ],
)
def test_what_does_not_fit_together_gets_a_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        prepare.run(arguments)
    assert message in capsys.readouterr().err


def test_a_data_set_without_configs_has_none(tmp_path):
    with pytest.raises(ValueError, match="There is no data set 'emoji/64px'; give one of"):
        prepare.run(["emoji/64px", f"--data_dir={tmp_path}"])
    assert not list(tmp_path.iterdir())
