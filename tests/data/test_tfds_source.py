import io
import json
import shutil
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from PIL import EpsImagePlugin, Image

from dalle_jax.data.disk_cache import on_disk
from dalle_jax.data.images import center_crop_resize
from dalle_jax.data.open import open_source
from dalle_jax.data.splits import SPLITS
from dalle_jax.data.tfds_source import TfdsSource
from tests.data import tars
from tests.data.encoded import encoded


def png(value):
    return io.BytesIO(tars.png(value))


CAPTIONS = tfds.features.Sequence(
    {"id": tfds.features.Scalar(np.int64), "text": tfds.features.Text()}
)


class Like(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Laid out like coco_captions: captions are a sequence of {id, text}."""

    VERSION = tfds.core.Version("1.1.0")
    name = "like_coco"
    url_infos = None
    feature_dict = {  # noqa: RUF012
        "image": tfds.features.Image(encoding_format="png"),
        "image/filename": tfds.features.Text(),
        "captions": CAPTIONS,
        "objects": tfds.features.Sequence({"bbox": tfds.features.BBoxFeature()}),
    }
    splits = ("train", "val")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(self.feature_dict)
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.splits}

    def _generate_examples(self, split):
        for i in range(30 if split == "train" else 4):
            yield i, self.example(split, i)

    def example(self, split, i):
        image = io.BytesIO(b"torn") if (split, i) == ("train", 7) else png(i)
        texts = [" "] if (split, i) == ("train", 8) else [f"{split} {i}", f"number {i}"]
        return {
            "image": image,
            "image/filename": f"{i}.png",
            "captions": [{"id": n, "text": text} for n, text in enumerate(texts)],
            "objects": [{"bbox": tfds.features.BBox(0.0, 0.0, 0.5, 0.5)}],
        }


class Plain(Like, skip_registration=True):
    """One caption, and texts of other names beside it."""

    name = "plain"
    splits = ("test",)
    feature_dict = {  # noqa: RUF012
        "picture": tfds.features.Image(encoding_format="png"),
        "title": tfds.features.Text(),
        "text": tfds.features.Text(),
        "licence": tfds.features.Text(),
    }

    def example(self, split, i):
        return {"picture": png(i), "title": f"title {i}", "text": f"text {i}", "licence": "CC0"}


class Two(Plain, skip_registration=True):
    """Beside the picture with its caption another one, which is a PostScript program."""

    name = "two"
    feature_dict = {  # noqa: RUF012
        "items": {
            "picture": tfds.features.Image(encoding_format="png"),
            "caption": tfds.features.Text(),
            "thumbnail": {"file": tfds.features.Image(encoding_format="png")},
        },
        "thumbnails": tfds.features.Sequence({"file": tfds.features.Image(encoding_format="png")}),
    }

    def example(self, split, i):
        program = encoded(Image.new("RGB", (4, 3)), "EPS")
        file = {"file": io.BytesIO(program)}
        items = {"picture": png(i), "caption": f"number {i}", "thumbnail": file}
        return {"items": items, "thumbnails": [{"file": io.BytesIO(program)}]}


class Texts(Plain, skip_registration=True):
    """Captions in bytes of every kind."""

    name = "texts"
    feature_dict = {  # noqa: RUF012
        "picture": tfds.features.Image(encoding_format="png"),
        "text": tfds.features.Text(),
    }
    texts = ("ein Käfer".encode(), "ein Käfer".encode("cp1252"), "\u200b".encode(), b"plain")

    def example(self, split, i):
        return {"picture": png(i), "text": self.texts[i]}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for builder in (Like, Plain, Two, Texts):
        builder(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


pytestmark = pytest.mark.filterwarnings("ignore::dalle_jax.data.report.ReportWarning")


def items(source):
    return {item["id"]: item for item in (source[i] for i in range(len(source)))}


def captions(source):
    return {item["caption"] for item in items(source).values()}


def plain(data_dir, **options):
    return TfdsSource("plain", data_dir, "test", **{"caption_column": "text", **options})


TEXTS = {f"text {i}" for i in range(4)}


def test_a_set_like_coco_captions_is_read(data_dir):
    source = open_source("tfds:like_coco", data_dir=data_dir, split="val", image_size=8)
    found = sorted(items(source).values(), key=lambda item: item["image"][0, 0, 0])
    assert [item["captions"] for item in found] == [(f"val {i}", f"number {i}") for i in range(4)]
    assert found[2]["image"].shape == (3, 4, 3) and found[2]["image"][0, 0].tolist() == [2, 0, 0]
    assert "tensorflow" not in sys.modules


def test_bad_items_are_skipped_and_named(data_dir):
    with pytest.raises(ValueError, match="28 of 30"):
        TfdsSource("like_coco", data_dir)
    options = {"max_bad_share": 0.1, "validation_share": 0, "test_share": 0}
    with pytest.warns(UserWarning, match="28 of 30"):
        source = TfdsSource("like_coco:1.1.0", data_dir, **options)
    assert {reason: len(names) for reason, names in source.report.skipped.items()} == {
        "unreadable image": 1,
        "empty caption": 1,
    }
    assert captions(source) == {f"train {i}" for i in range(30) if i not in (7, 8)}


def test_the_signature_is_that_of_the_whole_set_wherever_it_lies(data_dir, tmp_path):
    options = {"max_bad_share": 0.1}
    source = TfdsSource("like_coco", data_dir, "train", **options)
    assert source.signature == TfdsSource("like_coco", data_dir, "val", **options).signature
    shutil.copytree(data_dir / "like_coco", tmp_path / "elsewhere/like_coco")
    moved = TfdsSource("like_coco", tmp_path / "elsewhere", "train", **options)
    assert moved.signature == source.signature
    (file, *_) = sorted((tmp_path / "elsewhere").rglob("*train*array_record*"))
    others = [plain(data_dir, caption_column=name) for name in ("text", "title")]
    assert len({s.signature for s in (*others, source)}) == 3
    assert moved.location(0) == f"{file.parent}, record {moved[0]['id']}"


def test_pictures_of_other_shapes_than_wanted_are_left_out(data_dir, tmp_path):
    assert len(plain(data_dir, cache_dir=tmp_path, min_side=3)) == 4
    for option in ({"min_side": 4}, {"max_aspect_ratio": 1.2}):
        with pytest.raises(ValueError, match="holds no items"):
            plain(data_dir, cache_dir=tmp_path, **option)


def test_captions_are_decoded_strictly_by_the_encoding_that_is_stated(data_dir):
    source = TfdsSource("texts", data_dir, "test", max_bad_share=0.6)
    assert captions(source) == {"ein Käfer", "plain"}
    skipped = {reason: len(ids) for reason, ids in source.report.skipped.items()}
    assert skipped == {"not UTF-8 (cp1252? state encoding=cp1252)": 1, "empty caption": 1}
    latin = TfdsSource("texts", data_dir, "test", encoding="cp1252", max_bad_share=0.6)
    assert "ein Käfer" in captions(latin)
    with pytest.raises(ValueError, match="no text encoding 'klingon'"):
        TfdsSource("texts", data_dir, "test", encoding="klingon")


def test_a_record_that_is_torn_is_one_bad_item(data_dir, tmp_path):
    shutil.copytree(data_dir / "like_coco", tmp_path / "like_coco")
    (file,) = (tmp_path / "like_coco").rglob("*train*array_record*")
    records = ArrayRecordReader(str(file)).read_all()
    records[3] = b"\n\xff torn"
    writer = ArrayRecordWriter(str(file), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
    source = TfdsSource("like_coco", tmp_path, max_bad_share=0.2)
    assert source.report.skipped["unreadable record"] == ["train/3"]


def test_its_images_are_cached_on_disk_as_they_are(data_dir, tmp_path):
    opened = [TfdsSource("like_coco", data_dir, split, max_bad_share=0.1) for split in SPLITS]
    assert len({source.stamp() for source in opened}) == len(SPLITS)
    for source in opened:
        cached = on_disk(source, 3, limit=10**6, memory_limit=0, folder=tmp_path)
        for i in [*range(len(source)), *range(len(source))]:
            item, image = cached[i], center_crop_resize(source[i]["image"], 3)
            assert item["captions"] == source[i]["captions"]
            np.testing.assert_array_equal(item["image"], image)


def test_splits_the_set_lacks_are_taken_out_of_train(data_dir):
    parts = [
        set(items(TfdsSource("like_coco", data_dir, split, max_bad_share=0.1, test_share=0.3)))
        for split in ("train", "validation", "test")
    ]
    assert len(parts[2]) > 2 and sum(map(len, parts)) == len(set.union(*parts)) == 28


def test_features_are_given_where_types_do_not_tell(data_dir):
    with pytest.raises(ValueError, match=r"several caption features .* caption_column"):
        plain(data_dir, caption_column="")
    assert captions(plain(data_dir)) == TEXTS
    with pytest.raises(ValueError, match="no image feature 'photo'; it has picture"):
        plain(data_dir, image_column="photo")
    with pytest.raises(ValueError, match="neither a split 'validation' nor train"):
        TfdsSource("plain", data_dir, "validation", caption_column="text")


def test_what_is_not_asked_for_is_not_decoded(data_dir, monkeypatch):
    opened = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args: opened.append(args))
    source = TfdsSource("two", data_dir, "test", image_column="items/picture")
    assert captions(source) == {f"number {i}" for i in range(4)}
    assert not opened


PAYLOAD = "payload_of_features.Feature"


def feature(name, content):
    return {"type": f"tensorflow_datasets.core.features.{name}", "content": content}


def forge_class(features):
    features["featuresDict"]["features"]["title"]["pythonClassName"] = PAYLOAD
    return features


def forge_snake_case(features):
    title = features["featuresDict"]["features"]["title"]
    del title["pythonClassName"]
    title["python_class_name"] = PAYLOAD
    return features


CLASS = {"type": PAYLOAD, "content": {}}
DICT = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
TEXT = json.dumps({"features": {"title": {"pythonClassName": PAYLOAD, "text": {}}}})
FORGERIES = {
    "class": forge_class,
    "snake case": forge_snake_case,
    "type": {"type": DICT, "content": {"title": CLASS, "type": CLASS}},
    "sequence": feature("sequence_feature.Sequence", {"feature": CLASS, "length": None}),
    "JSON in a text": {
        "pythonClassName": DICT,
        "jsonFeature": {"json": json.dumps({"title": CLASS})},
    },
    "proto in a text": {
        "type": DICT,
        "content": TEXT,
        "proto_cls": "tensorflow_datasets.FeaturesDict",
    },
}


@pytest.fixture
def forged(data_dir, tmp_path, monkeypatch):
    """A copy of a prepared data set, and a module that leaves a file where it is imported."""
    folder = tmp_path / "plain" / "1.1.0"
    shutil.copytree(data_dir / "plain" / "1.1.0", folder)
    trap = f"from pathlib import Path\nPath({str(tmp_path / 'trap')!r}).touch()\n"
    (tmp_path / "payload_of_features.py").write_text(trap)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    sys.modules.pop("payload_of_features", None)


def forge(folder, how):
    file = folder / "features.json"
    file.write_text(json.dumps(how(json.loads(file.read_text())) if callable(how) else how))


@pytest.mark.parametrize("how", FORGERIES.values(), ids=FORGERIES)
def test_a_class_that_is_not_tfds_own_is_refused_and_not_imported(forged, tmp_path, how):
    forge(forged, how)
    with pytest.raises(ValueError, match=rf"features\.json names the class '{PAYLOAD}'"):
        plain(tmp_path)
    assert not (tmp_path / "trap").exists() and "payload_of_features" not in sys.modules
    with pytest.raises(ValueError, match="Unrecognized FeatureConnector"):
        tfds.builder_from_directory(forged)
    assert (tmp_path / "trap").exists()  # as tfds itself imports it


def test_old_spellings_and_other_names_of_modules_do_no_harm(forged, tmp_path):
    shape = {"shape": [None, None, 3], "dtype": "uint8", "encoding_format": "png"}
    content = {
        "picture": feature("image_feature.Image", shape),
        "text": feature("text_feature.Text", {}),
        "number": feature("feature.Tensor", {"shape": [], "dtype": "int64"}),
    }
    forge(forged, feature("features_dict.FeaturesDict", content))
    info = forged / "dataset_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"moduleName": PAYLOAD}))
    assert captions(plain(tmp_path)) == TEXTS and not (tmp_path / "trap").exists()


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\udcff"])
def test_features_that_cannot_be_read_are_a_sentence(forged, tmp_path, text):
    (forged / "features.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"features\.json cannot be read .*; prepare"):
        plain(tmp_path)


def test_what_is_not_prepared_is_a_sentence(data_dir, tmp_path):
    with pytest.raises(FileNotFoundError, match="mnist is not prepared"):
        TfdsSource("mnist", data_dir)
    with pytest.raises(FileNotFoundError, match="is not prepared"):
        TfdsSource("like_coco:9.0.0", data_dir)
    folder = tmp_path / "old" / "1.0.0"
    folder.mkdir(parents=True)
    made = data_dir / "plain" / "1.1.0"
    info = json.loads((made / "dataset_info.json").read_text()) | {"fileFormat": "tfrecord"}
    (folder / "dataset_info.json").write_text(json.dumps(info | {"name": "old"}))
    (folder / "features.json").write_bytes((made / "features.json").read_bytes())
    with pytest.raises(ValueError, match="file_format='array_record'"):
        TfdsSource("old", tmp_path)


def test_unknown_data_sets_are_a_sentence(tmp_path):
    for spec in ("flowers", "folder", "tfds:", "emoji:x", ""):
        with pytest.raises(ValueError, match=r"give one of captioned_shapes/easy, .*emoji, folder"):
            open_source(spec, data_dir=tmp_path, split="train", image_size=8)
