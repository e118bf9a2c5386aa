"""The table of formats in docs/data.md: each row is so, in the words that it quotes."""

import gzip
import json
import os
import re
import warnings

import numpy as np
import pytest
from PIL import Image

from dalle_jax.data import remote_server
from dalle_jax.data.coco import make_coco_manifest
from dalle_jax.data.open import open_source
from dalle_jax.data.tfds_source import TfdsSource
from tests.conftest import ROOT
from tests.data.encoded import encoded, parquet
from tests.data.tars import pair, png, tar_bytes
from tests.data.test_tfds_source import Like, Plain, Texts

HEAD = "| format | what is read | what is not, and how it is said |"


def documented() -> dict[str, list[str]]:
    """The words that each row of the table quotes, by the row's first cell."""
    lines = (ROOT / "docs/data.md").read_text().split(HEAD)[1].splitlines()[2:]
    rows = [line.strip("|").split("|") for line in lines[: lines.index("")]]
    return {name.strip(): re.findall(r"`([^`]+)`", refused) for name, _, refused in rows}


class Said(list):
    """What readers said; `read` adds to it."""

    def read(self, spec, captions=None, **options):
        """Open a data set in which half may be bad; the captions that it has to have."""
        options = {"max_bad_share": 0.9, "data_dir": "none", **options}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                source = open_source(str(spec), split="all", image_size=8, **options)
            except (ValueError, OSError) as error:
                assert captions is None and "\n" not in str(error), error
                return self.append(str(error))
        self.append(str(source.report))
        assert (
            captions is None or sorted(source[i]["caption"] for i in range(len(source))) == captions
        )
        return None


def folder(root, **files):
    """A folder of four pictures and further files, each of text or bytes."""
    root.mkdir(parents=True)
    for name, content in {**{f"{i}.png": png(i) for i in range(4)}, **files}.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return f"folder:{root}"


def json_tables(tmp, said):
    good = [{"file_name": "0.png", "text": "a"}, {"image": "1.png", "text": None, "caption": "b"}]
    bad = [{"text": "c"}, {"file_name": "9.png", "text": "d"}, {"file_name": "2.png", "text": 3}]
    rows = [*good, *bad, {"file_name": "3.png", "text": " "}]
    lines = "".join(json.dumps(row) + "\n" for row in rows) + '{"x\n'
    said.read(folder(tmp / "lines", **{"metadata.jsonl": lines}), ["a", "b"])
    said.read(folder(tmp / "list", **{"metadata.json": json.dumps(good)}), ["a", "b"])
    by_name = json.dumps({"0.png": "a", "1.png": {"caption": "b"}})
    said.read(folder(tmp / "by_name", **{"metadata.json": by_name}), ["a", "b"])
    columns = json.dumps({"file_name": {"0": "0.png", "1": "1.png"}, "text": {"0": "a", "1": "b"}})
    said.read(folder(tmp / "columns", **{"metadata.json": columns}), ["a", "b"])
    out = '{"file_name": "../0.png", "text": "a"}'
    said.read(folder(tmp / "out", **{"metadata.jsonl": out}))
    said.read(folder(tmp / "other", **{"metadata.jsonl": '{"name": "0.png", "words": "a"}'}))


def csv_tables(tmp, said):
    table = 'file_name,caption\n0.png,a\n1.png,b,c\n2.png,"d\n'
    said.read(folder(tmp / "bad", **{"captions.csv": table}), ["a"])
    quoted = 'file_name;caption\n0.png;"a\nb"\n'
    said.read(folder(tmp / "quoted", **{"captions.csv": quoted}), ["a\nb"])
    said.read(folder(tmp / "tabs", **{"captions.tsv": "file_name\tcaption\n0.png\ta\n"}), ["a"])
    said.read(folder(tmp / "bars", **{"captions.csv": "file_name|caption\n0.png|a\n"}), ["a"])
    said.read(folder(tmp / "other", **{"captions.csv": "name,words\n0.png,a\n"}))


