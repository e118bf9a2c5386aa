"""Two sets of images to a row, with a small network in Inception's place: same path, less time."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dalle_jax.metrics.features import FeatureExtractor, extract
from dalle_jax.metrics.frechet import frechet_distance
from dalle_jax.metrics.images import open_images, pixel_digest, set_digest
from dalle_jax.metrics.preprocess import Preprocessing
from dalle_jax.metrics.reference import load_reference
from dalle_jax.metrics.sets import Settings, compare_sets, measure
from dalle_jax.metrics.statistics import gaussian_of
from tests.metrics.random_inception import random_images

SETTINGS = Settings(kid_subsets=4, kid_subset_size=30, is_splits=2)
LENGTHS = {"2048": 12, "spatial": 6, "logits_unbiased": 5}


def small_extractor(**preprocessing):
    rng = np.random.default_rng(0)
    params = {tap: rng.normal(size=(48, n)).astype(np.float32) for tap, n in LENGTHS.items()}

    def forward(params, x):
        coarse = jax.image.resize(x, (len(x), 4, 4, 3), "linear").reshape(len(x), 48)
        return {tap: jnp.tanh(coarse @ kernel / 4) for tap, kernel in params.items()}

    return FeatureExtractor(
        "small",
        hashlib.sha256(b"small").hexdigest(),
        Preprocessing(**preprocessing),
        forward,
        params,
    )


def compare(fake, real, metrics=("fid", "sfid", "kid", "prdc", "is"), **options):
    settings = options.pop("settings", SETTINGS)
    return compare_sets(
        fake, real, small_extractor(), metrics, settings, reference="real", **options
    )


@pytest.fixture(scope="module")
def sets():
    return random_images(45, 1), random_images(70, 2)


def test_the_value_depends_on_no_batch_size_order_or_number_of_devices(sets):
    images = sets[1]
    moments = {}
    for name, order, batch_size, devices in (
        ("one device", slice(None), 64, jax.devices()[:1]),
        ("eight", slice(None), 16, jax.devices()),
        ("odd batches", slice(None), 9, jax.devices()[:3]),
        ("backwards", slice(None, None, -1), 24, jax.devices()[:2]),
    ):
        side = measure(images[order], small_extractor(), ["2048"], (), batch_size, devices=devices)
        assert side.n == 70
        moments[name] = side
    other = gaussian_of(np.random.default_rng(0).normal(size=(50, LENGTHS["2048"])))
    values = {
        name: frechet_distance(side.gaussians["2048"], other) for name, side in moments.items()
    }
    for name, value in values.items():
        assert value == pytest.approx(values["one device"], rel=1e-6), name
        assert moments[name].digest == moments["one device"].digest, name


def test_padding_is_left_out_and_the_order_kept(sets):
    batches = list(extract(sets[0], small_extractor(), 32))
    assert [len(batch.digests) for batch in batches] == [32, 13]
    together = np.concatenate([batch.features["2048"] for batch in batches])
    alone = np.concatenate(
        [b.features["2048"] for b in extract(sets[0], small_extractor(), 1, jax.devices()[:1])]
    )
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_a_whole_row(sets):
    row = compare(*sets)
    assert set(row["metrics"]) == {
        "fid", "sfid", "kid", "precision", "recall", "density", "coverage", "is",
    }  # fmt: skip
    for name in ("fid", "kid", "precision"):
        low, high = row["metrics"][name]["interval"]
        assert low <= row["metrics"][name]["value"] <= high
    # 70 reals give no two disjoint sets of 45: the floor is of halves, and says so.
    assert row["floor"]["num_images"] == 35
    assert 0 < row["floor"]["fid"] < row["metrics"]["fid"]["value"] + 1
    assert row["protocol"]["num_images"] == 45
    assert row["protocol"]["preprocessing"]["resize"] == "torch-fidelity"
    assert row == compare(*sets)


def test_streamed_and_kept_features_give_one_distance(sets):
    kept = compare(*sets, metrics=["fid"])
    off = Settings(intervals=False)
    streamed = compare(*sets, metrics=["fid"], settings=off)
    assert streamed["metrics"]["fid"]["value"] == pytest.approx(
        kept["metrics"]["fid"]["value"], rel=1e-6
    )
    assert "floor" not in streamed


def test_statistics_stand_in_for_the_reference(sets, tmp_path):
    path = tmp_path / "real.npz"
    images = compare(*sets, metrics=["fid", "sfid"], statistics_out=path)
    reference = load_reference(path)
    statistics = compare(sets[0], reference, metrics=["fid", "sfid"])
    for name in ("fid", "sfid"):
        assert statistics["metrics"][name]["value"] == pytest.approx(
            images["metrics"][name]["value"], rel=1e-6
        )
    with pytest.raises(ValueError, match="kid needs the images of the reference"):
        compare(sets[0], reference, metrics=["kid"])
    with pytest.raises(ValueError, match="made with preprocessing"):
        compare_sets(
            sets[0], reference, small_extractor(fit="crop"), ["fid"], SETTINGS, reference="real"
        )


def test_the_protocol_changes_with_what_the_number_depends_on(sets):
    fake, real = sets
    hashes = {
        compare(fake, real, ["fid"])["protocol_hash"],
        compare(fake[:-1], real, ["fid"])["protocol_hash"],
        compare(fake, real[:-1], ["fid"])["protocol_hash"],
        compare_sets(
            fake, real, small_extractor(resize="clean-fid"), ["fid"], SETTINGS, reference="real"
        )["protocol_hash"],
    }
    assert len(hashes) == 4
    # Other fakes of the same number are another row of the same protocol.
    assert compare(fake[::-1], real, ["fid"])["protocol_hash"] in hashes
    assert compare(real[:45], real, ["fid"])["protocol_hash"] in hashes


def test_too_few_images_are_a_sentence(sets):
    with pytest.raises(ValueError, match="there are 10 fakes; fid needs at least 20"):
        compare(sets[0][:10], sets[1], ["fid"])
    with pytest.raises(ValueError, match="kid needs at least 1000; give a smaller"):
        compare(*sets, ["kid"], settings=Settings())
    with pytest.raises(ValueError, match="no metric 'lpips'"):
        compare(*sets, ["lpips"])


def test_images_of_folders_and_arrays(tmp_path):
    images = random_images(3)
    folder = tmp_path / "folder"
    (folder / "deeper").mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / ("deeper" if i == 2 else "") / f"{i}.png")
    np.savez(tmp_path / "images.npz", images)
    np.save(tmp_path / "images.npy", images)
    for path in (folder, tmp_path / "images.npz", tmp_path / "images.npy"):
        opened = open_images(path)
        assert len(opened) == 3
        assert set_digest(pixel_digest(np.asarray(opened[i])) for i in (2, 0, 1)) == set_digest(
            pixel_digest(image) for image in images
        )


def test_bad_sets_are_a_sentence_that_names_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder or file"):
        open_images(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="empty holds no images"):
        open_images(empty)
    Image.fromarray(random_images(1)[0]).save(empty / "good.png")
    (empty / "torn.png").write_bytes((empty / "good.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"torn\.png: unreadable image"):
        list(extract(open_images(empty), small_extractor()))
    np.savez(tmp_path / "pickle.npz", arr_0=np.array([{}], object))
    with pytest.raises(ValueError, match="can't be read as an array"):
        open_images(tmp_path / "pickle.npz")
    np.save(tmp_path / "float.npy", np.zeros((2, 8, 8, 3)))
    with pytest.raises(ValueError, match=r"images are uint8 \[N, H, W, 3\]"):
        open_images(tmp_path / "float.npy")
