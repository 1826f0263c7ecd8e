"""Receptive fields that are measured: their bounds are those that are computed, their weight is in the middle."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.receptive_field import effective_receptive_field, effective_size, extent
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.conv_arithmetic import receptive_field
from cvdl_jax.ops.convolution import correlate
from cvdl_jax.ops.pooling import avg_pool

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("H26", "H27")
def test_the_gradient_ends_where_the_calculator_says():
    def features(x):
        for kernel, stride, dilation, padding in layers[:3]:
            ones = jnp.ones((kernel, kernel, x.shape[-1], 2))
            x = correlate(x, ones, stride=stride, dilation=dilation, padding=padding)
        return avg_pool(x, 2)

    layers = [(3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 2, 2), (2, 2)]
    theory = receptive_field(layers)
    field = effective_receptive_field(features, jnp.ones((2, 40, 44, 3)))
    assert field.shape == (40, 44) and extent(field) == (theory.size, theory.size)
    first = np.argwhere(field).min(0)
    assert first.tolist() == [theory.jump * 5 + theory.first] * 2  # maps are 10 x 11, the middle is (5, 5)
    corner = effective_receptive_field(features, jnp.ones((1, 40, 44, 3)), (0, 2))
    begin, end = np.argwhere(corner).min(0), np.argwhere(corner).max(0)
    assert begin.tolist() == [0, 2 * theory.jump + theory.first]
    assert end.tolist() == [theory.first + theory.size - 1, 2 * theory.jump + theory.first + theory.size - 1]


@pytest.mark.curriculum("H27")
@pytest.mark.parametrize("depth", [5, 10])
def test_it_is_much_smaller_than_the_theory_and_falls_off_like_a_gaussian(depth):
    """Uniform weights: a depth-fold convolution of boxes, of variance 2/3 for each layer of 3 x 3."""
    kernel = jnp.ones((3, 3, 1, 1)) / 9

    def features(x):
        for _ in range(depth):
            x = correlate(x, kernel, padding="same")
        return x

    field = effective_receptive_field(features, jnp.asarray(RNG.normal(size=(1, 41, 41, 1)), jnp.float32))
    box = np.ones(3) / 3
    line = box
    for _ in range(depth - 1):
        line = np.convolve(line, box)
    half = depth
    expected = np.outer(line, line)
    np.testing.assert_allclose(field[20 - half : 21 + half, 20 - half : 21 + half], expected, atol=1e-7)
    assert extent(field) == (2 * depth + 1,) * 2
    # The disc of two standard deviations and the square of its area
    radius = np.sqrt(2 * np.log(1 / (1 - 0.9545)) * 2 / 3 * depth)
    assert effective_size(field) == pytest.approx(np.sqrt(np.pi) * radius, rel=0.12)
    assert effective_size(field) < 0.8 * (2 * depth + 1) if depth == 10 else True


def test_its_share_of_the_field_falls_with_depth_and_relu_keeps_it_smaller_still():
    def stack(depth, relu):
        weights = [jnp.asarray(RNG.normal(size=(3, 3, 8 if i else 1, 8)) / 6, jnp.float32) for i in range(depth)]

        def features(x):
            for w in weights:
                x = correlate(x, w, padding="same")
                x = nn.relu(x) if relu else x
            return x

        x = jnp.asarray(RNG.normal(size=(16, 31, 31, 1)), jnp.float32)
        return effective_size(effective_receptive_field(features, x)) / (2 * depth + 1)

    assert stack(3, True) > stack(12, True) < 0.75


def test_what_is_no_unit_is_refused():
    x = jnp.ones((1, 8, 8, 1))
    with pytest.raises(ConfigError, match=r"a unit of a map \[b, h, w, features\], got \[1, 1\]"):
        effective_receptive_field(lambda x: x.mean((1, 2)), x)
    with pytest.raises(ConfigError, match=r"place=\(8, 0\) is outside the map of 8 x 8"):
        effective_receptive_field(lambda x: x, x, (8, 0))
    with pytest.raises(ConfigError, match="threshold=1 is a share"):
        extent(np.ones((3, 3)), 1)
    assert extent(np.zeros((3, 3))) == (0, 0) and jax.eval_shape(lambda: x).shape == (1, 8, 8, 1)
