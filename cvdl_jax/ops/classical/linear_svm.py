"""Linear support vector machines with the squared hinge, one for each class, by Newton's method.

`f(w) = |w|^2 / 2 + C sum_i max(0, 1 - y_i (w x_i + b))^2` is convex, and quadratic as long as the examples inside
the margin stay the same ones: a handful of Newton steps, each a linear system of the features, reach its exact minimum.
"""

from typing import NamedTuple

import numpy as np

from cvdl_jax.errors import DataError


class LinearSVM(NamedTuple):
    """Scores `x @ weights + bias`, one for each class.

    Attributes:
        weights: float64 [d, c].
        bias: float64 [c].
    """

    weights: np.ndarray
    bias: np.ndarray


def scores(svm: LinearSVM, x: np.ndarray) -> np.ndarray:
    """Scores [n, c] of features x [n, d]; the class of the largest one is the answer."""
    return np.asarray(x, np.float64) @ svm.weights + svm.bias[None]


def objective(w: np.ndarray, x: np.ndarray, y: np.ndarray, c: float) -> float:
    """F of weights [d + 1], of which the last is the bias, without a penalty; x [n, d + 1] has a column of ones."""
    return float(w[:-1] @ w[:-1] / 2 + c * np.square(np.maximum(1 - y * (x @ w), 0)).sum())


def fit(x: np.ndarray, label: np.ndarray, classes: int, c: float = 1.0, steps: int = 50) -> LinearSVM:
    """One machine for each class against the rest.

    Args:
        x: features [n, d].
        label: int [n] in 0 ... classes - 1, of which every one occurs.
        classes: their number.
        c: how much an example inside the margin costs.
        steps: of Newton's method at most; it ends before where the set of examples inside the margin repeats.

    Raises:
        DataError: for a class without examples, a label that is no class, features that are NaN or infinite.

    Reference: Keerthi and DeCoste 2005, "A Modified Finite Newton Method for Fast Solution of Large Scale Linear SVMs".
    """
    label = np.asarray(label)
    missing = sorted(set(range(classes)) - set(label.tolist()))
    if missing:
        raise DataError(f"classes {missing} have no examples; a machine for each of {classes} classes needs some")
    if label.min() < 0 or label.max() >= classes:
        raise DataError(f"labels are in {label.min()}..{label.max()}; {classes} classes are 0..{classes - 1}")
    x = np.concatenate([np.asarray(x, np.float64), np.ones((len(x), 1))], 1)
    if not np.isfinite(x).all():
        raise DataError(f"{np.sum(~np.isfinite(x).all(1))} of {len(x)} examples have features that are no numbers")
    columns = [_fit_one(x, np.where(label == k, 1.0, -1.0), c, steps) for k in range(classes)]
    whole = np.stack(columns, 1)
    return LinearSVM(whole[:-1], whole[-1])


def _fit_one(x: np.ndarray, y: np.ndarray, c: float, steps: int) -> np.ndarray:
    """Weights [d + 1] of one machine; y is 1 or -1."""
    w, ridge = np.zeros(x.shape[1]), np.append(np.ones(x.shape[1] - 1), 1e-10)
    value = objective(w, x, y, c)
    for _ in range(steps):
        inside = y * (x @ w) < 1
        near = x[inside]
        # The minimum if the same examples stay inside: (I + 2 C X^T X) w = 2 C X^T y.
        target = np.linalg.solve(np.diag(ridge) + 2 * c * near.T @ near, 2 * c * near.T @ y[inside])
        rate = 1.0
        while rate > 1e-6 and objective(w + rate * (target - w), x, y, c) > value:
            rate /= 2  # Newton's step may be too long where examples leave the margin
        w = w + rate * (target - w)
        new = objective(w, x, y, c)
        if value - new <= 1e-10 * value:
            break
        value = new
    return w
