"""The Inception-v3 of FID: the TensorFlow network of 2015-12-05 as pytorch-fid ported it, in Flax.

It differs from torchvision's Inception-v3 in three places: average pools exclude the padding from
the mean, the last block uses max pooling, and there are 1,008 classes. Layers have the names of the
published file. Batch normalization uses its running statistics, so it is folded into the
convolution before it (`interop/inception.py`): each layer here is relu(conv(x) + bias).

Szegedy et al. 2015, arXiv 1512.00567; Heusel et al. 2017, arXiv 1706.08500.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

IMAGE_SIZE = 299
NUM_CLASSES = 1008

# The network's outputs and their length per image.
TAPS = {
    "64": 64,  # mean over positions after the first max pool
    "192": 192,  # the same after the second
    "768": 768,  # the same before the last reduction
    "2048": 2048,  # pool3: FID, KID, precision and recall
    "spatial": 17 * 17 * 7,  # sFID: the first 7 channels of TensorFlow's mixed_6/conv
    "logits_unbiased": NUM_CLASSES,  # without the bias, as in the Inception Score
    "logits": NUM_CLASSES,
}


class Conv(nn.Module):
    """relu(conv(x) + bias), 1 × 1 by default."""

    features: int
    kernel_size: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] to [B, H', W', features]."""
        conv = nn.Conv(
            self.features,
            self.kernel_size,
            self.stride,
            self.padding,
            precision=jax.lax.Precision.HIGHEST,
            name="conv",
        )
        return nn.relu(conv(x))


def convs(x: jax.Array, *layers: tuple) -> jax.Array:
    """`Conv` layers in a row, each given as its name and its arguments."""
    for name, *arguments in layers:
        x = Conv(*arguments, name=name)(x)
    return x


def _mean_pool(x: jax.Array) -> jax.Array:
    return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


def _max_pool(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, (3, 3), strides=(2, 2))


class InceptionA(nn.Module):
    """35 × 35: branches of 1 × 1, 5 × 5, two 3 × 3, and a mean pool."""

    pool_features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, 35, 35, C] to [B, 35, 35, 224 + pool_features]."""
        a = convs(x, ("branch1x1", 64))
        b = convs(x, ("branch5x5_1", 48), ("branch5x5_2", 64, (5, 5)))
        c = convs(x, ("branch3x3dbl_1", 64), ("branch3x3dbl_2", 96, (3, 3)))
        c = convs(c, ("branch3x3dbl_3", 96, (3, 3)))
        d = convs(_mean_pool(x), ("branch_pool", self.pool_features))
        return jnp.concatenate([a, b, c, d], -1)


class InceptionB(nn.Module):
    """35 × 35 to 17 × 17."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, 35, 35, 288] to [B, 17, 17, 768]."""
        a = convs(x, ("branch3x3", 384, (3, 3), 2, "VALID"))
        b = convs(x, ("branch3x3dbl_1", 64), ("branch3x3dbl_2", 96, (3, 3)))
        b = convs(b, ("branch3x3dbl_3", 96, (3, 3), 2, "VALID"))
        return jnp.concatenate([a, b, _max_pool(x)], -1)


class InceptionC(nn.Module):
    """17 × 17: 7 × 7 convolutions as pairs of 1 × 7 and 7 × 1. Also returns its first branch."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[B, 17, 17, 768] to the same shape, and its first 192 channels."""
        width, across, down = self.width, (1, 7), (7, 1)
        a = convs(x, ("branch1x1", 192))
        b = convs(x, ("branch7x7_1", width), ("branch7x7_2", width, across))
        b = convs(b, ("branch7x7_3", 192, down))
        c = convs(x, ("branch7x7dbl_1", width), ("branch7x7dbl_2", width, down))
        c = convs(c, ("branch7x7dbl_3", width, across), ("branch7x7dbl_4", width, down))
        c = convs(c, ("branch7x7dbl_5", 192, across))
        d = convs(_mean_pool(x), ("branch_pool", 192))
        return jnp.concatenate([a, b, c, d], -1), a


