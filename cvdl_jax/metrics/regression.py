"""Measures of predicted numbers: on the host, and as sums on the device for the training log."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics.checks import finite
from cvdl_jax.metrics.confusion import mean_of_known, ratio


def errors(targets: Any, predictions: Any) -> np.ndarray:
    """What predictions are beyond their targets, `y - t` in float64 [...].

    Raises:
        DataError: naming the argument: empty, not finite, or of another shape.
    """
    targets, predictions = finite("targets", targets), finite("predictions", predictions)
    if targets.shape != predictions.shape:
        raise DataError(f"targets {list(targets.shape)} and predictions {list(predictions.shape)} differ in shape")
    return predictions - targets


def mae(targets: Any, predictions: Any) -> float:
    """The mean absolute error `mean |y - t|`."""
    return float(np.abs(errors(targets, predictions)).mean())


def mse(targets: Any, predictions: Any) -> float:
    """The mean squared error `mean (y - t)^2`."""
    return float(np.square(errors(targets, predictions)).mean())


def rmse(targets: Any, predictions: Any) -> float:
    """The root of the mean squared error, in the unit of the targets."""
    return float(np.sqrt(mse(targets, predictions)))


def max_error(targets: Any, predictions: Any) -> float:
    """The largest absolute error."""
    return float(np.abs(errors(targets, predictions)).max())


def r2(targets: Any, predictions: Any, pooled: bool = False) -> float:
    """`1 - sum (y - t)^2 / sum (t - mean t)^2`: 1 is perfect, 0 as good as the mean, negative worse.

    Of several numbers an example it is the mean over the columns, as in scikit-learn: each column counts the same,
    whatever its unit.

    Args:
        targets: [n] or [n, ...], a column for each number of an example.
        predictions: likewise.
        pooled: one ratio of the sums over everything, about one common mean.

    Returns:
        The mean over the columns that vary; NaN where none does: there is no variance to explain.
    """
    wrong, targets = np.square(errors(targets, predictions)), np.asarray(targets, np.float64)
    if pooled or targets.ndim < 2:
        wrong, targets = wrong.reshape(-1, 1), targets.reshape(-1, 1)
    wrong, targets = (x.reshape(len(x), -1) for x in (wrong, targets))  # [n, k]
    varies = (targets != targets[:1]).any(0)  # exactly: the mean of equal numbers may differ from them by rounding
    shares = ratio(wrong.sum(0), np.square(targets - targets.mean(0)).sum(0))
    return mean_of_known(np.where(varies, 1 - shares, np.nan))


def report(targets: Any, predictions: Any) -> dict[str, float]:
    """All of them: mae, mse, rmse, r2, max_error."""
    return {measure.__name__: measure(targets, predictions) for measure in (mae, mse, rmse, r2, max_error)}


def regression_sums(
    targets: jax.Array, predictions: jax.Array, mask: jax.Array | None = None
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Absolute and squared errors as pairs (sum, weight), to be added over batches and devices and divided once.

    The root of a mean is no mean: RMSE is `sqrt(mse)` after the division, in an evaluation's `finalize`.

    Args:
        targets: float [b, ...].
        predictions: float [b, ...].
        mask: [b], 0 on padding, 1 elsewhere; None: no padding.

    Returns:
        {"mae": (sum, weight), "mse": (sum, weight)}, float32 scalars; the weight counts numbers, not rows.

    Raises:
        DataError: if the shapes differ.
    """
    if targets.shape != predictions.shape:
        raise DataError(f"targets {list(targets.shape)} and predictions {list(predictions.shape)} differ in shape")
    wrong = (predictions.astype(jnp.float32) - targets.astype(jnp.float32)).reshape(len(targets), -1)  # [b, m]
    rows = jnp.ones(len(targets), jnp.float32) if mask is None else mask.astype(jnp.float32)
    weight = rows.sum() * wrong.shape[1]
    return {
        "mae": ((jnp.abs(wrong).sum(1) * rows).sum(), weight),
        "mse": ((jnp.square(wrong).sum(1) * rows).sum(), weight),
    }
