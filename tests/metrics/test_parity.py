"""Against torch-fidelity, and against the resize of pytorch-fid."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dalle_jax.interop.inception import convert, load
from dalle_jax.metrics import published
from dalle_jax.metrics.features import extract, inception_extractor
from dalle_jax.metrics.frechet import factor_features, frechet_distance
from dalle_jax.metrics.images import open_images
from dalle_jax.metrics.inception import TAPS
from dalle_jax.metrics.inception_score import inception_score
from dalle_jax.metrics.kernel import kernel_inception_distance
from dalle_jax.metrics.manifold import manifold
from dalle_jax.metrics.preprocess import Preprocessing
from tests.metrics.random_inception import random_images, random_tensors
from tests.metrics.test_published import FILES
from tests.metrics.torch_fidelity_import import import_torch_fidelity

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
torch_fidelity = import_torch_fidelity()

SIZES = ((32, 32), (299, 299), (64, 48), (333, 420))


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """A .pth of the layout that torch-fidelity loads strictly, with random values."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save({name: torch.from_numpy(v) for name, v in random_tensors().items()}, path)
    return path


@pytest.fixture(scope="module")
def network(weights_file):
    taps = [tap for tap in TAPS if tap != "spatial"]
    return torch_fidelity.FeatureExtractorInceptionV3(
        "inception-v3-compat", taps, feature_extractor_weights_path=str(weights_file)
    )


def theirs(network, images):
    """Features of torch-fidelity's network, by name."""
    with torch.no_grad():
        found = network(torch.from_numpy(images).permute(0, 3, 1, 2))
    return dict(zip(network.features_list, (value.numpy() for value in found)))


def ours(weights_file, images, taps, **how):
    weights = load(weights_file)
    extractor = inception_extractor(weights.params, weights.sha256, Preprocessing(), taps)
    batches = list(extract(images, extractor, **how))
    return {tap: np.concatenate([batch.features[tap] for batch in batches]) for tap in taps}


def image_of(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", [file for file, _ in FILES.values()], ids=FILES.keys())
def test_files_are_decoded_as_its_loader_does(file, tmp_path):
    from torch_fidelity.datasets import ImagesPathDataset

    (tmp_path / "a").write_bytes(file)
    expected = ImagesPathDataset([tmp_path / "a"], np.asarray)[0]
    np.testing.assert_array_equal(published.decode(file).pixels, expected)


def test_files_are_found_as_it_finds_them(tmp_path):
    from torch_fidelity.utils import glob_samples_paths

    (tmp_path / "sub").mkdir()
    for name in ("a.png", "b.JPG", "c.jpeg", "d.webp", "e.tif", "sub/f.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    names = open_images(tmp_path).names
    found = glob_samples_paths(str(tmp_path), False, "png,jpg,jpeg", verbose=False)
    found = {str(Path(path).relative_to(tmp_path.resolve())) for path in found}
    assert set(names) - set(published.unread("torch-fidelity", names)) == found


@pytest.mark.parametrize("size", SIZES)
def test_tensorflows_bilinear(size):
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x as interpolate,
    )

    image = image_of(size)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = interpolate(tensor, (299, 299), align_corners=False)[0].permute(1, 2, 0).numpy()
    levels = Preprocessing("torch-fidelity")(image) * 128 + 128
    np.testing.assert_allclose(levels, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_pytorch_fids_bilinear(size):
    image = image_of(size)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(
        tensor, (299, 299), mode="bilinear", align_corners=False
    )
    levels = (Preprocessing("pytorch-fid")(image) + 1) * 127.5
    np.testing.assert_allclose(levels, expected[0].permute(1, 2, 0).numpy(), rtol=0, atol=1e-3)


def test_features(weights_file, network):
    images = random_images(4)
    expected = theirs(network, images)
    found = ours(weights_file, images, tuple(expected), batch_size=8)
    for tap, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(found[tap], value, rtol=1e-4, atol=1e-5 * scale, err_msg=tap)
        assert value.std(0).max() > 1e-3 * scale, "all images alike would pass too easily"


@pytest.fixture(scope="module")
def feature_sets():
    """Correlated features of 600 fakes and 550 reals."""
    rng = np.random.default_rng(1)
    mix = rng.normal(size=(96, 96)) / 10
    fake = np.maximum(rng.normal(0.1, 1.1, (600, 96)) @ mix + 0.5, 0).astype(np.float32)
    real = np.maximum(rng.normal(0, 1, (550, 96)) @ mix + 0.5, 0).astype(np.float32)
    return fake, real


def test_frechet_distance(feature_sets):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    sides = [fid_features_to_statistics(torch.from_numpy(side)) for side in feature_sets]
    expected = fid_statistics_to_metric(*sides, verbose=False)["frechet_inception_distance"]
    found = frechet_distance(*(factor_features(side) for side in feature_sets))
    assert found == pytest.approx(expected, rel=1e-4)


def test_kid(feature_sets):
    from torch_fidelity.metric_kid import kid_features_to_metric

    options = {"kid_subsets": 10, "kid_subset_size": 300, "verbose": False}
    expected = kid_features_to_metric(*map(torch.from_numpy, feature_sets), **options)
    found = kernel_inception_distance(*feature_sets, num_subsets=10, subset_size=300)
    assert found.mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4)
    assert found.std == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-3)


