"""Figures of autoencoders: images beside what became of them, codes in the plane, ways from code to code."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.embedding import pca
from cvdl_jax.analysis.figures import images
from cvdl_jax.ops.latent_walks import lerp


def pairs(before: Any, after: Any, count: int = 32, columns: int = 8) -> Any:
    """Rows of images, each row above the one of their reconstructions.

    Args:
        before: [n, h, w, c] in 0..1.
        after: like it.
        count: of images at most.
        columns: of the grid.

    Returns:
        A matplotlib Figure.
    """
    before, after = (np.asarray(x)[:count] for x in (before, after))
    rows = range(0, len(before), columns)
    filled = [x for i in rows for part in (before, after) for x in _row(part[i : i + columns], columns)]
    return images.mosaic(np.stack(filled), columns)


def _row(row: np.ndarray, columns: int) -> np.ndarray:
    """A row with white images behind it."""
    return np.concatenate([row, np.ones((columns - len(row), *row.shape[1:]), row.dtype)])


def plane(codes: Any, labels: Any, class_names: Sequence[str] = ()) -> Any:
    """Codes as points of the plane, coloured by class; of more than two numbers, their two principal components.

    Args:
        codes: [n, d].
        labels: int [n], or None where there are none.
        class_names: of the labels.

    Returns:
        A matplotlib Figure.
    """
    codes = jnp.asarray(codes, jnp.float32)
    if codes.shape[1] == 1:
        codes = jnp.pad(codes, ((0, 0), (0, 1)))
    elif codes.shape[1] > 2:
        fitted = pca.fit(codes, 2)
        codes = pca.transform(fitted.mean, fitted.components, codes)
    return images.scatter(codes, np.zeros(len(codes), int) if labels is None else labels, class_names)


def walks(codes: jax.Array, count: int = 6, steps: int = 9) -> jax.Array:
    """Codes on straight lines from one example to the next but so many: [count, steps, d], both ends included.

    Args:
        codes: [n, d].
        count: of walks, at most half of the examples.
        steps: codes of a walk.
    """
    count = min(count, len(codes) // 2)
    at = jnp.linspace(0, 1, steps, dtype=codes.dtype)[None, :, None]
    return lerp(codes[:count, None], codes[count : 2 * count, None], at)
