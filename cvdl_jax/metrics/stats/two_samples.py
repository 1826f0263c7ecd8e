"""Whether two samples come from one distribution: of one number, or of many at once.

Of one number Kolmogorov and Smirnov's test and Cliff's delta; of vectors the maximum mean discrepancy with a
permutation test, and the accuracy of a classifier that is to tell the samples apart.
"""

from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.config.binding import Size
from cvdl_jax.errors import DataError
from cvdl_jax.metrics.ranking import mann_whitney


class OneNumber(NamedTuple):
    """Two samples of one number.

    Attributes:
        statistic: the largest difference of the empirical distribution functions.
        p: of the Kolmogorov-Smirnov test.
        delta: Cliff's, P(second > first) - P(second < first), in -1 ... 1: the size of the difference.
    """

    statistic: float
    p: float
    delta: float


class Discrepancy(NamedTuple):
    """The squared maximum mean discrepancy (without bias), the kernel's scale, and p of the permutation test."""

    value: float
    scale: float
    p: float


class Told(NamedTuple):
    """A classifier of the two samples: right of n held-out rows, half of each sample, and p that it only guesses."""

    right: int
    n: int
    p: float

    @property
    def accuracy(self) -> float:
        """Of the held-out rows; 1/2 for one distribution."""
        return self.right / self.n


def kolmogorov_smirnov(first: Any, second: Any) -> OneNumber:
    """The two-sample test of Kolmogorov and Smirnov, with an effect size.

    Args:
        first: float [n].
        second: float [m].

    Raises:
        DataError: for what is no sample of finite numbers.

    Reference: Smirnov 1948; Cliff 1993, "Dominance statistics".
    """
    from scipy.stats import ks_2samp

    pair = [_vectors(x) for x in (first, second)]
    if any(x.shape[1] > 1 for x in pair):
        raise DataError(
            f"one number of each example is compared, got {[list(x.shape) for x in pair]}; test each column"
        )
    first, second = (x[:, 0] for x in pair)
    test = ks_2samp(first, second)
    area = mann_whitney(np.arange(len(first) + len(second)) >= len(first), np.append(first, second))
    return OneNumber(float(test.statistic), float(test.pvalue), 2 * area - 1)


def discrepancy(first: Any, second: Any, permutations: Size = 499, seed: int = 0, scale: float = 0.0) -> Discrepancy:
    """The maximum mean discrepancy with a Gaussian kernel, and how often a random division shows as much.

        MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean k(x_i, y_j)
        p = (1 + number of divisions with at least this MMD^2) / (1 + permutations)

    Args:
        first: float [n, d], n at least 2.
        second: float [m, d], m at least 2.
        permutations: random divisions of all rows into n and m.
        seed: of them.
        scale: s of `exp(-|x - y|^2 / (2 s^2))`; 0 for the median distance of the rows.

    Raises:
        DataError: for what are no two samples of vectors of one length, or rows that are all equal.

    Reference: Gretton et al. 2012, "A Kernel Two-Sample Test", equation 3 and section 8.
    """
    first, second = _vectors(first), _vectors(second)
    if first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise DataError(
            f"two samples of two vectors or more of one length are needed, got {first.shape}, {second.shape}"
        )
    rows = np.concatenate([first, second])
    squares = np.maximum((rows**2).sum(1)[:, None] + (rows**2).sum(1)[None] - 2 * rows @ rows.T, 0)
    scale = scale or float(np.sqrt(np.median(squares[np.triu_indices(len(rows), 1)])))
    if not scale:
        raise DataError("most rows are equal: their median distance is 0; give a scale")
    kernel, n, m = np.exp(-squares / (2 * scale**2)), len(first), len(second)
    np.fill_diagonal(kernel, 0)
    total = kernel.sum()

    def value(own: np.ndarray) -> float:
        """Of a division, 1 for rows of the first sample."""
        inside, row = own @ kernel @ own, own @ kernel.sum(1)
        return inside / (n * (n - 1)) + (total - 2 * row + inside) / (m * (m - 1)) - 2 * (row - inside) / (n * m)

    own = np.repeat([1.0, 0.0], [n, m])
    random, observed = np.random.default_rng(seed), value(own)
    others = np.array([value(random.permutation(own)) for _ in range(permutations)])
    more = int((others >= observed - 1e-12).sum())
    return Discrepancy(float(observed), scale, (1 + more) / (1 + permutations))


def told_apart(first: Any, second: Any, seed: int = 0) -> Told:
    """A logistic regression on half of as many rows of each sample, tested on the other half (binomial, one-sided).

    Args:
        first: float [n, d].
        second: float [m, d].
        seed: of the division.

    Raises:
        DataError: for fewer than four rows in a sample.

    Reference: Lopez-Paz and Oquab 2017, "Revisiting Classifier Two-Sample Tests", section 3.
    """
    from scipy.stats import binomtest
    from sklearn.linear_model import LogisticRegression

    first, second = _vectors(first), _vectors(second)
    size = min(len(first), len(second)) // 2 * 2
    if size < 4:
        raise DataError(f"a classifier of two samples needs four rows of each, got {len(first)} and {len(second)}")
    random = np.random.default_rng(seed)
    x = np.stack([sample[random.permutation(len(sample))[:size]] for sample in (first, second)])  # [2, size, d]
    seen, held = (x[:, part].reshape(size, -1) for part in (slice(size // 2), slice(size // 2, None)))
    which, spread = np.repeat([0, 1], size // 2), seen.std(0)
    mean, spread = seen.mean(0), np.where(spread > 0, spread, 1)
    model = LogisticRegression(max_iter=1000).fit((seen - mean) / spread, which)
    right = int((model.predict((held - mean) / spread) == which).sum())
    return Told(right, size, float(binomtest(right, size, 0.5, alternative="greater").pvalue))


def _vectors(x: Any) -> np.ndarray:
    x = np.asarray(x, np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or not x.size or not np.isfinite(x).all():
        raise DataError(f"a sample is finite numbers [n] or [n, d] of n > 0 rows, got {list(x.shape)}")
    return x