def test_inception_score():
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = np.random.default_rng(2).normal(0, 3, (512, 1008)).astype(np.float32)
    expected = isc_features_to_metric(torch.from_numpy(logits))
    mean, std = inception_score(logits)
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-4)
    assert std == pytest.approx(expected["inception_score_std"], rel=1e-4)


def test_precision_and_recall(feature_sets):
    from torch_fidelity.metric_prc import prc_features_to_metric

    expected = prc_features_to_metric(*map(torch.from_numpy, feature_sets), verbose=False)
    found = manifold(*feature_sets)
    assert found["precision"].mean() == pytest.approx(expected["precision"], abs=1e-6)
    assert found["recall"].mean() == pytest.approx(expected["recall"], abs=1e-6)
    assert 0.1 < found["precision"].mean() < 1


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("n", [12, pytest.param(512, marks=pytest.mark.long)])
def test_images_through_both(weights_file, network, n):
    """Fréchet distance, KID, IS, precision and recall, each from its own network's features."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    # The second set is brighter: KID of equal distributions would be what float32 leaves of 0.
    images = [random_images(n, 1), (0.8 * random_images(n, 2) + 40).astype(np.uint8)]
    taps = ("2048", "logits_unbiased")
    found = [ours(weights_file, side, taps, batch_size=24) for side in images]
    expected = []
    for side in images:
        parts = [theirs(network, side[start : start + 24]) for start in range(0, n, 24)]
        expected.append({tap: np.concatenate([part[tap] for part in parts]) for tap in taps})
    for mine, other in zip(found, expected):
        difference = np.linalg.norm(mine["2048"] - other["2048"], axis=1)
        assert (difference <= 1e-4 * np.linalg.norm(other["2048"], axis=1)).all()
    pools = [torch.from_numpy(side["2048"]) for side in expected]
    fid = fid_statistics_to_metric(*map(fid_features_to_statistics, pools), verbose=False)
    assert frechet_distance(*(factor_features(side["2048"]) for side in found)) == pytest.approx(
        fid["frechet_inception_distance"], rel=1e-4
    )
    kid = kid_features_to_metric(*pools, kid_subsets=10, kid_subset_size=n // 2, verbose=False)
    pool = [side["2048"] for side in found]
    assert kernel_inception_distance(*pool, 10, n // 2).mean == pytest.approx(
        kid["kernel_inception_distance_mean"], rel=1e-4
    )
    score = isc_features_to_metric(torch.from_numpy(expected[0]["logits_unbiased"]))
    assert inception_score(found[0]["logits_unbiased"])[0] == pytest.approx(
        score["inception_score_mean"], rel=1e-4
    )
    prc = prc_features_to_metric(*pools, verbose=False)
    mine = manifold(*pool)
    # One image that lies elsewhere of a ball's edge would be 1/n: there is none.
    assert mine["precision"].mean() == pytest.approx(prc["precision"], abs=1e-4)
    assert mine["recall"].mean() == pytest.approx(prc["recall"], abs=1e-4)


def test_jpeg_round_trip_is_pillows(tmp_path):
    image = random_images(1, size=64)[0]
    Image.fromarray(image).save(tmp_path / "image.jpg", quality=75)
    decoded = np.asarray(Image.open(tmp_path / "image.jpg"))
    np.testing.assert_array_equal(
        Preprocessing(round_trip="jpeg:75")(image), Preprocessing()(decoded)
    )


def test_there_and_back_again(tmp_path, weights_file):
    target, back = tmp_path / "inception.safetensors", tmp_path / "back.pth"
    assert convert(weights_file, target) == convert(target, back)
    original, returned = (torch.load(f, weights_only=True) for f in (weights_file, back))
    assert original.keys() == returned.keys()
    assert all(torch.equal(original[name], returned[name]) for name in original)
    assert load(target).sha256 == load(weights_file).sha256
    assert load(target).source_sha256 == load(weights_file).source_sha256
