"""Two sets of images to a row, with a small network in Inception's place: same path, less time."""

import functools
import hashlib
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dalle_jax.metrics.features import FeatureExtractor, extract
from dalle_jax.metrics.frechet import frechet_distance
from dalle_jax.metrics.images import open_images, pixel_digest, set_digest
from dalle_jax.metrics.metric import Settings
from dalle_jax.metrics.pooled import params_sha256, pooled_extractor
from dalle_jax.metrics.preprocess import Preprocessing
from dalle_jax.metrics.reference import load_reference
from dalle_jax.metrics.sets import compare_samples, compare_sets, measure
from dalle_jax.metrics.statistics import fit_gaussian
from dalle_jax.metrics.table import taps_for
from tests.metrics.random_inception import random_images

SETTINGS = Settings(kid_subsets=4, kid_subset_size=30, is_splits=2)
LENGTHS = {"2048": 12, "spatial": 6, "logits_unbiased": 5}


@functools.cache  # so that one network is compiled once
def small_extractor(**preprocessing):
    rng = np.random.default_rng(0)
    params = {tap: rng.normal(size=(48, n)).astype(np.float32) for tap, n in LENGTHS.items()}

    def forward(params, x):
        coarse = jax.image.resize(x, (len(x), 4, 4, 3), "linear").reshape(len(x), 48)
        return {tap: jnp.tanh(coarse @ kernel / 4) for tap, kernel in params.items()}

    return FeatureExtractor(
        "inception",
        hashlib.sha256(b"small").hexdigest(),
        Preprocessing(**preprocessing),
        forward,
        params,
        taps_for("inception"),
    )


@functools.cache
def pooled(name="classifier:0123456789ab", seed=0):
    """A linear network of 8 features of images at 12 pixels."""
    kernel = np.random.default_rng(seed).normal(size=(12 * 12 * 3, 8)).astype(np.float32)
    forward = lambda p, x: x.reshape(len(x), -1).astype(jnp.float32) @ p / 255
    return pooled_extractor(name, params_sha256(kernel), kernel, forward, 12)


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
    other = fit_gaussian(np.random.default_rng(0).normal(size=(50, LENGTHS["2048"])))
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
    for name in ("fid", "kid", "precision", "is"):
        low, high = row["metrics"][name]["interval"]
        assert low <= row["metrics"][name]["value"] <= high
    # 70 reals give no two disjoint sets of 45: the floor is of halves, and says so.
    assert row["floor"]["num_images"] == 35
    assert 0 < row["floor"]["fid"] < row["metrics"]["fid"]["value"] + 1
    assert row["protocol"]["num_images"] == 45
    assert row["protocol"]["preprocessing"]["resize"] == "torch-fidelity"
    assert "decoding" not in row["protocol"]["preprocessing"]  # of arrays, no files
    assert row["metrics"]["fid"]["settings"] == []
    assert row["metrics"]["recall"]["settings"] == ["neighbours"]
    assert row["metrics"]["fid"]["num_features"] == 12
    assert row == compare(*sets)


def test_the_protocol_says_how_files_were_decoded(sets):
    row = compare(*sets, metrics=["fid"], decoding="converted")
    assert row["protocol"]["preprocessing"]["decoding"] == "converted"
    assert row["protocol_hash"] != compare(*sets, metrics=["fid"])["protocol_hash"]


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


def reference_batch(path, statistics_of, images, **more):
    """As guided-diffusion's are: images, and statistics of more images, in one file."""
    measured = measure(statistics_of, small_extractor(), ("2048", "spatial"), ())
    pooled, spatial = measured.gaussians["2048"], measured.gaussians["spatial"]
    arrays = {"mu": pooled.mean, "sigma": pooled.covariance}
    arrays |= {"mu_s": spatial.mean, "sigma_s": spatial.covariance}
    np.savez(path, arr_0=images, **arrays, **more)
    return load_reference(path)


