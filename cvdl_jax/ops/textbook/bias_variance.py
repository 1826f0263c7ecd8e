"""Bias and variance of a learner, measured by training it on many samples, and the usual remedies."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Decomposition(NamedTuple):
    """Bias and variance, averaged over the inputs.

    Attributes:
        bias2: squared difference of the average prediction and the target.
        variance: of the predictions around their average.
        error: expected squared error to the target, `bias2 + variance` exactly.
    """

    bias2: float
    variance: float
    error: float


def decompose(predictions: Any, target: Any) -> Decomposition:
    """`E[(f - y)^2] = (E[f] - y)^2 + E[(f - E[f])^2]`, averaged over inputs. (Noise in y would add its variance.)

    Args:
        predictions: f, float [r, n], of r models trained on different samples, for n inputs.
        target: y without noise, float [n].

    Returns:
        A Decomposition.

    Raises:
        ValueError: for shapes that do not fit, or a single model.

    Reference: Geman et al. 1992, "Neural Networks and the Bias/Variance Dilemma", section 3.2.
    """
    predictions, target = np.asarray(predictions, np.float64), np.asarray(target, np.float64)
    if predictions.ndim != 2 or predictions.shape[1:] != target.shape or len(predictions) < 2:
        raise ValueError(
            f"predictions and target must be [r, n], r >= 2, and [n]; got {predictions.shape} and {target.shape}"
        )
    mean = predictions.mean(0)
    return Decomposition(
        float(((mean - target) ** 2).mean()),
        float(((predictions - mean) ** 2).mean()),
        float(((predictions - target) ** 2).mean()),
    )


def retrain(
    learner: Callable, draw: Callable, x: np.ndarray, repeats: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Trains a learner on many samples.

    Args:
        learner: (x [m, d], y [m]) -> function of x [n, d] to predictions [n].
        draw: NumPy Generator -> (x [m, d], y [m]), a fresh training sample.
        x: inputs to predict, [n, d].
        repeats: r.
        seed: of the samples; learners with the same seed see the same samples.

    Returns:
        Predictions [r, n]; the mean squared error of each model on its own sample [r].
    """
    predictions, training = [], []
    for child in np.random.SeedSequence(seed).spawn(repeats):
        sample, y = draw(np.random.default_rng(child))
        model = learner(sample, y)
        predictions.append(np.asarray(model(x)))
        training.append(float(np.mean((np.asarray(model(sample)) - y) ** 2)))
    return np.stack(predictions), np.asarray(training)


REMEDIES = {
    "high bias": ("a larger model or another architecture", "longer training"),
    "high variance": ("more data", "more regularisation", "another architecture"),
}


def diagnose(training: float, validation: float, goal: float, tolerance: float) -> dict[str, tuple[str, ...]]:
    """Says from two errors whether a model has high bias or high variance, and what usually helps.

    Args:
        training: error on the training set.
        validation: error on the validation set.
        goal: the error that could be reached, such as a human's.
        tolerance: by how much an error may exceed another before it counts.

    Returns:
        The entries of REMEDIES that apply: high bias where training is above the goal, high variance where validation
        is above training; {} where neither is.
    """
    if tolerance < 0:
        raise ValueError(f"tolerance={tolerance} must be at least 0")
    faults = {"high bias": training > goal + tolerance, "high variance": validation > training + tolerance}
    return {name: REMEDIES[name] for name, applies in faults.items() if applies}
