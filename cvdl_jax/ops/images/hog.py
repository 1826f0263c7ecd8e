"""Histograms of oriented gradients: what edges an image has in each of its cells, whatever their contrast."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images.inputs import check_image

_EPSILON = 1e-3  # of a block's length, so that a block without edges is zero


def hog(
    x: jax.Array, cell: Size = 8, bins: Size = 9, block: Size = 2, clip: Positive = 0.2, inside: bool = False
) -> jax.Array:
    """Histograms of oriented gradients, normalised in overlapping blocks of cells.

    The gradient of a pixel, `(x[i + 1] - x[i - 1]) / 2` of the channel in which it is longest, votes with its length
    for the two nearest orientations of 0 to 180 degrees and the four nearest cells, by bilinear weights. A block of
    cells is divided by its length, clipped and divided again ("L2-Hys").

    Args:
        x: float [b, h, w, c]; beyond the border the nearest pixel is repeated.
        cell: side of a cell in pixels.
        bins: orientations of a histogram; the first is centred at 90 / bins degrees.
        block: side of a block in cells; blocks stand one cell apart.
        clip: the most that an entry of a block of length 1 may be.
        inside: only cells all of whose votes come from inside the image, so that a window that is cut out of a larger
            image has the histograms that the image has there. The first begins at `border(cell)` pixels.

    Returns:
        float [b, rows, columns, block^2 bins]: rows = h // cell - block + 1, or with `inside` as many less as do not
        fit.

    Raises:
        ConfigError: for an image without a whole block.
        ValueError: for bytes, whose differences would wrap around.

    Reference: Dalal and Triggs 2005, "Histograms of Oriented Gradients for Human Detection", section 6.
    """
    x, start = check_image(x, "hog"), border(cell) if inside else 0
    rows, columns = ((n - 2 * start) // cell for n in x.shape[1:3])
    if min(rows, columns) < block:
        raise ConfigError(
            f"an image of {x.shape[1]}x{x.shape[2]} pixels has {max(rows, 0)}x{max(columns, 0)} cells of {cell} pixels "
            f"and a block {block}x{block}; use at least {block * cell + 2 * start} pixels, or smaller cells"
        )
    votes = _votes(x, bins)  # [b, h, w, bins]
    down, across = (_weights(n, m, cell, start, x.dtype) for n, m in zip(x.shape[1:3], (rows, columns), strict=True))
    high = {"precision": lax.Precision.HIGHEST}
    cells = jnp.einsum("ry,byxk->brxk", down, votes, **high)
    cells = jnp.einsum("cx,brxk->brck", across, cells, **high)  # [b, rows, columns, bins]
    places = [(i, j) for i in range(block) for j in range(block)]
    shape = (rows - block + 1, columns - block + 1)
    blocks = jnp.concatenate([cells[:, i : i + shape[0], j : j + shape[1]] for i, j in places], -1)
    return _unit(jnp.minimum(_unit(blocks), clip))


def border(cell: int) -> int:
    """Pixels from the border of an image to the first cell whose votes all come from inside it."""
    return (cell + 1) // 2 + 1


def _votes(x: jax.Array, bins: int) -> jax.Array:
    """The votes [b, h, w, bins] of every pixel."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    dy = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    dx = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    squares = dy**2 + dx**2
    longest = squares.argmax(-1)[..., None]
    dy, dx, square = (jnp.take_along_axis(part, longest, -1)[..., 0] for part in (dy, dx, squares))
    flat = square == 0  # where neither the length nor the angle has a derivative
    place = (
        jnp.arctan2(dy, jnp.where(flat, 1, dx)) / math.pi * bins - 0.5
    )  # in bins; half a turn is the whole circle of orientations
    low = jnp.floor(place)
    part = (place - low)[..., None]
    first = low.astype(jnp.int32) % bins
    one, other = (jax.nn.one_hot(b, bins, dtype=x.dtype) for b in (first, (first + 1) % bins))
    length = jnp.where(flat, 0, jnp.sqrt(jnp.where(flat, 1, square)))
    return length[..., None] * ((1 - part) * one + part * other)


def _weights(pixels: int, cells: int, cell: int, start: int, dtype: jnp.dtype) -> jax.Array:
    """How much a pixel of a line votes for each cell, [cells, pixels]: 1 at its centre, 0 at those of others."""
    centres = start + (np.arange(cells)[:, None] + 0.5) * cell
    return jnp.asarray(np.maximum(1 - abs(np.arange(pixels)[None] + 0.5 - centres) / cell, 0), dtype)


def _unit(blocks: jax.Array) -> jax.Array:
    return blocks / jnp.sqrt((blocks**2).sum(-1, keepdims=True) + _EPSILON**2)