def test_of_images_and_statistics_in_one_file_each_metric_reads_its_own(sets, tmp_path):
    fake, real = sets
    batch = reference_batch(tmp_path / "batch.npz", real, real[:50])
    both = compare(fake, batch)
    of_all, of_some = compare(fake, real), compare(fake, real[:50])
    for name in ("fid", "sfid"):
        expected = of_all["metrics"][name]["value"]
        assert both["metrics"][name]["value"] == pytest.approx(expected, rel=1e-6)
        assert expected != pytest.approx(of_some["metrics"][name]["value"], rel=1e-3)
    for name in ("kid", "precision", "recall", "density", "coverage"):
        assert both["metrics"][name]["value"] == of_some["metrics"][name]["value"]
    assert both["floor"]["num_images"] == 25 and both["floor"]["kid"] is not None
    # The protocol knows the reference by what was read of it.
    alone = compare(fake, batch, ["fid"])
    assert alone["protocol"]["reference_sha256"] == batch.sha256
    assert "floor" not in alone
    assert len({row["protocol_hash"] for row in (both, of_all, of_some, alone)}) == 4


def test_statistics_that_a_file_lacks_are_taken_of_its_images(sets, tmp_path):
    fake, real = sets
    made = measure(real, small_extractor(), ["2048"], ()).gaussians["2048"]
    np.savez(tmp_path / "batch.npz", arr_0=real, mu=made.mean, sigma=made.covariance)
    row = compare(fake, load_reference(tmp_path / "batch.npz"), ["fid", "sfid"])
    expected = compare(fake, real, ["fid", "sfid"])["metrics"]
    for name in ("fid", "sfid"):
        assert row["metrics"][name]["value"] == pytest.approx(expected[name]["value"], rel=1e-6)


@pytest.mark.parametrize("images", [np.zeros((3, 8, 8, 1), np.uint8), np.zeros((3, 8, 8, 3))])
def test_images_beside_statistics_that_are_none_are_a_sentence(sets, tmp_path, images):
    batch = reference_batch(tmp_path / "batch.npz", sets[1], images)
    assert compare(sets[0], batch, ["fid"])["metrics"]["fid"]["value"] > 0
    with pytest.raises(ValueError, match=r"images are uint8 \[N, H, W, 3\]"):
        compare(sets[0], batch, ["kid"])


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


def test_fid_is_said_of_inception_alone(sets):
    row = compare_sets(*sets, pooled(), ["fid", "kid", "prdc", "cmmd"], SETTINGS, reference="real")
    of = "[classifier:0123456789ab]"
    names = ["FD", "KD", "precision", "recall", "density", "coverage", "CMMD"]
    assert list(row["metrics"]) == [name + of for name in names]
    assert set(row["floor"]) == {"num_images", *row["metrics"]}
    assert row["protocol"]["features"] == "classifier:0123456789ab"
    assert row["protocol"]["preprocessing"] == {"side": 12, "resize": "lanczos"}
    low, high = row["metrics"]["CMMD" + of]["interval"]
    assert low < row["metrics"]["CMMD" + of]["value"] < high
    with pytest.raises(ValueError, match="no metric 'sfid' of classifier:0123456789ab features"):
        compare_sets(*sets, pooled(), ["sfid"], SETTINGS, reference="real")
    with pytest.raises(ValueError, match="only FID's Inception-v3 is called inception"):
        pooled("inception")


def test_the_distance_on_other_features_is_that_of_their_arrays(sets):
    fake, real = sets
    row = compare_sets(fake, real, pooled(), ["fid"], SETTINGS, reference="real")
    (x,), (y,) = ([b.features["features"] for b in extract(s, pooled(), 128)] for s in sets)
    assert x.shape == (45, 8)
    expected = frechet_distance(fit_gaussian(x), fit_gaussian(y))
    assert row["metrics"]["FD[classifier:0123456789ab]"]["value"] == pytest.approx(expected)


