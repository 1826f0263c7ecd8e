"""Convolutions of images, faster than XLA's on CPUs for few channels, for strides and to differentiate.

On other backends everything here is XLA's own convolution. On CPUs there are four cases:

- Few channels. XLA packs patches for a matrix product with next to nothing to multiply, at a few GFLOP/s for one input
  channel. A sum of shifted images times one weight each is a plain loop over pixels, and ten times as fast.
- Strides that divide the sides of the kernel. A kernel whose side is m strides long sees m x m blocks of
  stride x stride pixels, each of which is a row of a matrix, so that the convolution and its derivatives of every order
  are matrix products. XLA multiplies the zeros of dilated images instead, and is slow where a derivative of a padded
  convolution has few outputs: the gradient of a gradient penalty took 3.5 times as long, the weight gradient of a
  transposed convolution ten times. To write images to memory first was tried here at four places, without gain.
- The gradient with respect to an image of few channels, as attacks and adversarial training need it. XLA convolves
  towards one or three channels, which took up to seven times as long as a matrix product for all pixels of a window and
  a sum of its shifted parts.
- All others, and other derivatives in the first case: XLA's. But for a weight gradient the image is written to memory
  first (`core/materialise.py`): XLA transposes it in a loop, into which it would fuse the normalisation and the
  activation that made it, and ResNet-20 took 1.4 times as long.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.linear import ConvGeneralDilatedT
from jax import lax
from jax.custom_derivatives import SymbolicZero

from cvdl_jax.core.materialise import bits_of, stored
from cvdl_jax.core.parallel import backend

IMAGES = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))  # NHWC, HWIO, NHWC
# Measured: with at most so many ...
FEW_CHANNELS = 64  # ... input times output channels, a sum of shifted images is faster than XLA
FEW_COLOURS, FEW_PIXELS = 4, 32  # ... input channels and pixels of a window, an image's gradient is a matrix product
FEW_INPUTS = 64  # ... inputs of an output, one product of all blocks is faster than a sum of products


def conv_general_dilated(
    x: jax.Array, kernel: jax.Array, window_strides: Sequence[int], padding: Any, **how: Any
) -> jax.Array:
    """`jax.lax.conv_general_dilated`, faster on CPUs; give it to `flax.linen.Conv`.

    Args:
        x: float [b, h, w, c].
        kernel: float [kh, kw, c, features].
        window_strides: of the rows and the columns.
        padding: "SAME", "VALID" or ((top, bottom), (left, right)) in pixels.
        **how: the other arguments of `jax.lax.conv_general_dilated`.

    Returns:
        [b, h', w', features], equal to that of `jax.lax` up to rounding.
    """
    spec = lax.conv_dimension_numbers(x.shape, kernel.shape, how["dimension_numbers"])
    dilated = any(d != 1 for name in ("lhs_dilation", "rhs_dilation") for d in how.get(name) or (1,))
    grouped = how.get("feature_group_count", 1) * how.get("batch_group_count", 1) > 1
    blocks = x.ndim == 4 and uses_blocks(kernel.shape[:2], window_strides)
    if spec != IMAGES or dilated or grouped or 0 in x.shape:
        return lax.conv_general_dilated(x, kernel, window_strides, padding, **how)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], window_strides, padding)
    if blocks:
        return conv_by_blocks(x, kernel, window_strides, padding, how.get("precision"))
    return _conv(x, kernel, tuple(window_strides), tuple(map(tuple, padding)), how.get("precision"))


@partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _conv(x: jax.Array, kernel: jax.Array, strides: tuple, padding: tuple, precision: Any) -> jax.Array:
    xla = partial(_xla, strides=strides, padding=padding, precision=precision)
    if kernel.shape[2] * kernel.shape[3] > FEW_CHANNELS:
        return xla(x, kernel)
    # XLA's form stays in the jaxpr, so that counting multiplications finds a convolution there.
    return lax.platform_dependent(x, kernel, cpu=partial(_shifted, strides=strides, padding=padding), default=xla)


@partial(_conv.defjvp, symbolic_zeros=True)
def _(strides: tuple, padding: tuple, precision: Any, primals: tuple, tangents: tuple) -> tuple:
    (x, kernel), (dx, dkernel) = primals, tangents
    bits = bits_of(kernel, x)
    dy: Any = 0
    if not isinstance(dx, SymbolicZero):
        how = {"strides": strides, "padding": padding, "precision": precision}
        few = kernel.shape[2] <= FEW_COLOURS and kernel[..., 0, 0].size <= FEW_PIXELS and max(strides) == 1
        xla, by_windows = partial(_xla, **how), partial(_by_windows, **how)
        dy += lax.platform_dependent(dx, kernel, cpu=by_windows, default=xla) if few else xla(dx, kernel)
    if not isinstance(dkernel, SymbolicZero):
        dy += _xla(stored(x, bits), dkernel, strides, padding, precision)
    y = _conv(x, kernel, strides, padding, precision)
    return (stored(y, bits) if kernel.shape[2] * kernel.shape[3] <= FEW_CHANNELS else y), dy


def _xla(x: jax.Array, kernel: jax.Array, strides: tuple, padding: tuple, precision: Any) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=IMAGES, precision=precision)


def _shifted(x: jax.Array, kernel: jax.Array, strides: tuple, padding: tuple) -> jax.Array:
    """The convolution as a sum of shifted images, each times one weight per output channel."""
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


def _by_windows(x: jax.Array, kernel: jax.Array, strides: tuple, padding: tuple, precision: Any) -> jax.Array:
    """The convolution with stride 1 as a product of all windows with the kernel; its transpose is what is fast."""
    (kh, kw, channels, features), (b, *_) = kernel.shape, x.shape
    x = lax.pad(x, x.dtype.type(0), ((0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)))
    h, w = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    places = [(i, j) for i in range(kh) for j in range(kw)]
    windows = jnp.stack([lax.slice(x, (0, i, j, 0), (b, i + h, j + w, channels)) for i, j in places], 3)
    return jnp.einsum("bhwkc,kcf->bhwf", windows, kernel.reshape(-1, channels, features), precision=precision)


class Conv(nn.Conv):
    """`flax.linen.Conv` with the `conv_general_dilated` of this file."""

    conv_general_dilated: ConvGeneralDilatedT | None = conv_general_dilated


def uses_blocks(kernel: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether a convolution is done by blocks: on a CPU, with strides above 1 that divide the sides of the kernel."""
    whole = all(s > 1 and k % s == 0 for k, s in zip(kernel, strides, strict=True))
    return backend() == "cpu" and len(strides) == 2 and whole


