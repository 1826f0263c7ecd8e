"""The regularised objective: a mean loss over the data plus a penalty on the parameters."""

from collections.abc import Callable
from typing import Any

import jax

from cvdl_jax.ops.concrete import between
from cvdl_jax.ops.reduce import reduce


def regularised(
    loss: Callable[..., jax.Array], regulariser: Callable[[Any], jax.Array], strength: float
) -> Callable[..., jax.Array]:
    """The objective `L(W) = (1/N) sum_i L_i(W) + lambda R(W)` for any loss and any regulariser.

    Where an optimizer takes the penalty (`config.optim.weight_decay`), do not add it here as well.

    Args:
        loss: `(params, *args) -> losses [b]`.
        regulariser: `params -> []`, such as `penalties.l2`.
        strength: lambda, 0 or more; 0 leaves the mean loss.

    Returns:
        `(params, *args, weights=None, mask=None) -> float []`; weights and mask, those of `reduce.reduce`, are of the
        data: the penalty counts once.

    Raises:
        ValueError: for a negative strength, or a regulariser that does not return one number.
    """
    between("strength", strength, 0.0, float("inf"))

    def objective(params: Any, *args: Any, weights: Any = None, mask: Any = None) -> jax.Array:
        data = reduce(loss(params, *args), "mean", weights, mask)
        if not strength:
            return data
        penalty = regulariser(params)
        if getattr(penalty, "shape", ()) != ():
            raise ValueError(f"regulariser(params) must be one number, got an array of shape {list(penalty.shape)}")
        return data + strength * penalty

    return objective
