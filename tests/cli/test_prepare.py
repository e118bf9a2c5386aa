import json
import re
import shutil
import warnings
from pathlib import Path

import pytest
from PIL import Image

from dalle_jax.cli import prepare
from dalle_jax.configs import base
from dalle_jax.data.manifest import read_manifest
from dalle_jax.data.options import READING_DEFAULTS
from tests.data.pictures import write as pictures_at
from tests.data.tars import pair, png, write


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
    captions = {f"{i}.txt": f"red {i}\nrot {i}" for i in range(30)}
    folder = pictures_at(tmp_path / "pictures", {f"{i}.png": i for i in range(30)} | captions)
    path, data = tmp_path / "m.jsonl", f"--data_dir={tmp_path / 'data'}"
    prepare.run([f"folder:{folder}", "--split=all", "--rule=all", f"--manifest={path}", data])
    manifest = read_manifest(path)
    assert len(manifest) == 60 and manifest.header.source == "folder:pictures"
    assert manifest.sha256 in capsys.readouterr().out


@pytest.fixture
def pictures(tmp_path):
    """40 pictures, of which one is torn and one has no caption."""
    files = {f"{i}.png": png(i, (6 + i % 2 * 20, 20)) for i in range(40)} | {"3.png": b"torn"}
    captions = {f"{i}.txt": f"red {i}" for i in range(40) if i != 4}
    return pictures_at(tmp_path / "my pictures", files | captions)


def test_ones_own_data_is_reported_by_split_and_reason_with_a_sheet(pictures, tmp_path, capsys):
    arguments = [f"folder:{pictures}", "--max_bad_share=0.1", f"--data_dir={tmp_path}/data"]
    for _ in range(2):  # scanned, and from the report
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what is printed is not said twice
            assert prepare.run(arguments) == 0
        first, *lines = capsys.readouterr().out.splitlines()
        sizes = re.fullmatch(
            r".*: 38 of 40 items used: (\d+) train, (\d+) validation, (\d+) test", first
        )
        assert sum(map(int, sizes.groups())) == 38
        assert lines[:2] == [
            "  1 skipped: image without caption (4.png)",
            "  1 skipped: unreadable image (3.png)",
        ]
        assert lines[-2] == f"  all are named in {pictures / 'data_report.json'}"
        path = Path(lines[-1].removeprefix("contact sheet: "))
        assert path.parent == tmp_path / "data/contact_sheets"
        assert re.fullmatch(r".*_my_pictures-[0-9a-f]{6}\.png", path.name)
        with Image.open(path) as sheet:
            assert sheet.size[0] > 1000


def test_folders_of_one_name_have_a_sheet_each(pictures, tmp_path, capsys, monkeypatch):
    other = tmp_path / "other" / pictures.parent.name / pictures.name
    shutil.copytree(pictures, other)
    monkeypatch.chdir(tmp_path)
    sheets = []
    for folder in (pictures, other, pictures.name, f"./other/../{pictures.name}/"):
        prepare.run([f"folder:{folder}", "--max_bad_share=0.1", f"--data_dir={tmp_path}/data"])
        sheets.append(capsys.readouterr().out.splitlines()[-1].removeprefix("contact sheet: "))
    assert len({Path(sheet).name for sheet in sheets[:2]}) == 2
    assert len({Path(sheet).name.rpartition("-")[2] for sheet in (sheets[0], *sheets[2:])}) == 1
    assert all(Path(sheet).is_file() for sheet in sheets)


def test_a_warning_is_said_once_though_every_split_is_opened(tmp_path, capsys):
    for name in ("train", "test"):
        write(tmp_path / f"{name}.tar", [*pair(f"{name}-a", 1), *pair(f"{name}-b", 2)])
    write(tmp_path / "train-x.tar", [("c.png", png()), *pair("d", 3)])
    path = tmp_path / "m.jsonl"
    spec, data = f"webdataset:{tmp_path}", f"--data_dir={tmp_path}/data"
    with pytest.warns(UserWarning) as warned:
        prepare.run([spec, "--max_bad_share=0.5", "--split=all", f"--manifest={path}", data])
    (named,) = [str(warning.message) for warning in warned]
    assert "named after several splits" in named
    assert "1 skipped: image without caption" in capsys.readouterr().out


def test_a_sheet_that_can_t_be_written_is_a_warning(pictures, tmp_path, capsys):
    (tmp_path / "data").write_text("a file where the folder would be")
    with pytest.warns(UserWarning, match="contact sheet .* could not be written"):
        prepare.run([f"folder:{pictures}", "--max_bad_share=0.1", f"--data_dir={tmp_path}/data"])
    assert "contact sheet" not in capsys.readouterr().out


def test_options_of_reading_have_the_defaults_of_the_readers():
    args = vars(prepare.parse(["folder:x"]))
    assert {name: args[name] for name in READING_DEFAULTS} == READING_DEFAULTS
    config = base.get_config().data
    assert {name: config[name] for name in READING_DEFAULTS} == READING_DEFAULTS


def test_options_of_reading_are_of_ones_own_data(tmp_path):
    with pytest.raises(ValueError, match="'emoji' has no option 'encoding'"):
        prepare.run(["emoji", "--encoding=cp1252", f"--data_dir={tmp_path}"])


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
        (["folder:x", "--max_aspect_ratio=0.5"], "0 for any, or at least 1"),
        (["folder:x", "--max_aspect_ratio=-1"], "--max_aspect_ratio"),
        (["folder:x", "--min_side=-1"], "--min_side"),
        (["folder:x", "--min_side=1.5"], "--min_side"),
        (["emoji", "--languages=zh"], "--languages is of a manifest"),
        (["folder:x", "--manifest=m.jsonl", "--split=trian"], "folder: has the splits train"),
        (["parquet:x", "--manifest=m.jsonl", "--split=dev"], "parquet: has the splits train"),
    ],
)
def test_what_does_not_fit_together_gets_a_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        prepare.run(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("coco", r"`dalle-jax prepare --coco_captions=captions_val2014\.json --manifest"),
        ("mscoco/2014", "--coco_captions"),
        ("COCO", r"folder:PATH, with annotations/captions_\*"),
        ("emojis", "did you mean emoji"),
        ("emoji/64px", "did you mean emoji"),
        ("captioned_shapes/eazy", "did you mean captioned_shapes/easy"),
        ("captioned_shape", "did you mean captioned_shapes"),
        ("pictures", r"A folder of images is folder:pictures"),
        ("imagenet", r"give one of captioned_shapes/easy, .*tfds:NAME"),
    ],
)
def test_an_unknown_data_set_is_named_with_what_was_meant(tmp_path, monkeypatch, source, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    with pytest.raises(ValueError, match=rf"there is no data set '{source}'.*{sentence}"):
        prepare.run([source])
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_a_font_that_is_not_there_is_named_before_anything_is_drawn(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        prepare.run(["emoji", f"--data_dir={tmp_path}", f"--font={tmp_path}/none.ttf"])
    assert "none.ttf: there is no such font file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
