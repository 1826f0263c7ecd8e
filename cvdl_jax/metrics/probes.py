"""What frozen features are worth: a classifier of nearest neighbours, and linear scores in closed form.

Both are functions of features and labels alone, without random numbers and without steps, so that the same features
always give the same figure. Linear scores need nothing but sums over the examples, which batches and devices add up.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.distances import unit

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_LEAST = 1e-5  # variance of a feature, relative to its squared mean, below which sums in float32 say nothing of it


class Linear(NamedTuple):
    """Linear scores `x kernel + bias`.

    Attributes:
        kernel: float [d, c].
        bias: float [c].
        strength: of the penalty that was chosen, float [].
    """

    kernel: jax.Array
    bias: jax.Array
    strength: jax.Array


def knn(
    queries: jax.Array,
    bank: jax.Array,
    labels: jax.Array,
    num_classes: int,
    k: Size = 20,
    temperature: Positive = 0.07,
    real: jax.Array | None = None,
) -> jax.Array:
    """Scores by the k nearest examples of a bank, each of which votes for its class with a weight.

        s_c = sum_(i of the k nearest) [y_i = c] exp(cos(q, v_i) / t)

    Args:
        queries: q, float [q, e], of any length.
        bank: v, float [n, e], of any length.
        labels: y, int [n].
        num_classes: c.
        k: neighbours, at most n.
        temperature: t.
        real: bool [n], false for rows of the bank that are none; None where all are. With fewer real rows than k all of
            them vote.

    Returns:
        float [q, num_classes]; the weights are divided by that of the nearest example, which changes no order.

    Raises:
        ConfigError: if the bank has fewer than k rows.

    Reference: Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", section 3.4
        (k = 200 and t = 0.07).
    """
    if k > len(bank):
        raise ConfigError(f"k={k} nearest neighbours are asked of {len(bank)} examples; choose at most {len(bank)}")
    wide = jnp.promote_types(queries.dtype, jnp.float32)
    cosines = unit(queries.astype(wide)) @ unit(bank.astype(wide)).T  # [q, n]
    if real is not None:
        cosines = jnp.where(real[None], cosines, -jnp.inf)
    nearest, which = jax.lax.top_k(cosines, k)  # [q, k]
    first = jnp.where(jnp.isneginf(nearest[:, :1]), 0, nearest[:, :1])  # of a bank without a real row
    votes = jnp.exp((nearest - first) / temperature)
    return (votes[..., None] * jax.nn.one_hot(labels[which], num_classes, dtype=wide)).sum(1)


def moments(features: jax.Array, labels: jax.Array, weights: jax.Array, num_classes: int) -> dict[str, jax.Array]:
    """Sums over examples, which are all that linear scores by least squares need.

    Args:
        features: x, float [b, d].
        labels: int [b]; y is 1 for the class and 0 elsewhere.
        weights: of the rows, float [b], 0 for padding.
        num_classes: c.

    Returns:
        {"xx": sum x x' [d, d], "xy": sum x y' [d, c], "x": sum x [d], "y": sum y [c], "rows": []}.
    """
    x = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    y = jax.nn.one_hot(labels, num_classes, dtype=x.dtype)
    w = weights.astype(x.dtype)[:, None]
    return {"xx": x.T @ (w * x), "xy": x.T @ (w * y), "x": (w * x).sum(0), "y": (w * y).sum(0), "rows": w.sum()}


def ridge(sums: dict[str, jax.Array], strength: Positive) -> Linear:
    """The linear scores of least penalised squared error, whose penalty is of standardised features.

        min_(W, b) 1/n sum_i |W' x_i + b - y_i|^2 + strength sum_j var(x_j) |W_j|^2

    so that no factor of a feature changes the scores, and no shift, but for one 300 times as large as what varies: a
    feature whose deviation is smaller than 0.3 % of its mean counts as constant, since sums in float32 lose it.

    Args:
        sums: of `moments`.
        strength: of the penalty.

    Returns:
        Linear scores; features that are constant have the weight 0.
    """
    n = jnp.maximum(sums["rows"], 1)
    mean, prior = sums["x"] / n, sums["y"] / n
    covariance = sums["xx"] / n - mean[:, None] * mean[None]
    with_labels = sums["xy"] / n - mean[:, None] * prior[None]
    variance = jnp.maximum(jnp.diagonal(covariance), 0)
    varies = variance > jnp.maximum(_LEAST * mean**2, jnp.finfo(variance.dtype).tiny)
    scale = jnp.where(varies, 1 / jnp.sqrt(jnp.where(varies, variance, 1)), 0)  # of standardised features
    correlation = covariance * (scale[:, None] * scale[None])
    penalty = strength * jnp.eye(len(mean), dtype=mean.dtype)
    dead = jnp.diag(jnp.where(varies, 0, 1).astype(mean.dtype))
    kernel = scale[:, None] * jnp.linalg.solve(correlation + penalty + dead, with_labels * scale[:, None])
    return Linear(kernel, prior - mean @ kernel, jnp.asarray(strength, mean.dtype))


def squared_error(sums: dict[str, jax.Array], linear: Linear) -> jax.Array:
    """The mean squared error of linear scores on the examples of other sums: [].

    Args:
        sums: of `moments`; y is one-hot, so that the sum of |y|^2 is the number of rows.
        linear: the scores.
    """
    n = jnp.maximum(sums["rows"], 1)
    kernel, bias = linear.kernel, linear.bias
    squares = jnp.einsum("dc,de,ec->", kernel, sums["xx"], kernel) + n * (bias * bias).sum()
    squares = squares + 2 * (sums["x"] @ kernel @ bias)
    crossed = (kernel * sums["xy"]).sum() + bias @ sums["y"]
    return (squares - 2 * crossed) / n + 1


def chosen_ridge(
    fitted: dict[str, jax.Array], held_out: dict[str, jax.Array], strengths: Sequence[float] = STRENGTHS
) -> Linear:
    """`ridge` of all examples, with the strength by which those of one part predict those of the other best.

    Args:
        fitted: sums of the examples that each strength is fitted to.
        held_out: sums of those that choose it, by the squared error.
        strengths: to choose from; of equal ones the first.
    """
    errors = jnp.stack([squared_error(held_out, ridge(fitted, strength)) for strength in strengths])
    best = jnp.asarray(strengths, errors.dtype)[jnp.argmin(errors)]
    return ridge(jax.tree.map(jnp.add, fitted, held_out), best)


def ridge_probe(
    features: jax.Array,
    labels: jax.Array,
    validation: jax.Array,
    validation_labels: jax.Array,
    num_classes: int,
    strengths: Sequence[float] = STRENGTHS,
) -> Linear:
    """Linear scores of frozen features, fitted to training examples; the validation accuracy chooses the strength.

    Args:
        features: of the training examples, float [n, d].
        labels: int [n].
        validation: features of other examples, float [m, d].
        validation_labels: int [m].
        num_classes: c.
        strengths: to choose from; of equally accurate ones the first.

    Returns:
        Linear scores, fitted to the training examples alone; `linear_scores` applies them.
    """
    centre = features.mean(0)  # so that no shift is too large for sums in float32
    sums = moments(features - centre[None], labels, jnp.ones(len(features)), num_classes)
    made = [ridge(sums, strength) for strength in strengths]
    made = [one._replace(bias=one.bias - centre.astype(one.kernel.dtype) @ one.kernel) for one in made]
    hits = jnp.stack([(linear_scores(one, validation).argmax(1) == validation_labels).mean() for one in made])
    return jax.tree.map(lambda *parts: jnp.stack(parts)[jnp.argmax(hits)], *made)


def linear_scores(linear: Linear, features: jax.Array) -> jax.Array:
    """Scores [b, c] of features [b, d]."""
    return features.astype(linear.kernel.dtype) @ linear.kernel + linear.bias[None]
