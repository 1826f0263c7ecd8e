"""Convolutional layers: parameters, every argument, depthwise and separable ones, growing dilations."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.receptive_field import effective_receptive_field, extent
from cvdl_jax.cli.describe import layers
from cvdl_jax.core.counting import parameters
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn import convolution
from cvdl_jax.nn.convolution import Convolution, TransposedConvolution, bilinear_kernel
from cvdl_jax.ops.convolution import conv_transpose, correlate
from cvdl_jax.ops.upsampling import upsample

RNG = np.random.default_rng(0)


def grown(layer, x):
    """What a layer gives with its first parameters, and those."""
    y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    return np.asarray(y), variables["params"]


@pytest.mark.curriculum("H1", "H15")
def test_a_layer_has_the_parameters_of_flax_and_all_arguments():
    x = jnp.asarray(RNG.normal(size=(2, 9, 8, 4)), jnp.float32)
    how = {"strides": (2, 1), "kernel_dilation": (1, 2), "feature_group_count": 2}
    y, params = grown(Convolution(6, (3, 3), padding=1, **how), x)
    theirs, flax = grown(nn.Conv(6, (3, 3), padding=1, **how), x)
    jax.tree.map(np.testing.assert_array_equal, params, flax)
    np.testing.assert_allclose(y, theirs, atol=1e-5)
    layer = Convolution(
        6, (3, 3), (2, 1), ((1, 2), (0, 1)), "reflect", (1, 2), 2, flip=True,
        bias_init=nn.initializers.normal(), dtype=jnp.bfloat16,
    )  # fmt: skip
    y, params = grown(layer, x)
    assert y.dtype == jnp.bfloat16 and params["kernel"].dtype == jnp.float32
    turned, how = params["kernel"][::-1, ::-1], {"padding": ((1, 2), (0, 1)), "padding_mode": "reflect"}
    expected = correlate(x, turned, params["bias"], stride=(2, 1), dilation=(1, 2), groups=2, **how)
    np.testing.assert_allclose(y.astype(np.float32), expected, atol=0.1)
    without = jax.eval_shape(Convolution(6, (3, 3), use_bias=False).init, jax.random.key(0), x)
    assert without["params"].keys() == {"kernel"}


@pytest.mark.curriculum("H3", "H4")
@pytest.mark.parametrize("sides", [(9,), (5, 6), (4, 5, 6)])
def test_a_layer_in_any_number_of_dimensions(sides):
    x = jax.ShapeDtypeStruct((2, *sides, 3), "float32")
    layer = Convolution(4, (3,) * len(sides), 2, 1)
    y, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
    assert y.shape == (2, *((n - 1) // 2 + 1 for n in sides), 4)
    assert variables["params"]["kernel"].shape == (*(3,) * len(sides), 3, 4)


@pytest.mark.curriculum("M11")
def test_a_transposed_layer_has_all_arguments():
    x = jnp.asarray(RNG.normal(size=(2, 4, 3, 4)), jnp.float32)
    how = {"padding": ((1, 0), (1, 1)), "output_padding": (1, 0)}
    layer = TransposedConvolution(
        6, (3, 2), (2, 3), kernel_dilation=(1, 2), feature_group_count=2, bias_init=nn.initializers.normal(), **how
    )
    y, params = grown(layer, x)
    assert params["kernel"].shape == (3, 2, 4, 3) and y.shape == (2, 9, 7, 6)
    more = {"stride": (2, 3), "dilation": (1, 2), "groups": 2, **how}
    np.testing.assert_allclose(y, conv_transpose(x, params["kernel"], params["bias"], **more), atol=1e-5)
    plain = TransposedConvolution(6, (3, 2), use_bias=False, dtype=jnp.bfloat16)
    y, params = grown(plain, x)
    assert y.dtype == jnp.bfloat16 and params.keys() == {"kernel"} and params["kernel"].dtype == jnp.float32
    with pytest.raises(ConfigError, match="output_padding=2 must be smaller than the stride"):
        TransposedConvolution(4, (3, 3), 2, output_padding=2).init(jax.random.key(0), x)


@pytest.mark.curriculum("M7", "M11")
@pytest.mark.parametrize("factor", [2, 3, 8])
def test_a_transposed_convolution_can_interpolate(factor):
    """Away from the border, where the convolution sees zeros and interpolation the last pixel."""
    x = jnp.asarray(RNG.normal(size=(1, 6, 5, 2)), jnp.float32)
    side = 2 * factor - factor % 2
    layer = TransposedConvolution(2, (side, side), factor, factor // 2, use_bias=False, kernel_init=bilinear_kernel)
    y, params = grown(layer, x)
    assert np.count_nonzero(params["kernel"]) == 2 * side**2
    expected = upsample(x, scale_factor=factor, mode="bilinear")
    assert y.shape == expected.shape
    inner = (slice(None), slice(factor, -factor), slice(factor, -factor))
    np.testing.assert_allclose(y[inner], expected[inner], atol=1e-5)


def test_the_table_of_layers_shows_it():
    layer = Convolution(4, (3, 3), 2, "valid", kernel_dilation=2, feature_group_count=2)
    [row] = layers.trace(layer.init, jax.random.key(0), jnp.ones((1, 9, 9, 2)))
    assert (row.kernel, row.stride, row.shape) == ("3x3, dilation 2x2, 2 groups", "2x2", (3, 3, 4))
    assert (row.parameters, row.macs) == (9 * 4 + 4, 9 * 9 * 4)


@pytest.mark.curriculum("H12", "H13", "H14")
def test_a_separable_convolution_is_a_convolution_of_rank_one():
    x = jnp.asarray(RNG.normal(size=(2, 7, 6, 3)), jnp.float32)
    layer = convolution.SeparableConvolution(5, (3, 3), 2, 1, "replicate")
    y, params = grown(layer, x)
    assert params["depthwise"]["kernel"].shape == (3, 3, 1, 3) and params["pointwise"]["kernel"].shape == (1, 1, 3, 5)
    whole = params["depthwise"]["kernel"][:, :, 0, :, None] * params["pointwise"]["kernel"][0, 0][None, None]
    np.testing.assert_allclose(y, correlate(x, whole, stride=2, padding=1, padding_mode="replicate"), atol=1e-5)
    variables = jax.eval_shape(convolution.depthwise(3, (3, 3), 2).init, jax.random.key(0), x)
    assert parameters(variables) == 9 * 6 + 6
    y, params = grown(convolution.pointwise(5), x)
    np.testing.assert_allclose(y, x @ params["kernel"][0, 0], atol=1e-5)


@pytest.mark.curriculum("H11")
def test_growing_dilations_see_everything_and_keep_the_size():
    x = jnp.ones((1, 31, 33, 2))
    ones = {"kernel_init": nn.initializers.ones, "activation": "identity"}

    def field(*dilations):
        module = convolution.ContextModule(dilations, 3, **ones)
        variables = module.init(jax.random.key(0), x)
        assert jax.eval_shape(module.apply, variables, x).shape == (1, 31, 33, 3)
        return effective_receptive_field(lambda x: module.apply(variables, x), x)

    seen = field(1, 2, 4)
    assert extent(seen) == (15, 15) and (seen > 0).sum() == 15 * 15
    seen = field(2, 2, 2)
    assert extent(seen) == (13, 13) and (seen > 0).sum() == 7 * 7  # every other pixel


def test_the_context_module_begins_as_the_identity():
    x = jnp.asarray(RNG.random((1, 6, 5, 3)), jnp.float32)
    module = convolution.ContextModule((1, 2), kernel_init=convolution.identity_kernel)
    y, params = grown(module, x)
    np.testing.assert_array_equal(y, x)
    assert params["conv0"]["kernel"].shape == (3, 3, 3, 3)


def test_what_does_not_fit_is_refused():
    x, key = jnp.ones((1, 4, 4, 6)), jax.random.key(0)
    with pytest.raises(ConfigError, match="groups=4 must divide both the 6 input channels and the 8 features"):
        Convolution(8, (3, 3), feature_group_count=4).init(key, x)
    with pytest.raises(ConfigError, match="a window of 5 pixels is larger than an axis of 4 pixels"):
        Convolution(8, (5, 5)).init(key, x)
    with pytest.raises(ConfigError, match="takes a kernel with 4 axes"):
        Convolution(8, (3,)).init(key, x)
    with pytest.raises(ConfigError, match="padding='same' keeps the size, which stride"):
        Convolution(8, (3, 3), 2, "same").init(key, x)
