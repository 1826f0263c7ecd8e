"""JAX's Threefry generator, bit for bit, in a form that costs less on CPUs.

JAX computes the twenty rounds in a loop there, to compile fast; each of the loop's passes reads and writes memory, and
a step that derives a dozen keys starts a dozen loops. Unrolled, the rounds are fused into whatever uses the numbers.
`jax.random` works on these keys as on any.

Reference: Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3", section 4.
"""

import math
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)
UNSIGNED = {8: jnp.uint8, 16: jnp.uint16, 32: jnp.uint32, 64: jnp.uint64}


def threefry(key: jax.Array, high: jax.Array, low: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32 with 20 rounds.

    Args:
        key: uint32 [2].
        high: uint32 [...], the first words of the counters.
        low: uint32 like `high`, the second ones.

    Returns:
        Two arrays of random words, uint32 [...].
    """
    keys = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    keys = tuple(k.reshape((1,) * high.ndim) for k in keys)
    x, y = high + keys[0], low + keys[1]
    for block in range(5):
        for rotation in ROTATIONS[block % 2]:
            x = x + y
            y = x ^ (y << np.uint32(rotation) | y >> np.uint32(32 - rotation))
        x, y = x + keys[(block + 1) % 3], y + keys[(block + 2) % 3] + np.uint32(block + 1)
    return x, y


def _seed(seed: jax.Array) -> jax.Array:
    """A key, uint32 [2]: the high and the low word of an integer."""
    seed = jnp.asarray(seed)
    high = (seed >> 32) if seed.dtype.itemsize == 8 else jnp.zeros_like(seed)
    return jnp.stack([high, seed]).astype(jnp.uint32)


def _counters(shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """The position of each element, as two words."""
    n = math.prod(shape)
    if n >= 2**32:
        raise ValueError(f"a draw of shape {list(shape)} has {n:,} elements; at most 2^32 - 1 can be drawn at once")
    low = jnp.arange(n, dtype=jnp.uint32).reshape(shape)
    return jnp.zeros_like(low), low


def _split(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jnp.stack(threefry(key, *_counters(tuple(shape))), -1)


def _random_bits(key: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    high, low = threefry(key, *_counters(tuple(shape)))
    dtype = UNSIGNED[bit_width]
    if bit_width == 64:
        return high.astype(dtype) << dtype(32) | low.astype(dtype)
    return (high ^ low).astype(dtype)


def _fold_in(key: jax.Array, data: jax.Array) -> jax.Array:
    words = _seed(data)
    return jnp.stack(threefry(key, words[0], words[1]))


@cache
def _implementation() -> Any:
    return define_prng_impl(
        key_shape=(2,), seed=_seed, split=_split, random_bits=_random_bits, fold_in=_fold_in,
        name="threefry2x32_unrolled", tag="fry",
    )  # fmt: skip


def root(seed: int, platform: str) -> jax.Array:
    """The key from which all randomness of a run is derived.

    Args:
        seed: of the run.
        platform: "cpu" gets the unrolled form; the bits are the same everywhere.

    Returns:
        A typed key [].
    """
    return jax.random.key(seed, impl=_implementation()) if platform == "cpu" else jax.random.key(seed)