def parquet_tables(tmp, said):
    table = parquet({"file_name": ["0.png", "1.png"], "text": ["a", None]})
    said.read(folder(tmp / "good", **{"metadata.parquet": table}), ["a"])
    said.read(folder(tmp / "torn", **{"metadata.parquet": table[:40]}))
    inside = parquet({"image": [{"bytes": png(), "path": "0.png"}], "text": ["a"]})
    said.read(folder(tmp / "inside", **{"metadata.parquet": inside}))


def beside(tmp, said):
    texts = {"0.txt": "a\nb", "1.caption": "c", "2.json": '{"caption": "d"}', "lost.txt": "e"}
    said.read(folder(tmp / "good", **texts), ["a", "c", "d"])
    twice = {"0.txt": "a", "0.caption": "b", "1.txt": "", "1.caption": "c"}
    said.read(folder(tmp / "twice", **twice), ["a", "c"])
    said.read(folder(tmp / "shared", **{"0.txt": "a", "1.txt": "b", "1.webp": png()}), ["a"])


def encodings(tmp, said):
    latin = {"0.txt": "a", "1.txt": "Käfer".encode("cp1252"), "2.txt": "Käfer".encode("utf-16")}
    said.read(folder(tmp / "latin", **latin), ["Käfer", "a"])
    said.read(f"folder:{tmp / 'latin'}", ["Käfer", "Käfer", "a"], encoding="cp1252")
    said.read(f"folder:{tmp / 'latin'}", encoding="klingon")


def entries(tmp, said):
    files = {
        "0.txt": "a",
        ".DS_Store": "x",
        "Thumbs.db": "x",
        "notes.md": "x",
        "train/4.png": png(4),
    }
    spec = folder(tmp / "all", **files, **{"train/4.txt": "d"})
    os.symlink("nowhere", tmp / "all/5.png")
    os.symlink(tmp / "all", tmp / "all/loop")
    (tmp / "blob").write_bytes(png(6))
    os.symlink(tmp / "blob", tmp / "all/6.png")
    (tmp / "all/6.txt").write_text("f")
    said.read(spec, ["a", "d", "f"])
    (tmp / "all/part.csv").write_text("file_name,caption\n1.png,only\n")
    said.read(f"{spec}/part.csv", ["only"])


def karpathy(tmp, said):
    images = [
        {"filename": f"{i}.png", "split": split, "sentences": [{"raw": f"caption {i}"}]}
        for i, split in enumerate(("restval", "val", "holiday"))
    ]
    spec = folder(tmp / "coco", **{"dataset_coco.json": json.dumps({"images": images})})
    said.read(spec, ["caption 0", "caption 1"])
    assert "its own train and validation" in said[-1]


def coco_folder(tmp, said):
    names = {"images": [{"id": i, "file_name": f"{i}.png"} for i in range(5)]}
    notes = [{"id": i, "image_id": i, "caption": f"caption {i}"} for i in (0, 1, 4, 9)]
    notes.append({"id": 10, "image_id": 0, "caption": 3})
    captions = json.dumps({**names, "annotations": notes})
    images = {f"train2017/{i}.png": png(i) for i in range(2)}
    spec = folder(tmp / "coco", **{"captions_train2017.json": captions}, **images)
    said.read(spec, ["caption 0", "caption 1"])
    assert "its own train" in said[-1]
    boxes = json.dumps({**names, "annotations": [{"id": 1, "image_id": 1, "bbox": []}]})
    (tmp / "coco/captions_val2014.json").write_text(captions)
    (tmp / "coco/instances_val2017.json").write_text(boxes)
    said.read(spec)
    said.read(f"{spec}/instances_val2017.json")


def img2dataset(tmp, said):
    image = np.full((64, 64, 3), 255, np.uint8)
    image[:, 24:40] = (200, 0, 0)
    record = {"caption": "a", "width": 64, "height": 64, "original_width": 100}
    record["original_height"] = 400
    sample = {"00000/000000000.png": encoded(Image.fromarray(image)), "00000/000000000.txt": "a"}
    sample["00000/000000000.json"] = json.dumps(record)
    said.read(folder(tmp / "files", **sample, **{"00000_stats.json": "{}"}), ["a"])
    members = [(name.partition("/")[2], content) for name, content in sample.items()]
    members = [(name, c if isinstance(c, bytes) else c.encode()) for name, c in members]
    (tmp / "0.tar").write_bytes(tar_bytes(members))
    said.read(f"webdataset:{tmp / '0.tar'}", ["a"])


