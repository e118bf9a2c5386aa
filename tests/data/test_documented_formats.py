"""The table of formats in docs/data.md: each row is so, in the words that it quotes."""

import gzip
import json
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dalle_jax.data.coco_manifest import make_coco_manifest
from dalle_jax.data.open import open_source
from dalle_jax.data.tfds_source import TfdsSource
from tests.conftest import ROOT
from tests.data.encoded import encoded, parquet
from tests.data.pictures import write
from tests.data.tars import pair, png, tar_bytes
from tests.data.test_tfds_source import Like, Plain, Texts

HEAD = "| format | what is read | what is not, and how it is said |"


def documented() -> dict[str, list[str]]:
    """The words that each row of the table quotes, by the row's first cell."""
    lines = (ROOT / "docs/data.md").read_text().split(HEAD)[1].splitlines()[2:]
    rows = [line.strip("|").split("|") for line in lines[: lines.index("")]]
    return {name.strip(): re.findall(r"`([^`]+)`", refused) for name, _, refused in rows}


class Said(list):
    """What readers said; `read` and `folder` add to it."""

    def __init__(self, tmp):
        self.tmp = tmp

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
        found = sorted(source[i]["caption"] for i in range(len(source)))
        assert captions is None or found == captions
        return None

    def folder(self, files, captions=None, root="", **options):
        """Read a folder of four pictures and further files; its spec."""
        root = self.tmp / (root or str(len([*self.tmp.iterdir()])))
        spec = f"folder:{write(root, {f'{i}.png': png(i) for i in range(4)} | files)}"
        self.read(spec, captions, **options)
        return spec


def json_tables(tmp, said):
    good = [{"file_name": "0.png", "text": "a"}, {"image": "1.png", "text": None, "caption": "b"}]
    bad = [{"text": "c"}, {"file_name": "9.png", "text": "d"}, {"file_name": "2.png", "text": 3}]
    rows = [*good, *bad, {"file_name": "3.png", "text": " "}]
    lines = "".join(json.dumps(row) + "\n" for row in rows) + '{"x\n'
    said.folder({"metadata.jsonl": lines}, ["a", "b"])
    for document in (
        good,
        {"0.png": "a", "1.png": {"caption": "b"}},
        {"file_name": {"0": "0.png", "1": "1.png"}, "text": {"0": "a", "1": "b"}},
    ):
        said.folder({"metadata.json": json.dumps(document)}, ["a", "b"])
    said.folder({"metadata.jsonl": [{"file_name": "../0.png", "text": "a"}]})
    said.folder({"metadata.jsonl": [{"name": "0.png", "words": "a"}]})


def csv_tables(tmp, said):
    said.folder({"captions.csv": 'file_name,caption\n0.png,a\n1.png,b,c\n2.png,"d\n'}, ["a"])
    said.folder({"captions.csv": 'file_name;caption\n0.png;"a\nb"\n'}, ["a\nb"])
    said.folder({"captions.tsv": "file_name\tcaption\n0.png\ta\n"}, ["a"])
    said.folder({"captions.csv": "file_name|caption\n0.png|a\n"}, ["a"])
    said.folder({"captions.csv": "name,words\n0.png,a\n"})


def parquet_tables(tmp, said):
    table = parquet({"file_name": ["0.png", "1.png"], "text": ["a", None]})
    said.folder({"metadata.parquet": table}, ["a"])
    said.folder({"metadata.parquet": table[:40]})
    inside = parquet({"image": [{"bytes": png(), "path": "0.png"}], "text": ["a"]})
    said.folder({"metadata.parquet": inside})


def beside(tmp, said):
    texts = {"0.txt": "a\nb", "1.caption": "c", "2.json": '{"caption": "d"}', "lost.txt": "e"}
    said.folder(texts, ["a", "c", "d"])
    said.folder({"0.txt": "a", "0.caption": "b", "1.txt": "", "1.caption": "c"}, ["a", "c"])
    said.folder({"0.txt": "a", "1.txt": "b", "1.webp": png()}, ["a"])


def encodings(tmp, said):
    latin = {"0.txt": "a", "1.txt": "Käfer".encode("cp1252"), "2.txt": "Käfer".encode("utf-16")}
    spec = said.folder(latin, ["Käfer", "a"])
    said.read(spec, ["Käfer", "Käfer", "a"], encoding="cp1252")
    said.read(spec, encoding="klingon")


def entries(tmp, said):
    write(tmp, {"blob": png(6)})
    (tmp / "1").mkdir()
    for name, target in (("5.png", "nowhere"), ("loop", "."), ("6.png", "../blob")):
        os.symlink(target, tmp / "1" / name)
    others = dict.fromkeys((".DS_Store", "Thumbs.db", "notes.md"), "x")
    train = {"train/4.png": png(4), "train/4.txt": "d"}
    spec = said.folder({"0.txt": "a", "6.txt": "f", **others, **train}, ["a", "d", "f"], root="1")
    write(tmp / "1", {"part.csv": "file_name,caption\n1.png,only\n"})
    said.read(f"{spec}/part.csv", ["only"])


def karpathy(tmp, said):
    images = [
        {"filename": f"{i}.png", "split": split, "sentences": [{"raw": f"caption {i}"}]}
        for i, split in enumerate(("restval", "val", "holiday"))
    ]
    said.folder({"dataset_coco.json": {"images": images}}, ["caption 0", "caption 1"])
    assert "its own train and validation" in said[-1]


