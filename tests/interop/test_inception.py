import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from dalle_jax.interop.inception import convert, fold, load, published_shapes
from tests.metrics.random_inception import random_tensors


@pytest.fixture(scope="module")
def tensors():
    return random_tensors()


def test_the_layout_is_that_of_the_published_files():
    shapes = published_shapes()
    assert len(shapes) == 94 * 5 + 2  # 94 convolutions, each with its batch normalization
    # torchvision's Inception-v3 without its auxiliary head has 23,834,568 parameters with 1,000
    # classes; here there are 1,008, and a running mean and variance for each of 17,216 channels.
    parameters = sum(int(np.prod(s)) for n, s in shapes.items() if "running" not in n)
    assert parameters == 23_834_568 + 8 * 2049
    assert shapes["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert shapes["Mixed_6d.branch7x7dbl_5.conv.weight"] == (192, 160, 1, 7)
    assert shapes["Mixed_7c.branch3x3dbl_3b.bn.running_var"] == (384,)
    assert shapes["fc.weight"] == (1008, 2048)


def test_folding_is_convolution_then_batch_normalization(tensors):
    import jax

    layer = "Conv2d_1a_3x3"
    x = np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype(np.float32)
    numbers = ("NHWC", "OIHW", "NHWC")

    def conv(kernel, numbers):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=numbers)

    gamma, beta, mean, variance = (
        tensors[f"{layer}.bn.{kind}"] for kind in ("weight", "bias", "running_mean", "running_var")
    )
    y = np.asarray(conv(tensors[f"{layer}.conv.weight"], numbers))
    expected = gamma * (y - mean) / np.sqrt(variance + 1e-3) + beta
    folded = fold(tensors)[layer]["conv"]
    found = (
        conv(jnp.asarray(folded["kernel"]), ("NHWC", "HWIO", "NHWC"))
        + folded["bias"][None, None, None]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_reading_and_what_identifies_the_weights(tensors, tmp_path):
    a, b, other = (tmp_path / f"{name}.safetensors" for name in "abc")
    save_file(tensors, a, {"source_sha256": "12ab"})
    # Newer torch counts batches: not a part of the network, nor of the hash.
    counted = {"Conv2d_1a_3x3.bn.num_batches_tracked": np.zeros((), np.int64)}
    save_file(tensors | counted, b)
    changed = dict(tensors)
    changed["fc.bias"] = changed["fc.bias"] + 1
    save_file(changed, other)
    assert load(a).source_sha256 == "12ab"
    assert load(a).sha256 == load(b).sha256 != load(other).sha256


def test_what_is_not_fids_inception_is_named(tensors, tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(FileNotFoundError, match="convert inception"):
        load(path)
    path.write_bytes(b"no tensors at all")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load(path)
    for change, said in (
        ({"fc.weight": np.zeros((1000, 2048), np.float32)}, r"fc\.weight is \(1000, 2048\)"),
        ({"AuxLogits.fc.bias": np.zeros(3, np.float32)}, "has AuxLogits"),
        ({"fc.bias": np.full(1008, np.nan, np.float32)}, "damaged"),
    ):
        save_file(tensors | change, path)
        with pytest.raises(ValueError, match=said):
            load(path)
    save_file({name: value for name, value in tensors.items() if name != "fc.bias"}, path)
    with pytest.raises(ValueError, match=r"has no fc\.bias"):
        load(path)
    with pytest.raises(ValueError, match=r"one must be a published \.pth"):
        convert(path, tmp_path / "weights.npz")


def test_a_pickle_that_runs_code_is_not_read(tmp_path):
    torch = pytest.importorskip("torch")

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    torch.save({"fc.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="torch cannot read tensors"):
        convert(tmp_path / "evil.pth", tmp_path / "evil.safetensors")
    assert not (tmp_path / "touched").exists()
