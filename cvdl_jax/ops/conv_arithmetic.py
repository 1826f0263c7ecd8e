"""What a convolution or a pooling costs and sees, from its sizes alone: output size, parameters, MACs, receptive field.

A window of k pixels with dilation d spans `d (k - 1) + 1` of them. With a stride s and p_low, p_high pixels of padding,
a line of n pixels has `floor((n + p_low + p_high - d (k - 1) - 1) / s) + 1` windows. `ops/convolution.py` and
`ops/pooling.py` take their sizes from here. One number stands for all axes of an image.

Reference: Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", relationships 6, 14 and 15.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cvdl_jax.errors import ConfigError, nearest

Sizes = int | Sequence[int]
Pads = tuple[tuple[int, int], ...]
Padding = int | str | Sequence[int | tuple[int, int]]
PADDINGS = ("valid", "same", "full")


def per_axis(name: str, value: Sizes, axes: int, least: int = 1) -> tuple[int, ...]:
    """One whole number for each axis.

    Args:
        name: of the argument, for messages.
        value: a number for all axes, or one for each.
        axes: their number.
        least: smallest number allowed.

    Raises:
        ConfigError: for another number of axes, or what is no whole number from `least`.
    """
    values = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * axes
    if len(values) != axes:
        raise ConfigError(f"{name}={value} has {len(values)} numbers for {axes} axes; give one for all or one for each")
    if not all(hasattr(v, "__index__") and not isinstance(v, bool) and v >= least for v in values):
        raise ConfigError(f"{name}={value} must be whole numbers of {least} or more")
    return tuple(int(v) for v in values)


def span(kernel: int, dilation: int = 1) -> int:
    """Pixels from the first to the last that a dilated window sees, `d (k - 1) + 1`."""
    return dilation * (kernel - 1) + 1


def pads(padding: Padding, kernel: Sequence[int], stride: Sizes = 1, dilation: Sizes = 1) -> Pads:
    """Pixels of padding (low, high) of every axis.

    Args:
        padding: pixels on both sides, one number or one for each axis; pairs (low, high) for each axis; "valid", none;
            "same", so that a stride of 1 keeps the size, an odd pixel at the end; or "full", so that every window that
            sees a pixel counts.
        kernel: pixels of the window on each axis.
        stride: of the window.
        dilation: of the window.

    Raises:
        ConfigError: for another word, a negative number, or "same" with a stride, which no padding can keep.
    """
    axes = len(kernel)
    dilation, stride = per_axis("dilation", dilation, axes), per_axis("stride", stride, axes)
    spans = [span(k, d) for k, d in zip(kernel, dilation, strict=True)]
    if isinstance(padding, str):
        if padding not in PADDINGS:
            raise ConfigError(f"padding={padding!r} is not known; {nearest(padding, PADDINGS)}, or a number of pixels")
        if padding == "same" and max(stride) > 1:
            raise ConfigError(
                f"padding='same' keeps the size, which stride={stride} cannot; give a number of pixels, such as "
                f"padding={tuple((n - 1) // 2 for n in spans)}"
            )
        both = {"valid": lambda n: (0, 0), "same": lambda n: ((n - 1) // 2, n // 2), "full": lambda n: (n - 1, n - 1)}
        return tuple(both[padding](n) for n in spans)
    if isinstance(padding, Sequence) and padding and all(isinstance(p, Sequence) for p in padding):
        if len(padding) != axes or not all(len(p) == 2 for p in padding):
            raise ConfigError(f"padding={padding} must be a pair (low, high) for each of {axes} axes")
        return tuple(per_axis("padding", tuple(p), 2, least=0) for p in padding)  # type: ignore[misc]
    return tuple((p, p) for p in per_axis("padding", padding, axes, least=0))


def output_size(
    size: Sizes, kernel: Sizes, stride: Sizes = 1, padding: Padding = 0, dilation: Sizes = 1, ceil_mode: bool = False
) -> int | tuple[int, ...]:
    """The number of windows on each axis.

    Args:
        size: pixels of the input; a number for one axis, or one number for each.
        kernel: pixels of the window.
        stride: of the window.
        padding: see `pads`.
        dilation: of the window.
        ceil_mode: whether a last window may reach beyond the padding, if it begins before the padding at the end.

    Returns:
        A number if `size` is one, else a tuple.

    Raises:
        ConfigError: for impossible numbers, or a window that is larger than the padded input.
    """
    axes = len(size) if isinstance(size, Sequence) else 1
    sizes, kernel = per_axis("size", size, axes), per_axis("kernel", kernel, axes)
    around = pads(padding, kernel, stride, dilation)
    stride, dilation = per_axis("stride", stride, axes), per_axis("dilation", dilation, axes)
    windows = []
    for n, k, s, d, (low, high) in zip(sizes, kernel, stride, dilation, around, strict=True):
        room = n + low + high - span(k, d)
        if room < 0:
            dilated = f" with dilation {d}, which spans {span(k, d)}," if d > 1 else ""
            raise ConfigError(
                f"a window of {k} pixels{dilated} is larger than an axis of {n} pixels padded to {n + low + high}; "
                "take larger images, a smaller window, or more padding"
            )
        count = room // s + 1
        one_more = ceil_mode and room % s > 0 and count * s < n + low
        windows.append(count + one_more)
    return tuple(windows) if isinstance(size, Sequence) else windows[0]


def check_groups(channels: int, features: int, groups: int) -> None:
    """Refuses groups that do not divide the channels.

    Raises:
        ConfigError: with the numbers and those that are possible.
    """
    per_axis("channels", (channels, features, groups), 3)
    if channels % groups or features % groups:
        possible = [g for g in range(1, min(channels, features) + 1) if channels % g == 0 and features % g == 0]
        raise ConfigError(
            f"groups={groups} must divide both the {channels} input channels and the {features} features; possible: "
            f"{', '.join(map(str, possible))}"
        )


def conv_parameters(kernel: Sequence[int], channels: int, features: int, groups: int = 1, bias: bool = True) -> int:
    """`(k k channels / groups + 1) features`, whatever stride, padding and dilation are. A pooling has none.

    Args:
        kernel: sides of the kernel, such as (3, 3).
        channels: of the input.
        features: channels of the output.
        groups: see `ops/convolution.py`.
        bias: whether there is one for each feature.
    """
    check_groups(channels, features, groups)
    return (math.prod(per_axis("kernel", kernel, len(kernel))) * channels // groups + bias) * features


def conv_macs(
    size: Sequence[int],
    kernel: Sizes,
    channels: int,
    features: int,
    *,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> int:
    """Multiply-adds of a convolution of one image, `windows k k channels features / groups`; the bias is left out.

    Args:
        size: sides of the input; padding counts as if it were data.
        kernel: sides of the kernel.
        channels: of the input.
        features: channels of the output.
        stride: of the kernel.
        padding: see `pads`.
        dilation: of the kernel.
        groups: see `ops/convolution.py`.
    """
    windows = output_size(tuple(size), kernel, stride, padding, dilation)
    return math.prod(windows) * conv_parameters(
        per_axis("kernel", kernel, len(size)), channels, features, groups, False
    )


def dense_parameters(inputs: int, units: int, bias: bool = True) -> int:
    """`(inputs + 1) units`: what a dense layer has; its multiply-adds are those without the bias."""
    per_axis("inputs", (inputs, units), 2)
    return (inputs + bias) * units


def separable_parameters(kernel: Sequence[int], channels: int, features: int, bias: bool = True) -> int:
    """A depthwise convolution, one filter for each channel, and a pointwise one, 1 x 1, that mixes the channels."""
    mixing = conv_parameters((1,) * len(kernel), channels, features, bias=bias)
    return conv_parameters(kernel, channels, channels, groups=channels, bias=bias) + mixing


def separable_macs(size: Sequence[int], kernel: Sizes, channels: int, features: int, **how: Sizes | Padding) -> int:
    """Multiply-adds of both parts, `windows (k k channels + channels features)`; `how`: stride, padding, dilation."""
    windows = output_size(tuple(size), kernel, **how)  # type: ignore[arg-type]
    depthwise = conv_macs(size, kernel, channels, channels, groups=channels, **how)  # type: ignore[arg-type]
    return depthwise + conv_macs(windows, 1, channels, features)


def separable_ratio(kernel: Sequence[int], features: int) -> float:
    """What a separable convolution costs in units of the whole one, `1 / features + 1 / (k k)`.

    So with 3 x 3 kernels it is less than nine times cheaper, however many features there are.

    Reference: Howard et al. 2017, "MobileNets", section 3.1.
    """
    return 1 / features + 1 / math.prod(kernel)


class Window(NamedTuple):
    """A convolution or pooling on one axis."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    padding: int = 0  # at the low end