def shards(tmp, said):
    members = [*pair("a", 1), *pair("b", 2, text="caption"), ("c.png", png()), ("d.txt", b"d")]
    members += [*pair("e", 5), *pair("e", 6), *pair("f", 7), ("f.jpg", png()), ("g.cls", b"1")]
    members += [*pair("h", 8), ("h.seg.png", png())]
    (tmp / "0.tar").write_bytes(tar_bytes(members))
    (tmp / "1.tar").write_bytes(b"")
    (tmp / "2.tar").write_bytes(tar_bytes(pair("i", 9)) + b"no tar" * 200)
    (tmp / "3.tar").write_bytes(tar_bytes([*pair("j", 10), *pair("k", 11)])[:3500])
    said.read(f"webdataset:{tmp}", ["1", "10", "2", "8", "9"])
    said.read(f"webdataset:{tmp / '0.tar'}::{tmp / '2.tar'}", ["1", "2", "8", "9"])
    (tmp / "packed").mkdir()
    (tmp / "packed/0.tar").write_bytes(gzip.compress((tmp / "0.tar").read_bytes()))
    said.read(f"webdataset:{tmp / 'packed'}")
    (tmp / "none.tar").write_bytes(tar_bytes([("a.xyz", b"1")]))
    said.read(f"webdataset:{tmp / 'none.tar'}")
    (tmp / "4.tar").write_bytes(tar_bytes([("l.png", png()), ("l.png.json", b'{"alt": "x"}')]))
    for column in ("alt,blip", "json,txt"):
        said.read(f"webdataset:{tmp / '4.tar'}", caption_column=column)
    said.read(f"webdataset:{tmp / '4.tar'}", ["x"], caption_column="alt")


def parquet_files(tmp, said):
    images = [{"bytes": png(1), "path": "0.png"}, {"bytes": png(2), "path": "1.png"}]
    table = {"image": [*images, {"bytes": None, "path": "x"}], "text": ["a", None, "c"]}
    (tmp / "0.parquet").write_bytes(parquet(table))
    (tmp / "1.parquet").write_bytes(b"torn")
    said.read(f"parquet:{tmp}", ["a"])
    (tmp / "2.parquet").write_bytes(parquet({"jpg": [png(3)], "captions": [["d", "e"]]}))
    said.read(f"parquet:{tmp / '2.parquet'}", ["d"])
    table = {"image": images, "text": ["a", "b"], "split": ["holdout", "test"]}
    (tmp / "3.parquet").write_bytes(parquet(table))
    said.read(f"parquet:{tmp / '3.parquet'}", ["a", "b"])
    (tmp / "names.parquet").write_bytes(parquet({"file_name": ["0.png"], "text": ["a"]}))
    said.read(f"parquet:{tmp / 'names.parquet'}")


def coco(tmp, said):
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2, 3)] + [{"id": 4}]
    notes = [{"id": i, "image_id": i, "caption": "A dog."} for i in (1, 2)]
    notes += [
        {"id": 2, "image_id": 2, "caption": "A cat."},
        {"id": 5, "image_id": 9, "caption": "x"},
    ]
    notes += [{"id": 6, "image_id": 1, "caption": None}, {"id": 7, "image_id": 1, "caption": " "}]
    notes += [{"id": 8, "image_id": 3, "caption": " "}]
    path = tmp / "captions_x.json"
    path.write_text(json.dumps({"images": images, "annotations": notes}))
    with pytest.warns(UserWarning) as told:
        manifest = make_coco_manifest([path, path], n=None, max_bad_share=0.9)
    said += [str(warning.message) for warning in told]
    assert manifest.captions == ["A dog."] * 2
    path.write_text("[]")
    with pytest.raises(ValueError) as error:
        make_coco_manifest(path)
    said.append(str(error.value))


