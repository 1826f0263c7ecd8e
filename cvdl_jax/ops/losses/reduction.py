"""From one loss per example to one number: nothing, the sum or the mean, with weights and masks."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from cvdl_jax.errors import nearest
from cvdl_jax.ops.value_checks import between, check_concrete, floats, one_of, or_nan

Reduction = Literal["none", "sum", "mean"]


def reduce(each: jax.Array, reduction: Reduction = "none", weights: Any = None, mask: Any = None) -> jax.Array:
    """`w_i L_i`, or `sum_i w_i L_i`, or the weighted mean `sum_i w_i L_i / sum_i w_i`.

    A masked loss counts as 0 whatever it is, NaN too, but its gradient is 0 only if the loss is finite: pad with finite
    numbers.

    Args:
        each: losses L, float [...].
        reduction: "none", "sum" or "mean".
        weights: w >= 0, of the shape of `each` or of its leading axes, such as [b] for losses [b, d]; an axis of size 1
            is repeated. None: all one.
        mask: in the same shapes, bool or 0 and 1: weights of 0 where it is 0.

    Returns:
        float [...] for "none", else float [].

    Raises:
        ValueError: for an unknown reduction, shapes that do not fit, negative weights, or a mean of nothing. Inside jit
            negative weights and a mean of nothing give NaN.
    """
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction={reduction!r} is not known: {nearest(str(reduction), get_args(Reduction))}")
    each = jnp.asarray(each)
    if weights is None and mask is None:
        if reduction == "mean" and each.size == 0:
            raise ValueError(f"reduction='mean' of losses of shape {list(each.shape)}: there is nothing to average")
        return {"none": lambda: each, "sum": each.sum, "mean": each.mean}[reduction]()
    w = jnp.ones_like(each)
    if weights is not None:
        weights = floats("weights", weights)
        w = expand("weights", or_nan(between("weights", weights, 0.0, float("inf")), weights), each)
    if mask is not None:
        mask = floats("mask", mask)
        mask = expand("mask", or_nan(one_of("mask", mask, (0, 1)), mask), each)
        w = jnp.where(mask == 0, 0.0, mask * w)
    weighted = jnp.where(w == 0, 0.0, w * each)  # not the product alone: 0 times NaN or infinity is NaN
    if reduction == "none":
        return weighted
    if reduction == "sum":
        return weighted.sum()
    weight = w.sum()
    check_concrete("the sum of weights and mask", weight, lambda w: w > 0, "positive for reduction='mean'")
    return weighted.sum() / weight


def reducible(loss: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Lets a loss that returns one value per example also sum or average: `loss(..., reduction="mean", mask=m)`.

    The three keywords are not part of the signature, so that no config can set them: a training step needs the value
    of each example, because only the step knows the global weight. In `jit`, close over `reduction`.

    Args:
        loss: a function that returns float [...].

    Returns:
        The same function with the keyword arguments `reduction`, `weights` and `mask` of `reduce`.
    """

    @wraps(loss)
    def reduced(*args: Any, reduction: Reduction = "none", weights: Any = None, mask: Any = None, **kwargs: Any):
        return reduce(loss(*args, **kwargs), reduction, weights, mask)

    return reduced


def expand(name: str, x: jax.Array, each: jax.Array) -> jax.Array:
    """Weights of the leading axes repeated over the others.

    Args:
        name: of the argument, for messages.
        x: float, of the shape of `each` or of its leading axes; an axis of size 1 is repeated.
        each: losses, float [...].

    Returns:
        In the shape and dtype of `each`.

    Raises:
        ValueError: for another shape.
    """
    shape = x.shape + (1,) * (each.ndim - x.ndim)
    if len(shape) != each.ndim or any(a not in (1, b) for a, b in zip(shape, each.shape, strict=True)):
        raise ValueError(
            f"{name} of shape {list(x.shape)} must have the shape {list(each.shape)} of the losses, or that of their "
            "leading axes"
        )
    return jnp.broadcast_to(x.reshape(shape), each.shape).astype(each.dtype)
