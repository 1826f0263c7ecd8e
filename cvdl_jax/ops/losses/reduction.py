"""The reduction of a loss per example: none, the sum or the mean, with weights and masks."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from cvdl_jax.errors import nearest
from cvdl_jax.ops.value_checks import between, check_concrete, floats, one_of, or_nan

Reduction = Literal["none", "sum", "mean"]


def reduce(losses: jax.Array, reduction: Reduction = "none", weights: Any = None, mask: Any = None) -> jax.Array:
    """`w_i L_i`, or `sum_i w_i L_i`, or the weighted mean `sum_i w_i L_i / sum_i w_i`.

    A masked loss counts as 0 even if it is NaN, but its gradient is 0 only if it is finite, so pad with finite numbers.

    Args:
        losses: L, float [...].
        reduction: "none", "sum" or "mean".
        weights: w >= 0, of the shape of `losses` or of its leading axes, such as [b] for losses [b, d]; an axis of size
            1 is repeated. None for weights of one.
        mask: bool, or 0 and 1, in the same shapes; losses where it is 0 have weight 0.

    Returns:
        float [...] for "none", else float [].

    Raises:
        ValueError: for an unknown reduction, shapes that do not fit, negative weights, or a mean of nothing. Inside jit
            negative weights and a mean of nothing give NaN.
    """
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction={reduction!r} is not known; {nearest(str(reduction), get_args(Reduction))}")
    losses = jnp.asarray(losses)
    if weights is None and mask is None:
        if reduction == "mean" and losses.size == 0:
            raise ValueError(f"reduction='mean' of losses of shape {list(losses.shape)}: there is nothing to average")
        return {"none": lambda: losses, "sum": losses.sum, "mean": losses.mean}[reduction]()
    w = jnp.ones_like(losses)
    if weights is not None:
        weights = floats("weights", weights)
        w = expand("weights", or_nan(between("weights", weights, 0.0, float("inf")), weights), losses)
    if mask is not None:
        mask = floats("mask", mask)
        mask = expand("mask", or_nan(one_of("mask", mask, (0, 1)), mask), losses)
        w = jnp.where(mask == 0, 0.0, mask * w)
    weighted = jnp.where(w == 0, 0.0, w * losses)  # not the product alone: 0 times NaN or infinity is NaN
    if reduction == "none":
        return weighted
    if reduction == "sum":
        return weighted.sum()
    weight = w.sum()
    check_concrete("the sum of weights and mask", weight, lambda w: w > 0, "positive for reduction='mean'")
    return weighted.sum() / weight


def reducible(loss: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Lets a loss of one value per example also return the sum or mean: `loss(..., reduction="mean", mask=m)`.

    The three keywords are not part of the signature, so that no config can set them: a training step needs the loss of
    each example, because only the step knows the weight of the global batch. In `jit`, close over `reduction`.

    Args:
        loss: a function that returns float [...].

    Returns:
        The same function with the keyword arguments `reduction`, `weights` and `mask` of `reduce`.
    """

    @wraps(loss)
    def reduced(*args: Any, reduction: Reduction = "none", weights: Any = None, mask: Any = None, **kwargs: Any):
        return reduce(loss(*args, **kwargs), reduction, weights, mask)

    return reduced


def expand(name: str, x: jax.Array, losses: jax.Array) -> jax.Array:
    """Repeats weights of the leading axes over the others.

    Args:
        name: of the argument, for messages.
        x: float, of the shape of `losses` or of its leading axes; an axis of size 1 is repeated.
        losses: float [...].

    Returns:
        x in the shape and dtype of `losses`.

    Raises:
        ValueError: for another shape.
    """
    shape = x.shape + (1,) * (losses.ndim - x.ndim)
    if len(shape) != losses.ndim or any(a not in (1, b) for a, b in zip(shape, losses.shape, strict=True)):
        raise ValueError(
            f"{name} of shape {list(x.shape)} must have the shape {list(losses.shape)} of the losses, or that of their "
            "leading axes"
        )
    return jnp.broadcast_to(x.reshape(shape), losses.shape).astype(losses.dtype)
