"""The convolution for images of few channels, against XLA's own in value and in every kind of derivative."""

import itertools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.core import counting
from cvdl_jax.nn import conv

CASES = list(itertools.product([(1, 1), (2, 1), (2, 2)], ["SAME", "VALID", ((0, 2), (1, 0))]))
SHAPES = list(itertools.product([(5, 5), (2, 3)], [1, 2]))  # of kernel and channels


@pytest.fixture(scope="module", autouse=True)
def as_users_have_it():
    """Tests that compile quickly have XLA's convolution only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv, "FEW_CHANNELS", 64)
        yield


def pair(strides, padding, kernel, channels):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 9, 8, channels)))
    w = jnp.asarray(rng.normal(size=(*kernel, channels, 4)))
    more = {"window_strides": strides, "padding": padding, "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    return x, w, partial(conv.conv_general_dilated, **more), partial(jax.lax.conv_general_dilated, **more)


@pytest.mark.parametrize("strides,padding", CASES)
def test_value(strides, padding):
    pairs = [pair(strides, padding, *shape) for shape in SHAPES]
    arguments = [(x, w) for x, w, _, _ in pairs]
    both = jax.jit(lambda all_of_them: [(o(*xw), f(*xw)) for xw, (*_, o, f) in zip(all_of_them, pairs, strict=True)])
    for shape, (ours, xla) in zip(SHAPES, both(arguments), strict=True):
        np.testing.assert_allclose(ours, xla, rtol=1e-5, atol=1e-5, err_msg=str(shape))


def test_derivatives_forward_backward_and_twice():
    x, w, ours, xla = pair((2, 1), "SAME", (5, 5), 1)
    for of in (jax.jacfwd, jax.jacrev):
        for ours_d, xla_d in zip(of(ours, (0, 1))(x, w), of(xla, (0, 1))(x, w), strict=True):
            np.testing.assert_allclose(ours_d, xla_d, rtol=1e-5, atol=1e-5)

    def penalty(f):
        slope = jax.grad(lambda x, w: jnp.sum(jnp.tanh(f(x, w))))
        return jax.grad(lambda w: jnp.sum(slope(x, w) ** 2))(w)

    np.testing.assert_allclose(penalty(ours), penalty(xla), rtol=1e-4, atol=1e-3)  # of a few hundred
    batched = jax.vmap(ours)(jnp.stack([x, 2 * x]), jnp.stack([w, w]))
    np.testing.assert_allclose(batched[1], 2 * xla(x, w), rtol=1e-5, atol=1e-5)


def test_the_gradient_of_an_image_of_few_channels_is_that_of_xla():
    for channels, strides, padding in ((1, (1, 1), "VALID"), (3, (1, 1), ((0, 2), (1, 0))), (3, (2, 1), "SAME")):
        x, w, ours, xla = pair(strides, padding, (3, 3), channels)
        y = jax.eval_shape(ours, x, w)
        up = jnp.asarray(np.random.default_rng(1).normal(size=y.shape), y.dtype)
        ours_d, xla_d = (jax.jit(jax.vjp(f, x, w)[1])(up)[0] for f in (ours, xla))
        np.testing.assert_allclose(ours_d, xla_d, rtol=1e-5, atol=1e-5)
        made = str(jax.make_jaxpr(jax.grad(lambda x, f=ours, w=w: f(x, w).sum()))(x))
        assert ("dot_general" in made) == (max(strides) == 1)


def test_only_few_channels_and_plain_convolutions_are_written_anew():
    def shifted(channels, features, **more):
        layer = nn.Conv(features, (3, 3), conv_general_dilated=conv.conv_general_dilated, **more)
        made = jax.make_jaxpr(partial(layer.init_with_output, jax.random.key(0)))(jnp.zeros((2, 8, 8, channels)))
        return "platform_index" in str(made)

    assert shifted(1, 64) and shifted(3, 16)
    assert not shifted(16, 16) and not shifted(2, 4, feature_group_count=2) and not shifted(1, 4, kernel_dilation=2)


def test_it_counts_as_one_convolution():
    x, w, ours, xla = pair((1, 1), "SAME", (5, 5), 1)
    assert counting.macs(ours, x, w) == counting.macs(xla, x, w) > 0


def test_what_made_the_image_is_not_computed_again_for_its_weight_gradient():
    *_, ours, xla = pair((1, 1), "SAME", (3, 3), 1)
    x, w = jnp.ones((3, 8, 8, 16)), jnp.ones((3, 3, 16, 16))

    def sines(conv):
        step = jax.jit(jax.grad(lambda w, x: jnp.sum(conv(jnp.sin(x), w) ** 2)))
        return step.lower(w, x).compile().as_text().count(" sine(")

    assert sines(ours) == 1 < sines(xla)