def coco_folder(tmp, said):
    names = {"images": [{"id": i, "file_name": f"{i}.png"} for i in range(5)]}
    notes = [{"id": i, "image_id": i, "caption": f"caption {i}"} for i in (0, 1, 4, 9)]
    notes.append({"id": 10, "image_id": 0, "caption": 3})
    captions = {**names, "annotations": notes}
    images = {f"train2017/{i}.png": png(i) for i in range(2)}
    spec = said.folder({"captions_train2017.json": captions, **images}, ["caption 0", "caption 1"])
    assert "its own train" in said[-1]
    boxes = {**names, "annotations": [{"id": 1, "image_id": 1, "bbox": []}]}
    write(
        Path(spec.removeprefix("folder:")),
        {"captions_val2014.json": captions, "instances_val2017.json": boxes},
    )
    said.read(spec)
    said.read(f"{spec}/instances_val2017.json")


def img2dataset(tmp, said):
    image = np.full((64, 64, 3), 255, np.uint8)
    image[:, 24:40] = (200, 0, 0)
    record = {"caption": "a", "width": 64, "height": 64, "original_width": 100}
    record["original_height"] = 400
    sample = {"0.png": encoded(Image.fromarray(image)), "0.txt": b"a"}
    sample["0.json"] = json.dumps(record).encode()
    files = {f"00000/{name}": content for name, content in sample.items()}
    said.folder({**files, "00000_stats.json": "{}"}, ["a"])
    write(tmp, {"0.tar": tar_bytes(sample.items())})
    said.read(f"webdataset:{tmp / '0.tar'}", ["a"])


def shards(tmp, said):
    members = [*pair("a", 1), *pair("b", 2, text="caption"), ("c.png", png()), ("d.txt", b"d")]
    members += [*pair("e", 5), *pair("e", 6), *pair("f", 7), ("f.jpg", png()), ("g.cls", b"1")]
    members += [*pair("h", 8), ("h.seg.png", png())]
    write(tmp, {"0.tar": tar_bytes(members), "1.tar": b""})
    write(tmp, {"2.tar": tar_bytes(pair("i", 9)) + b"no tar" * 200})
    write(tmp, {"3.tar": tar_bytes([*pair("j", 10), *pair("k", 11)])[:3500]})
    said.read(f"webdataset:{tmp}", ["1", "10", "2", "8", "9"])
    said.read(f"webdataset:{tmp / '0.tar'}::{tmp / '2.tar'}", ["1", "2", "8", "9"])
    write(tmp, {"packed/0.tar": gzip.compress(tar_bytes(members))})
    said.read(f"webdataset:{tmp / 'packed'}")
    write(tmp, {"none.tar": tar_bytes([("a.xyz", b"1")])})
    said.read(f"webdataset:{tmp / 'none.tar'}")
    write(tmp, {"4.tar": tar_bytes([("l.png", png()), ("l.png.json", b'{"alt": "x"}')])})
    for column in ("alt,blip", "json,txt"):
        said.read(f"webdataset:{tmp / '4.tar'}", caption_column=column)
    said.read(f"webdataset:{tmp / '4.tar'}", ["x"], caption_column="alt")


def parquet_files(tmp, said):
    images = [{"bytes": png(1), "path": "0.png"}, {"bytes": png(2), "path": "1.png"}]
    table = {"image": [*images, {"bytes": None, "path": "x"}], "text": ["a", None, "c"]}
    write(tmp, {"0.parquet": parquet(table), "1.parquet": b"torn"})
    said.read(f"parquet:{tmp}", ["a"])
    for columns, captions in (
        ({"jpg": [png(3)], "captions": [["d", "e"]]}, ["d"]),
        ({"image": images, "text": ["a", "b"], "split": ["holdout", "test"]}, ["a", "b"]),
        ({"file_name": ["0.png"], "text": ["a"]}, None),
    ):
        write(tmp, {"2.parquet": parquet(columns)})
        said.read(f"parquet:{tmp / '2.parquet'}", captions)


def coco(tmp, said):
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2, 3)] + [{"id": 4}]
    rows = [(1, 1, "A dog."), (2, 2, "A dog."), (2, 2, "A cat."), (5, 9, "x"), (6, 1, None)]
    rows += [(7, 1, " "), (8, 3, " ")]
    notes = [dict(zip(("id", "image_id", "caption"), row)) for row in rows]
    path = tmp / "captions_x.json"
    path.write_text(json.dumps({"images": images, "annotations": notes}))
    with pytest.warns(UserWarning) as warned:
        manifest = make_coco_manifest([path, path], n=None, max_bad_share=0.9)
    said += [str(warning.message) for warning in warned]
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
    root = write(tmp / "all", {"0.png": png(), **files})
    said.read(f"folder:{root}", sorted(["png", "wrong", *kinds]))


def shapes_of_images(tmp, said):
    files = {f"{i}.txt": "a" for i in range(4)} | {"wide.txt": "wide", "large.txt": "large"}
    files |= {"wide.png": png(5, (30, 20)), "large.png": png(6, (20, 20))}
    spec = said.folder(files, ["large", "wide"], min_side=10)
    said.read(spec, ["large"], max_aspect_ratio=1.2)


def tfds(tmp, said):
    for builder in (Like, Plain, Texts):
        builder(data_dir=tmp, file_format="array_record").download_and_prepare()
    expected = sorted(f"train {i}" for i in range(30) if i not in (7, 8))
    said.read("tfds:like_coco", expected, data_dir=tmp)
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
@pytest.mark.usefixtures("url_cache")
def test_what_a_row_says_is_so(row, tmp_path):
    said = Said(tmp_path)
    CASES[row](tmp_path, said)
    words = documented()[row]
    assert words and not [quoted for quoted in words if not any(quoted in text for text in said)]
