"""Normalisation by statistics of chosen coefficients: one function for batch, layer, instance and group normalisation.

Each coefficient x_i of a tensor [b, ..., c] is normalised by the mean and variance over a set S_i that contains it:
batch normalisation takes the same channel in all examples and places, layer normalisation all of one example, instance
normalisation one channel of one example, group normalisation a group of channels of one example.

Reference: Wu and He 2018, "Group Normalization", equations 1 to 7 and figure 2.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.ops import precision

KINDS = ("batch", "layer", "instance", "group")


def normalise(
    x: jax.Array, axes: Sequence[int], epsilon: float = 1e-5, groups: int | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`(x - mean) / sqrt(var + epsilon)`, with the mean and the biased variance over some axes.

    Args:
        x: float [..., c].
        axes: over which the statistics are taken; with groups, the last axis stands for the channels of one group.
        epsilon: added to the variance.
        groups: number of groups of neighbouring channels; they share statistics if the last axis is averaged over.

    Returns:
        (array like x; mean; variance). The moments are at least float32 and lack the axes that were averaged over; with
        groups they are [..., groups].

    Raises:
        ValueError: if the groups do not divide the channels, or there is no such axis.
    """
    wrong = [axis for axis in axes if not -x.ndim <= axis < x.ndim]
    if wrong:
        raise ValueError(f"axes={tuple(axes)}: an array of shape {x.shape} has no axis {wrong[0]}")
    axes = tuple(axis % x.ndim for axis in axes)
    if groups is None:
        dtype, x = x.dtype, precision.wide(x)
        mean = x.mean(axes, keepdims=True)
        centred = x - mean  # in two passes, which avoids cancellation
        rest = centred.mean(axes, keepdims=True)  # a mean far from 0 is rounded by more than small deviations bear
        centred = centred - rest
        var = jnp.square(centred).mean(axes, keepdims=True)
        return (centred * lax.rsqrt(var + epsilon)).astype(dtype), (mean + rest).squeeze(axes), var.squeeze(axes)
    check_groups(x.shape[-1], groups)
    parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)  # [..., groups, c / groups]
    y, mean, var = normalise(parts, [axis if axis < x.ndim - 1 else x.ndim for axis in axes], epsilon)
    return y.reshape(x.shape), mean, var


def check_groups(channels: int, groups: int) -> None:
    """Refuses groups that do not divide the channels.

    Raises:
        ValueError: with the numbers that do.
    """
    if groups < 1 or channels % groups:
        divisors = [n for n in range(1, channels + 1) if channels % n == 0]
        raise ValueError(f"groups={groups} must divide the {channels} channels; choose one of {divisors}")


def axes_of(kind: str, ndim: int) -> tuple[int, ...]:
    """The axes over which a kind of normalisation averages a tensor [b, ..., c].

    Args:
        kind: "batch", "layer", "instance" or "group".
        ndim: of the tensor.

    Raises:
        ValueError: for another kind.
    """
    rows, places, channels = (0,), tuple(range(1, ndim - 1)), (ndim - 1,)
    axes = {"batch": rows + places, "layer": places + channels, "instance": places, "group": places + channels}
    if kind not in axes:
        raise ValueError(f"kind={kind!r} must be one of {', '.join(KINDS)}")
    return axes[kind]


def pixel_norm(x: jax.Array, epsilon: float = 1e-8) -> jax.Array:
    """`x / sqrt(mean of squares over the channels + epsilon)`, separately at every place.

    Args:
        x: float [..., c].
        epsilon: added to the mean of squares.

    Returns:
        Array like x.

    Reference: Karras et al. 2018, "Progressive Growing of GANs", section 4.2.
    """
    wide = precision.wide(x)
    return (wide * lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + epsilon)).astype(x.dtype)


def adaptive_instance_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """`scale (x - mean) / sqrt(var + epsilon) + bias`, mean and variance of one channel of one example.

    Args:
        x: float [b, h, w, c], content.
        scale: [b, c], of the style.
        bias: [b, c], of the style.
        epsilon: added to the variance, which is 0 for a channel without contrast.

    Returns:
        Array like x.

    Raises:
        ValueError: if scale or bias are not [b, c], or a channel has a single value, which its mean would make 0.

    Reference: Huang and Belongie 2017, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization",
        equation 8.
    """
    if x.size < 2 * x.shape[0] * x.shape[-1]:
        raise ValueError(f"x of shape {x.shape} has one place to average over, and needs several: [b, h, w, c]")
    one = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])
    for name, values in (("scale", scale), ("bias", bias)):
        if values.shape != (x.shape[0], x.shape[-1]):
            raise ValueError(f"{name} of shape {values.shape} must be [b, c] = {(x.shape[0], x.shape[-1])}")
    return scale.reshape(one) * normalise(x, axes_of("instance", x.ndim), epsilon)[0] + bias.reshape(one)


def local_response_norm(
    x: jax.Array, k: float = 2.0, n: int = 5, alpha: float = 1e-4, beta: float = 0.75, mean: bool = False
) -> jax.Array:
    """`x_i / (k + alpha * sum of x_j^2)^beta`, where j runs over the n channels around i that exist.

    Args:
        x: float [..., c].
        k: added to the sum.
        n: channels, an odd number.
        alpha: factor of the sum of squares.
        beta: the exponent.
        mean: multiply alpha by the mean of squares instead of their sum, as `torch.nn.LocalResponseNorm` does.

    Returns:
        Array like x.

    Raises:
        ValueError: if n is even or not positive.

    Reference: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 3.3.
    """
    if n < 1 or n % 2 == 0:
        raise ValueError(f"n={n} must be an odd number of channels, such as 5: as many on each side as on the other")
    window = (1,) * (x.ndim - 1) + (n,)
    padding = ((0, 0),) * (x.ndim - 1) + ((n // 2, n // 2),)
    wide = precision.wide(x)
    squares = lax.reduce_window(jnp.square(wide), wide.dtype.type(0), lax.add, window, (1,) * x.ndim, padding)
    return (wide / (k + (alpha / n if mean else alpha) * squares) ** beta).astype(x.dtype)


def standardise_weights(kernel: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """`(W - mean) / sqrt(var + epsilon)` of each output filter, over its fan-in.

    Args:
        kernel: float [..., n_in, n_out].
        epsilon: added to the variance.

    Returns:
        Array like kernel.

    Raises:
        ValueError: if a filter has a single weight, which its mean would make 0.

    Reference: Qiao et al. 2019, "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization",
        equations 6 and 7.
    """
    if kernel.size == kernel.shape[-1]:
        raise ValueError(f"a kernel of shape {kernel.shape} has one weight a filter; there is nothing to standardise")
    return normalise(kernel, range(kernel.ndim - 1), epsilon)[0]
