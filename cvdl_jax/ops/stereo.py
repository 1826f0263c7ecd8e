"""Binocular stereo: disparities of a rectified pair by block matching, and depths from them.

Both cameras look the same way, the right one stands B metres to the right, so that a point at depth Z is seen at column
x in the left view and at x - d in the right one, with the disparity

    d = f B / Z,    Z = f B / d,    dZ = Z^2 / (f B) per pixel of error.

Reference: Scharstein and Szeliski 2002, "A Taxonomy and Evaluation of Dense Two-Frame Stereo Correspondence
    Algorithms"; Zabih and Woodfill 1994, "Non-parametric Local Transforms for Computing Visual Correspondence", for the
    census.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.value_checks import or_nan

Measure = Literal["ssd", "sad", "census"]


def matching_costs(
    left: jax.Array, right: jax.Array, disparities: int, window: int = 7, measure: Measure = "sad"
) -> jax.Array:
    """What it costs to say that a pixel of the left view has a disparity: the mean difference of two windows.

    Args:
        left: float [h, w, c].
        right: float [h, w, c].
        disparities: how many are tried, 0 ... disparities - 1, at most w.
        window: side of the windows, odd; at the border they are cut.
        measure: of two pixels: squared differences ("ssd"), absolute ones ("sad"), or the number of different bits of
            their census, which no brightness or contrast changes.

    Returns:
        float32 [h, w, disparities]; inf where x - d is outside the right view.

    Raises:
        ConfigError: for views of different shapes, or numbers out of their range.
    """
    if left.ndim != 3 or left.shape != right.shape:
        raise ConfigError(f"stereo takes two views [h, w, c] of one shape, got {left.shape} and {right.shape}")
    if not 1 <= disparities <= left.shape[1]:
        raise ConfigError(f"disparities={disparities} must be between 1 and the width, {left.shape[1]}")
    if window < 1 or window % 2 == 0:
        raise ConfigError(f"window={window} must be odd and positive")
    if measure not in ("ssd", "sad", "census"):
        raise ConfigError(f"measure={measure!r} must be 'ssd', 'sad' or 'census'")
    if measure == "census":
        left, right = census(left), census(right)
    left, right = left.astype(jnp.float32), right.astype(jnp.float32)
    columns = jnp.arange(left.shape[1])

    def of(d: jax.Array) -> jax.Array:  # [h, w]
        there = jnp.broadcast_to((columns >= d)[None], left.shape[:2])
        wrong = left - jnp.roll(right, d, 1)
        pixel = (jnp.square(wrong) if measure == "ssd" else jnp.abs(wrong)).sum(-1)
        total, count = _boxes(jnp.where(there, pixel, 0), window), _boxes(there.astype(jnp.float32), window)
        return jnp.where(there, total / jnp.maximum(count, 1), jnp.inf)

    return jnp.moveaxis(lax.map(of, jnp.arange(disparities)), 0, -1)


def _boxes(x: jax.Array, window: int) -> jax.Array:
    """Sums over the window around each pixel: [h, w] -> [h, w]."""
    return lax.reduce_window(x, 0.0, lax.add, (window, window), (1, 1), "SAME")


def census(image: jax.Array, radius: int = 2) -> jax.Array:
    """Which neighbours of a pixel are brighter than it: bool [h, w, (2 radius + 1)^2 - 1], 0 outside the image.

    Args:
        image: float [h, w, c]; its channels are added.
        radius: of the neighbourhood, which is a square.
    """
    grey = image.sum(-1)
    padded = jnp.pad(grey, radius, constant_values=-jnp.inf)
    h, w = grey.shape
    places = [(i, j) for i in range(2 * radius + 1) for j in range(2 * radius + 1) if (i, j) != (radius, radius)]
    return jnp.stack([padded[i : i + h, j : j + w] > grey for i, j in places], -1)


def disparities_of(costs: jax.Array, subpixel: bool = True) -> jax.Array:
    """The disparity of the least cost, at the vertex of the parabola through it and its neighbours.

    With costs a, b, c at d - 1, d and d + 1 the vertex is at `d + (a - c) / (2 (a - 2 b + c))`. Of equal costs the
    smallest disparity is taken: where nothing is to be seen, as on a white wall, it says 0, and so does the other view.

    Args:
        costs: [h, w, n], from `matching_costs`.
        subpixel: whether to move to the vertex; the first and the last disparity, and costs without a curvature stay.

    Returns:
        float32 [h, w], NaN where no cost is finite, as around a pixel that is NaN.
    """
    best, some = costs.argmin(-1), jnp.isfinite(costs.min(-1))
    if not subpixel or costs.shape[-1] < 3:
        return or_nan(some, best.astype(jnp.float32))
    inner = jnp.clip(best, 1, costs.shape[-1] - 2)
    a, b, c = (jnp.take_along_axis(costs, (inner + k)[..., None], -1)[..., 0] for k in (-1, 0, 1))
    bend = a - 2 * b + c
    good = (inner == best) & jnp.isfinite(bend) & (bend > 0)
    return or_nan(some, best + jnp.where(good, (a - c) / (2 * jnp.where(good, bend, 1)), 0))


def right_costs(costs: jax.Array) -> jax.Array:
    """The costs of the pixels of the right view from those of the left one: `C_R(x, d) = C_L(x + d, d)`, else inf."""
    n, w = costs.shape[-1], costs.shape[1]
    x = jnp.arange(w)[:, None] + jnp.arange(n)[None]  # [w, n]
    moved = costs[:, jnp.minimum(x, w - 1), jnp.arange(n)[None]]  # [h, w, n]
    return jnp.where((x < w)[None], moved, jnp.inf)


def consistent(left: jax.Array, right: jax.Array, tolerance: float = 1.0) -> jax.Array:
    """Where both views agree: the pixel of the right view that a pixel is matched with is matched with it.

    What one camera alone sees (an occlusion) has no match; its disparity is nobody's.

    Args:
        left: disparities of the left view, [h, w].
        right: disparities of the right view, [h, w].
        tolerance: in pixels.

    Returns:
        bool [h, w].
    """
    w = left.shape[1]
    x = jnp.round(jnp.arange(w)[None] - left).astype(jnp.int32)
    back = jnp.take_along_axis(right, jnp.clip(x, 0, w - 1), 1)
    return (x >= 0) & (x < w) & (jnp.abs(left - back) <= tolerance)


def depth_from_disparity(disparity: jax.Array, focal: float, baseline: float) -> jax.Array:
    """`Z = f B / d`; inf for a disparity of 0, NaN for NaN and a negative one, which no point before the cameras has.

    Args:
        disparity: d, in pixels, float [...].
        focal: f, in pixels.
        baseline: B, in metres.

    Returns:
        float [...], in metres.
    """
    return or_nan(disparity >= 0, focal * baseline / jnp.where(disparity > 0, disparity, 0))
