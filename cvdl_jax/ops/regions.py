"""Regions of maps brought to one size: by maxima (ROI pooling), or by bilinear samples (ROI Align, and warped crops).

Regions are boxes [ymin, xmin, ymax, xmax] in 0..1 of the image (`ops/boxes.py`), of any size on maps of any size, and
come in a fixed number. A region reads what it needs: a mask of the whole map for each region would cost
`regions x height x width x channels`, gathered pixels cost `regions x size^2 x channels`. Functions take the maps of
one image; `jax.vmap` makes them those of a batch.
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.ops.boxes import area, from_centres, to_centres

Quantisation = Literal["cover", "dropped", "last"]


def roi_pool(features: jax.Array, regions: jax.Array, size: int = 7, quantisation: Quantisation = "cover") -> jax.Array:
    """ROI pooling: the maxima of a grid of bins over each region, whose sides are rounded to whole cells.

    A region of n rows has the bins `floor(i n / size) ... ceil((i + 1) n / size)` under "cover", as in Fast R-CNN: they
    cover all rows, and may share some. Under "dropped" each bin has `floor(n / size)` rows and the remainder is lost;
    under "last" the last bin has it. No bin is empty: those of a region smaller than the grid repeat its cells.

    A bin is a rectangle, and four overlapping windows with sides of powers of two cover it. Their maxima at every cell
    are made once for all regions, so that a bin costs four look-ups, whatever its size, and
    `log2(height / size) log2(width / size)` maps.

    Args:
        features: [h, w, c].
        regions: [r, 4]; what is outside the map is cut off, and a region has at least one cell.
        size: bins on a side.
        quantisation: "cover", "dropped" or "last".

    Returns:
        [r, size, size, c].

    Reference: Girshick 2015, "Fast R-CNN", section 2.1. Errata of the course: ER78.
    """
    h, w, c = features.shape
    y0, y1 = _bins(*_cells(regions[:, 0], regions[:, 2], h), size, quantisation)  # [r, size]
    x0, x1 = _bins(*_cells(regions[:, 1], regions[:, 3], w), size, quantisation)
    tables, columns = _doublings(_longest_bin(h, size)), _doublings(_longest_bin(w, size))
    maxima, rows = [], features
    for a in range(tables):  # the maxima over windows of 2^a x 2^b cells, from their upper left one on
        rows = rows if a == 0 else jnp.maximum(rows, jnp.roll(rows, -(2 ** (a - 1)), 0))
        window = rows
        for b in range(columns):
            window = window if b == 0 else jnp.maximum(window, jnp.roll(window, -(2 ** (b - 1)), 1))
            maxima.append(window)
    flat = jnp.stack(maxima).reshape(-1, c)  # windows that leave the map hold cells of its other side; none is read
    a, b = _power(y1 - y0), _power(x1 - x0)  # [r, size]
    pooled = None
    for top in (y0, y1 - 2**a):
        for left in (x0, x1 - 2**b):
            place = ((a[:, :, None] * columns + b[:, None, :]) * h + top[:, :, None]) * w + left[:, None, :]
            value = flat[place]  # [r, size, size, c]
            pooled = value if pooled is None else jnp.maximum(pooled, value)
    return pooled


def _cells(low: jax.Array, high: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """The first cell of each region on an axis of n cells, and the one behind its last, int32 [r]."""
    first = jnp.clip(jnp.floor(low * n + 0.5), 0, n - 1).astype(jnp.int32)
    return first, jnp.clip(jnp.floor(high * n + 0.5).astype(jnp.int32), first + 1, n)


def _bins(first: jax.Array, end: jax.Array, size: int, quantisation: str) -> tuple[jax.Array, jax.Array]:
    """The first cell of every bin and the one behind its last, int32 [r, size]."""
    i, n = jnp.arange(size, dtype=jnp.int32)[None], (end - first)[:, None]
    if quantisation == "cover":
        return first[:, None] + i * n // size, first[:, None] - (-(i + 1) * n // size)
    length = jnp.maximum(n // size, 1)
    begin = first[:, None] + jnp.minimum(i * length, n - 1)
    ends_last = (quantisation == "last") & (i == size - 1)
    return begin, jnp.where(ends_last, end[:, None], begin + length)


def _longest_bin(n: int, size: int) -> int:
    """Cells of the longest bin that a region of up to n cells can have, under any quantisation."""
    return min(n, n // size + size)


def _doublings(n: int) -> int:
    """How many powers of two are at most n."""
    return int(n).bit_length()


def _power(n: jax.Array) -> jax.Array:
    """The largest a with 2^a <= n, for whole numbers n >= 1."""
    return 31 - jax.lax.clz(n.astype(jnp.int32))


def roi_align(
    levels: Sequence[jax.Array],
    regions: jax.Array,
    level: jax.Array | None = None,
    size: int = 7,
    sampling: int = 2,
    aligned: bool = True,
) -> jax.Array:
    """ROI Align: means of bilinear samples on a regular grid in every bin of a region; nothing is rounded.

    The levels of a pyramid are laid end to end, so that every region is gathered once, from its own level.

    Args:
        levels: maps of one image, [h_i, w_i, c]; a single one is a pyramid, too, or the image itself.
        regions: [r, 4].
        level: int [r], the map of each region, such as `level_of` gives; None for the first.
        size: bins on a side.
        sampling: samples of a bin on a side.
        aligned: whether the centre of cell i is at i + 1/2. False is the first form, which takes it to be at i, half a
            cell off, and makes regions at least one cell long.

    Returns:
        [r, size, size, c]. Samples more than a cell outside the map are 0, those nearer the value on its border.

    Reference: He et al. 2017, "Mask R-CNN", section 3; `aligned` is that of Detectron2 and torchvision.
    """
    c = levels[0].shape[-1]
    rows, columns = (np.asarray([x.shape[axis] for x in levels], np.int32) for axis in (0, 1))
    starts = np.concatenate([[0], np.cumsum(rows * columns)[:-1]]).astype(np.int32)
    flat = jnp.concatenate([x.reshape(-1, c) for x in levels])
    level = jnp.zeros(len(regions), jnp.int32) if level is None else level
    h, w, start = (jnp.asarray(x)[level] for x in (rows, columns, starts))  # [r]
    n = size * sampling
    ys = _samples(regions[:, 0], regions[:, 2], h, n, size, aligned)
    xs = _samples(regions[:, 1], regions[:, 3], w, n, size, aligned)
    total = jnp.zeros((len(regions), n, n, c), flat.dtype)
    for y, y_weight in ys:
        for x, x_weight in xs:
            place = start[:, None, None] + y[:, :, None] * w[:, None, None] + x[:, None, :]  # [r, n, n]
            weight = (y_weight[:, :, None] * x_weight[:, None, :])[..., None].astype(flat.dtype)
            total = total + weight * flat[place]
    return total.reshape(len(regions), size, sampling, size, sampling, c).mean((2, 4))


def _samples(low: jax.Array, high: jax.Array, n: jax.Array, count: int, size: int, aligned: bool) -> tuple:
    """Both neighbours of every sample on an axis of n cells, and their weights: ((int [r, count], float [r, count]),
    ...).
    """
    begin = low * n - (0.5 if aligned else 0.0)
    length = (high - low) * n
    length = length if aligned else jnp.maximum(length, 1.0)
    steps = (jnp.arange(count, dtype=low.dtype) + 0.5) / count
    at = begin[:, None] + steps[None] * length[:, None]  # [r, count]
    inside = (at >= -1) & (at <= n[:, None])
    last = (n - 1)[:, None]
    at = jnp.clip(at, 0, last)
    before = jnp.floor(at).astype(jnp.int32)
    weight = at - before
    return (before, (1 - weight) * inside), (jnp.minimum(before + 1, last), weight * inside)


def level_of(
    regions: jax.Array, image: tuple[int, int], stride: int, levels: int, canonical: float = 224.0
) -> jax.Array:
    """The level of a pyramid that each region reads, `k = floor(4 + log2(sqrt(w h) / 224))`: level k has stride 2^k.

    Args:
        regions: [..., 4] in 0..1.
        image: (height, width) in pixels.
        stride: of the first level; each level has twice that of the one before.
        levels: their number.
        canonical: the side of regions that read stride 16, in pixels; 224 is that of ImageNet's images.

    Returns:
        int32 [...], an index into the levels; the nearest one where there is no level k.

    Reference: Lin et al. 2017, "Feature Pyramid Networks for Object Detection", equation 1.
    """
    side = jnp.sqrt(area(regions) * (image[0] * image[1]))
    k = jnp.floor(4 + jnp.log2(jnp.maximum(side, 1e-6) / canonical) + 1e-6) - round(np.log2(stride))
    return jnp.clip(k, 0, levels - 1).astype(jnp.int32)


def with_context(regions: jax.Array, size: int, context: int) -> jax.Array:
    """Regions so much larger that, warped to `size` pixels, `context` pixels on each side are around them.

    Args:
        regions: [..., 4]; the result may leave the image.
        size: side of the warped crop in pixels.
        context: at least 0, less than half of `size`.

    Reference: Girshick et al. 2014, "Rich Feature Hierarchies", appendix A: 16 of 227 pixels.
    """
    centres = to_centres(regions)
    return from_centres(jnp.concatenate([centres[..., :2], centres[..., 2:] * (size / (size - 2 * context))], -1))
