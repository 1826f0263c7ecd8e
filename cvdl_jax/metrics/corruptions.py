"""Errors under corruptions as one number, relative to those of a reference classifier.

Reference: Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", section 3.2.
"""

from typing import Any

import numpy as np

from cvdl_jax.errors import DataError


def corruption_errors(errors: Any, reference: Any) -> np.ndarray:
    """The error of each corruption over that of the reference: `CE_c = sum_s E_sc / sum_s E^ref_sc`.

    Args:
        errors: [c, s], error rates of c corruptions in s severities.
        reference: [c, s], of the reference.

    Returns:
        float64 [c]; their mean is the mCE.

    Raises:
        DataError: for rates that are none, or a corruption under which the reference makes no error.
    """
    errors, reference = _rates(errors), _rates(reference)
    return _over(errors.sum(1), reference.sum(1), errors, reference)


def relative_corruption_errors(errors: Any, clean: float, reference: Any, reference_clean: float) -> np.ndarray:
    """How much each corruption adds, over what it adds for the reference.

        relative CE_c = (sum_s E_sc - E_clean) / (sum_s E^ref_sc - E^ref_clean),    differences inside the sums

    Args:
        errors: [c, s].
        clean: error rate without corruption.
        reference: [c, s].
        reference_clean: its error rate without corruption.

    Returns:
        float64 [c].

    Raises:
        DataError: see `corruption_errors`; also for a corruption that adds nothing to the errors of the reference.
    """
    errors, reference = _rates(errors), _rates(reference)
    _rates([[clean, reference_clean]])
    return _over((errors - clean).sum(1), (reference - reference_clean).sum(1), errors, reference)


def _over(ours: np.ndarray, theirs: np.ndarray, errors: np.ndarray, reference: np.ndarray) -> np.ndarray:
    if errors.shape != reference.shape:
        raise DataError(f"the reference has error rates {list(reference.shape)}, expected {list(errors.shape)}")
    nothing = np.flatnonzero(theirs < 1e-9)  # sums of differences that are 0 but for rounding, too
    if nothing.size:
        raise DataError(
            f"corruption {nothing[0]} adds no errors to those of the reference, by which others are divided; take more "
            "images, or another reference"
        )
    return ours / theirs


def _rates(x: Any) -> np.ndarray:
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or not x.size or not ((x >= 0) & (x <= 1)).all():
        raise DataError(f"error rates must be numbers in 0..1, [corruptions, severities], got {list(x.shape)}")
    return x
