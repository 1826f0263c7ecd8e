"""The effective receptive field: how much each pixel moves one unit of a network, measured by a gradient.

`ops/conv_arithmetic.py:receptive_field` says which pixels a unit can see. What it does see is less: pixels in the
middle reach it on more paths, so that the gradient falls off as a Gaussian, whose share of the field becomes
smaller with depth.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.errors import ConfigError


def effective_receptive_field(
    features: Callable[[jax.Array], jax.Array], x: jax.Array, place: Sequence[int] | None = None
) -> np.ndarray:
    """`mean over images of |d y[place] / d x|`, with a gradient of 1 in every channel of the unit's place.

    Args:
        features: [b, h, w, c] -> [b, h', w', features], each row of its own image alone; in evaluation mode.
        x: images [b, h, w, c]: those of the data, or noise, as in the paper.
        place: (row, column) of the unit; the middle by default, where the border is farthest.

    Returns:
        float64 [h, w], the absolute gradient of the sum over channels of y, summed over channels of x.

    Raises:
        ConfigError: for what is no map, or a place outside it.

    Reference: Luo et al. 2016, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks",
        section 3.1.
    """
    shape = jax.eval_shape(features, x).shape
    if len(shape) != 4:
        raise ConfigError(f"a receptive field is that of a unit of a map [b, h, w, features], got {list(shape)}")
    row, column = place = tuple(place) if place is not None else (shape[1] // 2, shape[2] // 2)
    if not (0 <= row < shape[1] and 0 <= column < shape[2]):
        raise ConfigError(f"place={place} is outside the map of {shape[1]} x {shape[2]}")
    slope = jax.jit(jax.grad(lambda x: features(x)[:, row, column].astype(jnp.float32).sum()))(x)
    return np.abs(np.asarray(slope, np.float64)).sum(-1).mean(0)


def extent(field: np.ndarray, threshold: float = 0.0) -> tuple[int, int]:
    """Height and width of the smallest box around all pixels above a share of the largest value.

    Args:
        field: [h, w], from `effective_receptive_field`.
        threshold: share in [0, 1); 0 gives the field that is seen at all.
    """
    _check(threshold)
    seen = np.argwhere(field > threshold * field.max())
    return tuple(int(n) for n in np.ptp(seen, axis=0) + 1) if len(seen) else (0, 0)  # type: ignore[return-value]


def effective_size(field: np.ndarray, threshold: float = 1 - 0.9545) -> float:
    """Side of the square with as many pixels as are above a share of the largest value.

    The default is where a Gaussian has fallen to at two standard deviations, as the paper counts.

    Args:
        field: [h, w], from `effective_receptive_field`.
        threshold: share in [0, 1).

    Reference: Luo et al. 2016, section 3.2.
    """
    _check(threshold)
    return float(np.sqrt((field > threshold * field.max()).sum()))


def _check(threshold: float) -> None:
    if not 0 <= threshold < 1:
        raise ConfigError(f"threshold={threshold} is a share of the largest value and must lie in [0, 1)")
