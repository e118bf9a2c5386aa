import json

import numpy as np
import pytest
from PIL import Image

from dalle_jax.data.folder import FolderSource

SIZE = (6, 5)


def save(path, color):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, color).save(path)


def pairs(source):
    return {item["id"]: item["captions"] for item in (source[i] for i in range(len(source)))}


def test_metadata_lines(tmp_path):
    save(tmp_path / "a.png", "red")
    save(tmp_path / "sub" / "b.PNG", "blue")
    lines = [
        {"file_name": "a.png", "caption": "a red field"},
        {"file_name": "sub/b.PNG", "text": "a blue field"},
        {"file_name": "a.png", "captions": ["red", "all red"]},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    source = FolderSource(tmp_path, "all")
    assert pairs(source) == {
        "a.png": ("a red field", "red", "all red"),
        "sub/b.PNG": ("a blue field",),
    }
    np.testing.assert_array_equal(
        source[1]["image"], np.broadcast_to([0, 0, 255], (*SIZE[::-1], 3))
    )
    assert source[0]["caption"] == "a red field" and source.report.num_skipped == 0


def test_bad_items_are_skipped_and_named(tmp_path):
    for name in ("good", "blank", "alone", "torn", "empty"):
        save(tmp_path / f"{name}.png", "red")
    torn = tmp_path / "torn.png"
    torn.write_bytes(torn.read_bytes()[:50])
    (tmp_path / "empty.png").write_bytes(b"")
    lines = [
        json.dumps({"file_name": f"{name}.png", "text": " " if name == "blank" else name})
        for name in ("good", "blank", "torn", "empty", "missing")
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join([*lines, '{"file_', '["x"]', "{}"]))
    with pytest.raises(ValueError, match=r"1 of 9 .*max_bad_share = 0.01"):
        FolderSource(tmp_path, "all")
    with pytest.warns(UserWarning, match="data_report.json"):
        source = FolderSource(tmp_path, "all", max_bad_share=0.9)
    assert pairs(source) == {"good.png": ("good",)}
    report = json.loads((tmp_path / "data_report.json").read_text())
    assert report["skipped"] == {
        "unreadable image": ["torn.png"],
        "unreadable image: an empty file": ["empty.png"],
        "empty caption": ["blank.png"],
        "image without caption": ["alone.png"],
        "no image": ["missing.png"],
        "unreadable row: no JSON object": ["metadata.jsonl:6", "metadata.jsonl:7"],
        "row without file name": ["metadata.jsonl:8"],
    }


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "sub/../../secret.png"])
def test_names_cannot_leave_the_folder(tmp_path, name):
    save(tmp_path / "secret.png", "red")
    root = tmp_path / "data"
    save(root / "a.png", "red")
    (root / "metadata.jsonl").write_text(json.dumps({"file_name": name, "text": "x"}))
    with pytest.raises(ValueError, match="leads out of the folder"):
        FolderSource(root)


def test_a_name_too_long_for_the_disk_is_skipped_and_named(tmp_path):
    save(tmp_path / "a.png", "red")
    (tmp_path / "captions.csv").write_text(f"file_name,caption\na.png,red\n{'b' * 999},blue\n")
    with pytest.warns(UserWarning, match=r"1 skipped: no image \(bbb"):
        assert len(FolderSource(tmp_path, "all", max_bad_share=0.5)) == 1


def test_mistakes_give_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        FolderSource(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no items"):
        FolderSource(tmp_path)
    (tmp_path / "captions.csv").write_text("name;caption\n")
    with pytest.raises(
        ValueError, match=r"separated by semicolons\) has the columns name, caption; it needs"
    ):
        FolderSource(tmp_path)
    (tmp_path / "metadata.jsonl").write_text("")
    with pytest.raises(ValueError, match="keep one of them"):
        FolderSource(tmp_path)
