"""Grey images on the host, which the classical methods of this folder share: their check, smoothing and gradients.

In float64 and with SciPy's filters, one compiled program for all sizes: a scale space has many. Blurs of batches inside
compiled programs are in `images/filters.py`.
"""

import numpy as np
from scipy.ndimage import correlate1d, gaussian_filter
from scipy.ndimage import sobel as scipy_sobel

from cvdl_jax.errors import DataError

FAR = 10.0  # beyond any level of 0..1 with noise, below those of bytes


def grey(image: np.ndarray, operation: str) -> np.ndarray:
    """One grey image as float64 [h, w].

    Thresholds of grey levels are of 0..1, so that bytes would be wrong by a factor without a word.

    Args:
        image: float [h, w].
        operation: for the message.

    Raises:
        DataError: for bytes, colours, no pixel, and levels that are no numbers or far beyond 0..1.
    """
    image = np.asarray(image)
    if image.ndim != 2 or not image.size or not np.issubdtype(image.dtype, np.floating):
        raise DataError(
            f"{operation} takes one grey image [h, w] of floats in 0..1, got {image.dtype} {list(image.shape)}; divide "
            "bytes by 255, and add up the channels of a coloured image"
        )
    if not np.isfinite(image).all():
        raise DataError(f"{operation}: {np.sum(~np.isfinite(image))} pixels of the image are NaN or infinite")
    if np.abs(image).max() > FAR:
        raise DataError(f"{operation} takes levels in 0..1, got {image.min():.4g}..{image.max():.4g}; divide by 255")
    return image.astype(np.float64)


def gaussian(x: np.ndarray, sigma: float, truncate: float = 4.0) -> np.ndarray:
    """Convolution with a sampled Gaussian of sum 1; beyond the border the nearest pixel is repeated.

    Args:
        x: float [h, w].
        sigma: standard deviation in pixels, 0 for none.
        truncate: the kernel ends at so many deviations, rounded.

    Raises:
        ValueError: for a negative sigma.
    """
    if not sigma >= 0:
        raise ValueError(f"sigma={sigma} must be 0 or more")
    return gaussian_filter(np.asarray(x, np.float64), sigma, mode="nearest", truncate=truncate)


def central(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central differences (dy, dx), `(x[i + 1] - x[i - 1]) / 2`, of [..., h, w]; the nearest pixel is repeated."""
    return tuple(correlate1d(np.asarray(x, np.float64), [-0.5, 0, 0.5], axis, mode="nearest") for axis in (-2, -1))


def sobel(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sobel's gradient (dy, dx): central differences smoothed across by (1, 2, 1) / 4."""
    return tuple(scipy_sobel(np.asarray(x, np.float64), axis, mode="nearest") / 8 for axis in (0, 1))