def conv_by_blocks(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Sequence[tuple[int, int]], precision: Any = None
) -> jax.Array:
    """`y[i, j] = sum_{p, q} x[s i + p - low, s j + q - low] K[p, q]`, by blocks.

    Args:
        x: float [b, h, w, c].
        kernel: float [kh, kw, c, features], sides divisible by the strides.
        strides: of the rows and the columns.
        padding: pixels (low, high) of rows and columns.
        precision: of the matrix products.

    Returns:
        [b, h', w', features], equal to `jax.lax.conv_general_dilated` up to rounding.
    """
    (*window, _, features), sides = kernel.shape, x.shape[1:3]
    sizes = [(n + sum(p) - k) // s + 1 for n, p, k, s in zip(sides, padding, window, strides, strict=True)]
    taps = [k // s for k, s in zip(window, strides, strict=True)]
    pads = [  # the padded image ends where the last window does
        (low, s * (size - 1 + m) - n - low)
        for size, m, n, s, (low, _) in zip(sizes, taps, sides, strides, padding, strict=True)
    ]
    x = lax.pad(x, x.dtype.type(0), [(0, 0, 0), *((*p, 0) for p in pads), (0, 0, 0)])
    blocks, rows = _to_blocks(x, strides), _kernel_blocks(kernel, strides)  # [b, h', w', n], [m, m, n, features]
    parts = [
        (blocks[:, i : i + sizes[0], j : j + sizes[1]], rows[i, j]) for i in range(taps[0]) for j in range(taps[1])
    ]
    if kernel[..., 0].size <= FEW_INPUTS:
        parts = [(jnp.concatenate([part for part, _ in parts], -1), rows.reshape(-1, features))]
    return sum(jnp.einsum("bhwn,nf->bhwf", part, row, precision=precision) for part, row in parts)


def transpose_by_blocks(x: jax.Array, kernel: jax.Array, strides: Sequence[int], precision: Any = None) -> jax.Array:
    """Transposed convolution with SAME padding, by blocks: each pixel adds the kernel, times its value, to the result.

    Args:
        x: float [b, h, w, c].
        kernel: float [kh, kw, c, features], sides divisible by the strides.
        strides: of the rows and the columns.
        precision: of the matrix product.

    Returns:
        [b, stride h, stride w, features], equal to `jax.lax.conv_transpose` up to rounding.
    """
    (*window, _, features), (h, w) = kernel.shape, x.shape[1:3]
    taps = [k // s for k, s in zip(window, strides, strict=True)]
    rows = _kernel_blocks(kernel[::-1, ::-1], strides, last=False)  # [c, m, m, s s features]
    parts = jnp.einsum("bhwc,cijn->bhwijn", x, rows, precision=precision)
    y = sum(
        jnp.pad(parts[:, :, :, i, j], ((0, 0), (i, taps[0] - 1 - i), (j, taps[1] - 1 - j), (0, 0)))
        for i in range(taps[0])
        for j in range(taps[1])
    )  # [b, h + m - 1, w + m - 1, s s features]
    y = _from_blocks(y, strides, features)
    first = [k - 1 - _low(k, s) for k, s in zip(window, strides, strict=True)]
    return y[:, first[0] : first[0] + strides[0] * h, first[1] : first[1] + strides[1] * w]


def _low(kernel: int, stride: int) -> int:
    """The padding of `jax.lax.conv_transpose` before a dilated image, for SAME."""
    return kernel - 1 if stride > kernel - 1 else -(-(kernel + stride - 2) // 2)


def _to_blocks(x: jax.Array, strides: Sequence[int]) -> jax.Array:
    """[b, h s, w s, c] -> [b, h, w, s s c]."""
    (b, h, w, c), (s, t) = x.shape, strides
    x = x.reshape(b, h // s, s, w // t, t, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // s, w // t, s * t * c)


def _from_blocks(x: jax.Array, strides: Sequence[int], c: int) -> jax.Array:
    """[b, h, w, s s c] -> [b, h s, w s, c]."""
    (b, h, w, _), (s, t) = x.shape, strides
    return x.reshape(b, h, w, s, t, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h * s, w * t, c)


def _kernel_blocks(kernel: jax.Array, strides: Sequence[int], last: bool = True) -> jax.Array:
    """[m s, m s, c, f] -> [m, m, s s c, f]; with last=False -> [c, m, m, s s f]."""
    (kh, kw, c, f), (s, t) = kernel.shape, strides
    parts = kernel.reshape(kh // s, s, kw // t, t, c, f)
    if last:
        return parts.transpose(0, 2, 1, 3, 4, 5).reshape(kh // s, kw // t, s * t * c, f)
    return parts.transpose(4, 0, 2, 1, 3, 5).reshape(c, kh // s, kw // t, s * t * f)


class ConvTranspose(nn.Module):
    """`flax.linen.ConvTranspose` with SAME padding and the same parameters, by blocks where that is faster.

    Attributes:
        features: channels of the result.
        kernel_size: sides of the kernel.
        strides: how many times as large the result is.
        use_bias: whether there is one.
        kernel_init: initialiser of the kernel.
        dtype: of the product.
        param_dtype: of the parameters.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    use_bias: bool = True
    kernel_init: Callable[..., jax.Array] = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Args: x float [b, h, w, c]. Returns: [b, stride h, stride w, features]."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype).astype(self.dtype)
        x = x.astype(self.dtype)
        if uses_blocks(self.kernel_size, self.strides):
            y = transpose_by_blocks(x, kernel, self.strides)
        else:
            y = lax.conv_transpose(x, kernel, self.strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        return y + bias.astype(self.dtype)[None, None, None]
