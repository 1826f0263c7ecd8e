"""A network with dropout as an ensemble of its sub-networks: the mean over all masks, or over some drawn at random."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.ops.value_checks import between

MOST_UNITS = 16  # 65,536 masks


def monte_carlo_dropout(apply: Callable[[jax.Array], jax.Array], key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of predictions over n masks; the variance says how unsure the network is.

        mean = 1/n sum_i f_i,    variance = 1/n sum_i (f_i - mean)^2

    Args:
        apply: key -> float [...], a prediction whose masks come from the key, such as the probabilities of a pass in
            training mode.
        key: a typed key.
        n: number of masks, at least 1. They are drawn one after the other, in the memory of one pass.

    Returns:
        (mean, variance), float [...] each.

    Raises:
        ValueError: for n < 1.

    Reference: Gal and Ghahramani 2016, "Dropout as a Bayesian Approximation", section 4. To the variance of a
    regression they add that of the noise.
    """
    between("n", n, 1, float("inf"))
    keys = jax.random.split(key, n)
    zeros = jnp.zeros_like(jax.eval_shape(apply, keys[0]))

    def step(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
        count, mean, squares = carry  # Welford 1962: no difference of large numbers
        value = apply(key)
        delta = value - mean
        mean = mean + delta / (count + 1)
        return (count + 1, mean, squares + delta * (value - mean)), None

    (_, mean, squares), _ = lax.scan(step, (jnp.zeros((), zeros.dtype), zeros, zeros), keys)
    return mean, squares / n


def all_masks(units: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Every sub-network of a few units, and how likely dropout is to draw it.

    Args:
        units: u in 1..16.
        rate: probability of dropping, in [0, 1).

    Returns:
        masks, bool [2^u, u], True where a unit is kept; probabilities float [2^u], which sum to one.

    Raises:
        ValueError: for another number of units or rate.
    """
    between("units", units, 1, MOST_UNITS)
    if not 0 <= rate < 1:
        raise ValueError(f"rate={rate} is the probability of dropping and must lie in [0, 1)")
    masks = np.array(list(itertools.product((False, True), repeat=units)))  # [2^u, u]
    kept = masks.sum(1)
    return masks, (1 - rate) ** kept * rate ** (units - kept)
