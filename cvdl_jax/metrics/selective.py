"""Classifiers with a reject option: what share of the accepted answers is wrong, for every share that is accepted.

An answer is accepted if its confidence is at least a threshold. Coverage is the share of answers that are accepted,
risk the share of these that are wrong.

Reference: El-Yaniv and Wiener 2010, "On the Foundations of Noise-free Selective Classification", section 2; Geifman et
al. 2019, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", section 2 (AURC, E-AURC).
"""

from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.config.binding import Probability
from cvdl_jax.errors import DataError


class RiskCoverage(NamedTuple):
    """Coverage, risk and threshold as the threshold falls through the distinct confidences: float64 [k] each."""

    coverage: np.ndarray
    risk: np.ndarray
    thresholds: np.ndarray


def risk_coverage(confidence: Any, wrong: Any) -> RiskCoverage:
    """The risk at every coverage that a threshold can give; examples of one confidence are accepted together.

    Args:
        confidence: float [n].
        wrong: 0, 1 or bool [n].

    Raises:
        DataError: if they are not n > 0 finite numbers and n truths.
    """
    confidence, wrong = _checked(confidence, wrong)
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of each run of equal confidences
    errors = np.cumsum(wrong[order])[last]
    return RiskCoverage((last + 1) / len(ranked), errors / (last + 1), ranked[last])


def aurc(confidence: Any, wrong: Any) -> float:
    """The area under the risk-coverage curve, `1/n sum_k risk of the k most confident answers`.

    Of examples with one confidence every order is as good: the sum is its mean over these orders.

    Args:
        confidence: float [n].
        wrong: 0, 1 or bool [n].

    Raises:
        DataError: see `risk_coverage`.
    """
    coverage, risk, _ = risk_coverage(confidence, wrong)
    n = len(np.asarray(wrong))
    accepted = np.insert(np.rint(coverage * n), 0, 0)
    errors = np.insert(np.rint(risk * coverage * n), 0, 0)
    k = np.arange(1, n + 1)
    return float((np.interp(k, accepted, errors) / k).mean())


def excess_aurc(confidence: Any, wrong: Any) -> float:
    """`aurc` minus the least that any confidence could give, with every wrong answer below every right one.

    Args:
        confidence: float [n].
        wrong: 0, 1 or bool [n].
    """
    confidence, wrong = _checked(confidence, wrong)
    return aurc(confidence, wrong) - aurc(-wrong.astype(np.float64), wrong)


def coverage_at_risk(confidence: Any, wrong: Any, risk: Probability) -> float:
    """The largest coverage whose risk is at most `risk`; 0 where no threshold is that safe.

    Args:
        confidence: float [n].
        wrong: 0, 1 or bool [n].
        risk: share of the accepted answers that may be wrong.
    """
    curve = risk_coverage(confidence, wrong)
    return float(curve.coverage[curve.risk <= risk].max(initial=0.0))


def _checked(confidence: Any, wrong: Any) -> tuple[np.ndarray, np.ndarray]:
    confidence, wrong = np.asarray(confidence, np.float64), np.asarray(wrong)
    if confidence.ndim != 1 or confidence.shape != wrong.shape or not len(wrong) or not np.isfinite(confidence).all():
        raise DataError(
            f"confidence must be n > 0 finite numbers and wrong as many truths, got {list(confidence.shape)} and "
            f"{list(wrong.shape)}"
        )
    if not np.isin(wrong, (0, 1)).all():
        raise DataError("wrong must be 0 or 1 for each answer")
    return confidence, wrong.astype(bool)
