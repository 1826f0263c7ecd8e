"""Test functions for optimizers, in the plane or in any dimension.

Each maps w [d] to a number. `SURFACES` adds the start, the minimum and the extent of a figure.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp


def quadratic(w: jax.Array, curvatures: Sequence[float] = (1.0, 1.0)) -> jax.Array:
    """`sum_i c_i w_i^2 / 2`, whose Hessian has the eigenvalues c_i and the condition number max c / min c.

    Gradient descent converges where its rate is below `2 / max c`, and diverges above.

    Args:
        w: float [d].
        curvatures: d numbers.
    """
    return 0.5 * jnp.sum(jnp.asarray(curvatures, w.dtype) * w**2)


def ravine(w: jax.Array) -> jax.Array:
    """A quadratic of condition number 100: steep along the second axis, shallow along the first. w: [2]."""
    return quadratic(w, (0.1, 10.0))


def saddle(w: jax.Array) -> jax.Array:
    """`w_1^2 / 2 - w_2^2 / 2 + w_2^4 / 4`: a saddle point at 0 between minima of -1/4 at (0, -1) and (0, 1). w: [2]."""
    return 0.5 * w[0] ** 2 - 0.5 * w[1] ** 2 + 0.25 * w[1] ** 4


def rosenbrock(w: jax.Array) -> jax.Array:
    """`sum_i 100 (w_{i+1} - w_i^2)^2 + (1 - w_i)^2`: a curved valley; minimum 0 at (1, ..., 1).

    Args:
        w: float [d], d at least 2.

    Reference: Rosenbrock 1960.
    """
    return jnp.sum(100 * (w[1:] - w[:-1] ** 2) ** 2 + (1 - w[:-1]) ** 2)


def beale(w: jax.Array) -> jax.Array:
    """`sum_{i=1..3} (c_i - x (1 - y^i))^2`, c = (1.5, 2.25, 2.625): plateaus and steep walls; minimum 0 at (3, 0.5).

    Args:
        w: float [2], (x, y).

    Reference: Beale 1958.
    """
    x, y = w
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


class Surface(NamedTuple):
    """A function, and the points and the extent of its figure."""

    function: Callable[[jax.Array], jax.Array]
    start: tuple[float, float]
    minimum: tuple[float, float]  # the one that paths from the start reach
    extent: tuple[float, float, float, float]  # of the figure: left, right, bottom, top


SURFACES: dict[str, Surface] = {
    "ravine": Surface(ravine, (-8.0, 1.0), (0.0, 0.0), (-9.0, 3.0, -2.0, 2.0)),
    "saddle": Surface(saddle, (-1.0, 1e-3), (0.0, 1.0), (-1.4, 1.4, -1.6, 1.6)),
    "rosenbrock": Surface(rosenbrock, (-1.2, 1.0), (1.0, 1.0), (-1.7, 1.7, -0.7, 2.0)),
    "beale": Surface(beale, (1.0, 1.5), (3.0, 0.5), (-0.5, 4.2, -1.2, 2.0)),
}
