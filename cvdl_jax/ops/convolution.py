"""Convolution in one, two, three or more dimensions, with the arguments of `torch.nn.Conv1d`, `Conv2d`, `Conv3d`.

What layers call a convolution is the cross-correlation, `correlate`; signal processing turns the kernel round first,
which is `convolve`:

    correlate:  y[i] = sum_m K[m] x[s i + d m - p]          convolve:  y[i] = sum_m K[m] x[s i + d (M - 1 - m) - p]

Each is a sum over the input channels of a group as well. Images are [b, *sides, c], kernels [*window, c / groups,
features]. Both are the product of the flat image with a sparse matrix whose entries are tied: `as_matrix`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.ops.conv_arithmetic import Padding, Pads, Sizes, check_groups, output_size, pads, per_axis, span

# How the pixels of the padding come about: "replicate" is the nearest pixel, "mean" that of the channel of the image,
# "reflect" mirrors the image at its first and last pixel, "circular" goes on at the other end.
PADDING_MODES = ("zeros", "replicate", "mean", "reflect", "circular")
_OF_NUMPY = {"replicate": "edge", "reflect": "reflect", "circular": "wrap"}


def pad(x: jax.Array, around: Pads, mode: str = "zeros") -> jax.Array:
    """Ghost pixels around an image.

    Args:
        x: [b, *sides, c].
        around: pixels (low, high) of each side.
        mode: one of PADDING_MODES. With "mean" integers become floats.

    Returns:
        [b, *larger sides, c].

    Raises:
        ConfigError: for another mode, or more pixels than an image has to mirror, to repeat or to go round.
    """
    if mode not in PADDING_MODES:
        raise ConfigError(f"padding_mode={mode!r} is not known; {nearest(mode, PADDING_MODES)}")
    x = jnp.asarray(x)
    sides, width = x.shape[1:-1], ((0, 0), *around, (0, 0))
    for n, pair in zip(sides, around, strict=True):
        most = {"reflect": n - 1, "circular": n, "replicate": max(pair) if n else 0}.get(mode, max(pair))
        if max(pair) > most:
            raise ConfigError(
                f"padding_mode={mode!r} has at most {most} pixels for a side of {n}, not {max(pair)}; pad less, "
                "or with 'zeros'"
            )
    if mode in _OF_NUMPY:
        return jnp.pad(x, width, _OF_NUMPY[mode])
    if mode == "zeros" or not any(map(max, around)):
        return jnp.pad(x, width)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    mean = x.mean(tuple(range(1, x.ndim - 1)), keepdims=True, dtype=wide)  # [b, 1, ..., c]
    mean = mean.astype(x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else wide)
    inside = jnp.pad(jnp.ones((1, *sides, 1), bool), width)
    return jnp.where(inside, jnp.pad(x, width).astype(mean.dtype), mean)


def correlate(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    stride: Sizes = 1,
    padding: Padding = 0,
    padding_mode: str = "zeros",
    dilation: Sizes = 1,
    groups: int = 1,
    precision: Any = None,
    conv: Callable[..., jax.Array] = lax.conv_general_dilated,
) -> jax.Array:
    """Cross-correlation, what a convolutional layer computes.

    Args:
        x: [b, *sides, c].
        kernel: [*window, c / groups, features].
        bias: [features], or None.
        stride: pixels between neighbouring windows, one number or one for each side.
        padding: pixels on both sides, (low, high) for each side, "valid", "same" or "full"; see `conv_arithmetic.pads`.
        padding_mode: one of PADDING_MODES.
        dilation: pixels between neighbouring weights of the kernel.
        groups: feature j sees only the channels of its group, number `j // (features / groups)` of as many.
        precision: of the products, as for `jax.lax`.
        conv: computes it, with the arguments of `jax.lax.conv_general_dilated`.

    Returns:
        [b, *windows, features], in the type to which x and the kernel promote; of integers, float32.

    Raises:
        ConfigError: for sizes that do not fit.
    """
    x, kernel = _of_one_type(x, kernel)
    axes, features = x.ndim - 2, kernel.shape[-1]
    _check(x, kernel, groups, bias)
    window, sides = kernel.shape[:axes], x.shape[1:-1]
    around = pads(padding, window, stride, dilation)
    output_size(sides, window, stride, around, dilation)  # refuses a window that is larger than the image
    if padding_mode != "zeros":
        x, around = pad(x, around, padding_mode), ((0, 0),) * axes
    y = conv(
        x, kernel, per_axis("stride", stride, axes), around, rhs_dilation=per_axis("dilation", dilation, axes),
        dimension_numbers=_numbers(axes), feature_group_count=groups, precision=precision,
    )  # fmt: skip
    return y if bias is None else y + jnp.asarray(bias, y.dtype).reshape((1,) * (axes + 1) + (features,))


def convolve(x: Any, kernel: Any, bias: Any = None, **how: Any) -> jax.Array:
    """True convolution: `correlate` with the kernel turned round in every axis. Arguments, results: see there."""
    return correlate(x, flip(kernel), bias, **how)


def flip(kernel: Any) -> jax.Array:
    """A kernel [*window, c, features] turned round in every axis of its window."""
    kernel = jnp.asarray(kernel)
    return jnp.flip(kernel, range(kernel.ndim - 2))


def zero_stuffed(kernel: Any, dilation: Sizes) -> jax.Array:
    """The kernel with d - 1 zeros between neighbouring weights: dilation 1 with it is dilation d with the kernel.

    Args:
        kernel: [*window, c, features].
        dilation: d, one number or one for each axis.

    Returns:
        [*span of the window, c, features].
    """
    kernel = jnp.asarray(kernel)
    between = [d - 1 for d in per_axis("dilation", dilation, kernel.ndim - 2)]
    return lax.pad(kernel, kernel.dtype.type(0), [(0, 0, d) for d in between] + [(0, 0, 0)] * 2)


def conv_transpose(
    x: Any,
    kernel: Any,
    bias: Any = None,
    *,
    stride: Sizes = 1,
    padding: Padding = 0,
    output_padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    precision: Any = None,
) -> jax.Array:
    """Transposed convolution: every pixel adds the kernel, times its value, `y[s i + d m - p] += x[i] K[m]`.

    It is the adjoint of `correlate` with the same arguments, whose kernel has its last two axes swapped. Sides become
    `(n - 1) s - 2 p + d (k - 1) + output_padding + 1`.

    Args:
        x: [b, *sides, c].
        kernel: [*window, c, features / groups].
        bias: [features], or None.
        stride: pixels of the result between neighbouring pixels of x.
        padding: pixels that are cut off the result, as in `correlate`.
        output_padding: more pixels at the end of each side, less than the stride or the dilation: of the sizes that a
            stride makes equal, it chooses one.
        dilation: of the kernel.
        groups: as in `correlate`.
        precision: of the products.

    Returns:
        [b, *larger sides, features].

    Raises:
        ConfigError: for sizes that do not fit.
    """
    x, kernel = _of_one_type(x, kernel)
    axes, channels, features = x.ndim - 2, x.shape[-1], kernel.shape[-1] * groups
    if kernel.ndim != x.ndim or kernel.shape[-2] != channels:
        raise ConfigError(
            f"a transposed convolution of {list(x.shape)} takes a kernel [*window, {channels}, features / groups], got "
            f"{list(kernel.shape)}"
        )
    check_groups(channels, features, groups)
    window = kernel.shape[:axes]
    stride, dilation = per_axis("stride", stride, axes), per_axis("dilation", dilation, axes)
    extra = per_axis("output_padding", output_padding, axes, least=0)
    around = pads(padding, window, stride, dilation)
    for more, s, d in zip(extra, stride, dilation, strict=True):
        if more >= max(s, d):
            raise ConfigError(f"output_padding={more} must be smaller than the stride, {s}, or the dilation, {d}")
    spans = [span(k, d) for k, d in zip(window, dilation, strict=True)]
    for n, s, (low, high), r, more in zip(x.shape[1:-1], stride, around, spans, extra, strict=True):
        if (n - 1) * s + r + more - low - high < 1:
            raise ConfigError(
                f"padding {low} and {high} leaves nothing of {(n - 1) * s + r + more} pixels; give a smaller one"
            )
    cut = [(r - 1 - low, r - 1 - high + more) for r, (low, high), more in zip(spans, around, extra, strict=True)]
    # [*window, group, c / groups, features / groups] -> [*window, c / groups, features]
    grouped = flip(kernel).reshape(*window, groups, channels // groups, features // groups)
    grouped = jnp.moveaxis(grouped, axes, -2).reshape(*window, channels // groups, features)
    y = lax.conv_general_dilated(
        x, grouped, (1,) * axes, cut, lhs_dilation=stride, rhs_dilation=dilation, dimension_numbers=_numbers(axes),
        feature_group_count=groups, precision=precision,
    )  # fmt: skip
    return y if bias is None else y + jnp.asarray(bias, y.dtype).reshape((1,) * (axes + 1) + (features,))


def as_matrix(kernel: Any, sides: Sequence[int], **how: Any) -> np.ndarray:
    """The matrix M of a cross-correlation: `correlate(x)` of flat images is `x M`.

    A dense layer has all its entries as parameters. Here each column has at most the entries of one window, the others
    are zero (sparse), and all windows have the same ones (tied): in one dimension M is a Toeplitz matrix. With zero
    padding that is; other modes add the weights of ghost pixels to those of the pixels they are copies of.

    Args:
        kernel: [*window, c / groups, features].
        sides: of the images.
        **how: stride, padding, padding_mode, dilation and groups of `correlate`.

    Returns:
        [prod(sides) c, prod(windows) features].

    Raises:
        ConfigError: for more than 2**24 entries.
    """
    kernel = jnp.asarray(kernel)
    channels = kernel.shape[-2] * how.get("groups", 1)
    units = math.prod(sides) * channels
    one = jax.eval_shape(lambda x: correlate(x, kernel, **how), jnp.zeros((1, *sides, channels)))
    if units * math.prod(one.shape) > 2**24:
        raise ConfigError(f"a matrix of {units} x {math.prod(one.shape)} is too large to look at; take smaller images")
    basis = jnp.eye(units).reshape(units, *sides, channels)
    return np.asarray(correlate(basis, kernel, precision=lax.Precision.HIGHEST, **how)).reshape(units, -1)


def dense_as_convolution(kernel: jax.Array, sides: Sequence[int]) -> jax.Array:
    """The kernel of the convolution that is a dense layer on a flat map of features, for larger maps.

    Args:
        kernel: [prod(sides) c, units], of a layer after `x.reshape(b, -1)`.
        sides: of the map it was made for.

    Returns:
        [*sides, c, units]; `correlate` with it gives one pixel for such a map, [b, 1, ..., units].

    Raises:
        ConfigError: where the rows are no maps of this size.
    """
    rows, units = kernel.shape
    if rows % math.prod(sides):
        raise ConfigError(f"a dense layer with {rows} inputs has none for every pixel of {tuple(sides)}")
    return kernel.reshape(*sides, rows // math.prod(sides), units)


def _of_one_type(x: Any, kernel: Any) -> tuple[jax.Array, jax.Array]:
    """Both in the type to which they promote; integers become floats, which every backend can convolve."""
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    if x.ndim < 3:
        raise ConfigError(f"a convolution takes [b, *sides, c], got {list(x.shape)}; add the axes that are missing")
    dtype = jnp.result_type(x, kernel)
    dtype = dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.float32
    return x.astype(dtype), kernel.astype(dtype)


def _check(x: jax.Array, kernel: jax.Array, groups: int, bias: Any) -> None:
    channels, features = x.shape[-1], kernel.shape[-1]
    if kernel.ndim != x.ndim:
        raise ConfigError(
            f"a convolution of {list(x.shape)} takes a kernel with {x.ndim} axes, [*window, c / groups, features], got "
            f"{list(kernel.shape)}"
        )
    check_groups(channels, features, groups)
    if kernel.shape[-2] * groups != channels:
        raise ConfigError(
            f"a kernel {list(kernel.shape)} in {groups} groups takes {kernel.shape[-2] * groups} channels, got "
            f"{channels}"
        )
    if bias is not None and jnp.shape(bias) != (features,):
        raise ConfigError(f"the bias must have the shape [{features}], got {list(jnp.shape(bias))}")


def _numbers(axes: int) -> lax.ConvDimensionNumbers:
    """[b, *sides, c], [*window, c, features] -> [b, *sides, features]."""
    image, sides = (0, axes + 1, *range(1, axes + 1)), tuple(range(axes))
    return lax.ConvDimensionNumbers(image, (axes + 1, axes, *sides), image)
