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
        a = Conv(64, name="branch1x1")(x)
        b = Conv(48, name="branch5x5_1")(x)
        b = Conv(64, (5, 5), name="branch5x5_2")(b)
        c = Conv(64, name="branch3x3dbl_1")(x)
        c = Conv(96, (3, 3), name="branch3x3dbl_2")(c)
        c = Conv(96, (3, 3), name="branch3x3dbl_3")(c)
        d = Conv(self.pool_features, name="branch_pool")(_mean_pool(x))
        return jnp.concatenate([a, b, c, d], -1)


class InceptionB(nn.Module):
    """35 × 35 to 17 × 17."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, 35, 35, 288] to [B, 17, 17, 768]."""
        a = Conv(384, (3, 3), 2, "VALID", name="branch3x3")(x)
        b = Conv(64, name="branch3x3dbl_1")(x)
        b = Conv(96, (3, 3), name="branch3x3dbl_2")(b)
        b = Conv(96, (3, 3), 2, "VALID", name="branch3x3dbl_3")(b)
        return jnp.concatenate([a, b, _max_pool(x)], -1)


class InceptionC(nn.Module):
    """17 × 17: 7 × 7 convolutions as pairs of 1 × 7 and 7 × 1. Also returns its first branch."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[B, 17, 17, 768] to the same shape, and its first 192 channels."""
        a = Conv(192, name="branch1x1")(x)
        b = Conv(self.width, name="branch7x7_1")(x)
        b = Conv(self.width, (1, 7), name="branch7x7_2")(b)
        b = Conv(192, (7, 1), name="branch7x7_3")(b)
        c = Conv(self.width, name="branch7x7dbl_1")(x)
        c = Conv(self.width, (7, 1), name="branch7x7dbl_2")(c)
        c = Conv(self.width, (1, 7), name="branch7x7dbl_3")(c)
        c = Conv(self.width, (7, 1), name="branch7x7dbl_4")(c)
        c = Conv(192, (1, 7), name="branch7x7dbl_5")(c)
        d = Conv(192, name="branch_pool")(_mean_pool(x))
        return jnp.concatenate([a, b, c, d], -1), a


class InceptionD(nn.Module):
    """17 × 17 to 8 × 8."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, 17, 17, 768] to [B, 8, 8, 1280]."""
        a = Conv(192, name="branch3x3_1")(x)
        a = Conv(320, (3, 3), 2, "VALID", name="branch3x3_2")(a)
        b = Conv(192, name="branch7x7x3_1")(x)
        b = Conv(192, (1, 7), name="branch7x7x3_2")(b)
        b = Conv(192, (7, 1), name="branch7x7x3_3")(b)
        b = Conv(192, (3, 3), 2, "VALID", name="branch7x7x3_4")(b)
        return jnp.concatenate([a, b, _max_pool(x)], -1)


class InceptionE(nn.Module):
    """8 × 8: 3 × 3 convolutions as parallel 1 × 3 and 3 × 1; the last block uses max pooling."""

    max_pool: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, 8, 8, C] to [B, 8, 8, 2048]."""
        a = Conv(320, name="branch1x1")(x)
        b = Conv(384, name="branch3x3_1")(x)
        b1 = Conv(384, (1, 3), name="branch3x3_2a")(b)
        b2 = Conv(384, (3, 1), name="branch3x3_2b")(b)
        c = Conv(448, name="branch3x3dbl_1")(x)
        c = Conv(384, (3, 3), name="branch3x3dbl_2")(c)
        c1 = Conv(384, (1, 3), name="branch3x3dbl_3a")(c)
        c2 = Conv(384, (3, 1), name="branch3x3dbl_3b")(c)
        pooled = nn.max_pool(x, (3, 3), padding="SAME") if self.max_pool else _mean_pool(x)
        d = Conv(192, name="branch_pool")(pooled)
        return jnp.concatenate([a, b1, b2, c1, c2, d], -1)


class Inception(nn.Module):
    """Images [B, 299, 299, 3] in [-1, 1] to a dict of all `TAPS`, each [B, length].

    Under jit, unused outputs are not computed.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """All taps; each is float32."""
        taps = {}
        x = Conv(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3")(x)  # [B, 149, 149, 32]
        x = Conv(32, (3, 3), 1, "VALID", name="Conv2d_2a_3x3")(x)
        x = Conv(64, (3, 3), name="Conv2d_2b_3x3")(x)
        x = _max_pool(x)  # [B, 73, 73, 64]
        taps["64"] = x.mean((1, 2))
        x = Conv(80, name="Conv2d_3b_1x1")(x)
        x = Conv(192, (3, 3), 1, "VALID", name="Conv2d_4a_3x3")(x)
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
