"""Checks of the values of arrays: an error where they are known, NaN where they are not.

While tracing (`jit`, `grad`, `vmap` ...) no value can be read; there a loss returns NaN for invalid values, which stops
a run. Otherwise the same value is an error that names the argument, the value and what was expected. Each check raises
for concrete arrays, accepts traced ones, and returns a mask of the valid values for `or_nan`.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_concrete(x: Any) -> bool:
    """Whether the values of an array can be read: not while tracing, and not if other processes hold parts of it."""
    return not isinstance(x, jax.core.Tracer) and getattr(x, "is_fully_addressable", True)


def check_concrete(name: str, x: Any, accept: Callable[[Any], Any], expected: str) -> jax.Array:
    """Refuses invalid values of a concrete array.

    Args:
        name: of the argument, for the message.
        x: array [...] or number.
        accept: array -> bool array of the same shape; must work on NumPy and JAX arrays.
        expected: completes the sentence "x must be ...".

    Returns:
        accept(x), bool [...].

    Raises:
        ValueError: naming the argument, the first invalid value, its index, and what was expected.
    """
    x = x if hasattr(x, "shape") else np.asarray(x)
    if is_concrete(x):
        values = np.asarray(x)
        bad = np.argwhere(~np.asarray(accept(values)))
        if len(bad):
            index = ", ".join(map(str, bad[0]))
            place = f"{name}[{index}]" if index else name
            more = f" ({len(bad)} of {values.size} values are not)" if values.size > 1 else ""
            raise ValueError(f"{place}={values[tuple(bad[0])]} must be {expected}{more}")
    return jnp.asarray(accept(x))


def floats(name: str, x: Any) -> jax.Array:
    """The array in at least float32; refuses anything but real numbers, and NaN in a concrete array.

    Args:
        name: of the argument.
        x: array or number.

    Returns:
        float [...].

    Raises:
        ValueError: for complex numbers or NaN.
    """
    x = x if hasattr(x, "dtype") else np.asarray(x)
    if not (jnp.issubdtype(x.dtype, jnp.floating) or jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == bool):
        raise ValueError(f"{name} must hold real numbers, got dtype {x.dtype}")
    check_concrete(name, x, lambda v: v == v, "a number, not NaN")
    dtype = jax.dtypes.canonicalize_dtype(x.dtype)  # float64 becomes float32 unless JAX's x64 mode is on
    return jnp.asarray(x, jnp.promote_types(dtype, jnp.float32))


def between(name: str, x: Any, low: float, high: float) -> jax.Array:
    """Where low <= x <= high, or low <= x < infinity; see `check_concrete`. Returns: bool [...]. Raises: ValueError."""
    if high == float("inf"):
        return check_concrete(name, x, lambda v: (v >= low) & (v < high), f"at least {low} and finite")
    return check_concrete(name, x, lambda v: (v >= low) & (v <= high), f"in [{low}, {high}]")


def positive(name: str, x: Any) -> jax.Array:
    """Where x > 0; see `check_concrete`. Returns: bool [...]. Raises: ValueError."""
    return check_concrete(name, x, lambda v: v > 0, "positive")


def one_of(name: str, x: Any, allowed: Sequence[float]) -> jax.Array:
    """Where x is one of a few numbers; see `check_concrete`. Returns: bool [...]. Raises: ValueError."""
    return check_concrete(name, x, lambda v: reduce(or_, (v == a for a in allowed)), f"one of {tuple(allowed)}")


def distribution(name: str, p: jax.Array, axis: int = -1) -> jax.Array:
    """Where p >= 0 sums to one over an axis, to 0.001 (0.01 in half precision).

    Args:
        name: of the argument.
        p: float [..., c].
        axis: of the outcomes.

    Returns:
        bool [...], without that axis.

    Raises:
        ValueError: see `check_concrete`.
    """
    tolerance = 1e-3 if jnp.finfo(p.dtype).bits > 16 else 1e-2
    good = between(name, p, 0.0, float("inf"))
    total = p.astype(jnp.promote_types(p.dtype, jnp.float32)).sum(axis)
    near = check_concrete(
        f"sum({name}, axis={axis})", total, lambda v: abs(v - 1) <= tolerance, f"1, to {tolerance}: probabilities"
    )
    return good.all(axis) & near


def same_shape(**arrays: jax.Array) -> None:
    """Refuses arrays whose shapes differ: losses never broadcast.

    Args:
        **arrays: {name of the argument: array}.

    Raises:
        ValueError: naming the arguments and their shapes.
    """
    if len({x.shape for x in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in arrays.items())
        raise ValueError(f"{' and '.join(arrays)} must have one shape, got {shapes}; reshape or broadcast them first")


def or_nan(good: jax.Array, values: jax.Array) -> jax.Array:
    """NaN where `good` is False. Args: bool [...], float [...]. Returns: float [...]."""
    return jnp.where(good, values, jnp.nan)
