"""Reads the scene from an image of shapes: its objects and its background.

An image is read in four steps. The background is the median of the image's edge. Every other pixel
is assigned to the palette color whose line from the background passes nearest to it. Connected
pixels of one color are an object. Its shape is the one whose template, drawn at the position and
size given by the object's centroid and area, overlaps it most. Nothing is learned or random.
"""

import functools
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from dalle_jax.data.shapes.draw import draw_shape
from dalle_jax.data.shapes.scene import BACKGROUNDS, COLORS, SHAPES, SIZES, place_of

MIN_AREA = 0.01  # of the image; smaller components are ignored (the smallest star has 0.026)
MIN_OVERLAP = 0.6  # with the best template; objects with less have no shape
MAX_COLOR_DISTANCE = 90.0  # of 255, of a pixel from the line between background and color
SIZE_EDGE = float(np.sqrt(SIZES["small"] * SIZES["large"]))


@dataclass(frozen=True)
class DetectedObject:
    """An object as read from an image.

    Attributes:
        shape: the best template's name, or None if its overlap is below `MIN_OVERLAP`.
        color, size, place: as in `scene.Object`.
        cx, cy, radius: of the fitted template, in units of the image.
        overlap: soft intersection over union with the fitted template, 0 to 1.
        margin: difference between `overlap` and that of the second-best shape.
        color_distance: from the palette color, in OKLab (black to white is 1).
    """

    shape: str | None
    color: str
    size: str
    place: str
    cx: float
    cy: float
    radius: float
    overlap: float
    margin: float
    color_distance: float


@dataclass(frozen=True)
class Reading:
    """The scene read from an image: its objects, largest first, and its background."""

    objects: tuple[DetectedObject, ...]
    background: str
    background_distance: float


