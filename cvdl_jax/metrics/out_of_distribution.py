"""Scores by which a classifier knows that an example is unlike its training data, and how well they tell the two apart.

Every score is larger for examples that look familiar. l are the logits of one example [c], f its features [d]:

    max_softmax   max_c softmax(l)_c                                Hendrycks and Gimpel 2017
    max_logit     max_c l_c                                         Hendrycks et al. 2022
    energy        T log sum_c exp(l_c / T), minus the energy        Liu et al. 2020, equation 4
    mahalanobis   - min_c (f - mu_c)^T S^-1 (f - mu_c)              Lee et al. 2018, equation 2

The examples of the classifier's own distribution are the positives of every rate, as in these papers.
"""

from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.config.binding import Positive, UpToOne
from cvdl_jax.errors import DataError
from cvdl_jax.metrics import ranking
from cvdl_jax.metrics.calibration import softmax


class Gaussians(NamedTuple):
    """Normal distributions of the features of each class, with one covariance.

    Attributes:
        means: float64 [c, d].
        precision: the (pseudo-)inverse of the covariance, float64 [d, d].
    """

    means: np.ndarray
    precision: np.ndarray


def max_softmax(logits: Any) -> np.ndarray:
    """The probability of the predicted class, float64 [n]. Args: logits [n, c]."""
    return softmax(_rows(logits, "logits")).max(1)


def max_logit(logits: Any) -> np.ndarray:
    """The largest logit, float64 [n]. Args: logits [n, c]."""
    return _rows(logits, "logits").max(1)


def energy(logits: Any, temperature: Positive = 1.0) -> np.ndarray:
    """The negative energy `T log sum_c exp(l_c / T)`.

    Args:
        logits: float [n, c].
        temperature: T.

    Returns:
        float64 [n].

    Reference: Liu et al. 2020, "Energy-based Out-of-distribution Detection", equation 4.
    """
    scaled = _rows(logits, "logits") / temperature
    most = scaled.max(1, keepdims=True)
    return temperature * (most[:, 0] + np.log(np.exp(scaled - most).sum(1)))


def fit_gaussians(features: Any, labels: Any) -> Gaussians:
    """The mean of each class that has examples, and the covariance that all share: `1/n sum_i (f_i - mu)(f_i - mu)^T`.

    Args:
        features: float [n, d], of training examples.
        labels: int [n].

    Raises:
        DataError: if they do not belong together or are not finite.

    Reference: Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
        Attacks", equation 1.
    """
    features, labels = _rows(features, "features"), np.asarray(labels)
    if labels.shape != features.shape[:1]:
        raise DataError(f"labels must be [{len(features)}], one for each row of features, got {list(labels.shape)}")
    classes, place = np.unique(labels, return_inverse=True)
    means = np.stack([features[place == c].mean(0) for c in range(len(classes))])
    centred = features - means[place]
    return Gaussians(means, np.linalg.pinv(centred.T @ centred / len(features), hermitian=True))


def mahalanobis(features: Any, gaussians: Gaussians) -> np.ndarray:
    """Minus the squared Mahalanobis distance to the nearest class, float64 [n]. Args: features [n, d]; of `fit_...`."""
    features = _rows(features, "features")
    squares = []
    for mean in gaussians.means:
        away = features - mean
        squares.append(np.einsum("nd,de,ne->n", away, gaussians.precision, away, optimize=True))
    return -np.min(squares, 0)


def auroc(inside: Any, outside: Any) -> float:
    """P(score of an example inside > score of one outside), ties counting half: the area under the ROC curve.

    Args:
        inside: scores float [n], of the classifier's own distribution.
        outside: scores float [m].
    """
    inside, outside = _both(inside, outside)
    return ranking.mann_whitney(np.arange(len(inside) + len(outside)) < len(inside), np.append(inside, outside))


def fpr_at_tpr(inside: Any, outside: Any, tpr: UpToOne = 0.95) -> float:
    """The share outside that is accepted where at least `tpr` of the examples inside are.

    The threshold t is the largest score with `share of inside >= t` at least tpr; accepted is what scores at least t.

    Args:
        inside: scores float [n].
        outside: scores float [m].
        tpr: share of the examples inside to accept, in (0, 1].
    """
    inside, outside = _both(inside, outside)
    # A product such as 0.95 * 20 may lie just above the whole number that it is.
    threshold = np.sort(inside)[::-1][int(np.ceil(tpr * len(inside) - 1e-9)) - 1]
    return float((outside >= threshold).mean())


def _rows(x: Any, name: str) -> np.ndarray:
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or not x.size or not np.isfinite(x).all():
        raise DataError(f"{name} must be finite numbers [n, c] of n > 0 examples, got {list(x.shape)}")
    return x


def _both(inside: Any, outside: Any) -> tuple[np.ndarray, np.ndarray]:
    inside, outside = np.asarray(inside, np.float64), np.asarray(outside, np.float64)
    for name, x in (("inside", inside), ("outside", outside)):
        if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
            raise DataError(f"{name} must be finite scores [n] of n > 0 examples, got {list(x.shape)}")
    return inside, outside
