"""Corruptions of the low-resolution images that an upsampler is conditioned on in training.

When sampling these images come from another model. An upsampler trained only on clean ones would
treat that model's errors as detail. Each degradation maps (key, images float32 [B, H, W, C] in
[−1, 1]) to images of the same shape; sampling uses none.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from dalle_jax.stages import jpeg


def none(key: Array, images: Array) -> Array:
    """The images, unchanged."""
    del key
    return images


def gaussian_blur(
    key: Array, images: Array, *, kernel_size: int, sigma: tuple[float, float], share: float
) -> Array:
    """Blurs a `share` of the images by Gaussians with deviations uniform in `sigma`.

    Blurring augmentation as in cascaded diffusion (Ho et al. 2021, 2106.15282, §4) and SR3. unCLIP
    blurs with kernel_size 3 and sigma 0.6 before 64 → 256 (appendix C).
    """
    sigma_key, share_key = jax.random.split(key)
    blurred = _isotropic_blur(sigma_key, images, kernel_size=kernel_size, sigma=sigma)
    return _where(_uniform(share_key, images, 0.0, 1.0) < share, blurred, images)


def bsr(
    key: Array,
    images: Array,
    *,
    kernel_size: int,
    sigma: tuple[float, float],
    scale: tuple[float, float],
    noise: tuple[float, float],
    quality: tuple[float, float],
) -> Array:
    """Random blurs, resizes, noise and JPEG in random order: BSR (Zhang et al. 2021, 2103.14006).

    As in the paper: an isotropic and an anisotropic Gaussian blur; a resize down and up again, each
    by a random kernel (box, linear or cubic); Gaussian noise (`colored_noise`); JPEG for 90 % of
    the images; these five in random order; JPEG again at the end.
    Unlike the paper: the images are already small, so one resize and its inverse replace both
    "downsampling" and "down-up-sampling", and blurs are in pixels of the small image; the order is
    sampled once per batch, everything else per image. The camera sensor's noise (a reverse and
    forward ISP for a quarter of the images) is missing.

    Args:
        kernel_size: of the blurs, in pixels, odd.
        sigma: range of the blurs' deviations, in pixels.
        scale: range of the size after the first resize, relative to the image.
        noise: range of the noise's deviation, in 255ths of the range of bytes.
        quality: range of JPEG's quality.
    """
    operations = (
        functools.partial(_isotropic_blur, kernel_size=kernel_size, sigma=sigma),
        functools.partial(_anisotropic_blur, kernel_size=kernel_size, sigma=sigma),
        functools.partial(_resize_and_back, scale=scale),
        functools.partial(colored_noise, level=noise),
        functools.partial(_jpeg, quality=quality, share=0.9),
    )
    order_key, operations_key, last_key = jax.random.split(key, 3)
    order = jax.random.permutation(order_key, len(operations))
    keys = jax.random.split(operations_key, len(operations))

    def step(images: Array, operation: tuple[Array, Array]) -> tuple[Array, None]:
        index, key = operation
        return jax.lax.switch(index, operations, key, images), None

    images, _ = jax.lax.scan(step, images, (order, keys))
    return _jpeg(last_key, images, quality=quality, share=1.0)


DEGRADATIONS = {"none": none, "blur": gaussian_blur, "bsr": bsr}


def degradation(name: str, **options) -> Callable[[Array, Array], Array]:
    """The degradation in `DEGRADATIONS` with these options."""
    if name not in DEGRADATIONS:
        raise ValueError(f'no degradation "{name}"; known are {", ".join(DEGRADATIONS)}')
    return functools.partial(DEGRADATIONS[name], **options)


def gaussian_kernels(size: int, sigma_u: Array, sigma_v: Array, angle: Array) -> Array:
    """Gaussians of deviations sigma_u and sigma_v [B] along axes turned by `angle` [B] radians.

    Returns:
        [B, size, size], each with sum 1.
    """
    offset = jnp.arange(size, dtype=jnp.float32) - (size - 1) / 2
    y, x = offset[None, :, None], offset[None, None, :]
    sigma_u, sigma_v, angle = (a[:, None, None] for a in (sigma_u, sigma_v, angle))
    u = jnp.cos(angle) * x + jnp.sin(angle) * y
    v = jnp.cos(angle) * y - jnp.sin(angle) * x
    logits = -0.5 * (jnp.square(u / sigma_u) + jnp.square(v / sigma_v))
    return jax.nn.softmax(logits, axis=(1, 2))


def blur(images: Array, kernels: Array) -> Array:
    """Images [B, H, W, C], each convolved with its own kernel [B, k, k]; edges are extended."""
    size = kernels.shape[-1]
    around = (size // 2, size // 2)
    padded = jnp.pad(images, ((0, 0), around, around, (0, 0)), mode="edge")

    def add(total: Array, tap: Array) -> tuple[Array, None]:
        i, j = tap // size, tap % size
        shifted = jax.lax.dynamic_slice(padded, (0, i, j, 0), images.shape)
        return total + _each(kernels[:, i, j]) * shifted, None

    return jax.lax.scan(add, jnp.zeros_like(images), jnp.arange(size * size))[0]


# Interpolation kernels of distances in pixels, widened for downsampling.
KERNELS = (
    lambda d: (d <= 0.5).astype(jnp.float32),  # box: nearest neighbour up, mean of an area down
    lambda d: jnp.maximum(1 - d, 0.0),  # linear
    lambda d: jnp.where(  # Keys' cubic, a = −0.5
        d <= 1,
        1.5 * d**3 - 2.5 * d**2 + 1,
        jnp.where(d < 2, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2, 0),
    ),
)


def resample(images: Array, source: Array, target: Array, kernel: Array) -> Array:
    """Resize the first source·side rows and columns of each image to the first target·side ones.

    images: [B, H, W, C]; source and target [B] in (0, 1], rounded to pixels; kernel [B], an index
    into KERNELS. Pixels outside of these are ignored before and undefined after. Since shapes are
    fixed, sizes may be random inside a compiled function.
    """

    def weights(side: int) -> Array:
        """[B, side, side]: rows are pixels of the result, columns pixels of the source."""
        before, after = (jnp.maximum(jnp.round(s * side), 1.0) for s in (source, target))
        pixel = jnp.arange(side, dtype=jnp.float32)
        ratio = (before / after)[:, None]
        centre = (pixel[None, :] + 0.5) * ratio - 0.5
        distance = jnp.abs(centre[:, :, None] - pixel[None, None, :])
        distance = distance / jnp.maximum(ratio, 1.0)[:, :, None]
        each = jnp.stack([k(distance) for k in KERNELS])
        chosen = jnp.take_along_axis(each, kernel[None, :, None, None], axis=0)[0]
        chosen = jnp.where(pixel[None, None, :] < before[:, None, None], chosen, 0.0)
        total = jnp.sum(chosen, axis=-1, keepdims=True)
        return chosen / jnp.where(total == 0, 1.0, total)

    height, width = images.shape[1:3]
    images = jnp.einsum("bij,bjwc->biwc", weights(height), images)
    return jnp.einsum("bij,bhjc->bhic", weights(width), images)


def _isotropic_blur(key: Array, images: Array, *, kernel_size: int, sigma) -> Array:
    deviation = _uniform(key, images, *sigma)
    kernels = gaussian_kernels(kernel_size, deviation, deviation, jnp.zeros_like(deviation))
    return blur(images, kernels)


def _anisotropic_blur(key: Array, images: Array, *, kernel_size: int, sigma) -> Array:
    u_key, v_key, angle_key = jax.random.split(key, 3)
    u, v = _uniform(u_key, images, *sigma), _uniform(v_key, images, *sigma)
    angle = _uniform(angle_key, images, 0.0, jnp.pi)
    return blur(images, gaussian_kernels(kernel_size, u, v, angle))


def _resize_and_back(key: Array, images: Array, *, scale) -> Array:
    scale_key, kernel_key = jax.random.split(key)
    share = _uniform(scale_key, images, *scale)
    down, up = jax.random.randint(kernel_key, (2, len(images)), 0, len(KERNELS))
    whole = jnp.ones_like(share)
    small = resample(images, whole, share, down)
    return jnp.clip(resample(small, share, whole, up), -1, 1)


def colored_noise(key: Array, images: Array, *, level: tuple[float, float]) -> Array:
    """Gaussian noise with a deviation uniform in `level`, in 255ths.

    The channels of an image are independent (40 %), equal (40 %) or correlated (20 %).
    """
    level_key, kind_key, mix_key, eps_key = jax.random.split(key, 4)
    channels = images.shape[-1]
    eps = jax.random.normal(eps_key, images.shape)
    # One mixing matrix per sample; rows of length 1 preserve every channel's deviation.
    mix = jax.random.normal(mix_key, (len(images), channels, channels))
    mix = mix / jnp.linalg.norm(mix, axis=-1, keepdims=True)
    correlated = jnp.einsum("bdc,bhwc->bhwd", mix, eps)
    gray = jnp.broadcast_to(eps[..., :1], eps.shape)
    kind = _uniform(kind_key, images, 0.0, 1.0)
    noise = _where(kind < 0.4, eps, _where(kind < 0.8, gray, correlated))
    deviation = _uniform(level_key, images, *level) / 127.5
    return jnp.clip(images + _each(deviation) * noise, -1, 1)


def _jpeg(key: Array, images: Array, *, quality, share: float) -> Array:
    quality_key, share_key = jax.random.split(key)
    compressed = jpeg.compress(images, jnp.round(_uniform(quality_key, images, *quality)))
    return _where(_uniform(share_key, images, 0.0, 1.0) < share, compressed, images)


def _uniform(key: Array, images: Array, low: float, high: float) -> Array:
    """One number per image [B]."""
    return jax.random.uniform(key, images.shape[:1], minval=low, maxval=high)


def _each(a: Array) -> Array:
    """[B] → [B, 1, 1, 1], to broadcast over images."""
    return a[:, None, None, None]


def _where(chosen: Array, yes: Array, no: Array) -> Array:
    """`yes` for the images where `chosen` [B] is True, else `no`."""
    return jnp.where(_each(chosen), yes, no)