def read_scene(image: np.ndarray) -> Reading:
    """Read the scene of an image uint8 [H, H, 3].

    Raises:
        ValueError: the image is not square, not uint8 or smaller than 24 pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"the oracle reads uint8 images [H, W, 3], not {image.dtype} {list(image.shape)}"
        )
    if image.shape[0] != image.shape[1] or image.shape[0] < 24:
        raise ValueError(
            f"the oracle reads square images of at least 24 pixels, not {list(image.shape)}"
        )
    background = _edge_color(image)
    offsets = image.astype(np.float32) - background
    labels = _segment(offsets, background)
    areas = np.bincount(labels.ravel())
    keep = [k for k in range(1, len(areas)) if areas[k] >= MIN_AREA * labels.size]
    keep.sort(key=lambda k: -areas[k])
    name, distance = _nearest_name(background, BACKGROUNDS)
    objects = tuple(_detect(offsets, background, labels, k) for k in keep)
    return Reading(objects, name, distance)


def _edge_color(image: np.ndarray) -> np.ndarray:
    """The median over a border of 1/32 of the image's side, float32 [3]."""
    width = max(1, image.shape[0] // 32)
    inside = np.s_[width:-width]
    edge = np.ones(image.shape[:2], bool)
    edge[inside, inside] = False
    return np.median(image[edge], axis=0).astype(np.float32)


def _segment(offsets: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Components of one color, numbered from 1; 0 is the background. int [H, W].

    A pixel at the edge of an object is a mixture and lies on the line from the background to the
    object's color, so it is assigned by line and not by the nearest color (a mixture of red and
    white is nearest to pink). It belongs to the object if it is more than half-way along the line.
    """
    pixels = offsets.reshape(-1, 3)
    lines = _PALETTE - background  # [C, 3]
    length2 = np.maximum((lines**2).sum(1), 1.0)
    dots = pixels @ lines.T  # [N, C]
    along = np.clip(dots / length2, 0.0, 1.1)
    distance2 = (pixels**2).sum(1, keepdims=True) - 2 * along * dots + along**2 * length2
    nearest = distance2.argmin(1)
    chosen = np.arange(len(pixels)), nearest
    inside = (along[chosen] > 0.5) & (distance2[chosen] < MAX_COLOR_DISTANCE**2)
    return connected_components(np.where(inside, nearest + 1, 0).reshape(offsets.shape[:2]))


def connected_components(values: np.ndarray) -> np.ndarray:
    """Number the 4-connected regions of equal nonzero value from 1, in order of their first pixels.

    int [H, W] → int [H, W]
    """
    regions = np.zeros(values.shape, int)
    for value in np.unique(values[values > 0]):
        labels, _ = ndimage.label(values == value)
        regions = np.where(labels > 0, regions.max() + labels, regions)
    numbers, first = np.unique(regions, return_index=True)
    occupied = numbers > 0
    rank = np.zeros(regions.max() + 1, int)
    rank[numbers[occupied][first[occupied].argsort()]] = np.arange(1, occupied.sum() + 1)
    return rank[regions]


def _detect(
    offsets: np.ndarray, background: np.ndarray, labels: np.ndarray, label: int
) -> DetectedObject:
    """The object of the component `label`."""
    resolution = labels.shape[0]
    rows, columns = np.nonzero(labels == label)
    top, left = max(rows.min() - 2, 0), max(columns.min() - 2, 0)
    window = np.s_[top : rows.max() + 3, left : columns.max() + 3]
    mask = labels[window] == label
    pixels = offsets[window]
    line = np.median(pixels[_core(mask)], axis=0)
    color, color_distance = _nearest_name(background + line, COLORS)

    # The share of each pixel that the object covers, only at its pixels and the background pixels
    # next to them: pixels farther away may belong to the edge of another object.
    support = mask | (ndimage.binary_dilation(mask) & (labels[window] == 0))
    covered = np.where(support, np.clip(pixels @ line / (line @ line), 0, 1), 0)
    area = covered.sum()
    cy = (covered.sum(1) @ (np.arange(len(covered)) + 0.5)) / area
    cx = (covered.sum(0) @ (np.arange(covered.shape[1]) + 0.5)) / area

    fits = []
    for shape in SHAPES:
        unit_area, unit_cy = _moments(shape)
        radius = float(np.sqrt(area / unit_area))
        y = float(cy) - unit_cy * radius
        template = _template(shape, *(_eighths(v) for v in (cx, y, radius)), covered.shape)
        shared = np.minimum(covered, template).sum()
        fits.append((float(shared / (area + template.sum() - shared)), shape, y, radius))
    (overlap, shape, y, radius), second, *_ = sorted(fits, reverse=True)
    cx, cy, radius = (float(v) / resolution for v in (left + float(cx), top + y, radius))
    return DetectedObject(
        shape=shape if overlap >= MIN_OVERLAP else None,
        color=color,
        size="small" if radius < SIZE_EDGE else "large",
        place=place_of(cx, cy),
        cx=cx,
        cy=cy,
        radius=radius,
        overlap=overlap,
        margin=overlap - second[0],
        color_distance=color_distance,
    )


def _core(mask: np.ndarray) -> np.ndarray:
    """The interior pixels of a mask, without the mixed colors of its edge; all if it is small."""
    core = ~ndimage.binary_dilation(~mask)
    return core if core.sum() >= 3 else mask


def _eighths(value: float) -> float:
    return round(8 * float(value)) / 8


@functools.lru_cache(maxsize=65536)
def _template(shape: str, cx: float, cy: float, radius: float, size: tuple[int, int]) -> np.ndarray:
    """The share of each pixel that the shape covers, float32 [H, W]; lengths are in pixels."""
    height, width = size
    canvas = Image.new("L", (8 * width, 8 * height))
    draw_shape(ImageDraw.Draw(canvas), shape, 8 * cx, 8 * cy, 8 * radius, 255)
    return np.asarray(canvas.reduce(8), np.float32) / 255


@functools.lru_cache
def _moments(shape: str) -> tuple[float, float]:
    """The area and the row of the centroid of a shape of radius 1. All shapes are symmetric."""
    side = 512
    template = _template(shape, side / 2, side / 2, side / 2, (side, side))
    area = float(template.sum())
    row = float(template.sum(1) @ (np.arange(side) + 0.5)) / area
    return area / (side / 2) ** 2, row / (side / 2) - 1


def _nearest_name(rgb: np.ndarray, names: dict[str, tuple[int, int, int]]) -> tuple[str, float]:
    table = oklab(np.array(list(names.values()), np.float32))
    distances = np.linalg.norm(table - oklab(np.clip(rgb, 0, 255)), axis=1)
    nearest = int(distances.argmin())
    return list(names)[nearest], float(distances[nearest])


def oklab(rgb: np.ndarray) -> np.ndarray:
    """sRGB of 0 to 255 [..., 3] in the perceptually uniform OKLab (Ottosson 2020)."""
    c = np.asarray(rgb, np.float64) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _LINEAR_TO_LMS.T) @ _LMS_TO_LAB.T


_LINEAR_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LMS_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_PALETTE = np.array(list(COLORS.values()), np.float32)
