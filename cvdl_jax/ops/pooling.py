"""Max and average pooling in any number of dimensions, with the arguments of `torch.nn.MaxPool2d` and its kin.

Every channel is pooled for itself; there are no parameters. Images are [b, *sides, c]. `ops/conv_arithmetic.py` has the
output sizes; the stride is the window unless it is given. Max pooling pads with minus infinity, average pooling with
zeros.
"""

import itertools
import math
from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.conv_arithmetic import Padding, Pads, Sizes, output_size, pads, per_axis, span
from cvdl_jax.ops.value_checks import check_concrete


def max_pool(
    x: Any,
    window: Sizes,
    stride: Sizes | None = None,
    padding: Padding = 0,
    dilation: Sizes = 1,
    *,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of every window; of NaN and numbers, NaN.

    Args:
        x: [b, *sides, c].
        window: sides of the window; windows overlap where the stride is smaller.
        stride: pixels between neighbouring windows; None for the window's sides.
        padding: as for `conv_arithmetic.pads`, with minus infinity.
        dilation: pixels between neighbouring pixels of a window.
        ceil_mode: whether a last window may reach beyond the padding; see `conv_arithmetic.output_size`.
        return_indices: whether to say where the largest values are, as unpooling needs it. Of several equal ones it
            is the first.

    Returns:
        [b, *windows, c]; with `return_indices` also int32 of this shape, places in the flat image, `row w + column`.

    Raises:
        ConfigError: for sizes that do not fit, or a window that sees nothing but padding.
    """
    x = _images(x, "max_pool")
    sizes = windows_of(x.shape[1:-1], window, stride, padding, dilation, ceil_mode)
    lowest = -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
    lowest = np.asarray(lowest, x.dtype)
    if not return_indices and max(sizes.dilation) == 1:
        return lax.reduce_window(x, lowest, lax.max, *sizes.whole)
    return _first_largest(x, lowest, sizes, return_indices)


def max_unpool(
    y: Any,
    indices: Any,
    window: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> jax.Array:
    """Puts the maxima of `max_pool` back where they were, among zeros; its gradient takes them out again.

    Args:
        y: [b, *windows, c]: the maxima, or other values for these places.
        indices: int [b, *windows, c], as `max_pool(..., return_indices=True)` gives them: places in the flat image of
            `output_size`. Where windows overlap and two of them name one pixel, the last window wins.
        window: sides of the window.
        stride: pixels between neighbouring windows; None for the window's sides.
        padding: of the pooling, on both sides.
        output_size: sides of the pooled image, where a stride or a padding has lost pixels; None for
            `(n - 1) stride - 2 padding + window`.

    Returns:
        [b, *output_size, c], of the type of y.

    Raises:
        ConfigError: for shapes or sizes that do not fit.
        ValueError: for a place outside the image, or, without padding and with windows that tile it, outside its
            window, which is what another output_size gives. Inside jit the value is NaN there.
    """
    y, indices = _images(y, "max_unpool"), jnp.asarray(indices)
    if y.shape != indices.shape or not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ConfigError(
            f"max_unpool takes values and whole numbers of one shape, got {list(y.shape)} and {indices.dtype} "
            f"{list(indices.shape)}"
        )
    axes, counts = y.ndim - 2, y.shape[1:-1]
    window = per_axis("window", window, axes)
    stride = per_axis("stride", window if stride is None else stride, axes)
    low = per_axis("padding", padding, axes, least=0)
    sides = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(counts, stride, low, window, strict=True))
    if output_size is not None:
        wanted = per_axis("output_size", tuple(output_size), axes)
        if any(abs(m - n) >= s for m, n, s in zip(wanted, sides, stride, strict=True)):
            raise ConfigError(
                f"output_size={wanted} is not the size of an image that pools to {counts} windows; it must differ from "
                f"{sides} by less than the stride, {stride}"
            )
        sides = wanted
    if min(sides) < 1:
        raise ConfigError(f"padding={padding} leaves nothing of {counts} windows of {window}")
    if stride == window and max(low) == 0:
        return _unpool_tiles(y, indices, window, sides)
    return _unpool(y, indices, sides)


def _unpool_tiles(y: jax.Array, indices: jax.Array, window: tuple[int, ...], sides: tuple[int, ...]) -> jax.Array:
    """Every pixel asks its only window whether it was the largest: no scatter, which is slow on CPUs."""
    counts, known, place, own = y.shape[1:-1], True, 0, 0
    for i, (n, k, count) in enumerate(zip(sides, window, counts, strict=True), 1):
        at = indices // math.prod(sides[i:]) % n  # [b, *windows, c], coordinates of the places
        shape = [1] * i + [-1] + [1] * (y.ndim - i - 1)
        known &= at // k == jnp.arange(count).reshape(shape)
        own = own + (at % k) * math.prod(window[i:])  # number of the pixel in its window
        place = place + jnp.arange(count * k).reshape(shape) % k * math.prod(window[i:])
    inside = (indices >= 0) & (indices < math.prod(sides))
    y, own = _checked_places(y, own, known & inside)
    for axis, k in enumerate(window, 1):
        y, own = jnp.repeat(y, k, axis), jnp.repeat(own, k, axis)
    out = jnp.where((own == place) | (own < 0), y, jnp.zeros((), y.dtype))
    out = out[(slice(None), *(slice(n) for n in sides))]
    more = [(0, n - have) for n, have in zip(sides, out.shape[1:-1], strict=True)]
    return jnp.pad(out, [(0, 0), *more, (0, 0)])


def _unpool(y: jax.Array, indices: jax.Array, sides: tuple[int, ...]) -> jax.Array:
    b, *_, c = y.shape
    y, indices = _checked_places(y, indices, (indices >= 0) & (indices < math.prod(sides)))
    wrong = (indices < 0).any()
    y, flat = y.reshape(b, -1, c), jnp.maximum(indices, 0).reshape(b, -1, c)  # [b, windows, c]
    rows, channels = jnp.arange(b)[:, None, None], jnp.arange(c)[None, None]
    number = jnp.arange(1, y.shape[1] + 1)[None, :, None]
    last = jnp.zeros((b, math.prod(sides), c), jnp.int32).at[rows, flat, channels].max(number)
    kept = last[rows, flat, channels] == number
    out = jnp.zeros((b, math.prod(sides), c), y.dtype).at[rows, flat, channels].add(jnp.where(kept, y, 0))
    if jnp.issubdtype(out.dtype, jnp.floating):
        out = jnp.where(wrong, jnp.nan, out)
    return out.reshape(b, *sides, c)


def _checked_places(y: jax.Array, places: jax.Array, good: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The values, NaN where a place is not good, and the places, -1 there; where they are known that is an error."""
    check_concrete("indices fit", good, lambda v: v, "places of the pooled image; give its sides as output_size")
    nan = jnp.nan if jnp.issubdtype(y.dtype, jnp.floating) else 0
    return jnp.where(good, y, jnp.asarray(nan, y.dtype)), jnp.where(good, places, -1)


def avg_pool(
    x: Any,
    window: Sizes,
    stride: Sizes | None = None,
    padding: Padding = 0,
    *,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> jax.Array:
    """The mean of every window.

    Args:
        x: [b, *sides, c]; integers become float32.
        window: sides of the window.
        stride: pixels between neighbouring windows; None for the window's sides.
        padding: as for `conv_arithmetic.pads`, with zeros.
        ceil_mode: whether a last window may reach beyond the padding. What is beyond never counts.
        count_include_pad: whether the zeros of the padding count as pixels.
        divisor_override: divides the sums in place of the number of pixels.

    Returns:
        [b, *windows, c]. Sums are float32 at least.

    Raises:
        ConfigError: for sizes that do not fit, a window that sees nothing but padding, or a divisor of 0.
    """
    x = _images(x, "avg_pool")
    sizes = windows_of(x.shape[1:-1], window, stride, padding, 1, ceil_mode)
    if divisor_override is not None:
        per_axis("divisor_override", divisor_override, 1)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    total = lax.reduce_window(x.astype(wide), np.zeros((), wide), lax.add, *sizes.whole)
    counts = np.ones(())
    for n, k, s, (low, high), count in zip(
        x.shape[1:-1], sizes.window, sizes.stride, sizes.asked, sizes.count, strict=True
    ):
        first = np.arange(count) * s - low
        begin, end = (-low, n + high) if count_include_pad else (0, n)
        counts = np.multiply.outer(counts, np.minimum(first + k, end) - np.maximum(first, begin))
    divisor = np.full_like(counts, divisor_override) if divisor_override is not None else counts
    mean = total / jnp.asarray(divisor, wide)[None, ..., None]
    return mean.astype(x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else wide)


def global_average(x: Any) -> jax.Array:
    """The mean over all pixels, [b, *sides, c] -> [b, c]. Sums are float32 at least."""
    x = _images(x, "global_average")
    wide = jnp.promote_types(x.dtype, jnp.float32)
    mean = x.mean(tuple(range(1, x.ndim - 1)), dtype=wide)
    return mean.astype(x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else wide)


def global_max(x: Any) -> jax.Array:
    """The maximum over all pixels, [b, *sides, c] -> [b, c]."""
    x = _images(x, "global_max")
    return x.max(tuple(range(1, x.ndim - 1)))


def bins(size: int, count: int) -> list[tuple[int, int]]:
    """(begin, end) of the bins of adaptive pooling, `floor(i n / m)` and `ceil((i + 1) n / m)`.

    They cover every pixel, overlap where m does not divide n, and repeat pixels where there are more bins than pixels.
    """
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def adaptive_avg_pool(x: Any, output: int | Sequence[int | None]) -> jax.Array:
    """Average pooling to a given size: the mean of every one of the `bins`.

    Args:
        x: [b, *sides, c]; integers become float32.
        output: sides of the result, one number or one for each side; None for that of the image.

    Returns:
        [b, *output, c].

    Raises:
        ConfigError: for sizes that are no positive numbers.
    """
    x = _images(x, "adaptive_avg_pool")
    wide = jnp.promote_types(x.dtype, jnp.float32)
    y = x.astype(wide)
    for axis, (n, m) in enumerate(zip(x.shape[1:-1], _output(output, x.shape[1:-1]), strict=True), 1):
        if n == m:
            continue
        if n % m == 0:
            y = y.reshape(*y.shape[:axis], m, n // m, *y.shape[axis + 1 :]).mean(axis + 1)
            continue
        weights = np.zeros((m, n))
        for i, (begin, end) in enumerate(bins(n, m)):
            weights[i, begin:end] = 1 / (end - begin)
        y = jnp.tensordot(y, jnp.asarray(weights, wide), ((axis,), (1,)), precision=lax.Precision.HIGHEST)
        y = jnp.moveaxis(y, -1, axis)
    return y.astype(x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else wide)


def adaptive_max_pool(x: Any, output: int | Sequence[int | None], *, return_indices: bool = False) -> Any:
    """Max pooling to a given size: the largest value of every one of the `bins`.

    Args:
        x: [b, *sides, c].
        output: sides of the result, one number or one for each side; None for that of the image.
        return_indices: see `max_pool`.

    Returns:
        [b, *output, c]; with `return_indices` also int32 of this shape.

    Raises:
        ConfigError: for sizes that are no positive numbers.
    """
    x = _images(x, "adaptive_max_pool")
    sides, axes = x.shape[1:-1], x.ndim - 2
    output = _output(output, sides)
    y, place = x, np.zeros((1,) * axes, np.int32)  # the places in the flat image of the pixels of y
    for axis, (n, m) in enumerate(zip(sides, output, strict=True)):
        edges = bins(n, m)
        longest = max(end - begin for begin, end in edges)
        # Shorter bins repeat their last pixel. After axis a, y is [b, m, longest, ..., m, longest, *sides left, c]
        taken = np.array([[min(begin + j, end - 1) for j in range(longest)] for begin, end in edges])
        y = jnp.take(y, taken, axis=1 + 2 * axis)
        shape = [1] * (2 * axis) + [m, longest] + [1] * (axes - axis - 1)
        place = np.expand_dims(place, 2 * axis + 1) + (taken * math.prod(sides[axis + 1 :])).reshape(shape)
    order = [*range(0, 2 * axes, 2), *range(1, 2 * axes, 2)]
    y = y.transpose(0, *(1 + a for a in order), 2 * axes + 1).reshape(x.shape[0], *output, -1, x.shape[-1])
    first = jnp.argmax(y, -2, keepdims=True)
    largest = jnp.take_along_axis(y, first, -2).squeeze(-2)
    if not return_indices:
        return largest
    place = jnp.asarray(place.transpose(order).reshape(*output, -1)[None, ..., None], jnp.int32)
    return largest, jnp.take_along_axis(jnp.broadcast_to(place, y.shape), first, -2).squeeze(-2)


class Windows(NamedTuple):
    """All numbers of a pooling, one for each axis."""

    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    asked: Pads  # the padding that was asked for
    around: Pads  # as far as the last windows reach: more with ceil_mode, less where pixels are left over
    count: tuple[int, ...]

    @property
    def whole(self) -> tuple[Any, ...]:
        """window_dimensions, window_strides and padding of `lax.reduce_window`, with axes of examples and channels."""
        return (1, *self.window, 1), (1, *self.stride, 1), ((0, 0), *self.around, (0, 0))


def _images(x: Any, operation: str) -> jax.Array:
    """The array, of numbers that can be compared."""
    x = jnp.asarray(x)
    if x.ndim < 3 or 0 in x.shape[1:-1]:
        raise ConfigError(f"{operation} takes [b, *sides, c] with a pixel or more, got {list(x.shape)}")
    if jnp.issubdtype(x.dtype, jnp.complexfloating) or x.dtype == bool:
        raise ConfigError(f"{operation} takes real numbers, got {x.dtype}")
    return x


def windows_of(
    sides: Sequence[int], window: Sizes, stride: Sizes | None = None, padding: Padding = 0, dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Windows:  # fmt: skip
    """All numbers of a pooling of images with these sides. Args, raises: see `max_pool`."""
    axes = len(sides)
    window = per_axis("window", window, axes)
    stride = per_axis("stride", window if stride is None else stride, axes)
    dilation, asked = per_axis("dilation", dilation, axes), pads(padding, window, stride, dilation)
    count = output_size(tuple(sides), window, stride, asked, dilation, ceil_mode)
    around = []
    for n, k, s, d, (low, _), windows in zip(sides, window, stride, dilation, asked, count, strict=True):
        firsts = np.arange(windows) * s - low
        seen = firsts[:, None] + d * np.arange(k)[None]  # [windows, k]
        if not ((seen >= 0) & (seen < n)).any(1).all():
            raise ConfigError(
                f"padding={padding} lets a window of {k} pixels see nothing but padding on an axis of {n} pixels; "
                f"{span(k, d) // 2} on each side is the most for it"
            )
        around.append((low, max(0, int(firsts[-1]) + span(k, d) - n)))
    return Windows(window, stride, dilation, asked, tuple(around), count)


def _first_largest(x: jax.Array, lowest: np.ndarray, sizes: Windows, return_indices: bool) -> Any:
    """The maximum as a running one over the pixels of a window, each a strided slice, so that its place is known."""
    b, *sides, c = x.shape
    x = lax.pad(x, lowest, ((0, 0, 0), *((*pair, 0) for pair in sizes.around), (0, 0, 0)))
    y = where = seen = None
    for offset in itertools.product(*map(range, sizes.window)):
        start = [o * d for o, d in zip(offset, sizes.dilation, strict=True)]
        end = [o + (m - 1) * s + 1 for o, m, s in zip(start, sizes.count, sizes.stride, strict=True)]
        part = lax.slice(x, (0, *start, 0), (b, *end, c), (1, *sizes.stride, 1))  # [b, *windows, c]
        numbers = zip(sizes.count, sizes.stride, start, sizes.asked, strict=True)
        at = [np.arange(m) * s + o - low for m, s, o, (low, _) in numbers]
        inside = reduce(np.logical_and.outer, [(a >= 0) & (a < n) for a, n in zip(at, sides, strict=True)])
        place = reduce(np.add.outer, [a * math.prod(sides[i + 1 :]) for i, a in enumerate(at)])
        inside, place = (jnp.asarray(array)[None, ..., None] for array in (inside, place.astype(np.int32)))
        if y is None:
            y, where, seen = part, jnp.broadcast_to(place, part.shape), inside
            continue
        better = inside & ((part > y) | (jnp.isnan(part) & ~jnp.isnan(y)) | ~seen)  # -inf is more than padding
        y, where, seen = jnp.where(better, part, y), jnp.where(better, place, where), seen | inside
    return (y, where) if return_indices else y


def _output(output: int | Sequence[int | None], sides: Sequence[int]) -> tuple[int, ...]:
    """The sides of the result of adaptive pooling."""
    if isinstance(output, Sequence) and len(output) == len(sides):
        output = tuple(n if m is None else m for n, m in zip(sides, output, strict=True))
    return per_axis("output", output, len(sides))
