"""The unrolled generator draws the bits that JAX's draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvdl_jax.core import prng

DRAWS = {
    "fold_in": lambda key: jax.random.key_data(jax.random.fold_in(key, 77)),
    "split": lambda key: jax.random.key_data(jax.random.split(key, (2, 3))),
    "bits8": lambda key: jax.random.bits(key, (5,), jnp.uint8),
    "bits": lambda key: jax.random.bits(key, ()),
    "normal": lambda key: jax.random.normal(key, (3, 4)),
    "bernoulli": lambda key: jax.random.bernoulli(key, 0.3, (7,)),
    "permutation": lambda key: jax.random.permutation(key, 10),
    "beta": lambda key: jax.random.beta(key, 0.2, 0.2, (5,)),
    "rows": lambda key: jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(key, i), (6,)))(jnp.arange(4)),
}


@jax.jit
def draw(key):
    return {name: f(key) for name, f in DRAWS.items()}


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**31 - 1))
def test_every_draw_is_that_of_jax(seed, step):
    ours, jaxs = (draw(jax.random.fold_in(key, step)) for key in (prng.root(seed, "cpu"), jax.random.key(seed)))
    for name in DRAWS:  # a transformation of the bits to floats may round differently in another fusion
        tolerance = 1e-6 if name in ("normal", "beta") else 0
        np.testing.assert_allclose(ours[name], jaxs[name], tolerance, err_msg=name)


def test_sixty_four_bits_too():
    with jax.enable_x64(True):
        for f in (lambda key: jax.random.normal(key, (3,)), lambda key: jax.random.bits(key, (2, 2), jnp.uint64)):
            np.testing.assert_array_equal(f(prng.root(2**40 + 1, "cpu")), f(jax.random.key(2**40 + 1)))


def test_other_platforms_keep_their_own():
    assert jax.random.key_impl(prng.root(0, "gpu")) == jax.random.key_impl(jax.random.key(0))
    assert jax.random.key_impl(prng.root(0, "cpu")) != jax.random.key_impl(jax.random.key(0))


def test_a_draw_larger_than_the_counter_is_refused():
    with pytest.raises(ValueError, match=r"\[65536, 65536\] has 4,294,967,296 elements"):
        jax.jit(lambda: jax.random.bits(prng.root(0, "cpu"), (2**16, 2**16))).lower()
