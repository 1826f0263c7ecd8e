"""A convolution of images for CPUs, where XLA's own is slow for few channels, for strides and to differentiate.

XLA's CPU convolution runs at a few GFLOP/s when there is one input channel: it packs patches for a matrix product that
has next to nothing to multiply. A sum of shifted images times one weight each is a plain loop over pixels, ten times
as fast. What has strides that divide the kernel is done by blocks (`strided.py`). Everything else, derivatives too, is
XLA's, but for a weight gradient the image is written to memory first (`stored.py`): XLA transposes it in a loop, into
which it would fuse the normalisation and the activation that made it, and ResNet-20 took 1.4 times as long.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.linear import ConvGeneralDilatedT
from jax import lax
from jax.custom_derivatives import SymbolicZero

from cvdl_jax.nn import strided
from cvdl_jax.stored import stored

IMAGES = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))  # NHWC, HWIO, NHWC
FEW = 64  # input times output channels up to which shifted images were measured to be faster


def conv_general_dilated(
    x: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Any, **how: Any
) -> jax.Array:
    """`jax.lax.conv_general_dilated`, faster on CPUs; give it to `flax.linen.Conv`.

    Args:
        x: float [b, h, w, c].
        kernel: float [kh, kw, c, features].
        window_strides: of the two space dimensions.
        padding: "SAME", "VALID" or ((top, bottom), (left, right)) in pixels.
        **how: the other arguments of `jax.lax.conv_general_dilated`.

    Returns:
        [b, h', w', features], equal to that of `jax.lax` up to rounding.
    """
    spec = lax.conv_dimension_numbers(x.shape, kernel.shape, how["dimension_numbers"])
    dilated = any(d != 1 for name in ("lhs_dilation", "rhs_dilation") for d in how.get(name) or (1,))
    grouped = how.get("feature_group_count", 1) * how.get("batch_group_count", 1) > 1
    blocks = x.ndim == 4 and strided.fits(kernel.shape[:2], window_strides)
    if spec != IMAGES or dilated or grouped or 0 in x.shape:
        return lax.conv_general_dilated(x, kernel, window_strides, padding, **how)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], window_strides, padding)
    if blocks:
        return strided.conv(x, kernel, window_strides, padding, how.get("precision"))
    return _conv(x, kernel, tuple(window_strides), tuple(map(tuple, padding)), how.get("precision"))


@partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _conv(x: jax.Array, kernel: jax.Array, strides: tuple, padding: tuple, precision: Any) -> jax.Array:
    xla = partial(_xla, strides=strides, padding=padding, precision=precision)
    if kernel.shape[2] * kernel.shape[3] > FEW:
        return xla(x, kernel)
    # Both forms are in the jaxpr, so that a count of multiplications finds the convolution.
    return lax.platform_dependent(x, kernel, cpu=partial(_shifted, strides=strides, padding=padding), default=xla)


@partial(_conv.defjvp, symbolic_zeros=True)
def _(strides: tuple, padding: tuple, precision: Any, primals: tuple, tangents: tuple) -> tuple:
    (x, kernel), (dx, dkernel) = primals, tangents
    dy: Any = 0
    if not isinstance(dx, SymbolicZero):
        dy += _xla(dx, kernel, strides, padding, precision)
    if not isinstance(dkernel, SymbolicZero):
        bits = lax.bitcast_convert_type(kernel.ravel()[0].astype(jnp.float32), jnp.uint32)
        dy += _xla(stored(x, bits), dkernel, strides, padding, precision)
    return _conv(x, kernel, strides, padding, precision), dy


def _xla(x: jax.Array, kernel: jax.Array, strides: tuple, padding: tuple, precision: Any) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=IMAGES, precision=precision)


def _shifted(x: jax.Array, kernel: jax.Array, strides: tuple, padding: tuple) -> jax.Array:
    (kh, kw, channels, _), batch = kernel.shape, x.shape[0]
    x = lax.pad(x, x.dtype.type(0), ((0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)))
    (height, width), (down, right) = x.shape[1:3], strides
    y: Any = 0
    for i in range(kh):
        for j in range(kw):
            end = (batch, height - kh + i + 1, width - kw + j + 1)
            for c in range(channels):
                part = lax.slice(x, (0, i, j, c), (*end, c + 1), (1, down, right, 1))  # [b, h', w', 1]
                y = y + part * kernel[None, None, None, i, j, c]
    return y


class Conv(nn.Conv):
    """`flax.linen.Conv` by the `conv_general_dilated` of this file."""

    conv_general_dilated: ConvGeneralDilatedT | None = conv_general_dilated
