"""Confidence intervals of what was measured on a finite test set, or with a few seeds."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

from cvdl_jax.errors import ConfigError, DataError


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion; it stays inside 0..1 and is honest near both ends.

    With p = successes / n and z the normal quantile of (1 + confidence) / 2:

        (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Args:
        successes: number of right answers, 0..n.
        n: number of independent examples.
        confidence: in (0, 1).

    Returns:
        (low, high).

    Raises:
        DataError: without examples, or with more successes than examples.
        ConfigError: if the confidence is not in (0, 1).

    Reference: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    if n <= 0 or not 0 <= successes <= n:
        raise DataError(f"an interval needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence={confidence} must lie in (0, 1), such as 0.95")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if successes == 0 else (centre - half) / scale  # exact at the ends, where rounding would leave 1e-17
    high = 1.0 if successes == n else (centre + half) / scale
    return low, high


def student_t(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean, for example of one metric over n seeds.

        mean -+ t s / sqrt(n),    s^2 = sum (x - mean)^2 / (n - 1)

    with t the quantile of (1 + confidence) / 2 for n - 1 degrees of freedom. It is about the seeds only: the test set
    is the same for all of them. Near the end of a metric's range it may reach beyond.

    Args:
        values: n >= 2 measurements, independent of each other.
        confidence: in (0, 1).

    Returns:
        (low, high).

    Raises:
        DataError: for fewer than two values, or one that is not finite.
        ConfigError: if the confidence is not in (0, 1).

    Reference: Student 1908, "The probable error of a mean".
    """
    n = len(values)
    if n < 2 or not all(map(math.isfinite, values)):
        raise DataError(f"an interval over seeds needs two finite values or more, got {list(values)}")
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence={confidence} must lie in (0, 1), such as 0.95")
    from scipy.special import stdtrit  # lighter than scipy.stats

    mean = fmean(values)
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * stdev(values) / math.sqrt(n)
    return mean - half, mean + half


def format_percent(successes: float, n: float, confidence: float = 0.95) -> str:
    """A proportion with Wilson's interval, for people: `98.3 % [96.4, 99.3]`."""
    low, high = wilson(successes, n, confidence)
    return f"{100 * successes / n:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
