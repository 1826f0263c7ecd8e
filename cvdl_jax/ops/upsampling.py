"""Larger (or smaller) images by interpolation, in any number of dimensions, with the arguments of `torch.nn.Upsample`.

Every side of N pixels is interpolated for itself. Pixel j of the M new ones lies in the old image at

    (j + 1/2) N/M - 1/2,  pixels being squares,  or at  j (N - 1) / (M - 1)  with `align_corners`, pixels being points

and is a mean of its 2 neighbours there (4 with "bicubic", whose weights can be negative), the last pixel standing for
those beyond the image. "nearest" takes pixel `floor(j N/M)`, half a pixel off; "nearest-exact" the one in the middle.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.ops.conv_arithmetic import Sizes, per_axis

# Names of torch, with the number of sides that they are for; None for any.
MODES = {
    "nearest": None, "nearest-exact": None, "linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3,
    "multilinear": None,  # ours: linear for any number of sides
}  # fmt: skip
_CUBIC = -0.75  # slope of the cubic kernel at 1; `jax.image.resize` has -0.5


def upsample(
    x: Any,
    size: Sizes | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    *,
    align_corners: bool | None = None,
    recompute_scale_factor: bool = False,
) -> jax.Array:
    """An image of other sides; equal to `torch.nn.Upsample`, also where it shrinks (there is no anti-aliasing).

    Args:
        x: [b, *sides, c].
        size: the new sides, one number or one for each; or
        scale_factor: new over old sides, one number or one for each; `floor(factor * side)` pixels. A factor that does
            not give a whole number is itself the distance of pixels, `1 / factor`, unless `recompute_scale_factor`.
        mode: a name of MODES.
        align_corners: whether the first and the last pixels keep their places; None is False.
        recompute_scale_factor: whether `scale_factor` stands for nothing but the size that it gives.

    Returns:
        [b, *new sides, c], of the type of x; interpolated integers become float32. Sums are float32 at least.

    Raises:
        ConfigError: for another mode or one for another number of sides, both or none of size and scale_factor, sizes
            below one pixel, or `align_corners` of a mode that takes one pixel.
    """
    x = jnp.asarray(x)
    sides, steps = _steps(x.shape, mode, size, scale_factor, recompute_scale_factor)
    if mode.startswith("nearest"):
        if align_corners is not None:
            raise ConfigError(f"align_corners={align_corners} says nothing to mode={mode!r}; leave it out")
        for axis, (m, step) in enumerate(zip(sides, steps, strict=True), 1):
            n = x.shape[axis]
            whole = mode == "nearest" and len(sides) == 2 and m in (n, 2 * n)  # torch: such sides of images, not others
            x = jnp.take(x, _nearest(n, m, n / m if whole else step, mode), axis)
        return x
    if jnp.issubdtype(x.dtype, jnp.complexfloating) or x.dtype == bool:
        raise ConfigError(f"mode={mode!r} interpolates real numbers, got {x.dtype}; take 'nearest'")
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.dtype(jnp.float32)
    y = x.astype(jnp.promote_types(dtype, jnp.float32))
    for axis, (m, step) in enumerate(zip(sides, steps, strict=True), 1):
        if m == y.shape[axis] and (step == 1 or mode != "bicubic"):  # torch copies such a side, whatever the factor
            continue
        pixels, weights = _taps(y.shape[axis], m, step, mode, bool(align_corners))  # [m, taps] both
        shape = [1] * axis + [m] + [1] * (y.ndim - axis - 1)
        parts = zip(pixels.T, weights.T.astype(y.dtype), strict=True)
        y = sum(jnp.take(y, pixel, axis) * weight.reshape(shape) for pixel, weight in parts)
    return y.astype(dtype)


def sample(x: Any, points: Any) -> jax.Array:
    """Values between pixels, linear in every side: the mean of the 2^d pixels around a point, weighted by closeness.

    Args:
        x: [b, *sides, c].
        points: float [b, n, d], places in pixels, of which the first of a side has its centre at 0: for images (row,
            column). Beyond the centres of the outer pixels the nearest one goes on.

    Returns:
        [b, n, c], of the type of x; integers become float32. Sums are float32 at least.

    Raises:
        ConfigError: for points that are not of as many coordinates as there are sides, or of other images.
    """
    x, points = jnp.asarray(x), jnp.asarray(points)
    sides = x.shape[1:-1]
    if not sides or 0 in sides or points.ndim != 3 or points.shape[::2] != (len(x), len(sides)):
        raise ConfigError(
            f"sample takes images [b, *sides, c] and points [b, n, d] with d coordinates for d sides, got "
            f"{list(x.shape)} and {list(points.shape)}"
        )
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.dtype(jnp.float32)
    wide = jnp.promote_types(dtype, jnp.float32)
    most = jnp.asarray([n - 1 for n in sides])[None, None]
    points = jnp.clip(points.astype(wide), 0, most)
    first = jnp.clip(jnp.floor(points).astype(jnp.int32), 0, jnp.maximum(most - 1, 0))
    t = points - first  # [b, n, d]
    rows, y = jnp.arange(len(x))[:, None], jnp.zeros((), wide)
    for corner in itertools.product((0, 1), repeat=len(sides)):
        step = jnp.asarray(corner)[None, None]
        pixel = jnp.minimum(first + step, most)
        weight = jnp.where(step == 1, t, 1 - t).prod(-1, keepdims=True)  # [b, n, 1]
        y = y + weight * x[(rows, *jnp.moveaxis(pixel, -1, 0))].astype(wide)
    return y.astype(dtype)


def _steps(
    shape: Sequence[int], mode: str, size: Sizes | None, factor: float | Sequence[float] | None, recompute: bool
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The new sides, and the distance of their pixels in old ones where nothing is aligned."""
    axes, old = len(shape) - 2, shape[1:-1]
    if mode not in MODES:
        raise ConfigError(f"mode={mode!r} is not known; {nearest(mode, MODES)}")
    if axes < 1 or MODES[mode] not in (None, axes) or 0 in old:
        takes = {1: "[b, w, c]", 2: "[b, h, w, c]", 3: "[b, d, h, w, c]"}.get(MODES[mode], "[b, *sides, c]")
        raise ConfigError(f"mode={mode!r} takes {takes} with a pixel or more, got {list(shape)}")
    if (size is None) == (factor is None):
        raise ConfigError(f"give either size or scale_factor, got size={size} and scale_factor={factor}")
    if size is not None:
        sides = per_axis("size", size, axes)
        return sides, tuple(n / m for n, m in zip(old, sides, strict=True))
    factors = tuple(factor) if isinstance(factor, Sequence) else (factor,) * axes
    if len(factors) != axes or not all(math.isfinite(f) and f > 0 for f in factors):
        raise ConfigError(f"scale_factor={factor} must be positive, one number for all sides or one for each of {axes}")
    sides = tuple(math.floor(n * f) for n, f in zip(old, factors, strict=True))
    if min(sides) < 1:
        raise ConfigError(f"scale_factor={factor} leaves no pixel of an image of {tuple(old)}")
    return sides, tuple(n / m if recompute else 1 / f for n, m, f in zip(old, sides, factors, strict=True))


