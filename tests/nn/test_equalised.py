"""Equalised learning rates, the deviation of a batch, and labels as channels, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.core import parallel
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.conditions import LabelChannel, one_hot
from cvdl_jax.nn.equalised import EqualisedConv, EqualisedDense, EqualisedLinearConv, batch_deviation
from cvdl_jax.ops.normalise import pixel_norm

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("R21")
def test_dense_weights_are_scaled_when_they_are_used():
    x = RNG.normal(size=(4, 50)).astype(np.float32)
    layer = EqualisedDense(300, rate=0.1)
    params = layer.init(jax.random.key(0), x)["params"]
    assert np.std(params["kernel"]) == pytest.approx(10, rel=0.02)  # N(0, 1 / rate^2)
    params = {**params, "bias": jnp.full(300, 3.0)}
    expected = x @ (np.asarray(params["kernel"]) * 0.1 * np.sqrt(2 / 50)) + 0.1 * 3
    np.testing.assert_allclose(layer.apply({"params": params}, x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.curriculum("R21")
@pytest.mark.parametrize(("layer", "gain"), [(EqualisedConv, 2), (EqualisedLinearConv, 1)])
def test_kernels_are_scaled_by_their_fan_in(layer, gain):
    """A 3x3 kernel of 5 channels has 45 inputs; so many standard normal ones give a variance of 2, or 1."""
    x = RNG.normal(size=(2, 20, 20, 5)).astype(np.float32)
    conv = layer(40, (3, 3), use_bias=False)
    params = conv.init(jax.random.key(0), x)["params"]
    assert np.std(params["kernel"]) == pytest.approx(1, rel=0.05)
    y = np.asarray(conv.apply({"params": params}, x))
    middle = np.einsum("bpqc,pqcf->bf", x[:, 9:12, 9:12], np.asarray(params["kernel"])) * np.sqrt(gain / 45)
    np.testing.assert_allclose(y[:, 10, 10], middle, rtol=1e-4, atol=1e-4)
    assert y[:, 1:-1, 1:-1].var() == pytest.approx(gain, rel=0.2)


@pytest.mark.curriculum("R20")
def test_the_deviation_of_a_group_is_a_channel():
    x = RNG.normal(size=(6, 3, 2, 4)).astype(np.float32)
    y = np.asarray(batch_deviation(x, 3))
    np.testing.assert_array_equal(y[..., :4], x)
    for rows in (slice(0, 3), slice(3, 6)):
        expected = np.sqrt(x[rows].var(0) + 1e-8).mean()
        np.testing.assert_allclose(y[rows, ..., 4], expected, rtol=1e-5)
    with parallel.padded(jnp.float32([1, 1, 0, 1, 1, 1])):
        masked = np.asarray(batch_deviation(x, 3))
    np.testing.assert_allclose(masked[0, 0, 0, 4], np.sqrt(x[:2].var(0) + 1e-8).mean(), rtol=1e-5)
    np.testing.assert_allclose(masked[3:], y[3:], rtol=1e-5)
    with pytest.raises(ConfigError, match="group=4 does not divide the 6 images"):
        batch_deviation(x, 4)


@pytest.mark.curriculum("R20")
def test_pixel_norm_is_over_the_channels_of_a_place():
    x = RNG.normal(size=(2, 2, 3, 5)).astype(np.float32)
    np.testing.assert_allclose(np.square(pixel_norm(x)).mean(-1), 1, rtol=1e-4)


@pytest.mark.curriculum("R13")
def test_a_label_is_a_channel_of_the_size_of_the_image():
    told = jax.nn.one_hot(jnp.array([2, 0]), 3)
    layer = LabelChannel(4, (5, 6))
    params = layer.init(jax.random.key(0), told)["params"]
    params["place"]["bias"] = jnp.arange(30.0)
    table, place = np.asarray(params["embedding"]["kernel"]), np.asarray(params["place"]["kernel"])
    expected = (table[[2, 0]] @ place + np.arange(30)).reshape(2, 5, 6, 1)
    np.testing.assert_allclose(layer.apply({"params": params}, told), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("label", "words"), [(None, "none"), (jnp.zeros(3, jnp.int32), r"labels of shape \(3,\)")])
def test_missing_labels_are_named(label, words):
    module = EqualisedDense(3).bind({})
    with pytest.raises(ConfigError, match=f"told one of 10 classes for each of 4 rows, got {words}"):
        one_hot(label, 10, 4, module)
