"""Canny's edges: thin lines of the steepest gradient, kept where they are strong or joined to what is strong."""

import numpy as np

from cvdl_jax.ops.classical.smoothing import gaussian, grey, sobel


def thinned(dy: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """Lengths of gradients that are no shorter than both neighbours along the gradient, else 0: [h, w].

    A neighbour's length is interpolated between the two pixels that the gradient points between. Pixels of the border
    are 0.

    Args:
        dy: along rows, [h, w].
        dx: along columns.
    """
    length = np.hypot(dy, dx)
    h, w = length.shape
    if min(h, w) < 3:
        return np.zeros((h, w))  # of border alone
    rows, columns = np.mgrid[1 : h - 1, 1 : w - 1]
    y, x = dy[1:-1, 1:-1], dx[1:-1, 1:-1]
    steep = abs(y) >= abs(x)
    down, across = np.sign(y).astype(int), np.sign(x).astype(int)
    part = np.minimum(abs(y), abs(x)) / np.maximum(np.maximum(abs(y), abs(x)), 1e-300)  # of the way to the diagonal

    def beside(sign: int) -> np.ndarray:
        straight = length[rows + sign * down * steep, columns + sign * across * ~steep]
        return (1 - part) * straight + part * length[rows + sign * down, columns + sign * across]

    middle = length[1:-1, 1:-1]
    # On one side strictly: of two equal pixels across an edge one stays.
    kept = (middle > beside(-1)) & (middle >= beside(1)) & (middle > 0)
    return np.pad(np.where(kept, middle, 0), 1)


def hysteresis(strength: np.ndarray, low: float, high: float) -> np.ndarray:
    """Pixels of at least `low` that are joined, over such pixels and all eight neighbours, to one of at least `high`.

    Raises:
        ValueError: for thresholds in the wrong order.
    """
    if not 0 < low <= high:
        raise ValueError(f"low={low}, high={high}: expected 0 < low <= high")
    weak, edges = strength >= low, strength >= high
    while True:
        p = np.pad(edges, 1)
        h, w = edges.shape
        grown = np.logical_or.reduce([p[i : i + h, j : j + w] for i in range(3) for j in range(3)]) & weak
        if (grown == edges).all():
            return edges
        edges = grown


def canny(image: np.ndarray, sigma: float = 1.4, low: float = 0.02, high: float = 0.06) -> np.ndarray:
    """Canny's edges: Gaussian, Sobel, non-maximum suppression, hysteresis.

    Args:
        image: float [h, w] in 0..1.
        sigma: of the Gaussian in pixels.
        low: length of a gradient, in grey levels of 0..1 a pixel, from which a pixel may be an edge,
        high: and from which it is one.

    Returns:
        bool [h, w].

    Raises:
        DataError: for what is no such image.

    Reference: Canny 1986, "A Computational Approach to Edge Detection", sections VI and VIII.
    """
    return hysteresis(thinned(*sobel(gaussian(grey(image, "canny"), sigma))), low, high)
