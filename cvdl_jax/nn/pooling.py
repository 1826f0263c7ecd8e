"""Max pooling in networks: that of `ops/pooling.py`, several times as fast on CPUs, forward and backward.

XLA's CPU backend fuses what makes an image into its loops over windows, which are not vectorised: a convolution of one
channel, ReLU and a pooling took ten times as long as with strided slices. The derivative took 4 to 40 times as long,
and was half of the time of a step of projected gradient descent.
"""

import itertools
import math
from collections.abc import Iterator
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.core.parallel import backend
from cvdl_jax.ops import pooling
from cvdl_jax.ops.conv_arithmetic import Padding, Sizes
from cvdl_jax.ops.pooling import Windows

MOST_SLICES = 9  # pixels of a window that are compared slice by slice


def max_pool(x: jax.Array, window: Sizes, stride: Sizes | None = None, padding: Padding = 0) -> jax.Array:
    """The largest value of every window, as `ops.pooling.max_pool`; of several equal ones the first has the gradient.

    Args:
        x: float [b, *sides, c].
        window: sides of the window.
        stride: pixels between neighbouring windows; None for the window's sides.
        padding: as for `conv_arithmetic.pads`, with minus infinity.

    Returns:
        [b, *windows, c].

    Raises:
        ConfigError: for sizes that do not fit.
    """
    plain = backend() != "cpu" or x.ndim < 3 or 0 in x.shape or not jnp.issubdtype(x.dtype, jnp.floating)
    windows = None if plain else pooling.windows_of(x.shape[1:-1], window, stride, padding)
    if windows is None or math.prod(windows.window) > MOST_SLICES:  # as many slices would take long to compile
        return pooling.max_pool(x, window, stride, padding)
    return _largest(x, windows)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _largest(x: jax.Array, windows: Windows) -> jax.Array:
    # XLA's form stays in the jaxpr, so that a table of layers and explanations find a pooling there.
    return lax.platform_dependent(
        x, cpu=partial(_by_slices, windows=windows), default=partial(_by_xla, windows=windows)
    )


def _by_xla(x: jax.Array, windows: Windows) -> jax.Array:
    return lax.reduce_window(x, np.asarray(-jnp.inf, x.dtype), lax.max, *windows.whole)


def _by_slices(x: jax.Array, windows: Windows) -> jax.Array:
    return reduce(jnp.maximum, [part for part, _ in _parts(x, windows, -jnp.inf)])


@_largest.defjvp
def _(windows: Windows, primals: tuple, tangents: tuple) -> tuple:
    """What the first of the largest pixels of a window changes by."""
    (x,), (dx,) = primals, tangents
    y = _largest(x, windows)
    taken, dy = jnp.zeros(y.shape, bool), jnp.zeros(y.shape, dx.dtype)
    for (part, inside), (change, _) in zip(_parts(x, windows), _parts(dx, windows), strict=True):
        this = ((part == y) | jnp.isnan(part)) & inside & ~taken
        taken, dy = taken | this, dy + jnp.where(this, change, 0)
    return y, dy


def _parts(x: jax.Array, windows: Windows, fill: float = 0.0) -> Iterator[tuple[jax.Array, np.ndarray | bool]]:
    """For each pixel of a window: the pixels there of all windows, and which of them are no padding."""
    b, *sides, c = x.shape
    x = lax.pad(x, np.asarray(fill, x.dtype), ((0, 0, 0), *((*pair, 0) for pair in windows.around), (0, 0, 0)))
    padded = any(map(any, windows.around))
    for offset in itertools.product(*map(range, windows.window)):
        end = [o + (m - 1) * s + 1 for o, m, s in zip(offset, windows.count, windows.stride, strict=True)]
        at = zip(windows.count, windows.stride, offset, windows.around, sides, strict=True)
        places = [(np.arange(m) * s + o - low, n) for m, s, o, (low, _), n in at]
        inside = reduce(np.logical_and.outer, [(place >= 0) & (place < n) for place, n in places])
        part = lax.slice(x, (0, *offset, 0), (b, *end, c), (1, *windows.stride, 1))  # [b, *windows, c]
        yield part, inside[None, ..., None] if padded else True
