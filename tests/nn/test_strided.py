"""Convolutions by blocks are those of JAX, with their derivatives of first and second order."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from cvdl_jax.nn import conv
from cvdl_jax.nn.conv import Conv

NUMBERS = ("NHWC", "HWIO", "NHWC")
SHAPES = st.tuples(
    *(st.tuples(st.integers(2, 3), st.integers(1, 3)) for _ in range(2)), st.integers(1, 3), st.integers(1, 3),
    st.integers(0, 99),
)  # fmt: skip


def drawn(rows, columns, c, f, seed):
    """Strides, an image and a kernel."""
    rng = np.random.default_rng(seed)
    strides, taps = zip(rows, columns, strict=True)
    kernel = [s * m for s, m in zip(strides, taps, strict=True)]
    sides = [int(rng.integers(1, 9)) for _ in strides]
    x, k = rng.normal(size=(2, *sides, c)), rng.normal(size=(*kernel, c, f))
    return strides, jnp.asarray(x), jnp.asarray(k), rng


@settings(max_examples=8)
@given(SHAPES)
def test_strided_convolutions_are_those_of_jax(shape):
    with jax.enable_x64(True):
        strides, x, k, rng = drawn(*shape)
        short = [max(0, n - m) for n, m in zip(k.shape[:2], x.shape[1:3], strict=True)]
        padding = [(int(rng.integers(0, 3)), int(rng.integers(0, 3)) + n) for n in short]
        expected = lax.conv_general_dilated(x, k, strides, padding, dimension_numbers=NUMBERS)
        np.testing.assert_allclose(conv.conv_by_blocks(x, k, strides, padding), expected, atol=1e-12)


@settings(max_examples=8)
@given(SHAPES)
def test_transposed_convolutions_are_those_of_jax(shape):
    with jax.enable_x64(True):
        strides, x, k, _ = drawn(*shape)
        expected = lax.conv_transpose(x, k, strides, "SAME", dimension_numbers=NUMBERS)
        np.testing.assert_allclose(conv.transpose_by_blocks(x, k, strides), expected, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 5])
def test_derivatives_are_those_of_jax(channels):
    """Also those of a gradient penalty, and of both forms of the sum."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, k = jnp.asarray(rng.normal(size=(2, 6, 6, channels))), jnp.asarray(rng.normal(size=(4, 4, channels, 3)))

        def both(f):
            def penalty(x, k):
                return (jax.grad(lambda x: jnp.tanh(f(x, k)).sum())(x) ** 2).sum()

            return jax.jit(lambda x, k: (jax.grad(penalty, (0, 1))(x, k), penalty(x, k)))(x, k)

        def of_jax(x, k):
            return lax.conv_general_dilated(x, k, (2, 2), "SAME", dimension_numbers=NUMBERS)

        ours = both(lambda x, k: conv.conv_by_blocks(x, k, (2, 2), ((1, 1), (1, 1))))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), ours, both(of_jax))


def test_layers_have_the_parameters_of_flax():
    x, key = jnp.ones((2, 5, 4, 3)), jax.random.key(1)
    pairs = [
        (Conv(6, (4, 4), (2, 2)), nn.Conv(6, (4, 4), (2, 2))),
        (conv.ConvTranspose(6, (4, 4), (2, 2)), nn.ConvTranspose(6, (4, 4), (2, 2))),
        (conv.ConvTranspose(6, (5, 5), (2, 2), False), nn.ConvTranspose(6, (5, 5), (2, 2), use_bias=False)),
    ]
    for ours, flax in pairs:
        variables = ours.init(key, x)
        jax.tree.map(np.testing.assert_array_equal, variables, flax.init(key, x))
        np.testing.assert_allclose(ours.apply(variables, x), flax.apply(variables, x), atol=1e-5)


def test_only_what_pays_is_done_by_blocks():
    assert conv.uses_blocks((4, 4), (2, 2)) and conv.uses_blocks((16, 16), (16, 16))
    assert not conv.uses_blocks((3, 3), (2, 2)) and not conv.uses_blocks((4, 4), (1, 1))
    assert not conv.uses_blocks((1, 1), (2, 2))
    text = str(jax.make_jaxpr(lambda x, k: conv.conv_by_blocks(x, k, (2, 2), ((1, 1), (1, 1))))(
        jnp.ones((1, 4, 4, 1)), jnp.ones((4, 4, 1, 2))
    ))  # fmt: skip
    assert "conv" not in text and "dot_general" in text
