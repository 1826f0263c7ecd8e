"""Cuts a set of examples into parts by fractions, with the proportions of the classes kept where that is asked for.

A part's size is its fraction of n, rounded by largest remainder, so that the sizes add up to n: 1,000,000 examples by
98/1/1 are 980,000, 10,000 and 10,000. With labels every class is cut in the same proportions, at most one example off,
and the sizes of the parts stay the same. Which example goes where is a function of (n, labels, seed) alone.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import isfinite

import numpy as np

from cvdl_jax.data import order
from cvdl_jax.errors import ConfigError


def check_fractions(fractions: Sequence[float], path: str = "fractions") -> None:
    """Refuses fractions that do not cut a set.

    Args:
        fractions: of each part.
        path: name for messages.

    Raises:
        ConfigError: naming the fractions, and what they must be.
    """
    shown = f"{path}={tuple(fractions)}"
    if len(fractions) not in (2, 3):
        raise ConfigError(f"{shown} must be two numbers (train, validation) or three (train, validation, test)")
    if not all(isfinite(f) and 0 < f < 1 for f in fractions):
        raise ConfigError(f"{shown}: each must lie in (0, 1), for example (0.7, 0.15, 0.15)")
    if abs(sum(map(_exact, fractions)) - 1) > Fraction(1, 10**6):
        total = float(sum(map(_exact, fractions)))
        raise ConfigError(f"{shown} add up to {total:.6g}, expected 1, for example (0.7, 0.15, 0.15)")


def _exact(fraction: float) -> Fraction:
    """The decimal that was typed: 0.7 is 7/10, not the nearest binary number."""
    return Fraction(repr(float(fraction)))


def sizes(n: int, fractions: Sequence[float]) -> list[int]:
    """How many of n examples each part gets, by largest remainder; of equal remainders the earlier part gains.

    Args:
        n: number of examples.
        fractions: of each part, adding up to 1.

    Returns:
        Sizes that add up to n, each within one of n times its fraction.

    Raises:
        ConfigError: if a part would be empty, naming it.
    """
    exact = [n * _exact(f) for f in fractions]
    found = [int(x) for x in exact]
    by_remainder = sorted(range(len(exact)), key=lambda j: (found[j] - exact[j], j))
    for j in by_remainder[: n - sum(found)]:
        found[j] += 1
    for j, size in enumerate(found):
        if size == 0:
            raise ConfigError(
                f"{n} examples cut by {tuple(fractions)} leave part {j + 1} (fraction {fractions[j]}) empty; use a "
                f"fraction of at least {1 / n if n else 1:.3g}, or a larger set"
            )
    return found


def equal_sizes(n: int, parts: int) -> list[int]:
    """Sizes of so many equal parts of n, the larger ones first: 10 in 3 is [4, 3, 3]."""
    return [n // parts + (i < n % parts) for i in range(parts)]


def allocate(classes: Sequence[int], parts: Sequence[int], shares: Sequence[Fraction]) -> np.ndarray:
    """How many examples of each class each part gets: proportional, at most one off, with both totals exact.

        |a[c, j] - classes[c] shares[j]| <= 1,    sum_j a[c, j] = classes[c],    sum_c a[c, j] = parts[j]

    Every cell begins with the whole part of its share; what is left of a class goes, one each, to the parts that lack
    most. That this comes out even is Ryser's construction of a 0/1 matrix with given sums.

    Args:
        classes: examples of each class; they add up to n.
        parts: sizes of the parts; they add up to n, each within one of n times its share.
        shares: of the parts, adding up to 1.

    Returns:
        int64 [classes, parts].

    Raises:
        ValueError: if the two do not add up to the same.

    Reference: H. J. Ryser 1957, "Combinatorial properties of matrices of zeros and ones", theorem 2.1.
    """
    counts, room = np.asarray(classes, np.int64), np.asarray(parts, np.int64)
    if counts.sum() != room.sum():
        raise ValueError(f"classes hold {counts.sum()} examples, parts {room.sum()}; expected the same")
    cells = np.array([[int(int(n) * share) for share in shares] for n in counts], np.int64)  # [c, j]
    left, lack = counts - cells.sum(1), room - cells.sum(0)
    for c in np.argsort(-left, kind="stable"):
        chosen = np.argsort(-lack, kind="stable")[: left[c]]
        cells[c, chosen] += 1
        lack[chosen] -= 1
    return cells


def assign(n: int, fractions: Sequence[float] | int, seed: int, labels: np.ndarray | None = None) -> list[np.ndarray]:
    """Which of n examples each part gets, drawn at random.

    Args:
        n: number of examples.
        fractions: of the parts, adding up to 1, or a number of equal parts.
        seed: of the draw, at least 0.
        labels: int [n], to keep the proportions of the classes; None for one draw over all.

    Returns:
        For each part its examples, int64, ascending: disjoint, together 0 ... n - 1.

    Raises:
        ConfigError: if a part would be empty.
    """
    if isinstance(fractions, int):
        parts, shares = equal_sizes(n, fractions), [Fraction(1, fractions)] * fractions
    else:
        parts, shares = sizes(n, fractions), [_exact(f) for f in fractions]
    drawn = np.argsort(order.random_bits(seed, order.SPLIT, 0, 0, n), kind="stable").astype(np.int64)
    labels = np.zeros(n, np.int64) if labels is None else np.asarray(labels)
    known, where, counts = np.unique(labels[drawn], return_inverse=True, return_counts=True)
    cells = allocate(counts, parts, shares)
    found: list[list[np.ndarray]] = [[] for _ in parts]
    for c in range(len(known)):
        for j, rows in enumerate(np.split(drawn[where == c], np.cumsum(cells[c])[:-1])):
            found[j].append(rows)
    return [np.sort(np.concatenate(rows)) for rows in found]