def urls(tmp, said):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/formats/0.tar", tar_bytes([*pair("a", 1), *pair("b", 2)]))
    memory.pipe("/formats/0.parquet", parquet({"image": [png(1)], "text": ["a"]}))
    said.read("webdataset:memory://formats/0.tar", ["1", "2"], cache_dir=tmp)
    said.read("parquet:memory://formats/0.parquet", ["a"], cache_dir=tmp)
    memory.pipe({"/formats/folder/0.png": png(1), "/formats/folder/0.txt": b"b"})
    said.read("folder:memory://formats/folder", ["b"], cache_dir=tmp)
    said.read("webdataset:memory://formats/none.tar", cache_dir=tmp)
    said.read("webdataset:http://127.0.0.1:9/0.tar", cache_dir=tmp)


def formats(tmp, said):
    files = {"0.txt": "png", "1.txt": "torn", "1.png": b"torn", "2.heic": b"heic", "2.txt": "x"}
    kinds = {"jpg": "JPEG", "webp": "WEBP", "avif": "AVIF", "gif": "GIF", "tif": "TIFF"}
    kinds |= {"jp2": "JPEG2000", "bmp": "BMP"}
    for suffix, kind in kinds.items():
        image = encoded(Image.new("RGB", (8, 8)), kind)
        files |= {f"{suffix}.{suffix}": image, f"{suffix}.txt": suffix}
    files |= {"wrong.png": files["jpg.jpg"], "wrong.txt": "wrong"}  # read by its content
    spec = folder(tmp / "all", **files)
    (tmp / "all/2.png").unlink()
    said.read(spec, sorted(["png", "wrong", *kinds]))


def shapes_of_images(tmp, said):
    spec = folder(tmp / "all", **{f"{i}.txt": "a" for i in range(4)})
    wide, large = png(5, (30, 20)), png(6, (20, 20))
    for name, content in {"wide": wide, "large": large}.items():
        (tmp / f"all/{name}.png").write_bytes(content)
        (tmp / f"all/{name}.txt").write_text(name)
    said.read(spec, ["large", "wide"], min_side=10)
    said.read(spec, ["large"], max_aspect_ratio=1.2)


def tfds(tmp, said):
    for builder in (Like, Plain, Texts):
        builder(data_dir=tmp, file_format="array_record").download_and_prepare()
    said.read(
        "tfds:like_coco", sorted(f"train {i}" for i in range(30) if i not in (7, 8)), data_dir=tmp
    )
    said.read("tfds:none", data_dir=tmp)
    with pytest.raises(ValueError) as error:
        TfdsSource("plain", tmp, "test")
    said.append(str(error.value))
    with pytest.warns(UserWarning):
        said.append(str(TfdsSource("texts", tmp, "test", max_bad_share=0.6).report))


CASES = {
    "`metadata.jsonl`, `metadata.json`": json_tables,
    "`captions.csv`, `captions.tsv`": csv_tables,
    "`metadata.parquet` beside the images": parquet_tables,
    "`.txt`, `.caption` (kohya), `.json` beside an image": beside,
    "encodings of captions and tables": encodings,
    "a folder's other entries": entries,
    "Karpathy's `dataset_coco.json`": karpathy,
    "COCO's `annotations/captions_*.json` beside the images' folders": coco_folder,
    "img2dataset": img2dataset,
    "tar shards (WebDataset)": shards,
    "Parquet with images": parquet_files,
    "COCO annotations (`prepare --coco_captions`), one file or several": coco,
    "TFDS": tfds,
    "URLs": urls,
    "image formats": formats,
    "`min_side`, `max_aspect_ratio`": shapes_of_images,
}


def test_each_row_of_the_table_has_its_test():
    assert list(documented()) == list(CASES)


@pytest.mark.parametrize("row", CASES)
def test_what_a_row_says_is_so(row, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_server, "FIRST_PAUSE", 0.001)
    said = Said()
    CASES[row](tmp_path, said)
    words = documented()[row]
    assert words and not [quoted for quoted in words if not any(quoted in text for text in said)]