class Field(NamedTuple):
    """What one unit sees on one axis of the input.

    Attributes:
        size: pixels from the first to the last, those in the padding included.
        jump: pixels between the fields of neighbouring units.
        first: the first pixel that unit 0 sees; negative where that is padding.
    """

    size: int
    jump: int
    first: int


def receptive_field(layers: Iterable[Window | Sequence[int]]) -> Field:
    """`R_k = R_{k-1} + d_k (F_k - 1) prod_{i<k} S_i`, R_0 = 1: what a unit of the last layer can see of the input.

    Element-wise layers do not change it. A unit sees every pixel of its field only if no layer leaves gaps: see
    `covered`.

    Args:
        layers: from the input on; each a `Window` or (kernel, stride, dilation, padding), of which the last three may
            be left out.

    Returns:
        Its size, jump and place.

    Reference: Araujo et al. 2019, "Computing Receptive Fields of Convolutional Neural Networks", equations 2, 4 and 5.
    """
    size, jump, first = 1, 1, 0
    for layer in map(_window, layers):
        first -= layer.padding * jump
        size += layer.dilation * (layer.kernel - 1) * jump
        jump *= layer.stride
    return Field(size, jump, first)


def covered(layers: Iterable[Window | Sequence[int]]) -> tuple[bool, ...]:
    """Which pixels of the receptive field a unit of the last layer sees: dilation may leave gaps.

    With dilations 1, 2, 4 it sees all of 15 pixels, with 2, 2, 2 every other one of 13.

    Args:
        layers: see `receptive_field`.
    """
    seen = {0}
    for layer in reversed([_window(layer) for layer in layers]):
        seen = {p * layer.stride + i * layer.dilation for p in seen for i in range(layer.kernel)}
    return tuple(p in seen for p in range(max(seen) + 1))


def _window(layer: Window | Sequence[int]) -> Window:
    window = Window(*layer)
    per_axis("layer", window[:3], 3)
    per_axis("padding", window.padding, 1, least=0)
    return window
