"""Normalised cuts: an image as a graph of pixels, cut in two where little similarity is lost on either side.

Dense matrices of all pixels: for images of some thousands. Reference: Shi and Malik 2000, "Normalized Cuts and Image
Segmentation".
"""

import numpy as np

from cvdl_jax.errors import DataError


def affinity(image: np.ndarray, colour: float = 0.1, place: float = 4.0, radius: float = 5.0) -> np.ndarray:
    """`w_ij = exp(-|F_i - F_j|^2 / colour^2 - |X_i - X_j|^2 / place^2)` of pixels less than `radius` apart: [n, n].

    Args:
        image: float [h, w, c] in 0..1, n = h w.
        colour: difference of colours at which it has fallen to 1 / e.
        place: distance in pixels, likewise.
        radius: in pixels; 0 beyond.

    Raises:
        DataError: for bytes, NaN or another shape.

    Reference: equation 11.
    """
    if image.ndim != 3 or not np.issubdtype(image.dtype, np.floating) or not np.isfinite(image).all():
        raise DataError(
            f"normalised cuts take an image [h, w, c] of finite floats in 0..1, got {image.dtype} {list(image.shape)}"
        )
    h, w, c = image.shape
    features = np.asarray(image, np.float64).reshape(-1, c)
    at = np.stack(np.mgrid[:h, :w], -1).reshape(-1, 2).astype(float)
    away, apart = (np.square(v[:, None] - v[None]).sum(-1) for v in (features, at))
    return np.where(apart < radius**2, np.exp(-away / colour**2 - apart / place**2), 0)


def ncut(w: np.ndarray, side: np.ndarray) -> float:
    """`cut(A, B) / assoc(A, V) + cut(A, B) / assoc(B, V)` of a partition, side bool [n]; 2 where a side is empty."""
    degrees, cut = w.sum(1), w[side][:, ~side].sum()
    a, b = degrees[side].sum(), degrees[~side].sum()
    return float(cut / a + cut / b) if a > 0 and b > 0 else 2.0


def second_eigenvector(w: np.ndarray) -> np.ndarray:
    """The second smallest generalised eigenvector of `(D - W) y = lambda D y`, [n]: equation 6."""
    root = 1 / np.sqrt(np.maximum(w.sum(1), 1e-12))
    _, vectors = np.linalg.eigh(np.eye(len(w)) - root[:, None] * w * root[None])
    return root * vectors[:, 1]


def best_split(w: np.ndarray, levels: int = 20) -> tuple[np.ndarray, float]:
    """The partition of least ncut among evenly spaced thresholds of the second eigenvector: bool [n], its ncut."""
    y = second_eigenvector(w)
    splits = [y > t for t in np.linspace(y.min(), y.max(), levels + 2)[1:-1]]
    values = [ncut(w, side) for side in splits]
    best = int(np.argmin(values))
    return splits[best], values[best]


def segment(w: np.ndarray, most: float = 0.1, least: int = 4) -> np.ndarray:
    """Segments int [n] of a graph: parts are cut in two again and again, while the ncut is below `most`.

    Args:
        w: affinities [n, n].
        most: ncut from which a part stays whole.
        least: nodes of a part, 1 or more; smaller ones are not made.

    Raises:
        ValueError: for parts of no node.

    Reference: section 3.2.
    """
    if least < 1:
        raise ValueError(f"least={least} nodes of a part must be 1 or more")
    label, open_, number = np.zeros(len(w), int), [np.arange(len(w))], 0
    while open_:
        part = open_.pop()
        if len(part) >= 2 * least:
            side, value = best_split(w[np.ix_(part, part)])
            if value < most and least <= side.sum() <= len(part) - least:
                open_ += [part[~side], part[side]]
                continue
        label[part] = number
        number += 1
    return label
