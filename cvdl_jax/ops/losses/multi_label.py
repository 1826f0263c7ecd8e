"""Losses of multi-label classification, `loss(logits [b, c], labels [b, c]) -> float32 [b]`, summed over the classes.

An example may have several classes, or none: each class is a decision of its own, with p = sigmoid(s). In the
experiment `multi_label`, `config.loss.name` is the name of one of these functions. Labels are 0 or 1, or a probability
between them; others are a ValueError where values are known, and NaN inside jit.
"""

from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import NotNegative, Positive, Probability
from cvdl_jax.ops.losses import binary
from cvdl_jax.ops.losses.reduction import reducible
from cvdl_jax.ops.value_checks import between, floats, or_nan, same_shape


@reducible
def sigmoid_cross_entropy(logits: Any, labels: Any, positive_weight: Positive = 1.0) -> jax.Array:
    """Independent logistic losses, `L = - sum_i [w y_i log p_i + (1 - y_i) log(1 - p_i)]`; c log 2 at scores of 0.

    Args:
        logits: s, float [b, c].
        labels: y, [b, c].
        positive_weight: w, above 1 where classes are rare.

    Returns:
        float32 [b].
    """
    y = jnp.asarray(labels)
    losses = binary.binary_cross_entropy_with_logits(logits, labels)
    # y w log p + (1 - y) log(1 - p): the part of the positives, which is the loss for y = 1, counts w - 1 times more.
    ones = binary.binary_cross_entropy_with_logits(logits, jnp.ones_like(y)) if positive_weight != 1 else 0.0
    return (losses + (positive_weight - 1) * y * ones).sum(-1)


@reducible
def focal(logits: Any, labels: Any, gamma: NotNegative = 2.0, alpha: Probability | None = None) -> jax.Array:
    """Focal loss of every class, `L = - sum_i alpha_t (1 - p_t)^gamma log p_t`.

    Args:
        logits: s, float [b, c].
        labels: y, [b, c].
        gamma: 0 gives cross-entropy.
        alpha: weight of y = 1, and 1 - alpha that of y = 0; None for no weights.

    Returns:
        float32 [b].

    Reference: Lin et al. 2017, "Focal Loss for Dense Object Detection", equations 4 and 5.
    """
    return binary.binary_focal(logits, labels, gamma, alpha).sum(-1)


@reducible
def asymmetric(
    logits: Any,
    labels: Any,
    gamma_positive: NotNegative = 0.0,
    gamma_negative: NotNegative = 4.0,
    margin: Probability = 0.05,
) -> jax.Array:
    """Asymmetric loss, `L = - sum_i [y (1 - p)^g+ log p + (1 - y) q^g- log(1 - q)]` with `q = max(p - m, 0)`.

    A class that is absent and found unlikely (p <= m) costs nothing, so that the many absent ones do not rule.

    Args:
        logits: s, float [b, c].
        labels: y, [b, c].
        gamma_positive: g+, focusing of the classes that are there.
        gamma_negative: g-, of those that are not.
        margin: m, the probability shift.

    Returns:
        float32 [b].

    Reference: Ridnik et al. 2021, "Asymmetric Loss For Multi-Label Classification", equations 4 to 7.
    """
    s, y = floats("logits", logits), floats("labels", labels)
    same_shape(logits=s, labels=y)
    good = between("labels", y, 0.0, 1.0)
    p = jax.nn.sigmoid(s)
    ones = -_power(1 - p, gamma_positive) * jax.nn.log_sigmoid(s)
    if margin == 0:  # log(1 - p) by way of the score is exact where p is near 1
        zeros = -_power(p, gamma_negative) * jax.nn.log_sigmoid(-s)
    else:
        q = jnp.maximum(p - margin, 0.0)
        zeros = -_power(q, gamma_negative) * jnp.log1p(-q)
    return or_nan(good, y * ones + (1 - y) * zeros).sum(-1)


def _power(x: jax.Array, exponent: float) -> jax.Array:
    """`x^exponent` for x >= 0, with gradient 0 at x = 0 where an exponent between 0 and 1 would make it infinite."""
    if exponent == 0:
        return jnp.ones_like(x)
    return jnp.where(x > 0, jnp.where(x > 0, x, 1.0) ** exponent, 0.0)
