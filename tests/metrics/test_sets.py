"""Two sets of images to a row, with a small network instead of Inception."""

import functools
import hashlib
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.metrics.features import FeatureExtractor, extract
from dalle_jax.metrics.frechet import frechet_distance
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


def compare(fake, real, metrics=("fid", "sfid", "kid", "prdc", "is"), network=None, **options):
    settings = options.pop("settings", SETTINGS)
    network = network or small_extractor()
    return compare_sets(fake, real, network, metrics, settings, reference="real", **options)


def values(row):
    return {name: entry["value"] for name, entry in row["metrics"].items()}


@pytest.fixture(scope="module")
def sets():
    return random_images(45, 1), random_images(70, 2)


def test_the_value_depends_on_no_batch_size_order_or_number_of_devices(sets):
    other = fit_gaussian(np.random.default_rng(0).normal(size=(50, LENGTHS["2048"])))
    measured = [
        measure(sets[1][::step], small_extractor(), ["2048"], (), size, devices=jax.devices()[:n])
        for step, size, n in ((1, 64, 1), (1, 16, 8), (1, 9, 3), (-1, 24, 2))
    ]
    assert {(side.n, side.digest) for side in measured} == {(70, measured[0].digest)}
    distances = [frechet_distance(side.gaussians["2048"], other) for side in measured]
    assert distances == pytest.approx([distances[0]] * 4, rel=1e-6)


def test_padding_is_left_out_and_the_order_kept(sets):
    batches = list(extract(sets[0], small_extractor(), 32))
    assert [len(batch.digests) for batch in batches] == [32, 13]
    together = np.concatenate([batch.features["2048"] for batch in batches])
    single = extract(sets[0], small_extractor(), 1, jax.devices()[:1])
    expected = np.concatenate([batch.features["2048"] for batch in single])
    np.testing.assert_allclose(together, expected, rtol=1e-5, atol=1e-6)


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


def test_streamed_and_stored_features_give_one_distance(sets):
    stored = compare(*sets, ["fid"])
    streamed = compare(*sets, ["fid"], settings=Settings(intervals=False))
    assert values(streamed) == pytest.approx(values(stored), rel=1e-6)
    assert "floor" not in streamed


def test_statistics_replace_the_images_of_the_reference(sets, tmp_path):
    images = compare(*sets, ["fid", "sfid"], statistics_out=tmp_path / "real.npz")
    reference = load_reference(tmp_path / "real.npz")
    statistics = compare(sets[0], reference, ["fid", "sfid"])
    assert values(statistics) == pytest.approx(values(images), rel=1e-6)
    with pytest.raises(ValueError, match="kid needs the images of the reference"):
        compare(sets[0], reference, ["kid"])
    with pytest.raises(ValueError, match="made with preprocessing"):
        compare(sets[0], reference, ["fid"], small_extractor(fit="crop"))


def test_statistics_of_other_features_are_saved_and_refused_elsewhere(sets, tmp_path):
    path = tmp_path / "real.npz"
    row = compare(*sets, ["fid"], pooled(), statistics_out=path)
    again = compare(sets[0], load_reference(path), ["fid"], pooled())
    assert values(again) == pytest.approx(values(row))
    with pytest.raises(ValueError, match="made with features_sha256"):
        compare(sets[0], load_reference(path), ["fid"], pooled(seed=1))


def reference_batch(path, statistics_of, images, taps=("2048", "spatial")):
    """Images, and statistics of more images, in one file, as in guided-diffusion."""
    gaussians = measure(statistics_of, small_extractor(), taps, ()).gaussians
    arrays = {"mu": gaussians["2048"].mean, "sigma": gaussians["2048"].covariance}
    if "spatial" in gaussians:
        spatial = gaussians["spatial"]
        arrays |= {"mu_s": spatial.mean, "sigma_s": spatial.covariance}
    np.savez(path, arr_0=images, **arrays)
    return load_reference(path)


def test_of_images_and_statistics_in_one_file_each_metric_reads_its_own(sets, tmp_path):
    fake, real = sets
    batch = reference_batch(tmp_path / "batch.npz", real, real[:50])
    both, of_all, of_some = (compare(fake, side) for side in (batch, real, real[:50]))
    for name, value in values(both).items():
        frechet = name in ("fid", "sfid")
        expected = values(of_all if frechet else of_some)[name]
        assert value == pytest.approx(expected, rel=1e-6)
        if frechet:
            assert value != pytest.approx(values(of_some)[name], rel=1e-3)
    assert both["floor"]["num_images"] == 25 and both["floor"]["kid"] is not None
    # The protocol identifies the reference by what was read of it.
    only_fid = compare(fake, batch, ["fid"])
    assert only_fid["protocol"]["reference_sha256"] == batch.sha256
    assert "floor" not in only_fid
    assert len({row["protocol_hash"] for row in (both, of_all, of_some, only_fid)}) == 4


def test_statistics_that_a_file_lacks_are_taken_from_its_images(sets, tmp_path):
    fake, real = sets
    row = compare(fake, reference_batch(tmp_path / "b.npz", real, real, ["2048"]), ["fid", "sfid"])
    assert values(row) == pytest.approx(values(compare(fake, real, ["fid", "sfid"])), rel=1e-6)


