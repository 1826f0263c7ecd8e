"""Numerical gradients and the gradient check; derivatives of vectors in the two layouts of textbooks.

Differences are taken on the host in float64. Each one moves a single coordinate from the point itself.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

Scalar = Callable[[np.ndarray], Any]


def _shifted(x: np.ndarray, i: int, h: float) -> np.ndarray:
    new = x.copy()
    new.flat[i] += h
    return new


def forward_difference(f: Scalar, x: np.ndarray, h: float = 1e-4) -> np.ndarray:
    """`(f(x + h e_i) - f(x)) / h` for every i; the error is of order h.

    Args:
        f: float64 [...] -> a number.
        x: float [...].
        h: the step, above 0.

    Returns:
        float64 [...].

    Raises:
        ValueError: for a step that is not positive.
    """
    x = _checked(x, h)
    start = float(f(x))
    return np.array([(float(f(_shifted(x, i, h))) - start) / h for i in range(x.size)]).reshape(x.shape)


def central_difference(f: Scalar, x: np.ndarray, h: float = 1e-4) -> np.ndarray:
    """`(f(x + h e_i) - f(x - h e_i)) / 2h` for every i; the error is of order h^2. See `forward_difference`."""
    x = _checked(x, h)
    both = [(float(f(_shifted(x, i, h))), float(f(_shifted(x, i, -h)))) for i in range(x.size)]
    return np.array([(above - below) / (2 * h) for above, below in both]).reshape(x.shape)


def _checked(x: np.ndarray, h: float) -> np.ndarray:
    if not h > 0:
        raise ValueError(f"h={h} must be above 0; the usual step is 1e-4")
    return np.array(x, np.float64)


def relative_error(a: np.ndarray, b: np.ndarray, floor: float = 1e-8) -> np.ndarray:
    """`|a - b| / max(|a|, |b|, floor)`, element by element; the floor is for gradients that are zero."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.abs(a - b) / np.maximum(np.maximum(np.abs(a), np.abs(b)), floor)


class Check(NamedTuple):
    """The outcome of `check`.

    Attributes:
        numeric: central differences, float64 [...].
        errors: {name of a gradient: its largest relative error}.
        worst: {name of a gradient: the index of that error}.
        passed: whether all errors are within the tolerance.
    """

    numeric: np.ndarray
    errors: dict[str, float]
    worst: dict[str, tuple[int, ...]]
    passed: bool


def check(
    f: Scalar, x: np.ndarray, tolerance: float = 1e-5, h: float = 1e-4, floor: float = 1e-8, **gradients: np.ndarray
) -> Check:
    """Compares gradients with central differences: `check(f, x, analytic=..., autodiff=jax.grad(f)(x))`.

    Args:
        f: float64 [...] -> a number; a function of JAX needs 64-bit numbers, `with jax.enable_x64(True):`.
        x: the point, float [...].
        tolerance: largest relative error that passes. Up to 1e-5 a gradient is right; above 1e-2 it is wrong, except
            near kinks.
        h: the step.
        floor: of `relative_error`.
        **gradients: float [...] by name.

    Raises:
        ValueError: for a gradient of another shape than x, or none.
    """
    if not gradients:
        raise ValueError("check needs a gradient to compare, as in check(f, x, analytic=gradient)")
    numeric = central_difference(f, x, h)
    errors, worst = {}, {}
    for name, gradient in gradients.items():
        if np.shape(gradient) != numeric.shape:
            raise ValueError(f"{name} has shape {np.shape(gradient)}; expected that of x, {numeric.shape}")
        error = relative_error(gradient, numeric, floor)
        worst[name] = tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))
        errors[name] = float(error.max())
    return Check(numeric, errors, worst, all(error <= tolerance for error in errors.values()))


def vector_derivative(
    f: Callable[[jax.Array], jax.Array], x: jax.Array, layout: Literal["numerator", "denominator"] = "numerator"
) -> jax.Array:
    """dy/dx for scalars and vectors in either layout.

    Args:
        f: float [n] or [] -> float [m] or [].
        x: the point.
        layout: "numerator", JAX's own, `J[m, n] = dy_m / dx_n`; "denominator", `D[n, m] = dy_m / dx_n`, its transpose.

    Returns:
        [] for scalars of scalars, the gradient [n] for scalars of vectors, [m, n] or [n, m] for vectors of vectors.

    Raises:
        ValueError: for an unknown layout.
    """
    if layout not in ("numerator", "denominator"):
        raise ValueError(f"layout={layout!r}; expected 'numerator' (J[m, n]) or 'denominator' (D[n, m])")
    jacobian = jax.jacobian(f)(x)
    return jacobian.T if layout == "denominator" and jacobian.ndim == 2 else jacobian
