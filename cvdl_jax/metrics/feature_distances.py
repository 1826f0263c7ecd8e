"""How far a set of generated images is from a set of real ones, both as features [n, d] of one network.

Whose features they are belongs to the name of a number: distances in the space of two networks do not compare, nor do
those of different numbers of samples. All is float64 NumPy, for the host.
"""

from typing import NamedTuple

import numpy as np

from cvdl_jax.errors import DataError

_BLOCK = 2048  # rows of a matrix of distances at a time


class Moments(NamedTuple):
    """The Gaussian that is fitted to features: mean [d], covariance [d, d] with n - 1, and how many they were."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int


def moments(features: np.ndarray) -> Moments:
    """Mean and unbiased covariance of features.

    Args:
        features: [n, d], n > d: of fewer, the covariance is singular, and its distance says more of n than of them.

    Raises:
        DataError: for too few, or values that are not finite.
    """
    x = _checked(features)
    n, d = x.shape
    if n <= d:
        raise DataError(f"{n} samples are too few for a covariance of {d} features; take more than {d}")
    return Moments(x.mean(0), np.cov(x, rowvar=False).reshape(d, d), n)


def frechet_distance(a: Moments, b: Moments) -> float:
    """`|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^{1/2})`, the squared Wasserstein-2 distance of two Gaussians.

    The trace of the root is the sum of the roots of the eigenvalues of `C_a^{1/2} C_b C_a^{1/2}`, which is symmetric:
    no root of a matrix that is nearly singular, and no imaginary parts.

    Args:
        a: of the real images.
        b: of the generated ones.

    Returns:
        At least 0; 0 for equal moments, `|m_a - m_b|^2` for equal covariances.

    Raises:
        DataError: for features of different networks.

    Reference: Dowson and Landau 1982; Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule", equation 6.
    """
    if a.mean.shape != b.mean.shape:
        raise DataError(f"features of {len(a.mean)} and of {len(b.mean)} numbers are not of one network")
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ b.covariance @ root)
    crossed = np.sqrt(np.maximum(inner, 0)).sum()
    far = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance) + np.trace(b.covariance) - 2 * crossed
    return float(max(far, 0.0))


def kernel_distance(real: np.ndarray, fake: np.ndarray, degree: int = 3) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy with the kernel `(x . y / d + 1)^degree`.

    Its expectation is that of the distributions whatever the number of samples, and may be negative on a sample.

    Args:
        real: [n, d].
        fake: [m, d].
        degree: of the polynomial.

    Raises:
        DataError: for fewer than two rows, or features of different networks.

    Reference: Binkowski et al. 2018, "Demystifying MMD GANs", section 4 ("KID", without its division into subsets).
    """
    x, y = _pair(real, fake)
    d, n, m = x.shape[1], len(x), len(y)
    if min(n, m) < 2:
        raise DataError(f"the kernel distance needs at least two samples of each, got {n} and {m}")

    def total(a: np.ndarray, b: np.ndarray) -> float:
        return sum(float(((a[i : i + _BLOCK] @ b.T / d + 1) ** degree).sum()) for i in range(0, len(a), _BLOCK))

    def own(a: np.ndarray) -> float:
        return float((((a**2).sum(1) / d + 1) ** degree).sum())

    within = (total(x, x) - own(x)) / (n * (n - 1)) + (total(y, y) - own(y)) / (m * (m - 1))
    return within - 2 * total(x, y) / (n * m)


def neighbourhoods(real: np.ndarray, fake: np.ndarray, k: int = 3) -> dict[str, float]:
    """How many samples look real, and how much of the real images they cover, by balls around nearest neighbours.

    The ball of a point reaches to its k-th nearest neighbour in its own set.

    Args:
        real: [n, d].
        fake: [m, d].
        k: neighbours, fewer than the rows of both sets.

    Returns:
        `precision`, the share of samples in a ball of a real image; `recall`, the share of real images in a ball of a
        sample; `density`, the mean number of balls of real images around a sample, over k; `coverage`, the share of
        real images whose ball has a sample in it.

    Raises:
        DataError: for too few rows, or features of different networks.

    Reference: Kynkaanniemi et al. 2019, "Improved Precision and Recall Metric for Assessing Generative Models",
        equations 1 and 2; Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics", equations 4 and 5.
    """
    x, y = _pair(real, fake)
    if not 1 <= k < min(len(x), len(y)):
        raise DataError(f"k={k} neighbours need more than {k} rows of each set, got {len(x)} and {len(y)}")
    of_real, of_fake = _radii(x, k), _radii(y, k)
    balls = np.zeros(len(y))  # of real images around each sample
    in_fake = np.zeros(len(x), bool)
    covered = np.zeros(len(x), bool)
    for i in range(0, len(x), _BLOCK):
        far = _squared(x[i : i + _BLOCK], y)  # [block, m]
        inside = far <= of_real[i : i + _BLOCK, None]
        balls += inside.sum(0)
        covered[i : i + _BLOCK] = inside.any(1)
        in_fake[i : i + _BLOCK] = (far <= of_fake[None]).any(1)
    return {
        "precision": float((balls > 0).mean()),
        "recall": float(in_fake.mean()),
        "density": float(balls.mean() / k),
        "coverage": float(covered.mean()),
    }


def nearest(queries: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The row of `among` that is nearest to each query, and the distance: is a sample a copy of a training image?

    Args:
        queries: [q, d].
        among: [n, d].

    Returns:
        int [q]; Euclidean distances [q].
    """
    x, y = _pair(queries, among)
    rows = np.concatenate([_squared(x[i : i + _BLOCK], y).argmin(1) for i in range(0, len(x), _BLOCK)])
    return rows, np.sqrt(((x - y[rows]) ** 2).sum(1))


def histogram_divergence(real: np.ndarray, fake: np.ndarray, bins: int = 50, least: float = 1e-10) -> float:
    """`KL(p, q)` in nats of histograms of one number of each image, such as its mean, on the bins of both together.

    Args:
        real: [n], p.
        fake: [m], q.
        bins: of equal width, from the least to the largest value.
        least: probability of an empty bin, of both before they are divided by their sums; with none the divergence
            would be infinite wherever the samples miss a bin.

    Raises:
        DataError: for empty sets or values that are not finite.

    Reference: Kullback and Leibler 1951; the density estimate is that of the course, section 16.8 of the compendium.
    """
    x, y = (_checked(np.asarray(a).reshape(-1, 1))[:, 0] for a in (real, fake))
    edges = np.histogram_bin_edges(np.concatenate([x, y]), bins)
    p, q = (np.histogram(a, edges)[0] / len(a) + least for a in (x, y))
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum())


def _checked(features: np.ndarray) -> np.ndarray:
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or not x.size:
        raise DataError(f"expected features [n, d] of at least one image, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise DataError(f"{int((~np.isfinite(x)).any(1).sum())} of {len(x)} rows of features are not finite")
    return x


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = _checked(a), _checked(b)
    if x.shape[1] != y.shape[1]:
        raise DataError(f"features of {x.shape[1]} and of {y.shape[1]} numbers are not of one network")
    return x, y


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances [n, m] of rows, at least 0."""
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, 0)


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """The squared distance of each row to its k-th nearest other row."""
    radii = []
    for i in range(0, len(x), _BLOCK):
        far = _squared(x[i : i + _BLOCK], x)
        far[np.arange(len(far)), i + np.arange(len(far))] = np.inf  # itself; a copy of it counts
        radii.append(np.partition(far, k - 1, 1)[:, k - 1])
    return np.concatenate(radii)