@pytest.mark.parametrize("images", [np.zeros((3, 8, 8, 1), np.uint8), np.zeros((3, 8, 8, 3))])
def test_bad_images_beside_statistics_are_refused_only_if_a_metric_reads_them(
    sets, tmp_path, images
):
    batch = reference_batch(tmp_path / "batch.npz", sets[1], images)
    assert compare(sets[0], batch, ["fid"])["metrics"]["fid"]["value"] > 0
    with pytest.raises(ValueError, match=r"images are uint8 \[N, H, W, 3\]"):
        compare(sets[0], batch, ["kid"])


def test_the_protocol_changes_with_what_the_number_depends_on(sets):
    fake, real = sets
    rows = [
        compare(fake, real, ["fid"]),
        compare(fake[:-1], real, ["fid"]),
        compare(fake, real[:-1], ["fid"]),
        compare(fake, real, ["fid"], small_extractor(resize="clean-fid")),
        compare(fake, real, ["fid"], decoding="converted"),
    ]
    assert rows[-1]["protocol"]["preprocessing"]["decoding"] == "converted"
    assert len({row["protocol_hash"] for row in rows}) == 5
    # Other fakes of the same number are another row of the same protocol.
    assert compare(real[:45], real, ["fid"])["protocol_hash"] == rows[0]["protocol_hash"]


def test_too_few_images_are_a_sentence(sets):
    with pytest.raises(ValueError, match="there are 10 fakes; fid needs at least 20"):
        compare(sets[0][:10], sets[1], ["fid"])
    with pytest.raises(ValueError, match="kid needs at least 1000; give a smaller"):
        compare(*sets, ["kid"], settings=Settings())
    with pytest.raises(ValueError, match="no metric 'lpips'"):
        compare(*sets, ["lpips"])


def test_names_on_other_features_than_inceptions_name_the_network(sets):
    row = compare(*sets, ["fid", "kid", "prdc", "cmmd"], pooled())
    of = "[classifier:0123456789ab]"
    names = ["FD", "KD", "precision", "recall", "density", "coverage", "CMMD"]
    assert list(row["metrics"]) == [name + of for name in names]
    assert set(row["floor"]) == {"num_images", *row["metrics"]}
    assert row["protocol"]["features"] == "classifier:0123456789ab"
    assert row["protocol"]["preprocessing"] == {"side": 12, "resize": "lanczos"}
    low, high = row["metrics"]["CMMD" + of]["interval"]
    assert low < row["metrics"]["CMMD" + of]["value"] < high
    (x,), (y,) = ([b.features["features"] for b in extract(s, pooled(), 128)] for s in sets)
    expected = frechet_distance(fit_gaussian(x), fit_gaussian(y))
    assert row["metrics"]["FD" + of]["value"] == pytest.approx(expected)
    with pytest.raises(ValueError, match="no metric 'sfid' of classifier:0123456789ab features"):
        compare(*sets, ["sfid"], pooled())
    with pytest.raises(ValueError, match="only FID's Inception-v3 is called inception"):
        pooled("inception")
    assert pooled(seed=0).sha256 != pooled(seed=1).sha256


def test_several_seeds_are_a_mean_a_spread_and_the_interval_of_one(sets):
    fake, real = sets
    seeds = [fake, random_images(45, 3)]
    single = [compare(f, real, ["fid"])["metrics"]["fid"] for f in seeds]
    row, scores, _ = compare_samples(seeds, real, small_extractor(), ["fid", "prdc"], SETTINGS)
    fid, by_seed = row["metrics"]["fid"], [one["value"] for one in single]
    assert fid["by_seed"] == pytest.approx(by_seed)
    assert fid["value"] == pytest.approx(np.mean(by_seed))
    assert fid["std_of_seeds"] == pytest.approx(np.std(by_seed, ddof=1))
    for name in ("interval", "left_out"):
        assert fid[name] == pytest.approx(np.mean([one[name] for one in single], axis=0).tolist())
    assert len(row["fake_sha256"]) == 2
    sizes = {"precision": 45, "density": 45, "recall": 70, "coverage": 70}
    assert {name: len(found) for name, found in scores.items()} == sizes
    for name, found in scores.items():
        assert row["metrics"][name]["by_seed"] == pytest.approx(found.mean(0).tolist())
    with pytest.raises(ValueError, match="all sets need the same size"):
        compare_samples([fake, fake[:40]], real, small_extractor(), ["fid"], SETTINGS)


def test_further_reals_give_the_floor_at_the_number_of_fakes(sets):
    fake, real = sets
    more = random_images(45, 4)
    row = compare(fake, real, ["fid", "prdc"], floor_images=more)
    assert row["floor"] == pytest.approx(
        {"num_images": 45, **values(compare(more, real, ["fid", "prdc"]))}
    )


class Generated:
    """Images that are made when they are read, so that none is in memory."""

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
        measure(Generated(n), network, ["features"], ())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A digest an image, and nothing of its 432 bytes of pixels and 1,728 of features.
    assert peaks[2] - peaks[1] < 2900 * 200
