"""A check before training: an untrained classifier has about equal scores, so its loss is that of equal scores."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


def loss_at_equal_scores(loss: Callable[..., jax.Array], num_classes: int) -> float:
    """The loss of scores that are all 0, averaged over the classes: log c for softmax, c - 1 for the hinge.

    Args:
        loss: `(logits [b, c], labels int [b]) -> [b]`.
        num_classes: c, at least 2.

    Returns:
        A number.

    Raises:
        ValueError: for fewer than two classes.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes={num_classes} must be at least 2")
    return float(loss(jnp.zeros((num_classes, num_classes)), jnp.arange(num_classes)).mean())


def check_initial_loss(value: float, loss: Callable[..., jax.Array], num_classes: int, tolerance: float = 0.1) -> float:
    """Refuses an initial loss that is not near that of equal scores.

    Args:
        value: the loss of an untrained model, without weight decay, averaged over a batch.
        loss: see `loss_at_equal_scores`.
        num_classes: c.
        tolerance: the share of the expected loss by which it may differ, positive.

    Returns:
        The expected loss.

    Raises:
        ValueError: with both numbers and the usual causes.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance={tolerance} must be positive, for example 0.1")
    expected = loss_at_equal_scores(loss, num_classes)
    if not math.isclose(value, expected, rel_tol=0, abs_tol=tolerance * expected):
        raise ValueError(
            f"the loss at initialisation is {value:.6g}; for {num_classes} classes with equal scores it is "
            f"{expected:.6g}, and {tolerance:.0%} more or less is accepted. Look at the scale of the last layer's "
            "initial weights, the normalisation of the input, and whether a penalty is in the loss"
        )
    return expected
