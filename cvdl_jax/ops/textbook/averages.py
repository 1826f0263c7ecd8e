"""Exponentially weighted averages of a series, and the weights of its values."""

import jax
import jax.numpy as jnp
from jax import lax


def _check(beta: float) -> None:
    if not 0 <= beta < 1:
        raise ValueError(f"beta={beta} must be in [0, 1); 0.9 averages about ten values")


def exponential(series: jax.Array, beta: float, bias_correction: bool = False) -> jax.Array:
    """The average after each value, from `v_0 = 0`: `v_t = beta v_{t-1} + (1 - beta) s_t`.

    Args:
        series: float [n, ...], s_1 .. s_n along the first axis.
        beta: in [0, 1).
        bias_correction: return `v_t / (1 - beta^t)`, because v_t is too small at the start.

    Returns:
        [n, ...], v_1 .. v_n.

    Raises:
        ValueError: for a beta outside its range.

    Reference: Kingma and Ba 2015, "Adam", section 3, for the correction.
    """
    _check(beta)
    series = jnp.asarray(series)

    def step(v: jax.Array, s: jax.Array):
        v = beta * v + (1 - beta) * s
        return v, v

    _, averages = lax.scan(step, jnp.zeros_like(series[0]), series)
    if bias_correction:
        t = jnp.arange(1, len(series) + 1, dtype=series.dtype)
        averages = averages / (1 - beta**t).reshape(-1, *[1] * (series.ndim - 1))  # [n, ...]
    return averages


def weights(beta: float, n: int, bias_correction: bool = False) -> jax.Array:
    """The weights of s_1 .. s_n in `v_n`: `(1 - beta) beta^(n - t)`, which sum to `1 - beta^n`.

    Args:
        beta: in [0, 1).
        n: number of values.
        bias_correction: divide them by their sum.

    Returns:
        float [n], the oldest first.

    Raises:
        ValueError: for a beta outside its range, or n below 1.
    """
    _check(beta)
    if n < 1:
        raise ValueError(f"n={n} must be at least 1")
    raw = (1 - beta) * beta ** jnp.arange(n - 1, -1, -1, dtype=jnp.result_type(float))  # [n]
    return raw / (1 - beta**n) if bias_correction else raw


def window(beta: float) -> float:
    """The approximate number of values that the average covers, `1 / (1 - beta)`.

    A value of that age has `beta^window` of the weight of the newest one, which tends to 1 / e for beta -> 1.

    Args:
        beta: in [0, 1).

    Raises:
        ValueError: for a beta outside its range.
    """
    _check(beta)
    return 1 / (1 - beta)