def _nearest(n: int, m: int, step: float, mode: str) -> np.ndarray:
    """The pixel of each of m new ones: int [m]. In float32, as torch rounds it."""
    half = np.float32(0.5 if mode == "nearest-exact" else 0)
    place = (np.arange(m, dtype=np.float32) + half) * np.float32(step)
    return np.minimum(np.floor(place).astype(int), n - 1)


def _taps(n: int, m: int, step: float, mode: str, align: bool) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that a new one is a mean of, and their weights: int and float [m, 2], or [m, 4] for "bicubic"."""
    new = np.arange(m)
    place = new * ((n - 1) / (m - 1) if m > 1 else 0.0) if align else (new + 0.5) * step - 0.5
    if mode != "bicubic":
        place = np.clip(place, 0, n - 1)
    first = np.floor(place).astype(int)
    t = place - first
    if mode != "bicubic":
        return np.minimum(np.stack([first, first + 1], 1), n - 1), np.stack([1 - t, t], 1)
    pixels = np.clip(first[:, None] + np.arange(-1, 3)[None], 0, n - 1)
    return pixels, _cubic(np.stack([1 + t, t, 1 - t, 2 - t], 1))


def _cubic(d: np.ndarray) -> np.ndarray:
    """Keys' kernel at distances 0 to 2: `(a + 2) d^3 - (a + 3) d^2 + 1` up to 1, `a (d^3 - 5 d^2 + 8 d - 4)` beyond."""
    near = (_CUBIC + 2) * d**3 - (_CUBIC + 3) * d**2 + 1
    return np.where(d <= 1, near, _CUBIC * (d**3 - 5 * d**2 + 8 * d - 4))
