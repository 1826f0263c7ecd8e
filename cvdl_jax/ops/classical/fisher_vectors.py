"""Fisher vectors: how the descriptors of an image would change a mixture of Gaussians that was fitted to all images."""

import numpy as np

from cvdl_jax.errors import DataError


def posteriors(x: np.ndarray, weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """p(k | x) [n, k] of points x [n, d] under a mixture of diagonal Gaussians."""
    lengths = (
        np.square(x) @ (1 / variances).T - 2 * x @ (means / variances).T + (means**2 / variances).sum(1)[None]
    )  # [n, k]
    scores = np.log(weights)[None] - lengths / 2 - np.log(variances).sum(1)[None] / 2
    p = np.exp(scores - scores.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def encode(x: np.ndarray, weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """The Fisher vector of the descriptors of one image: gradients by means and deviations, scaled.

    `G_mu_k = 1 / (n sqrt(w_k)) sum_i p(k|x_i) z_ik`, `G_sigma_k = 1 / (n sqrt(2 w_k)) sum_i p(k|x_i) (z_ik^2 - 1)`,
    `z_ik = (x_i - mu_k) / sigma_k`: the gradient of the mean log likelihood, whitened by the inverse root of Fisher's
    information.

    Args:
        x: descriptors [n, d].
        weights: of the mixture, [k].
        means: [k, d].
        variances: [k, d].

    Returns:
        float64 [2 k d], those of means first.

    Raises:
        DataError: for an image without descriptors.

    Reference: Perronnin, Sanchez and Mensink 2010, "Improving the Fisher Kernel for Large-Scale Image Classification",
    section 2.2; Sanchez et al. 2013, equations 17 and 18.
    """
    x = np.asarray(x, np.float64)
    if not len(x):
        raise DataError("an image without descriptors has no Fisher vector; leave it out")
    p, n = posteriors(x, weights, means, variances), len(x)
    mass, first, second = p.sum(0)[:, None], p.T @ x, p.T @ np.square(x)  # [k, 1], [k, d], [k, d]
    by_mean = (first - mass * means) / np.sqrt(variances)
    by_deviation = (second - 2 * first * means + mass * means**2) / variances - mass
    by_mean, by_deviation = by_mean / np.sqrt(weights)[:, None], by_deviation / np.sqrt(2 * weights)[:, None]
    return np.concatenate([by_mean.ravel(), by_deviation.ravel()]) / n


def improved(vector: np.ndarray) -> np.ndarray:
    """Signed square roots, then length 1, of vectors [..., d]: section 3 of the same paper."""
    rooted = np.sign(vector) * np.sqrt(np.abs(vector))
    return rooted / np.maximum(np.sqrt(np.square(rooted).sum(-1, keepdims=True)), 1e-12)
