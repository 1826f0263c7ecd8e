"""Max pooling of networks: values and derivatives of every order are XLA's, without what padding or NaN would take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cvdl_jax.errors import ConfigError
from cvdl_jax.nn import pooling
from cvdl_jax.nn.pooling import max_pool

RNG = np.random.default_rng(0)
FOUR = jnp.asarray([[1, 3, 6, 6], [20, 9, 8, 4], [2, 1, 4, 5], [1, 12, 13, 10]], jnp.float32)[None, ..., None]


@pytest.fixture(scope="module", autouse=True)
def as_users_have_it():
    """Tests that compile quickly have XLA's pooling only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooling, "MOST_SLICES", 9)
        yield


DERIVED = [  # sides, window, stride, padding: tiles, what is left over, overlaps, padding, one and three axes
    ((6, 8), (2, 2), (2, 2), ((0, 0), (0, 0))),
    ((7, 5), (2, 2), (2, 2), ((0, 0), (0, 0))),
    ((7, 6), (3, 3), (2, 2), ((1, 1), (1, 1))),
    ((5, 6), (3, 2), (1, 2), ((0, 1), (1, 0))),
    ((9,), (3,), (2,), ((1, 1),)),
    ((4, 5, 4), (2, 2, 3), (2, 1, 1), ((0, 0), (1, 0), (1, 1))),
    ((9, 9), (4, 4), (3, 3), ((0, 0), (0, 0))),  # more pixels than are compared slice by slice, which is XLA's own
]


@pytest.mark.curriculum("H17")
@pytest.mark.parametrize("case", DERIVED, ids=str)
def test_values_and_derivatives_are_those_of_xla(case):
    sides, window, stride, padding = case
    x = jnp.asarray(np.maximum(RNG.normal(size=(2, *sides, 3)), 0).round(1), jnp.float32)  # many windows of zeros

    def xla(x):
        return lax.reduce_window(x, -np.inf, lax.max, (1, *window, 1), (1, *stride, 1), ((0, 0), *padding, (0, 0)))

    def ours(x):
        return max_pool(x, window, stride, padding)

    weights = jnp.asarray(RNG.normal(size=xla(x).shape), jnp.float32)

    def all_of(pool):
        value, back = jax.vjp(pool, x)
        slope = jax.grad(lambda x: (weights * pool(x) ** 2).sum())
        return value, back(weights)[0], jax.jvp(pool, (x,), (x * x + 1,))[1], jax.jvp(slope, (x,), (x + 1,))[1]

    for a, b in zip(jax.jit(lambda: all_of(ours))(), jax.jit(lambda: all_of(xla))(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    assert "reduce_window_max" in str(jax.make_jaxpr(ours)(x))  # what tables of layers and explanations look for


def test_the_derivative_of_a_window_is_lost_neither_in_padding_nor_to_nan():
    x = jnp.full((1, 4, 4, 1), -jnp.inf)
    out, back = jax.vjp(lambda x: max_pool(x, 3, 2, 1), x)
    slope = back(jnp.arange(1.0, 5.0).reshape(1, 2, 2, 1))[0][0, ..., 0]
    np.testing.assert_array_equal(slope, [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    x = FOUR.at[0, 2, 3, 0].set(jnp.nan)
    out, back = jax.vjp(lambda x: max_pool(x, 2), x)
    assert np.isnan(out[0, 1, 1, 0]) and np.isfinite(out).sum() == 3
    np.testing.assert_array_equal(np.argwhere(back(jnp.ones_like(out))[0][0, ..., 0]), [[1, 0], [1, 2], [2, 3], [3, 1]])


def test_whole_numbers_and_mistakes_are_those_of_ops():
    np.testing.assert_array_equal(max_pool(FOUR.astype(int), 2)[0, ..., 0], [[20, 8], [12, 13]])
    with pytest.raises(ConfigError, match="nothing but padding"):
        max_pool(FOUR, 2, 2, 2)
