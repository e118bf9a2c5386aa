import io
import json

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from dalle_jax.data.shapes.draw import draw
from dalle_jax.data.shapes.scene import SceneSettings, sample_scene
from dalle_jax.metrics import leakage, prints
from dalle_jax.metrics.leakage import check_leakage, leaked_rows, near_duplicates, normal_caption
from dalle_jax.metrics.prints import compute_prints, load_prints, perceptual, save_prints


def texture(seed, side=48):
    """A smooth random picture, uint8 [side, side, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def jpeg(image, quality):
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "JPEG", quality=quality)
    return np.asarray(Image.open(encoded))


def brighter(image, by):
    return np.clip(image.astype(int) + by, 0, 255).astype(np.uint8)


def item(number, image, caption=None):
    caption = caption or f"texture number {number}"
    return {"id": str(number), "image": image, "caption": caption}


TRAIN = [item(i, texture(i)) for i in range(60)]


@pytest.fixture(scope="module")
def planted():
    rows = [item(i, texture(i)) for i in range(100, 114)]
    rows[1] = item(101, TRAIN[5]["image"].copy())
    rows[3] = item(103, jpeg(TRAIN[9]["image"], 60))
    rows[5] = item(105, brighter(TRAIN[11]["image"], 30))
    smaller = Image.fromarray(TRAIN[20]["image"]).resize((40, 40), Image.Resampling.LANCZOS)
    rows[7] = item(107, np.asarray(smaller))
    rows[9] = item(109, texture(109), " Texture　NUMBER ３０")
    return rows


def test_planted_leaks_are_found_and_nothing_else(planted):
    report = check_leakage(compute_prints(planted), compute_prints(TRAIN))
    pairs = {
        kind: list(zip(found["rows"], found["train"])) for kind, found in report["found"].items()
    }
    assert pairs == {
        "image": [(1, 5)],
        "near_duplicate": [(3, 9), (5, 11), (7, 20)],
        "caption": [(9, 30)],
    }
    assert report["found"]["near_duplicate"]["share"] == 3 / 14
    assert report["examples"]["caption"] == [
        {
            "id": "109",
            "caption": " Texture　NUMBER ３０",
            "train_id": "30",
            "train_caption": "texture number 30",
        }
    ]


def test_rows_left_out_are_those_of_leaked_images(planted):
    report = json.loads(json.dumps(check_leakage(compute_prints(planted), compute_prints(TRAIN))))
    for kinds, rows in ((None, [1, 3, 5, 7]), (("image",), [1]), (("image", "caption"), [1, 9])):
        leaked = leaked_rows(report, kinds) if kinds else leaked_rows(report)
        assert np.flatnonzero(leaked).tolist() == rows and len(leaked) == len(planted)
    with pytest.raises(ValueError, match="does not have 'feature_neighbour'"):
        leaked_rows(report, ("feature_neighbour",))


def test_neighbours_in_a_space_of_features(planted):
    rng = np.random.default_rng(0)
    train = rng.normal(size=(len(TRAIN), 32))
    rows = rng.normal(size=(len(planted), 32))
    rows[4] = 3 * train[17] + 0.01 * rng.normal(size=32)
    report = check_leakage(
        compute_prints(planted), compute_prints(TRAIN), features=rows, train_features=train
    )
    found = report["found"]["feature_neighbour"]
    assert (found["rows"], found["train"]) == ([4], [17])
    assert leaked_rows(report, ("feature_neighbour",)).sum() == 1
    nearest = (rows @ train.T / np.linalg.norm(train, axis=1)).max(1) / np.linalg.norm(rows, axis=1)
    assert report["median_cosine"] == pytest.approx(np.median(nearest))


def test_saved_prints_are_the_same_unless_they_were_made_otherwise(planted, tmp_path, monkeypatch):
    computed = compute_prints(planted)
    save_prints(tmp_path / "prints.npz", computed)
    report = check_leakage(load_prints(tmp_path / "prints.npz"), compute_prints(TRAIN))
    assert report == check_leakage(computed, compute_prints(TRAIN))
    monkeypatch.setattr(prints, "HASH_MARGIN", 16.0)
    with pytest.raises(ValueError, match="another margin"):
        load_prints(tmp_path / "prints.npz")


def test_blocks_have_no_influence(planted, monkeypatch):
    rows, train = compute_prints(planted), compute_prints(TRAIN, num_threads=1)
    # At these thresholds every row has many duplicates, of which the most alike is taken.
    whole = near_duplicates(rows, train, bits=40, thumbnail=0.0)
    monkeypatch.setattr(leakage, "TRAIN_BLOCK", 7)
    monkeypatch.setattr(leakage, "ROW_BLOCK", 3)
    np.testing.assert_array_equal(near_duplicates(rows, train, bits=40, thumbnail=0.0), whole)
    assert (whole >= 0).all()


def test_the_hash_is_that_of_the_lowest_frequencies_of_the_dct():
    image = texture(3, side=32)
    number, _ = perceptual(image)
    luma = np.asarray(Image.fromarray(image).convert("L"), float)
    # An orthonormal DCT scales whole rows and columns of frequency 0 by 1/√2.
    spectrum = dctn(luma) / 4
    lowest = [spectrum[u, total - u] for total in range(1, 11) for u in range(total + 1)][:64]
    wave = np.cos(np.pi / 32 * np.outer(3, np.arange(32) + 0.5))
    margin = dctn(wave.T @ wave / 8).max() / 4
    bits = "".join("1" if value > np.median(lowest) + margin else "0" for value in lowest)
    assert f"{number:064b}" == bits and 24 < bits.count("1") <= 32


def scenes(n, seed):
    rng = np.random.default_rng(seed)
    return [draw(sample_scene(rng, SceneSettings()), 32) for _ in range(n)]


def test_rounding_does_not_decide_a_bit(monkeypatch):
    rng = np.random.default_rng(1)
    images = scenes(100, seed=1)
    hashes = lambda: [perceptual(image)[0] for image in images]
    rounded = lambda luma: dctn(luma) + 1e-11 * rng.normal(size=(32, 32))
    exact = hashes()
    monkeypatch.setattr(prints, "dctn", rounded)
    assert hashes() == exact
    monkeypatch.setattr(prints, "HASH_MARGIN", 0.0)
    assert hashes() != hashes()  # without a margin there are scenes where it does


def plain_thumbnail(image):
    """Luma 8 × 8 about its mean, chroma 4 × 4, by Pillow's own YCbCr."""
    small = Image.fromarray(image).resize((8, 8), Image.Resampling.BOX)
    y, cb, cr = np.moveaxis(np.asarray(small.convert("YCbCr"), float), -1, 0)
    coarse = [c[::2, ::2] + c[1::2, ::2] + c[::2, 1::2] + c[1::2, 1::2] for c in (cb, cr)]
    return np.concatenate([(y - y.mean()).ravel(), *(c.ravel() / 4 - 128 for c in coarse)])


