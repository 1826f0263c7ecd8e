"""Gaussian smoothing and gradients of grey images in NumPy, which the classical methods of this folder share."""

import math

import numpy as np


def gaussian(x: np.ndarray, sigma: float, truncate: float = 4.0) -> np.ndarray:
    """Convolution with a sampled Gaussian of sum 1; beyond the border the nearest pixel is repeated.

    Args:
        x: float [h, w].
        sigma: standard deviation in pixels, 0 for none.
        truncate: the kernel ends at so many deviations, rounded.
    """
    x = np.asarray(x, np.float64)
    if sigma <= 0:
        return x
    radius = math.floor(truncate * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    down, across = (_matrix(n, kernel / kernel.sum()) for n in x.shape)
    return down @ x @ across.T


def _matrix(n: int, kernel: np.ndarray) -> np.ndarray:
    """A convolution of a line of n pixels as a matrix [n, n]."""
    radius = len(kernel) // 2
    places = np.clip(np.arange(n)[:, None] + np.arange(-radius, radius + 1)[None], 0, n - 1)
    matrix = np.zeros((n, n))
    np.add.at(matrix, (np.arange(n)[:, None], places), kernel[None])
    return matrix


def central(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central differences (dy, dx), `(x[i + 1] - x[i - 1]) / 2`, the nearest pixel repeated beyond the border."""
    p = np.pad(x, 1, "edge")
    return (p[2:, 1:-1] - p[:-2, 1:-1]) / 2, (p[1:-1, 2:] - p[1:-1, :-2]) / 2


def sobel(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sobel's gradient (dy, dx): central differences smoothed across by (1, 2, 1) / 4."""
    p = np.pad(x, 1, "edge")
    down, across = p[2:] - p[:-2], p[:, 2:] - p[:, :-2]
    return (
        (down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]) / 8,
        (across[:-2] + 2 * across[1:-1] + across[2:]) / 8,
    )
