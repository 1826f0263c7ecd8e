"""Verification (are two images of one class?) and identification (which of the enrolled is it, if any?) by scores.

Scores are larger for images that are alike. A threshold accepts scores of at least itself. The classes that a threshold
is chosen on have to be others than those it is judged on: `threshold_at` on a validation split, `accepted` on the test.
Images are paired with each other but never with themselves. Pairs share images and are not independent, so the rates
have no intervals here. Time and memory are quadratic in the number of images: for some thousands.
"""

from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics import ranking
from cvdl_jax.metrics.checks import binary_scores, finite

_ROWS = 32  # compared with all others at a time


class Search(NamedTuple):
    """Probes searched in a gallery of enrolled images, one for each identity.

    Attributes:
        scores: float [p, g].
        right: bool [p, g], whether an enrolled image is of the probe's identity; no true one for who is not enrolled.
    """

    scores: np.ndarray
    right: np.ndarray


def similarities(embeddings: np.ndarray, weight: np.ndarray | None = None, bias: float = 0.0) -> np.ndarray:
    """How alike all pairs of images are.

        s_ij = -|x_i - x_j|,    or with a learned distance    s_ij = sum_k w_k |x_ik - x_jk| + b

    Args:
        embeddings: x, float [n, e].
        weight: w, float [e]; None for the Euclidean distance.
        bias: b.

    Returns:
        float32 [n, n].
    """
    x = np.asarray(embeddings, np.float32)
    out = np.empty((len(x), len(x)), np.float32)
    for start in range(0, len(x), _ROWS):
        difference = x[start : start + _ROWS, None] - x[None]  # [rows, n, e]
        if weight is None:
            out[start : start + _ROWS] = -np.sqrt(np.square(difference).sum(-1))
        else:
            out[start : start + _ROWS] = np.abs(difference) @ np.asarray(weight, np.float32) + np.float32(bias)
    return out