def test_weights_are_told_by_their_values():
    assert pooled(seed=0).sha256 == pooled(seed=0).sha256 != pooled(seed=1).sha256


def test_statistics_of_other_features_are_kept_and_refused_elsewhere(sets, tmp_path):
    path = tmp_path / "real.npz"
    row = compare_sets(*sets, pooled(), ["fid"], SETTINGS, reference="real", statistics_out=path)
    again = compare_sets(
        sets[0], load_reference(path), pooled(), ["fid"], SETTINGS, reference="real"
    )
    name = "FD[classifier:0123456789ab]"
    assert again["metrics"][name]["value"] == pytest.approx(row["metrics"][name]["value"])
    with pytest.raises(ValueError, match="made with features_sha256"):
        compare_sets(
            sets[0], load_reference(path), pooled(seed=1), ["fid"], SETTINGS, reference="real"
        )


def test_several_seeds_are_a_mean_a_spread_and_the_interval_of_one(sets):
    fake, real = sets
    seeds = [fake, random_images(45, 3)]
    alone = [compare(f, real, ["fid"])["metrics"]["fid"] for f in seeds]
    row, scores, _ = compare_samples(seeds, real, small_extractor(), ["fid", "prdc"], SETTINGS)
    fid = row["metrics"]["fid"]
    values = [one["value"] for one in alone]
    assert fid["by_seed"] == pytest.approx(values)
    assert fid["value"] == pytest.approx(np.mean(values))
    assert fid["std_of_seeds"] == pytest.approx(np.std(values, ddof=1))
    assert fid["interval"] == pytest.approx(np.mean([one["interval"] for one in alone], axis=0))
    assert len(row["fake_sha256"]) == 2
    left_out = np.mean([one["left_out"] for one in alone], axis=0)
    assert fid["left_out"] == pytest.approx(left_out.tolist())
    sizes = {"precision": 45, "density": 45, "recall": 70, "coverage": 70}
    assert {name: len(values) for name, values in scores.items()} == sizes
    for name, values in scores.items():
        assert row["metrics"][name]["by_seed"] == pytest.approx(values.mean(0).tolist())
    with pytest.raises(ValueError, match="all sets need the same size"):
        compare_samples([fake, fake[:40]], real, small_extractor(), ["fid"], SETTINGS)


def test_further_reals_give_the_floor_at_the_number_of_fakes(sets):
    fake, real = sets
    more = random_images(45, 4)
    row = compare(fake, real, ["fid", "prdc"], floor_images=more)
    assert row["floor"]["num_images"] == 45
    as_fakes = compare(more, real, ["fid", "prdc"])["metrics"]
    for name in ("fid", "recall"):
        assert row["floor"][name] == pytest.approx(as_fakes[name]["value"])


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
        np.testing.assert_array_equal(opened[2], images[2])


class Drawn:
    """Images that are drawn when they are asked for, so that none is held."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return np.random.default_rng(index).integers(0, 256, (12, 12, 3), np.uint8)


def test_sums_take_no_more_memory_for_more_images():
    flat = lambda params, x: x.reshape(len(x), -1).astype(jnp.float32)
    network = pooled_extractor("flat", "", {}, flat, 12)
    peaks = []
    for n in (100, 100, 3000):  # the first compiles
        tracemalloc.start()
        measure(Drawn(n), network, ["features"], ())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A digest an image, and nothing of its 432 bytes of pixels and 1,728 of features.
    assert peaks[2] - peaks[1] < 2900 * 200


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
    for content in (b"", (tmp_path / "pickle.npz").read_bytes()[:100]):
        (tmp_path / "torn.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"torn\.npz can't be read as an array"):
            open_images(tmp_path / "torn.npz")
    np.save(tmp_path / "float.npy", np.zeros((2, 8, 8, 3)))
    with pytest.raises(ValueError, match=r"images are uint8 \[N, H, W, 3\]"):
        open_images(tmp_path / "float.npy")
