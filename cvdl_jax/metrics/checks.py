"""What metrics take: labels and scores that fit together, in NumPy on the host."""

from typing import Any

import numpy as np

from cvdl_jax.errors import DataError


def finite(name: str, values: Any, ndim: int | None = None) -> np.ndarray:
    """Numbers as float64.

    Args:
        name: of the argument, for the message.
        values: numbers.
        ndim: how many axes they must have; None for any.

    Raises:
        DataError: naming the argument: empty, of another number of axes, or with a value that is not finite.
    """
    numbers = np.asarray(values, np.float64)
    if not numbers.size or (ndim is not None and numbers.ndim != ndim):
        axes = "" if ndim is None else f" with {ndim} {'axis' if ndim == 1 else 'axes'}"
        raise DataError(f"{name} has shape {list(numbers.shape)}; expected at least one number{axes}")
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if wrong.size:
        place = [int(i) for i in np.unravel_index(wrong[0], numbers.shape)] or ""
        raise DataError(
            f"{name}{place}={numbers.flat[wrong[0]]} is not finite ({wrong.size} of {numbers.size} values are not); "
            "look for an overflow in the model"
        )
    return numbers


def integers(name: str, values: Any) -> np.ndarray:
    """Whole numbers or booleans as int64 [n].

    Raises:
        DataError: naming the argument: empty, not [n], or not whole numbers.
    """
    whole = np.asarray(values)
    if whole.ndim != 1 or not whole.size:
        raise DataError(f"{name} has shape {list(whole.shape)}; expected [n] with at least one")
    if whole.dtype.kind not in "biu":
        raise DataError(f"{name} are {whole.dtype}; expected whole numbers: classes, not scores")
    return whole.astype(np.int64)


def classes(name: str, values: Any, num_classes: int) -> np.ndarray:
    """Class indices as int64 [n].

    Raises:
        DataError: naming the argument and the first value that is not in 0..num_classes - 1.
    """
    indices = integers(name, values)
    wrong = np.flatnonzero((indices < 0) | (indices >= num_classes))
    if wrong.size:
        raise DataError(
            f"{name}[{wrong[0]}]={indices[wrong[0]]} is not one of the {num_classes} classes 0..{num_classes - 1}"
        )
    return indices


def binary_scores(labels: Any, scores: Any) -> tuple[np.ndarray, np.ndarray]:
    """(labels bool [n], scores float64 [n]) of a binary problem.

    Raises:
        DataError: naming the argument: labels that are not 0 and 1, scores that are not finite, lengths that differ.
    """
    labels, scores = classes("labels", labels, 2).astype(bool), finite("scores", scores, 1)
    if labels.shape != scores.shape:
        raise DataError(f"labels {list(labels.shape)} and scores {list(scores.shape)} are not of the same examples")
    return labels, scores


def class_scores(labels: Any, scores: Any) -> tuple[np.ndarray, np.ndarray]:
    """(labels int64 [n], scores float64 [n, c]) of a problem with c classes.

    Raises:
        DataError: naming the argument, as of `binary_scores`.
    """
    scores = finite("scores", scores, 2)
    labels = classes("labels", labels, scores.shape[1])
    if len(labels) != len(scores):
        raise DataError(f"labels {list(labels.shape)} and scores {list(scores.shape)} are not of the same examples")
    return labels, scores
