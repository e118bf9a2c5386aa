import hashlib
import json
import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from dalle_jax.data.open import open_source
from dalle_jax.data.shapes.builder import (
    SPLITS,
    CaptionedShapes,
    CaptionedShapesSource,
    ShapesConfig,
    prepare,
)
from dalle_jax.data.shapes.captions import descriptive, short
from dalle_jax.data.shapes.draw import draw
from dalle_jax.data.shapes.scene import Scene, is_held_out_pair
from dalle_jax.metrics.oracle import check

SIZES = {"train": 60, "validation": 10, "test": 20, "test_novel": 20}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    prepare(folder, "full", 32, split_sizes=SIZES)
    return folder


def records(folder):
    """Hashes of all files of a prepared data set that hold records."""
    files = sorted(folder.glob("*.array_record*"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def scene_of(item):
    return Scene.from_dict(json.loads(item["scene"]))


def test_items(data_dir):
    for split, size in SIZES.items():
        source = CaptionedShapesSource(data_dir, "full", 32, split)
        assert len(source) == size
        texts = [{n: v for n, v in item.items() if n != "image"} for item in source]
        assert list(source.without_images()) == texts
        for k in range(0, size, 5):
            item = source[k]
            assert item["image"].shape == (32, 32, 3) and item["image"].dtype == np.uint8
            np.testing.assert_array_equal(item["image"], draw(scene_of(item), 32))
            assert item["caption"] == short(scene_of(item)).text
            assert item["id"] == f"{split}/{k:05d}"


def test_default_sizes():
    assert SPLITS == {"train": 50_000, "validation": 2_000, "test": 5_000, "test_novel": 2_000}


def test_no_scene_is_in_two_places_and_novel_is_novel(data_dir):
    seen = set()
    for split in SIZES:
        for item in CaptionedShapesSource(data_dir, "full", 32, split):
            scene = scene_of(item)
            held_out = {is_held_out_pair(o.shape, o.color) for o in scene.objects}
            assert held_out == {split == "test_novel"}
            seen |= {item["scene"]}
    assert len(seen) == sum(SIZES.values())


def test_a_scene_that_was_drawn_before_is_drawn_anew(tmp_path):
    """The generator skips scenes in `seen`, whichever split put them there."""
    builder = _builder(tmp_path)
    first, second = set(), set()
    once = [example["scene"] for _, example in builder._generate_examples("test", first)]
    digests = {hashlib.blake2b(s.encode(), digest_size=16).digest() for s in once}
    assert digests == first
    second |= digests
    again = [example["scene"] for _, example in builder._generate_examples("test", second)]
    assert not set(once) & set(again) and len(second) == 2 * len(once)


def _builder(folder):
    prepare(folder, "easy", 32, split_sizes=SIZES)
    config = ShapesConfig(name="easy_32", split_sizes=SIZES)
    return CaptionedShapes(data_dir=str(folder), config=config, file_format="array_record")


def test_same_seed_same_bytes(data_dir, tmp_path):
    again = prepare(tmp_path, "full", 32, split_sizes=SIZES)
    first = prepare(data_dir, "full", 32)
    assert records(again) == records(first) and len(records(first)) == len(SIZES)
    other = prepare(tmp_path, "full", 32, split_sizes=SIZES, seed=1)
    assert other != again
    assert not set(records(other).values()) & set(records(first).values())


def test_scenes_and_captions_do_not_depend_on_the_resolution(data_dir, tmp_path):
    prepare(tmp_path, "full", 48, split_sizes=SIZES)
    captions = {"natural": 0.5, "alt": 0.5}
    small = CaptionedShapesSource(data_dir, "full", 32, "test", captions)
    large = CaptionedShapesSource(tmp_path, "full", 48, "test", captions)
    for a, b in zip(small, large):
        assert (a["scene"], a["caption"], a["id"]) == (b["scene"], b["caption"], b["id"])
        assert b["image"].shape == (48, 48, 3)


def test_mixtures_of_captions(data_dir):
    def mixture(seed, **shares):
        return CaptionedShapesSource(data_dir, "full", 32, "train", shares, caption_seed=seed)

    source = mixture(3, short=0.25, descriptive=0.75)
    kinds = [item["caption_kind"] for item in source]
    assert 0.5 < kinds.count("descriptive") / len(kinds) < 0.95
    assert set(kinds) == {"short", "descriptive"}
    for item in source:
        write = {"short": short, "descriptive": descriptive}[item["caption_kind"]]
        assert item["caption"] == write(scene_of(item)).text
    # The kind is a function of the index: neither the order of reading nor a copy changes it.
    copy = pickle.loads(pickle.dumps(source))
    assert [copy[k]["caption_kind"] for k in reversed(range(len(copy)))] == kinds[::-1]
    turned = mixture(3, descriptive=0.75, short=0.25)
    assert [item["caption_kind"] for item in turned] == kinds
    other = mixture(4, short=0.25, descriptive=0.75)
    assert [item["caption_kind"] for item in other] != kinds


def test_phrased_captions_are_made_when_an_item_is_read(data_dir):
    def captions(split, kind="phrased", seed=0):
        source = CaptionedShapesSource(data_dir, "full", 32, split, kind, caption_seed=seed)
        items = list(source)
        assert {item["caption_kind"] for item in items} == {"phrased"}
        assert [item["caption"] for item in source.without_images()] == [
            item["caption"] for item in items
        ]
        assert all(all(check(item["caption"], item["image"])) for item in items)
        return [item["caption"] for item in items]

    train = captions("train")
    assert captions("train") == train and captions("train", seed=1) != train
    assert len(set(train)) > 0.9 * len(train)
    paraphrase = captions("paraphrase", "short")  # phrased all the same
    assert captions("paraphrase") == paraphrase != captions("test")
    assert not {text.lower() for text in train} & {text.lower() for text in paraphrase}
    scenes = {
        split: [item["scene"] for item in CaptionedShapesSource(data_dir, "full", 32, split)]
        for split in ("test", "paraphrase")
    }
    assert scenes["paraphrase"] == scenes["test"]


def test_preparing_again_does_nothing(data_dir):
    folder = prepare(data_dir, "full", 32)
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert prepare(data_dir, "full", 32, split_sizes=SIZES) == folder
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_errors(data_dir, tmp_path):
    command = "dalle-jax prepare captioned_shapes/easy --resolution=32 --data_dir=" + str(tmp_path)
    with pytest.raises(FileNotFoundError, match=command):
        CaptionedShapesSource(tmp_path, "easy", 32)
    full = partial(CaptionedShapesSource, data_dir, "full", 32)
    for action, message in (
        (lambda: prepare(tmp_path, "hard", 32), "no config 'hard'; it has easy, pairs, full"),
        (lambda: full("dev"), "no split 'dev'"),
        (lambda: prepare(tmp_path, "easy", 32, split_sizes={"dev": 3}), "no split 'dev'"),
        (lambda: full(caption="long"), "no caption 'long'"),
        (lambda: full(caption={"short": 0.5, "alt": 0.6}), "add up to 1"),
        (lambda: prepare(data_dir, "full", 32, split_sizes={"train": 61}), "holds splits of"),
    ):
        with pytest.raises(ValueError, match=message):
            action()


def test_neither_tensorflow_nor_a_registration(tmp_path):
    """In a process of its own: import, prepare, read; then TFDS does not know the builder."""
    code = f"""
import sys
from dalle_jax.data.shapes.builder import CaptionedShapesSource, prepare
prepare({str(tmp_path)!r}, "easy", 32, split_sizes={SIZES!r})
CaptionedShapesSource({str(tmp_path)!r}, "easy", 32)[0]
assert "tensorflow" not in sys.modules and "jax" not in sys.modules
from tensorflow_datasets.core import registered
assert "captioned_shapes" not in registered._DATASET_REGISTRY
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_images_are_stored_as_png(data_dir):
    stored = json.loads((prepare(data_dir, "full", 32) / "features.json").read_text())
    image = stored["featuresDict"]["features"]["image"]["image"]
    assert image["encodingFormat"] == "png"


def test_a_mixture_of_captions_is_for_training(shapes_dir):
    settings = {"data_dir": shapes_dir, "image_size": 24}
    mixed = "short:0.25,descriptive:0.75"
    train = open_source("captioned_shapes/easy", split="train", captions=mixed, **settings)
    kinds = [train[i]["caption_kind"] for i in range(len(train))]
    assert 0.65 < kinds.count("descriptive") / len(kinds) < 0.85
    assert set(kinds) == {"short", "descriptive"}
    test = open_source("captioned_shapes/easy", split="test", captions=mixed, **settings)
    assert {test[i]["caption_kind"] for i in range(len(test))} == {"short"}
    paraphrase = open_source(
        "captioned_shapes/easy", split="paraphrase", captions=mixed, **settings
    )
    assert {paraphrase[i]["caption_kind"] for i in range(len(paraphrase))} == {"phrased"}
    with pytest.raises(ValueError, match="'short,alt:half' are not understood"):
        open_source("captioned_shapes/easy", split="train", captions="short,alt:half", **settings)
    with pytest.raises(ValueError, match="must be positive and add up to 1"):
        wrong = "short:0.4,alt:0.5"
        open_source("captioned_shapes/easy", split="train", captions=wrong, **settings)
