"""Are probabilities to be believed? Reliability diagrams, calibration errors, proper scores, temperature scaling."""

from typing import Any, Literal, NamedTuple

import numpy as np

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.checks import class_scores, finite
from cvdl_jax.metrics.confusion import ratio

Scheme = Literal["width", "mass"]
BINS = 15  # as in Guo et al. 2017, table 1


class Reliability(NamedTuple):
    """A reliability diagram: what was promised and what came true, in each of k bins of confidence.

    Attributes:
        edges: float64 [k + 1]; a bin holds confidences above its lower edge up to its upper one, the first 0 too.
        confidence: mean confidence, float64 [k]; NaN in an empty bin.
        accuracy: share of right examples, float64 [k]; NaN in an empty bin.
        count: examples, int64 [k].
    """

    edges: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray


def log_softmax(scores: Any, temperature: float = 1.0) -> np.ndarray:
    """The logarithm of softmax(z / T) in float64, [n, c].

    Raises:
        ConfigError: for a temperature that is not positive.
        DataError: for scores that are empty or not finite.
    """
    if not 0 < temperature < np.inf:
        raise ConfigError(f"temperature={temperature} must be a positive number, such as 1.0")
    z = finite("scores", scores, 2) / temperature
    z = z - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def softmax(scores: Any, temperature: float = 1.0) -> np.ndarray:
    """Probabilities softmax(z / T) in float64, [n, c]."""
    return np.exp(log_softmax(scores, temperature))


def checked(probabilities: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities float64 [n, c], labels int64 [n]).

    Raises:
        DataError: naming the argument; rows must be distributions (sums within 1e-3 of 1, for float32 and narrower).
    """
    labels, p = class_scores(labels, finite("probabilities", probabilities, 2))
    if (p < 0).any() or (p > 1 + 1e-3).any() or (np.abs(p.sum(1) - 1) > 1e-3).any():
        raise DataError("each row of probabilities must be in 0..1 and sum to 1; for logits call softmax(scores) first")
    return p, labels


def reliability(probabilities: Any, labels: Any, bins: int = BINS, scheme: Scheme = "width") -> Reliability:
    """Mean confidence and accuracy of the predicted class, in bins of confidence.

    Args:
        probabilities: float [n, c].
        labels: int [n].
        bins: k.
        scheme: "width": k equal parts of 0..1; "mass": about n / k examples each, equal confidences together.

    Raises:
        DataError: as of `checked`.
        ConfigError: for a number of bins or a scheme that does not exist.

    Reference: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
    """
    p, labels = checked(probabilities, labels)
    if not (isinstance(bins, int | np.integer) and bins >= 1):
        raise ConfigError(f"bins={bins} must be a whole number, 1 or more")
    if scheme not in ("width", "mass"):
        raise ConfigError(f"scheme={scheme!r} must be width or mass")
    confidence, right = np.minimum(p.max(1), 1.0), p.argmax(1) == labels
    edges = np.linspace(0, 1, bins + 1)
    if scheme == "mass":
        last = [part[-1] for part in np.array_split(np.sort(confidence), bins) if len(part)]
        edges = np.concatenate([[0.0], np.unique(last)])
    place = np.maximum(np.searchsorted(edges, confidence, side="left") - 1, 0)
    count, promised, kept = (
        np.bincount(place, weights, minlength=len(edges) - 1) for weights in (None, confidence, right.astype(float))
    )
    return Reliability(edges, ratio(promised, count), ratio(kept, count), count)


def expected_calibration_error(probabilities: Any, labels: Any, bins: int = BINS, scheme: Scheme = "width") -> float:
    """ECE: `sum_b n_b / n |accuracy_b - confidence_b|` over bins of confidence.

    Args:
        probabilities: float [n, c].
        labels: int [n].
        bins: see `reliability`; the value depends on it, so say which.
        scheme: see `reliability`.

    Reference: Naeini et al. 2015; Guo et al. 2017, equation 3.
    """
    diagram = reliability(probabilities, labels, bins, scheme)
    filled = diagram.count > 0
    return float((diagram.count * np.abs(diagram.accuracy - diagram.confidence))[filled].sum() / diagram.count.sum())


def maximum_calibration_error(probabilities: Any, labels: Any, bins: int = BINS, scheme: Scheme = "width") -> float:
    """MCE: the largest `|accuracy_b - confidence_b|` of a bin that is not empty; arguments as those of the ECE.

    Reference: Guo et al. 2017, equation 5.
    """
    diagram = reliability(probabilities, labels, bins, scheme)
    return float(np.nanmax(np.abs(diagram.accuracy - diagram.confidence)))


def brier(probabilities: Any, labels: Any) -> float:
    """`mean_i sum_k (p_ik - [y_i = k])^2`, in 0..2: for two classes twice the form with one probability.

    Args:
        probabilities: float [n, c].
        labels: int [n].

    Reference: Brier 1950, "Verification of forecasts expressed in terms of probability", equation 2.
    """
    p, labels = checked(probabilities, labels)
    return float(np.square(p - np.eye(p.shape[1])[labels]).sum(1).mean())


def negative_log_likelihood(scores: Any, labels: Any, temperature: float = 1.0) -> float:
    """`mean -log softmax(z / T)_y`, from scores, so that no probability rounds to 0.

    Args:
        scores: logits, float [n, c].
        labels: int [n].
        temperature: T.
    """
    labels, scores = class_scores(labels, scores)
    return float(-log_softmax(scores, temperature)[np.arange(len(labels)), labels].mean())


def fit_temperature(scores: Any, labels: Any) -> float:
    """The temperature T that minimises `negative_log_likelihood`: fit it on validation, use it on test.

    In b = 1 / T the likelihood is convex; its derivative `mean_i (E_p[z_i] - z_iy)`, p = softmax(b z), has one root.

    Args:
        scores: logits, float [n, c], of examples that the model was not trained on.
        labels: int [n].

    Returns:
        T > 0; the accuracy stays as it is, as the order of the scores does.

    Raises:
        DataError: where there is no minimum: every example is right, so the likelihood grows as T falls to 0; or the
            scores say no more of the labels than chance, so it grows with T.

    Reference: Guo et al. 2017, section 4.2, "Temperature scaling".
    """
    from scipy.optimize import brentq

    labels, z = class_scores(labels, scores)
    z = z - z.max(1, keepdims=True)
    scale = np.abs(z).max()
    of_label = z[np.arange(len(labels)), labels]
    if (of_label == 0).all():
        raise DataError("every example is right, so the likelihood only grows as the temperature falls to 0; "
                        "fit it on examples that are harder or more")  # fmt: skip
    if (z.mean(1) - of_label).mean() >= 0:
        raise DataError("the scores say no more of the labels than chance, so the likelihood grows with the "
                        "temperature; do labels and scores belong to the same examples?")  # fmt: skip

    def slope(b: float) -> float:
        e = np.exp(b / scale * z)
        return float(((e * z).sum(1) / e.sum(1) - of_label).mean() / scale)

    high = 1.0
    while slope(high) <= 0:
        high *= 2
    return float(scale / brentq(slope, 0.0, high, xtol=1e-14 * high, rtol=1e-13))
