"""Losses of two classes, one score per example: `loss(scores [...], labels [...]) -> [...]`.

Labels are 0 and 1 where the score is a probability or its logit, and -1 and 1 where the sign of the score decides. All
take `reduction`, `weights` and `mask` (see `reduction.reducible`), compute in at least float32, and refuse NaN, other
labels and shapes that differ with a ValueError; inside jit, where values are unknown, such a label gives NaN. To train
on one of them, set `config.loss.name` to a function of `classification.py`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.ops.losses.reduction import reducible
from cvdl_jax.ops.value_checks import between, floats, one_of, or_nan, same_shape


@reducible
def binary_cross_entropy(probabilities: Any, labels: Any) -> jax.Array:
    """Binary cross-entropy of probabilities, `L = -[y log p + (1 - y) log(1 - p)]`.

    It is infinite where a prediction of 0 or 1 is wrong (nothing is clipped), so train on
    `binary_cross_entropy_with_logits`.

    Args:
        probabilities: p of class 1, in [0, 1], float [...].
        labels: y, 0 or 1, or a probability between, [...].

    Returns:
        float32 [...].

    Raises:
        ValueError: see the module.

    Reference: Bishop 2006, "Pattern Recognition and Machine Learning", equation 4.90. Errata of the course: ER9.
    """
    p, y = floats("probabilities", probabilities), floats("labels", labels)
    same_shape(probabilities=p, labels=y)
    good = between("probabilities", p, 0.0, 1.0) & between("labels", y, 0.0, 1.0)
    # 0 log 0 counts as 0, with gradient 0: the logarithm is never taken where its factor is 0.
    ones = -y * jnp.log(jnp.where(y == 0, 1.0, p))
    zeros = -(1 - y) * jnp.log1p(-jnp.where(y == 1, 0.0, p))
    return or_nan(good, ones + zeros)


@reducible
def binary_cross_entropy_with_logits(logits: Any, labels: Any) -> jax.Array:
    """Logistic loss, binary cross-entropy of `p = sigmoid(s)`: `L = log(1 + exp(s)) - y s`, finite for every finite s.

    Summed over the last axis, one column per class, it is the loss of multi-label classification.

    Args:
        logits: s, float [...].
        labels: y, 0 or 1, or a probability between, [...].

    Returns:
        float32 [...].

    Raises:
        ValueError: see the module.
    """
    s, y = floats("logits", logits), floats("labels", labels)
    same_shape(logits=s, labels=y)
    good = between("labels", y, 0.0, 1.0)
    return or_nan(good, optax.sigmoid_binary_cross_entropy(s, y))


@reducible
def binary_focal(logits: Any, labels: Any, gamma: float = 2.0, alpha: float | None = None) -> jax.Array:
    """Focal loss, `L = - alpha_t (1 - p_t)^gamma log p_t`, with `p_t` = p for y = 1 and 1 - p for y = 0.

    Args:
        logits: s, with p = sigmoid(s), float [...].
        labels: y, 0 or 1, or a probability between, [...].
        gamma: 0 or more; 0 gives cross-entropy.
        alpha: in [0, 1], weight of class 1; class 0 has 1 - alpha. None for no weights.

    Returns:
        float32 [...].

    Raises:
        ValueError: see the module; also for gamma or alpha.

    Reference: Lin et al. 2017, "Focal Loss for Dense Object Detection", equations 4 and 5. Errata of the course: ER19.
    """
    between("gamma", gamma, 0.0, float("inf"))
    if alpha is not None:
        between("alpha", alpha, 0.0, 1.0)
    s, y = floats("logits", logits), floats("labels", labels)
    same_shape(logits=s, labels=y)
    good = between("labels", y, 0.0, 1.0)
    return or_nan(good, optax.sigmoid_focal_loss(s, y, alpha=alpha, gamma=gamma))


@reducible
def binary_hinge(scores: Any, labels: Any) -> jax.Array:
    """Binary hinge loss of a support vector machine, `L = max(0, 1 - y s)`; an upper bound of `zero_one`.

    Args:
        scores: s, float [...].
        labels: y, -1 or 1, [...].

    Returns:
        float32 [...].

    Raises:
        ValueError: see the module.

    Reference: Cortes and Vapnik 1995, "Support-Vector Networks".
    """
    s, y, good = _signed(scores, labels)
    return or_nan(good, optax.hinge_loss(s, y))


@reducible
def perceptron(scores: Any, labels: Any) -> jax.Array:
    """Perceptron loss, `L = max(0, -y s)`: a gradient step of rate 1 on one example is Rosenblatt's rule.

    At s = 0, where training often starts, the gradient is -y as for a mistake (Optax's loss has half of it there).

    Args:
        scores: s, float [...].
        labels: y, -1 or 1, [...].

    Returns:
        float32 [...].

    Raises:
        ValueError: see the module.

    Reference: Rosenblatt 1958, "The Perceptron: A Probabilistic Model".
    """
    s, y, good = _signed(scores, labels)
    return or_nan(good, jnp.where(y * s > 0, 0.0, -y * s))


@reducible
def zero_one(scores: Any, labels: Any) -> jax.Array:
    """Zero-one loss, `L = [y != sign(s)]`: the share of errors when averaged.

    A score of 0 decides nothing and counts as an error. The gradient is 0 everywhere, so this is for evaluation only.

    Args:
        scores: s, float [...].
        labels: y, -1 or 1, [...].

    Returns:
        float32 [...], 0 or 1.

    Raises:
        ValueError: see the module.
    """
    s, y, good = _signed(scores, labels)
    errors = (jnp.sign(s) != y).astype(s.dtype)
    return or_nan(good & ~jnp.isnan(s), errors)


def _signed(scores: Any, labels: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Scores and labels as floats, and where the labels are -1 or 1."""
    s, y = floats("scores", scores), floats("labels", labels)
    same_shape(scores=s, labels=y)
    return s, y, one_of("labels", y, (-1, 1))
