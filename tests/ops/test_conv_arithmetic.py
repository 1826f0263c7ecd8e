"""Sizes, parameters, multiply-adds and receptive fields: worked numbers, and those of what is really computed."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvdl_jax.core.counting import macs, parameters
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.convolution import Convolution, SeparableConvolution
from cvdl_jax.ops import conv_arithmetic as arithmetic
from cvdl_jax.ops.convolution import correlate
from cvdl_jax.ops.pooling import max_pool

LINES = st.tuples(
    st.integers(1, 40), st.integers(1, 6), st.integers(1, 4), st.integers(0, 5), st.integers(0, 5), st.integers(1, 4)
)


@pytest.mark.curriculum("H5", "H7", "H8")
def test_output_sizes_of_the_lectures():
    size = arithmetic.output_size
    assert size((32, 32), 5) == (28, 28)
    assert size((7, 7), 3) == (5, 5) and size((7, 7), 3, padding=1) == (7, 7)
    assert size((63, 63), 7, stride=2) == (29, 29)
    assert size(7, 3, stride=2) == 3 and size(8, 3, stride=2) == 3  # the floor: a column is left over
    assert size(8, 3, stride=2, ceil_mode=True) == 4 and size(7, 3, stride=2, ceil_mode=True) == 3
    assert [size(10, 4, padding=word) for word in ("valid", "same", "full")] == [7, 10, 13]  # N - F + 1, N, N + F - 1
    assert size(9, 3, padding="same", dilation=2) == 9 and size(9, 3, dilation=2) == 5
    assert size((227, 227), 11, stride=4) == (55, 55) and size((55, 55), 3, stride=2) == (27, 27)
    assert arithmetic.pads("same", (4,)) == ((1, 2),)  # the odd pixel is at the end
    assert arithmetic.pads(2, (5, 5)) == ((2, 2), (2, 2))  # 27 x 27 becomes 31 x 31


@pytest.mark.curriculum("H8")
@settings(max_examples=30)
@given(LINES)
def test_windows_are_counted_one_by_one(line):
    """A loop over all places, and the shapes of what computes them."""
    n, k, s, low, high, d = line
    reach = [i for i in range(0, n + low + high, s) if i + d * (k - 1) < n + low + high]
    if not reach:
        with pytest.raises(ConfigError, match=rf"a window of {k} pixels.* is larger than an axis of {n} pixels padded"):
            arithmetic.output_size((n,), k, s, ((low, high),), d)
        return
    assert arithmetic.output_size((n,), k, s, ((low, high),), d) == (len(reach),)
    x, kernel = jax.ShapeDtypeStruct((1, n, 1), "float32"), jax.ShapeDtypeStruct((k, 1, 1), "float32")
    convolved = jax.eval_shape(partial(correlate, stride=s, padding=((low, high),), dilation=d), x, kernel)
    assert convolved.shape == (1, len(reach), 1)
    # A window more that begins before the padding at the end
    more = reach[-1] + s
    ceiled = len(reach) + (more < n + low and reach[-1] + d * (k - 1) < n + low + high - 1)
    assert arithmetic.output_size(n, k, s, ((low, high),), d, ceil_mode=True) == ceiled


@settings(max_examples=20)
@given(st.integers(3, 20), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2), st.integers(1, 2), st.booleans())
def test_pooling_has_the_size_that_is_computed(n, k, s, p, d, ceil_mode):
    try:
        count = arithmetic.output_size((n, 8), (k, 2), (s, 1), (p, 0), (d, 1), ceil_mode)
        shape = jax.eval_shape(
            lambda x: max_pool(x, (k, 2), (s, 1), (p, 0), (d, 1), ceil_mode=ceil_mode), jnp.zeros((1, n, 8, 1))
        ).shape
    except ConfigError as error:
        assert "larger than an axis" in str(error) or "nothing but padding" in str(error)
        return
    assert shape == (1, *count, 1)


@pytest.mark.curriculum("H9", "H25")
def test_parameters_of_the_lectures():
    assert arithmetic.conv_parameters((5, 5), 3, 10) == 760
    assert arithmetic.conv_parameters((7, 7), 16, 32) == 25_120
    assert arithmetic.dense_parameters(300 * 300 * 3, 100) == 27_000_100
    assert arithmetic.conv_parameters((11, 11), 3, 96) == 34_944
    assert arithmetic.conv_parameters((11, 11), 3, 96, bias=False) == 34_848
    assert arithmetic.conv_parameters((5, 5), 96, 256) == 614_656
    # Scores of 1000 classes from 6 x 6 x 256 features: by dense layers of 4096 units, or by 1000 maps and their mean
    flat = sum(arithmetic.dense_parameters(*sizes) for sizes in ((6 * 6 * 256, 4096), (4096, 4096), (4096, 1000)))
    assert flat == 37_752_832 + 16_781_312 + 4_097_000
    assert arithmetic.conv_parameters((1, 1), 256, 1000) == 257_000


@pytest.mark.curriculum("H16", "H36")
def test_small_filters_and_bottlenecks_are_cheaper():
    """Two and three 3 x 3 see as much as 5 x 5 and 7 x 7: 27 C^2 weights, not 49 C^2 (nor 27 C)."""
    sees = [arithmetic.receptive_field([(3,)] * n).size for n in (1, 2, 3)]
    assert sees == [3, 5, 7] == [arithmetic.receptive_field([(k,)]).size for k in (3, 5, 7)]
    for c in (1, 64, 256):
        three = 3 * arithmetic.conv_parameters((3, 3), c, c, bias=False)
        assert (three, arithmetic.conv_parameters((7, 7), c, c, bias=False)) == (27 * c * c, 49 * c * c)

    def weights(*layers):
        return sum(arithmetic.conv_parameters(*layer, bias=False) for layer in layers)

    assert weights(((3, 3), 64, 64), ((3, 3), 64, 64)) == 73_728  # a basic block of ResNet
    assert weights(((1, 1), 256, 64), ((3, 3), 64, 64), ((1, 1), 64, 256)) == 69_632  # its bottleneck
    assert weights(((1, 1), 256, 128), ((3, 3), 128, 128, 32), ((1, 1), 128, 256)) == 70_144  # 32 groups: ResNeXt
    size, mac = (28, 28), partial(arithmetic.conv_macs, (28, 28))
    naive = mac(1, 256, 128) + mac(3, 256, 192, padding=1) + mac(5, 256, 96, padding=2)
    bottleneck = mac(1, 256, 64) + mac(5, 64, 96, padding=2)
    assert size == (28, 28) and mac(5, 256, 96, padding=2) == 28 * 28 * 96 * 5 * 5 * 256 and naive > 850e6
    assert bottleneck < 0.3 * mac(5, 256, 96, padding=2)


@pytest.mark.curriculum("H14")
@pytest.mark.parametrize(("features", "ratio"), [(512, 0.1130642), (64, 0.1267361), (1024, 0.1120877)])
def test_separable_convolutions_cost_a_ninth_and_a_little(features, ratio):
    assert arithmetic.separable_ratio((3, 3), features) == pytest.approx(ratio, abs=5e-8)
    whole = arithmetic.conv_macs((14, 14), 3, 128, features, padding=1)
    assert arithmetic.separable_macs((14, 14), 3, 128, features, padding=1) / whole == pytest.approx(ratio, abs=5e-8)
    assert arithmetic.separable_ratio((3, 3), 10**9) > 1 / 9  # never ten times cheaper


SHAPES = st.tuples(
    st.lists(st.integers(5, 12), min_size=1, max_size=3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2),
    st.integers(1, 2), st.sampled_from([1, 2, 3]), st.integers(1, 3), st.integers(1, 3), st.booleans(),
)  # fmt: skip


@pytest.mark.curriculum("H4", "H9", "H56")
@settings(max_examples=8)
@given(SHAPES)
def test_parameters_and_multiply_adds_are_those_of_the_layers(shape):
    sides, k, s, p, d, groups, c, f, bias = shape
    kernel, c, f = (k,) * len(sides), c * groups, f * groups
    x, how = jax.ShapeDtypeStruct((1, *sides, c), "float32"), {"strides": s, "padding": p, "kernel_dilation": d}
    layer = Convolution(f, kernel, feature_group_count=groups, use_bias=bias, **how)
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    assert parameters(variables) == arithmetic.conv_parameters(kernel, c, f, groups, bias)
    how = {"stride": s, "padding": p, "dilation": d}
    assert macs(layer.apply, variables, x) == arithmetic.conv_macs(sides, k, c, f, groups=groups, **how)
    separable = SeparableConvolution(f, kernel, strides=s, padding=p, kernel_dilation=d, use_bias=bias)
    variables = jax.eval_shape(separable.init, jax.random.key(0), x)
    assert parameters(variables) == arithmetic.separable_parameters(kernel, c, f, bias)
    assert macs(separable.apply, variables, x) == arithmetic.separable_macs(sides, k, c, f, **how)


LENET = [(5,), (2, 2), (5,), (2, 2)]
ALEXNET = [(11, 4), (3, 2), (5, 1, 1, 2), (3, 2), *[(3, 1, 1, 1)] * 3, (3, 2)]
VGG16 = [layer for n in (2, 2, 3, 3, 3) for layer in [*[(3, 1, 1, 1)] * n, (2, 2)]]


@pytest.mark.curriculum("H11", "H26")
@pytest.mark.parametrize(
    ("layers", "size"),
    [([(3, 1, 2**i) for i in range(n)], 2 ** (n + 1) - 1) for n in (1, 2, 3)]
    + [([(3, 1, 2)] * n, 4 * n + 1) for n in (1, 2, 3)]
    + [(LENET, 16), (ALEXNET, 195), (VGG16, 212), ([], 1)],
)
def test_receptive_fields(layers, size):
    assert arithmetic.receptive_field(layers).size == size


def test_fields_have_a_distance_and_a_place():
    assert arithmetic.receptive_field(ALEXNET) == (195, 32, -8 * 2 - 16 * 3)
    assert arithmetic.receptive_field([(3, 2, 1, 1), (2, 2)]) == (5, 4, -1)


@pytest.mark.curriculum("H11")
def test_growing_dilations_leave_no_gap_and_constant_ones_do():
    assert arithmetic.covered([(3, 1, d) for d in (1, 2, 4)]) == (True,) * 15
    assert arithmetic.covered([(3, 1, 2)] * 3) == (True, False) * 6 + (True,)
    assert arithmetic.covered([(2, 3), (2, 2)]) == (True, True, False, True, True)  # a stride of more than the window


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2)), max_size=4))
def test_fields_are_what_ones_let_through(layers):
    """The pixels that unit 5 of a stack sees, in a chain of matrices of ones."""
    field, seen = arithmetic.receptive_field(layers), {5}
    for k, s, d, p in reversed(layers):
        seen = {i * s + j * d - p for i in seen for j in range(k)}
    assert (min(seen), max(seen)) == (5 * field.jump + field.first, 5 * field.jump + field.first + field.size - 1)
    assert [i in seen for i in range(min(seen), max(seen) + 1)] == list(arithmetic.covered(layers))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: arithmetic.output_size(4, 5), "a window of 5 pixels is larger than an axis of 4 pixels padded to 4"),
        (lambda: arithmetic.output_size(8, 3, dilation=4), "with dilation 4, which spans 9, is larger"),
        (lambda: arithmetic.output_size(8, 3, stride=0), "stride=0 must be whole numbers of 1 or more"),
        (lambda: arithmetic.output_size(8, 3, padding=-1), "padding=-1 must be whole numbers of 0 or more"),
        (lambda: arithmetic.output_size(8, 2.5), "kernel=2.5 must be whole numbers"),
        (lambda: arithmetic.output_size((8, 8), (3, 3, 3)), "has 3 numbers for 2 axes"),
        (lambda: arithmetic.output_size(8, 3, 2, "same"), "padding='same' keeps the size, which stride=.2,. cannot"),
        (lambda: arithmetic.output_size(8, 3, padding="sane"), "padding='sane' is not known; did you mean 'same'"),
        (lambda: arithmetic.output_size((8, 8), 3, padding=((1, 1),)), "a pair .low, high. for each of 2 axes"),
        (lambda: arithmetic.conv_parameters((3, 3), 6, 8, 4), "groups=4 must divide both the 6 .* the 8 .*: 1, 2$"),
        (lambda: arithmetic.conv_parameters((3, 3), 0, 8), "must be whole numbers of 1 or more"),
        (lambda: arithmetic.receptive_field([(3, 0)]), "must be whole numbers of 1 or more"),
    ],
)  # fmt: skip
def test_impossible_sizes_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_whole_numbers_of_numpy_are_numbers():
    assert arithmetic.output_size(np.int64(8), np.int32(3)) == 6 and math.prod(arithmetic.output_size((8, 8), 3)) == 36
