import numpy as np
import pytest

from dalle_jax.metrics.reference import (
    Reference,
    describe,
    is_statistics,
    load_reference,
    save_reference,
)
from dalle_jax.metrics.statistics import fit_gaussian


def gaussians():
    rng = np.random.default_rng(0)
    return {tap: fit_gaussian(rng.normal(size=(30, 5))) for tap in ("2048", "spatial")}


def test_round_trip(tmp_path):
    path = tmp_path / "stats.npz"
    reference = Reference(gaussians(), {"features": "inception"})
    save_reference(path, reference)
    loaded = load_reference(path)
    assert loaded.sha256 == reference.sha256
    assert loaded.made_with == {"features": "inception", "num_images": 30}
    assert loaded.gaussians["spatial"].n == 30
    assert is_statistics(path)
    assert "5 features" in describe(loaded)


def test_files_of_other_tools(tmp_path):
    made = gaussians()
    pool, spatial = made["2048"], made["spatial"]
    np.savez(tmp_path / "pytorch_fid.npz", mu=pool.mean, sigma=pool.covariance)
    np.savez(
        tmp_path / "guided_diffusion.npz",
        mu=pool.mean,
        sigma=pool.covariance,
        mu_s=spatial.mean,
        sigma_s=spatial.covariance,
    )
    assert set(load_reference(tmp_path / "pytorch_fid.npz").gaussians) == {"2048"}
    loaded = load_reference(tmp_path / "guided_diffusion.npz")
    assert loaded.sha256 == Reference(made).sha256
    assert "unknown" in describe(loaded)


def test_a_file_of_statistics_names_the_images_that_it_holds_too(tmp_path):
    pool = gaussians()["2048"]
    arrays = {"mu": pool.mean, "sigma": pool.covariance}
    np.savez(tmp_path / "both.npz", arr_0=np.zeros((2, 4, 4, 3), np.uint8), **arrays)
    np.savez(tmp_path / "statistics.npz", **arrays)
    both, alone = (load_reference(tmp_path / f"{name}.npz") for name in ("both", "statistics"))
    assert is_statistics(tmp_path / "both.npz")
    assert both.images == tmp_path / "both.npz" and alone.images is None
    assert both.sha256 == alone.sha256
    assert "images: in arr_0" in describe(both) and "arr_0" not in describe(alone)


def test_a_file_without_statistics_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.npz"):
        load_reference(tmp_path / "no.npz")
    np.savez(tmp_path / "images.npz", arr_0=np.zeros((2, 4, 4, 3), np.uint8))
    assert not is_statistics(tmp_path / "images.npz")
    with pytest.raises(ValueError, match="has no statistics"):
        load_reference(tmp_path / "images.npz")


@pytest.mark.parametrize(
    "arrays",
    [
        {"mu": np.array([{}], object), "sigma": np.eye(1)},
        {"mu": np.zeros(2), "sigma": np.eye(2), "made_with": np.array("[1]")},
        {"mu": np.zeros(3), "sigma": np.eye(2)},
    ],
)
def test_statistics_of_another_form_are_refused(tmp_path, arrays):
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(ValueError, match="no readable statistics"):
        load_reference(tmp_path / "other.npz")


def test_a_torn_file_is_named(tmp_path):
    np.savez(tmp_path / "whole.npz", mu=np.zeros(3), sigma=np.eye(3))
    whole = (tmp_path / "whole.npz").read_bytes()
    np.save(tmp_path / "array.npy", np.zeros(3))
    array = (tmp_path / "array.npy").read_bytes()
    for content in (b"", whole[:100], whole[: len(whole) // 2], array, b"no archive"):
        (tmp_path / "torn.npz").write_bytes(content)
        assert not is_statistics(tmp_path / "torn.npz")
        with pytest.raises(ValueError, match=r"torn\.npz holds no readable statistics"):
            load_reference(tmp_path / "torn.npz")
