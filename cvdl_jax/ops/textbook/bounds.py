"""Bounds on the difference of the errors in and out of the sample: Hoeffding's, and Vapnik and Chervonenkis'.

They are computed from logarithms, so that large samples do not overflow. A bound above 1 says nothing about a
probability, and is returned as it is.
"""

import math


def hoeffding(n: int, epsilon: float, hypotheses: int = 1) -> float:
    """`P[max over H of |E_in - E_out| > epsilon] <= 2 |H| exp(-2 epsilon^2 n)`, for a finite hypothesis set.

    Args:
        n: examples.
        epsilon: > 0.
        hypotheses: |H|.

    Reference: Hoeffding 1963, theorem 2, with the union bound; Abu-Mostafa et al. 2012, equation 1.6.
    """
    _check(n=n, epsilon=epsilon, hypotheses=hypotheses)
    return math.exp(min(700.0, math.log(2 * hypotheses) - 2 * epsilon**2 * n))


def sauer(n: int, vc_dimension: int) -> int:
    """The most dichotomies of n points by a hypothesis set of that VC dimension: `sum_{i <= d} C(n, i)`.

    Reference: Sauer 1972; Abu-Mostafa et al. 2012, theorem 2.4.
    """
    return sum(math.comb(n, i) for i in range(vc_dimension + 1))


def polynomial(n: int, vc_dimension: int) -> int:
    """The simpler and larger bound on the growth function, `n^d + 1` (Abu-Mostafa et al. 2012, equation 2.10)."""
    return n**vc_dimension + 1


def vc_bound(n: int, epsilon: float, growth: int) -> float:
    """`P[sup over H of |E_in - E_out| > epsilon] <= 4 m_H(2n) exp(-epsilon^2 n / 8)`.

    Args:
        n: examples.
        epsilon: > 0.
        growth: m_H(2n) or a bound on it, such as `sauer(2 * n, vc_dimension)`.

    Returns:
        The bound on the probability, which says nothing above 1.

    Reference: Vapnik and Chervonenkis 1971, theorem 2; Abu-Mostafa et al. 2012, theorem 2.5.
    """
    _check(n=n, epsilon=epsilon, growth=growth)
    return math.exp(min(700.0, math.log(4) + math.log(growth) - epsilon**2 * n / 8))


def vc_epsilon(n: int, delta: float, growth: int) -> float:
    """The most by which E_out exceeds E_in with probability 1 - delta: `sqrt(8 / n log(4 m_H(2n) / delta))`.

    Args:
        n: examples.
        delta: in (0, 1).
        growth: see `vc_bound`.

    Reference: Abu-Mostafa et al. 2012, equation 2.12.
    """
    _check(n=n, delta=delta, growth=growth)
    return math.sqrt(8 / n * (math.log(4) + math.log(growth) - math.log(delta)))


def sample_size(epsilon: float, delta: float, vc_dimension: int, growth_bound=polynomial) -> int:
    """The smallest n that makes `vc_epsilon` at most epsilon: `n >= 8 / epsilon^2 log(4 m_H(2n) / delta)`.

    Args:
        epsilon: > 0.
        delta: in (0, 1).
        vc_dimension: d.
        growth_bound: `polynomial` or `sauer`.

    Reference: Abu-Mostafa et al. 2012, equation 2.13 and example 2.6: about 30,000 for 0.1, 0.1 and d = 3.
    """
    _check(epsilon=epsilon, delta=delta)
    if vc_dimension < 1:
        raise ValueError(f"vc_dimension={vc_dimension} must be at least 1")

    def enough(n: int) -> bool:
        return vc_epsilon(n, delta, growth_bound(2 * n, vc_dimension)) <= epsilon

    high = 1
    while not enough(high):
        high *= 2
    low = high // 2  # not enough, or 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(**values: float) -> None:
    for name, value in values.items():
        if not value > 0 or (name == "delta" and value >= 1):
            raise ValueError(f"{name}={value} must be {'in (0, 1)' if name == 'delta' else 'positive'}")
