"""Linear models by hand: scores, closed forms, analytic gradients and single steps, in the layout `x W + b`.

x: [n, d], one example a row. With one score per example w is [d] and b is []; with one per class W is [d, c] and b [c].
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.ops.textbook.labels import one_hot
from cvdl_jax.ops.value_checks import between, floats, one_of, or_nan, same_shape


class Fit(NamedTuple):
    """A linear model, or its gradient.

    Attributes:
        w: [d], or [d, c] for c scores.
        b: [], or [c].
    """

    w: jax.Array
    b: jax.Array


def scores(x: Any, w: Any, b: Any) -> jax.Array:
    """`s = x W + b`.

    Args:
        x: float [n, d].
        w: float [d] or [d, c].
        b: float [] or [c].

    Returns:
        float [n] or [n, c].

    Raises:
        ValueError: for shapes that do not fit.
    """
    x, w, b = floats("x", x), floats("w", w), floats("b", b)
    if x.ndim != 2 or w.ndim not in (1, 2) or x.shape[1] != w.shape[0] or b.shape != w.shape[1:]:
        raise ValueError(
            f"x, w and b must be [n, d], [d] and [] or [n, d], [d, c] and [c]; got {list(x.shape)}, {list(w.shape)} "
            f"and {list(b.shape)}"
        )
    product = jnp.matmul(x, w, precision=lax.Precision.HIGHEST)
    return product + jnp.broadcast_to(b, product.shape)


def append_one(x: Any) -> jax.Array:
    """The bias trick for examples: `[x, 1]`. Args: x float [n, d]. Returns: float [n, d + 1]."""
    x = floats("x", x)
    return jnp.concatenate([x, jnp.ones((x.shape[0], 1), x.dtype)], axis=1)


def append_bias(w: Any, b: Any) -> jax.Array:
    """The bias trick for weights: b as the last row, so that `[x, 1] [W; b] = x W + b`.

    Args:
        w: float [d] or [d, c].
        b: float [] or [c].

    Returns:
        float [d + 1] or [d + 1, c].
    """
    w, b = floats("w", w), floats("b", b)
    return jnp.concatenate([w, b[None]], axis=0)


def least_squares(x: Any, y: Any, ridge: float = 0.0, bias: bool = True) -> Fit:
    """Linear regression in closed form: the minimum of `(1/n) sum_i (x_i w + b - y_i)^2 + ridge |w|^2`.

    The bias is not penalised. If there are many minima, this is the one with the smallest weights (pseudo-inverse).

    Args:
        x: float [n, d].
        y: float [n] or [n, c].
        ridge: lambda >= 0.
        bias: False keeps b = 0.

    Returns:
        A Fit.

    Raises:
        ValueError: for a negative ridge, or shapes that do not fit.

    Reference: Hastie et al. 2009, "The Elements of Statistical Learning", equations 3.6 and 3.44.
    """
    x, y = floats("x", x), floats("y", y)
    between("ridge", ridge, 0.0, float("inf"))
    if x.ndim != 2 or y.shape[:1] != x.shape[:1] or y.ndim not in (1, 2):
        raise ValueError(f"x and y must be [n, d] and [n] or [n, c]; got {list(x.shape)} and {list(y.shape)}")
    n, d = x.shape
    x_mean = x.mean(0) if bias else jnp.zeros(d, x.dtype)
    y_mean = y.mean(0) if bias else jnp.zeros(y.shape[1:], y.dtype)
    xc, yc = x - x_mean[None], y - y_mean[None]
    if ridge:  # as extra rows: the normal equations would square the condition number
        xc = jnp.concatenate([xc, jnp.sqrt(jnp.asarray(ridge * n, x.dtype)) * jnp.eye(d, dtype=x.dtype)])
        yc = jnp.concatenate([yc, jnp.zeros((d, *y.shape[1:]), y.dtype)])
    w = jnp.linalg.lstsq(xc, yc)[0]
    return Fit(w, y_mean - x_mean @ w)


def squared_error_gradient(x: Any, w: Any, b: Any, y: Any) -> Fit:
    """Gradient of `(1/n) sum_i (s_i - y_i)^2`: `(2/n) sum_i (s_i - y_i) x_i`. Args, Raises: as `scores`; y like s."""
    s, y = scores(x, w, b), floats("y", y)
    same_shape(scores=s, y=y)
    return _pull_back(x, 2 * (s - y))


def logistic_probability(x: Any, w: Any, b: Any) -> jax.Array:
    """`P(y = 1 | x) = 1 / (1 + exp(-(w x + b)))`. Args and Raises: see `scores`. Returns: float [n]."""
    return jax.nn.sigmoid(scores(x, w, b))


def logistic_gradient(x: Any, w: Any, b: Any, y: Any) -> Fit:
    """Gradient of the mean logistic loss: `(1/n) sum_i (p_i - y_i) x_i`. Args, Raises: as `scores`; y in 0..1, [n]."""
    p, y = logistic_probability(x, w, b), floats("y", y)
    same_shape(scores=p, y=y)
    return _pull_back(x, or_nan(between("y", y, 0.0, 1.0), p - y))


def softmax_gradient(x: Any, w: Any, b: Any, labels: Any) -> Fit:
    """Gradient of the mean softmax cross-entropy: `(1/n) sum_i x_i (p_i - onehot(y_i))`. Args: as `scores`; labels."""
    s = scores(x, w, b)
    return _pull_back(x, jax.nn.softmax(s) - one_hot(labels, s.shape[1], s.dtype))


def multiclass_hinge_gradient(x: Any, w: Any, b: Any, labels: Any, margin: float = 1.0, penalty: float = 0.0) -> Fit:
    """Gradient of `(1/n) sum_i sum_{j != y_i} max(0, s_ij - s_iy + margin) + penalty |W|^2`.

    Every class that violates the margin adds `x_i` to its own column and `-x_i` to that of the right class. The penalty
    adds `2 penalty W`.

    Args:
        x: float [n, d].
        w: float [d, c].
        b: float [c].
        labels: y, int [n].
        margin: m > 0.
        penalty: lambda >= 0; the bias is not penalised.

    Returns:
        A Fit of gradients.
    """
    s = scores(x, w, b)
    y = one_hot(labels, s.shape[1], s.dtype)
    right = (s * y).sum(1, keepdims=True)
    violated = ((s - right + margin > 0) & (y == 0)).astype(s.dtype)  # [n, c]
    grad = _pull_back(x, violated - violated.sum(1, keepdims=True) * y)
    return Fit(grad.w + 2 * penalty * floats("w", w), grad.b)


def step(fit: Fit, gradient: Fit, lr: float) -> Fit:
    """One step of gradient descent, `w <- w - lr g`."""
    return Fit(*(floats("fit", p) - lr * g for p, g in zip(fit, gradient, strict=True)))


def perceptron_pass(fit: Fit, x: Any, y: Any) -> tuple[Fit, jax.Array]:
    """The perceptron rule, example by example: where `y (w x + b) <= 0`, `w <- w + y x` and `b <- b + y`.

    Args:
        fit: w [d], b [].
        x: float [n, d].
        y: -1 or 1, [n].

    Returns:
        The model after each example, Fit(w [n, d], b [n]); whether it was a mistake, bool [n].

    Raises:
        ValueError: for other labels.

    Reference: Rosenblatt 1958; Novikoff 1962 bounds the mistakes by (R / gamma)^2 where a margin gamma exists.
    """
    x, y = floats("x", x), floats("y", y)
    y = or_nan(one_of("y", y, (-1, 1)), y)

    def one(fit: Fit, example: tuple) -> tuple:
        x, y = example
        wrong = y * (x @ fit.w + fit.b) <= 0
        fit = Fit(*(jnp.where(wrong, p + y * g, p) for p, g in zip(fit, (x, jnp.ones_like(y)), strict=True)))
        return fit, (fit, wrong)

    return lax.scan(one, Fit(*(floats("fit", p) for p in fit)), (x, y))[1]


def _pull_back(x: Any, ds: jax.Array) -> Fit:
    """The gradient of a mean loss, from the derivatives ds, [n] or [n, c], of each example's loss in its scores."""
    return Fit(jnp.matmul(floats("x", x).T, ds, precision=lax.Precision.HIGHEST) / len(ds), ds.mean(0))