def test_both_hash_and_thumbnail_must_agree(planted):
    rows, train = compute_prints(planted), compute_prints(TRAIN)
    bits = np.array([[bin(int(a) ^ int(b)).count("1") for b in train.hashes] for a in rows.hashes])
    a, b = (np.stack([plain_thumbnail(item["image"]) for item in s]) for s in (planted, TRAIN))
    cosines = a @ b.T / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    for most, least in ((12, 0.995), (28, 0.3), (64, 0.5), (24, -1)):
        same = (bits <= most) & (cosines >= least)
        expected = np.where(same.any(1), np.where(same, cosines, -2).argmax(1), -1)
        np.testing.assert_array_equal(near_duplicates(rows, train, most, least), expected)
        assert same.sum() > 3


def test_pictures_of_one_colour_leak_only_as_they_are():
    flat = [item(i, np.full((32, 32, 3), level, np.uint8)) for i, level in enumerate((50, 90))]
    rows = [
        item(0, np.full((32, 32, 3), 90, np.uint8)),
        item(1, np.full((32, 32, 3), 91, np.uint8)),
    ]
    found = check_leakage(compute_prints(rows), compute_prints(flat))["found"]
    assert (found["image"]["rows"], found["near_duplicate"]["rows"]) == ([0], [])


def test_shapes_of_other_colours_are_no_duplicates():
    images = scenes(40, seed=0)
    recolored = [item(i, image[..., [1, 2, 0]]) for i, image in enumerate(images)]
    recompressed = [item(i, jpeg(image, 90)) for i, image in enumerate(images)]
    train = compute_prints([item(i, image) for i, image in enumerate(images)])
    found = check_leakage(compute_prints(recompressed), train)["found"]["near_duplicate"]
    assert found["rows"] == found["train"] == list(range(40))
    found = check_leakage(compute_prints(recolored), train)["found"]["near_duplicate"]
    assert found["count"] == 0


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("A red  cat", "a RED cat\n", True),
        ("ﬁne", "FINE", True),
        ("Straße", "STRASSE", True),
        ("cafe\u0301", "café", True),
        ("a cat", "a cat.", False),
        ("a cat", "a hat", False),
    ],
)
def test_captions_are_compared_as_text(a, b, same):
    assert (normal_caption(a) == normal_caption(b)) is same


def test_mistakes_give_a_sentence(planted):
    rows, train = compute_prints(planted), compute_prints(TRAIN)
    with pytest.raises(ValueError, match="14 and None features for 14 rows and 60 training images"):
        check_leakage(rows, train, features=np.ones((14, 2)))
    with pytest.raises(ValueError, match="3 and 60 features"):
        check_leakage(rows, train, features=np.ones((3, 2)), train_features=np.ones((60, 2)))
    with pytest.raises(ValueError, match="no images"):
        compute_prints([])
