import numpy as np
import pytest

from dalle_jax.models import embedding_codec
from dalle_jax.models.clip import normalize


def pairs(n=4000, scales=(1.0, 0.5, 0.25, 0.1, 0.02)):
    """Image vectors of known principal axes, uniform along each; texts of length 1."""
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    image = 0.3 + rng.uniform(-1, 1, (n, 5)) * np.array(scales) @ axes.T
    return image.astype(np.float32), np.asarray(normalize(rng.normal(size=(n, 5)))), axes


def test_dimensions_are_the_principal_axes_by_falling_variance():
    image, text, axes = pairs()
    codec = embedding_codec.fit(image, text, 4)
    np.testing.assert_allclose(codec.components.T @ codec.components, np.eye(4), atol=1e-6)
    # Up to sign and to the sampling error of 4000 draws.
    np.testing.assert_allclose(np.abs(axes[:, :4].T @ codec.components), np.eye(4), atol=0.05)
    np.testing.assert_allclose(codec.mean, image.mean(0), atol=1e-6)
    variances = ((image - codec.mean) @ codec.components).var(0)
    assert (np.diff(variances) < 0).all()


@pytest.mark.parametrize("num_buckets", [8, 64, 1024])
def test_the_error_of_a_round_trip_is_that_of_its_buckets(num_buckets):
    image, text, _ = pairs()
    codec = embedding_codec.fit(image, text, 5)
    buckets = np.asarray(embedding_codec.encode(codec, image, num_buckets))
    assert buckets.min() == 0 and buckets.max() == num_buckets - 1
    error = (np.asarray(embedding_codec.decode(codec, buckets, num_buckets)) - image) @ (
        codec.components
    )
    width = (codec.high - codec.low) / num_buckets
    # At most half a bucket, and uniform in it: w / √12.
    assert (np.abs(error) <= width / 2 + 1e-6).all()
    np.testing.assert_allclose(np.sqrt((error**2).mean(0)), width / np.sqrt(12), rtol=0.05)


def test_the_error_of_fewer_dimensions_is_the_variance_left_out():
    image, text, _ = pairs()
    codec = embedding_codec.fit(image, text, 3)
    buckets = embedding_codec.encode(codec, image, 1024)
    error = ((np.asarray(embedding_codec.decode(codec, buckets, 1024)) - image) ** 2).sum(1).mean()
    eigenvalues = np.linalg.eigvalsh(np.cov(image.T.astype(np.float64)))
    np.testing.assert_allclose(error, eigenvalues[:2].sum(), rtol=1e-3)


def test_what_lies_outside_goes_to_the_bucket_at_the_end():
    image, text, _ = pairs()
    codec = embedding_codec.fit(image, text, 2)
    far = codec.mean + 9 * codec.components.sum(1)
    buckets = embedding_codec.encode(codec, np.stack([far, 2 * codec.mean - far]), 16)
    np.testing.assert_array_equal(buckets, [[15, 15], [0, 0]])


def test_dot_products_have_their_quantiles_and_buckets():
    image, text, _ = pairs()
    codec = embedding_codec.fit(image, text, 2)
    dots = (image * text).sum(1)
    share = np.array([0.0, 0.25, 0.5, 0.95, 1.0], np.float32)
    expected = np.quantile(dots, share)
    np.testing.assert_allclose(embedding_codec.dot_at(codec, share), expected, atol=1e-3)
    ends = embedding_codec.encode_dot(codec, expected, 1024)
    assert ends[0] == 0 and ends[-1] == 1023 and (np.diff(ends) > 0).all()


def test_what_no_pca_can_be_made_of_is_named():
    image, text, _ = pairs(4)
    with pytest.raises(ValueError, match="a PCA of 4 dimensions needs more than 4 pairs"):
        embedding_codec.fit(image, text, 4)
    image, text, _ = pairs(40)
    with pytest.raises(ValueError, match="of width 5 do not have 6 principal"):
        embedding_codec.fit(image, text, 6)