class InceptionD(nn.Module):
    """17 × 17 to 8 × 8."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, 17, 17, 768] to [B, 8, 8, 1280]."""
        halved = ((3, 3), 2, "VALID")
        a = convs(x, ("branch3x3_1", 192), ("branch3x3_2", 320, *halved))
        b = convs(x, ("branch7x7x3_1", 192), ("branch7x7x3_2", 192, (1, 7)))
        b = convs(b, ("branch7x7x3_3", 192, (7, 1)), ("branch7x7x3_4", 192, *halved))
        return jnp.concatenate([a, b, _max_pool(x)], -1)


class InceptionE(nn.Module):
    """8 × 8: 3 × 3 convolutions as parallel 1 × 3 and 3 × 1; the last block uses max pooling."""

    max_pool: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, 8, 8, C] to [B, 8, 8, 2048]."""
        a = convs(x, ("branch1x1", 320))
        b = convs(x, ("branch3x3_1", 384))
        b = [convs(b, ("branch3x3_2a", 384, (1, 3))), convs(b, ("branch3x3_2b", 384, (3, 1)))]
        c = convs(x, ("branch3x3dbl_1", 448), ("branch3x3dbl_2", 384, (3, 3)))
        c = [convs(c, ("branch3x3dbl_3a", 384, (1, 3))), convs(c, ("branch3x3dbl_3b", 384, (3, 1)))]
        pooled = nn.max_pool(x, (3, 3), padding="SAME") if self.max_pool else _mean_pool(x)
        d = convs(pooled, ("branch_pool", 192))
        return jnp.concatenate([a, *b, *c, d], -1)


class Inception(nn.Module):
    """Images [B, 299, 299, 3] in [-1, 1] to a dict of all `TAPS`, each [B, length].

    Under jit, unused outputs are not computed.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """All taps; each is float32."""
        taps = {}
        x = convs(x, ("Conv2d_1a_3x3", 32, (3, 3), 2, "VALID"))  # [B, 149, 149, 32]
        x = convs(x, ("Conv2d_2a_3x3", 32, (3, 3), 1, "VALID"), ("Conv2d_2b_3x3", 64, (3, 3)))
        x = _max_pool(x)  # [B, 73, 73, 64]
        taps["64"] = x.mean((1, 2))
        x = convs(x, ("Conv2d_3b_1x1", 80), ("Conv2d_4a_3x3", 192, (3, 3), 1, "VALID"))
        x = _max_pool(x)  # [B, 35, 35, 192]
        taps["192"] = x.mean((1, 2))
        x = InceptionA(32, name="Mixed_5b")(x)
        x = InceptionA(64, name="Mixed_5c")(x)
        x = InceptionA(64, name="Mixed_5d")(x)
        x = InceptionB(name="Mixed_6a")(x)  # [B, 17, 17, 768]
        x, _ = InceptionC(128, name="Mixed_6b")(x)
        x, _ = InceptionC(160, name="Mixed_6c")(x)
        x, conv = InceptionC(160, name="Mixed_6d")(x)  # TensorFlow's mixed_6
        taps["spatial"] = rearrange(conv[..., :7], "b h w c -> b (h w c)")
        x, _ = InceptionC(192, name="Mixed_6e")(x)
        taps["768"] = x.mean((1, 2))
        x = InceptionD(name="Mixed_7a")(x)  # [B, 8, 8, 1280]
        x = InceptionE(max_pool=False, name="Mixed_7b")(x)
        x = InceptionE(max_pool=True, name="Mixed_7c")(x)
        x = x.mean((1, 2))
        taps["2048"] = x
        shape = (2048, NUM_CLASSES)
        kernel = self.param("fc_kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("fc_bias", nn.initializers.zeros, (NUM_CLASSES,))
        taps["logits_unbiased"] = jnp.dot(x, kernel, precision=jax.lax.Precision.HIGHEST)
        taps["logits"] = taps["logits_unbiased"] + bias[None]
        return taps
