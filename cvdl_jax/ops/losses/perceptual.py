"""Distance of images in the feature space of a network: perceptual losses, style transfer, nearest examples."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from cvdl_jax.ops.losses.reduction import reducible
from cvdl_jax.ops.value_checks import floats, same_shape

NORMS = ("l2", "squared_l2", "l1")


@reducible
def feature_distance(
    features: Callable[[Any], Any],
    x: Any,
    y: Any,
    norm: Literal["l2", "squared_l2", "l1"] = "l2",
) -> jax.Array:
    """Distance in feature space, `|f(x) - f(y)|`, summed over layers if f returns several.

    To weight layers, scale them in `features`. The distance is differentiable in x, y and the parameters in `features`;
    its gradient at distance 0 is 0.

    Args:
        features: f, from examples [b, ...] to an array [b, ...] or a tree of them, such as the `out` of a model.
        x: examples [b, ...].
        y: examples [b, ...].
        norm: "l2" is Euclidean, over all but the first axis; "squared_l2" its square; "l1" the sum of magnitudes.

    Returns:
        float32 [b].

    Raises:
        ValueError: for an unknown norm, features of x and y that differ in shape, features without rows, or NaN.

    Reference: Johnson et al. 2016, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", section 3.2.
    """
    if norm not in NORMS:
        raise ValueError(f"norm={norm!r} must be one of {', '.join(map(repr, NORMS))}")
    f_x, f_y = features(x), features(y)
    if jax.tree.structure(f_x) != jax.tree.structure(f_y) or not jax.tree.leaves(f_x):
        raise ValueError(
            f"features(x) and features(y) must be arrays or trees of one structure, got {jax.tree.structure(f_x)} and "
            f"{jax.tree.structure(f_y)}"
        )
    return sum(_distance(a, b, norm) for a, b in zip(jax.tree.leaves(f_x), jax.tree.leaves(f_y), strict=True))


def _distance(a: Any, b: Any, norm: str) -> jax.Array:
    """Distances [b] of the rows of one layer."""
    a, b = floats("features(x)", a), floats("features(y)", b)
    same_shape(**{"features(x)": a, "features(y)": b})
    if a.ndim == 0:
        raise ValueError("features(x) must be [b, ...], one row per example, got a scalar")
    difference = (a - b).reshape(a.shape[0], -1)  # [b, d]
    if norm == "l1":
        return jnp.abs(difference).sum(1)
    squares = jnp.square(difference).sum(1)
    if norm == "squared_l2":
        return squares
    return jnp.where(squares == 0, 0.0, jnp.sqrt(jnp.where(squares == 0, 1.0, squares)))
