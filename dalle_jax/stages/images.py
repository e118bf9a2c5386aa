"""Images on the device: conversion to the models' range, and resizing."""

import jax
import jax.numpy as jnp
from einops import reduce
from jax import Array

# Interpolations of an enlarged image: common names → those of jax.image.
# GLIDE's paper enlarges by "bicubic" (Keys' cubic with a = −0.5), its released code by "bilinear".
ENLARGEMENTS = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic"}


def to_model_range(image: Array) -> Array:
    """uint8 0 … 255 → float32 −1 … 1."""
    return image.astype(jnp.float32) / 127.5 - 1.0


def shrink(image: Array, side: int) -> Array:
    """uint8 [B, H, W, C] → uint8 [B, side, side, C]: means over blocks of pixels, rounded.

    Raises:
        ValueError: H or W is no multiple of `side`.
    """
    height, width = image.shape[1:3]
    if height % side or width % side:
        raise ValueError(
            f"images of {height}×{width} pixels can't be cut into {side}×{side} equal blocks; "
            "give sizes that are multiples of each other"
        )
    if height == width == side:
        return image
    blocks = {"h": side, "w": side}
    mean = reduce(image.astype(jnp.float32), "b (h p) (w q) c -> b h w c", "mean", **blocks)
    return jnp.round(mean).astype(jnp.uint8)


def enlarge(image: Array, factor: int, method: str) -> Array:
    """float32 [B, H, W, C] → [B, factor·H, factor·W, C], by a name in ENLARGEMENTS."""
    if method not in ENLARGEMENTS:
        raise ValueError(f'no resize "{method}"; known are {", ".join(ENLARGEMENTS)}')
    batch, height, width, channels = image.shape
    shape = (batch, factor * height, factor * width, channels)
    return jax.image.resize(image, shape, ENLARGEMENTS[method])


def random_crops(key: Array, images: tuple[Array, ...], side: int, grid: int) -> tuple[Array, ...]:
    """The same random square [B, side, side, C] of each of `images` [B, H, W, C].

    Each sample has another square, with its corner on a multiple of `grid`.
    """
    batch, height, width, _ = images[0].shape
    room = jnp.array([(height - side) // grid, (width - side) // grid])
    corners = grid * jax.random.randint(key, (batch, 2), 0, room[None, :] + 1)

    def crop(image: Array, corner: Array) -> Array:
        start = (corner[0], corner[1], 0)
        return jax.lax.dynamic_slice(image, start, (side, side, image.shape[-1]))

    return tuple(jax.vmap(crop)(image, corners) for image in images)


def layout_error(layout: Array, x_0: Array) -> Array:
    """Mean squared error of layout [B, S, S, 3] to x_0 [B, H, W, 3], resized and centred."""
    coarse = jax.image.resize(x_0, layout.shape, "linear")
    coarse -= reduce(coarse, "b h w c -> b 1 1 c", "mean")
    return jnp.mean((layout.astype(jnp.float32) - coarse) ** 2)