def pairs(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs i < j of n images: whether they are of one class, bool [n (n - 1) / 2], and their scores.

    Args:
        scores: float [n, n].
        labels: int [n].
    """
    i, j = np.triu_indices(len(labels), 1)
    return labels[i] == labels[j], scores[i, j]


def equal_error_rate(labels: Any, scores: Any) -> float:
    """The error rate at the threshold where as many impostors are accepted as genuine ones are rejected.

    Between two thresholds the ROC curve is a straight line, on which the point with `fpr = 1 - tpr` is taken.

    Args:
        labels: 1 or True for genuine pairs, [m].
        scores: float [m].

    Returns:
        0..1; NaN without genuine or impostor pairs.

    Raises:
        DataError: as of `checks.binary_scores`.

    Reference: Maio et al. 2002, "FVC2000: Fingerprint Verification Competition", section 4.
    """
    fpr, tpr, _ = ranking.roc_curve(labels, scores)
    gap = fpr - (1 - tpr)  # rises from -1 to 1
    if np.isnan(gap).any():
        return float("nan")
    after = int(np.argmax(gap >= 0))
    before = after - 1  # the first gap is -1
    share = -gap[before] / (gap[after] - gap[before])
    return float(fpr[before] + share * (fpr[after] - fpr[before]))


def threshold_at(impostors: Any, rate: float) -> float:
    """The lowest threshold at which no more than a share of the impostors is accepted.

    Args:
        impostors: their scores, float [m]; read as float32.
        rate: the share, in [0, 1).

    Returns:
        The float32 number above the score of the first impostor that is to be rejected.

    Raises:
        DataError: without impostors, for scores that are not finite, or another rate.
    """
    scores = np.sort(finite("impostors", impostors, 1).astype(np.float32))[::-1]
    if not 0 <= rate < 1:
        raise DataError(f"rate={rate} must lie in [0, 1)")
    allowed = int(np.floor(rate * len(scores) + 1e-9))  # 0.3 * 10 is 3
    return float(np.nextafter(scores[allowed], np.float32(np.inf)))


def accepted(labels: Any, scores: Any, threshold: float) -> tuple[float, float]:
    """The shares of genuine and of impostor pairs with a score of at least a threshold.

    Args:
        labels: 1 or True for genuine pairs, [m].
        scores: float [m].
        threshold: accepts scores of at least it.

    Returns:
        (true accept rate, false accept rate); NaN where there are no such pairs.
    """
    labels, scores = binary_scores(labels, scores)
    passed = scores >= threshold
    true = passed[labels].mean() if labels.any() else np.nan
    false = passed[~labels].mean() if not labels.all() else np.nan
    return float(true), float(false)


def classes_of(labels: np.ndarray, every: int = 1) -> np.ndarray:
    """The classes that occur, ascending; every k-th of them, from the first. Args: labels int [n]."""
    return np.unique(labels)[::every]


def one_shot(scores: np.ndarray, labels: np.ndarray, enrolled: np.ndarray) -> Search:
    """A search in a gallery with one image of each enrolled class: the first that the data have of it.

    Args:
        scores: of all pairs of images, float [n, n].
        labels: int [n].
        enrolled: the classes in the gallery, int [g].

    Returns:
        The search of all images that are not in the gallery.
    """
    gallery = np.asarray([int(np.argmax(labels == c)) for c in enrolled])
    probes = np.setdiff1d(np.arange(len(labels)), gallery)
    right = labels[probes][:, None] == labels[gallery][None]
    return Search(scores[np.ix_(probes, gallery)], right)


def cumulative_match(search: Search) -> np.ndarray:
    """The cumulative match characteristic: the share of probes whose identity is among the k best, k = 1 ... g.

    An identity with the score of the right one, and not right, counts as better.

    Args:
        search: every probe of an enrolled identity.

    Returns:
        float64 [g].

    Raises:
        DataError: for a probe that is not enrolled, or none at all, or scores that are no numbers.

    Reference: Phillips, Grother and Micheals 2011, "Evaluation Methods in Face Recognition", section 21.2.
    """
    if not len(search.right) or not search.right.any(1).all():
        raise DataError("a cumulative match characteristic needs probes, all of enrolled identities")
    if np.isnan(search.scores).any():
        raise DataError("scores of a search are no numbers; look for a run that has diverged")
    best = np.where(search.right, search.scores, -np.inf).max(1, keepdims=True)
    ahead = ((search.scores >= best) & ~search.right).sum(1)
    return (ahead[:, None] < np.arange(1, search.scores.shape[1] + 1)[None]).mean(0)


def open_set(search: Search, threshold: float) -> tuple[float, float]:
    """Rates of a search that may answer "nobody": the best match counts if its score is at least a threshold.

    Args:
        search: probes of enrolled and of other identities.
        threshold: accepts scores of at least it.

    Returns:
        (detection and identification rate: the share of enrolled probes whose right identity scores higher than all
        others and passes; false positive identification rate: the share of other probes for whom somebody passes).
        NaN where there are no such probes.

    Reference: Phillips, Grother and Micheals 2011, section 21.3, equations 21.2 and 21.3.
    """
    known = search.right.any(1)
    own = np.where(search.right, search.scores, -np.inf).max(1)
    others = np.where(search.right, -np.inf, search.scores).max(1)
    hits, alarms = (own > others) & (own >= threshold), others >= threshold
    rates = (hits[known].mean() if known.any() else np.nan, alarms[~known].mean() if not known.all() else np.nan)
    return float(rates[0]), float(rates[1])


def chosen(scores: np.ndarray, labels: np.ndarray, rate: float) -> tuple[float, float]:
    """The thresholds at which a share of impostors is accepted: of pairs, and of probes who are not enrolled.

    Every other class is enrolled, by its first image.

    Args:
        scores: of all pairs of images, float [n, n].
        labels: int [n], of two classes or more.
        rate: the share, in [0, 1).

    Returns:
        (threshold of verification, threshold of identification).
    """
    same, values = pairs(scores, labels)
    search = one_shot(scores, labels, classes_of(labels, 2))
    strangers = search.scores[~search.right.any(1)]
    return threshold_at(values[~same], rate), threshold_at(strangers.max(1), rate)


def measured(scores: np.ndarray, labels: np.ndarray, verify: float, identify: float) -> dict[str, float]:
    """Rates of verification of all pairs, and of a one-shot search of all images.

    Args:
        scores: of all pairs of images, float [n, n].
        labels: int [n], of two classes or more, one of them with two images or more.
        verify: threshold of verification, chosen on other classes.
        identify: threshold of identification, likewise.

    Returns:
        {auc, equal_error_rate: of all thresholds; true_accept_rate, false_accept_rate: at `verify`; rank1, rank5,
        chance: of a search in which every class is enrolled; identification_rate, false_alarm_rate: at `identify`,
        every other class enrolled, of probes who are and who are not; examples}.
    """
    same, values = pairs(scores, labels)
    everybody, some = (one_shot(scores, labels, classes_of(labels, every)) for every in (1, 2))
    match = cumulative_match(everybody)
    accept, search = accepted(same, values, verify), open_set(some, identify)
    return {
        "auc": ranking.roc_auc(same, values),
        "equal_error_rate": equal_error_rate(same, values),
        "true_accept_rate": accept[0],
        "false_accept_rate": accept[1],
        "rank1": float(match[0]),
        "rank5": float(match[min(4, len(match) - 1)]),
        "chance": 1 / len(match),
        "identification_rate": search[0],
        "false_alarm_rate": search[1],
        "examples": len(labels),
    }
