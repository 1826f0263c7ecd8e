"""How well queries find what belongs to them among candidates: recall at k."""

from collections.abc import Sequence

import numpy as np

_ROWS = 1024  # queries compared at a time


def belonging(captions: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the distinct captions each image has; captions of the same words are one.

    Args:
        captions: of n images with up to k captions, int [n, k, t].
        real: bool [n, k], false for rows that are no captions.

    Returns:
        (places of a first example of each of the c captions in the flat n k rows, int [c];
        bool [n, c], true where an image has a caption).
    """
    n, k, t = captions.shape
    rows = np.flatnonzero(real.reshape(-1))
    _, first, which = np.unique(captions.reshape(n * k, t)[rows], axis=0, return_index=True, return_inverse=True)
    belongs = np.zeros((n, len(first)), bool)
    belongs[rows // k, which.reshape(-1)] = True
    return rows[first], belongs


def recalls(
    queries: np.ndarray, candidates: np.ndarray, right: np.ndarray, at: Sequence[int] = (1, 5)
) -> dict[int, np.ndarray]:
    """Whether a right candidate is among the k of largest inner product with each query.

    Args:
        queries: float [q, e].
        candidates: float [c, e].
        right: bool [q, c]; every query has a right candidate.
        at: the numbers k.

    Returns:
        {k: bool [q]}. A candidate as similar as a right one, and not right, counts as if it came first; so does one
        whose similarity is no number.

    Raises:
        ValueError: for a query without a right candidate.
    """
    if not right.any(1).all():
        raise ValueError(f"query {int(np.argmin(right.any(1)))} has no right candidate")
    ahead = []
    for start in range(0, len(queries), _ROWS):
        scores, mine = queries[start : start + _ROWS] @ candidates.T, right[start : start + _ROWS]
        best = np.where(mine & ~np.isnan(scores), scores, -np.inf).max(1, keepdims=True)
        lost = np.isneginf(best[:, 0])  # no right candidate has a similarity
        ahead.append(np.where(lost, max(at), (~(scores < best) & ~mine).sum(1)))
    places = np.concatenate(ahead)
    return {k: places < k for k in at}


def chance(right: np.ndarray) -> float:
    """The expected recall at 1 of a candidate that is drawn at random. Args: right bool [q, c]."""
    return float(right.mean())
