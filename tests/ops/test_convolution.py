"""Convolutions against loops, SciPy and worked numbers; padding; the transposed one; the sparse matrix."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, ndimage, signal

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops import convolution
from cvdl_jax.ops.convolution import conv_transpose, convolve, correlate

RNG = np.random.default_rng(0)
IMAGE = [[10, 20, 30, 15, 12], [11, 200, 34, 23, 45], [32, 35, 255, 255, 10], [10, 33, 6, 7, 59], [13, 43, 13, 45, 3]]
KERNEL = [[-1, -1, -1], [0, 0, 0], [1, 1, 1]]
NUMPY = {"zeros": "constant", "replicate": "edge", "reflect": "reflect", "circular": "wrap"}
SCIPY = {"zeros": "constant", "replicate": "nearest", "reflect": "mirror", "circular": "wrap"}


def by_loops(x, kernel, stride, dilation, groups):
    """The definition: a sum over the window and the channels of the group, one output at a time; no padding."""
    (b, *sides, c), (*window, _, features) = x.shape, kernel.shape
    count = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(sides, window, stride, dilation, strict=True)]
    y = np.zeros((b, *count, features))
    for place in itertools.product(*map(range, count)):
        for offset in itertools.product(*map(range, window)):
            at = tuple(p * s + o * d for p, s, o, d in zip(place, stride, offset, dilation, strict=True))
            for j in range(features):
                first = j // (features // groups) * (c // groups)
                seen = x[(slice(None), *at, slice(first, first + c // groups))]
                y[(slice(None), *place, j)] += seen @ kernel[(*offset, slice(None), j)]
    return y


CASES = [  # sides, window, channels, features, groups, stride, padding, dilation
    ((9,), (3,), 2, 4, 1, (2,), 1, (1,)),
    ((11,), (4,), 4, 6, 2, (1,), "same", (2,)),
    ((6, 7), (3, 2), 3, 2, 1, (1, 1), 0, (1, 1)),
    ((7, 6), (3, 3), 4, 8, 4, (2, 1), (1, 2), (1, 2)),
    ((5, 5), (3, 3), 2, 3, 1, (1, 1), "full", (1, 1)),
    ((6, 6), (2, 4), 2, 2, 2, (1, 1), "same", (3, 1)),
    ((5, 6), (3, 3), 1, 2, 1, (3, 2), ((0, 2), (1, 0)), (1, 1)),
    ((4, 5, 4), (3, 2, 2), 2, 4, 2, (1, 2, 1), 1, (1, 1, 2)),
]


@pytest.mark.curriculum("H1", "H3", "H4")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_any_number_of_dimensions_against_loops(case):
    sides, window, c, f, groups, stride, padding, dilation = case
    x, kernel, bias = (RNG.normal(size=s) for s in ((2, *sides, c), (*window, c // groups, f), (f,)))
    around = {
        "same": [((d * (k - 1)) // 2, (d * (k - 1) + 1) // 2) for k, d in zip(window, dilation, strict=True)],
        "full": [(d * (k - 1),) * 2 for k, d in zip(window, dilation, strict=True)],
    }.get(padding if isinstance(padding, str) else "", padding)
    around = np.broadcast_to(np.reshape(around, (-1, 1)) if np.ndim(around) < 2 else around, (len(sides), 2))
    expected = by_loops(np.pad(x, [(0, 0), *around, (0, 0)]), kernel, stride, dilation, groups) + bias
    y = correlate(x, kernel, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
    np.testing.assert_allclose(y, expected, atol=2e-5)


@pytest.mark.curriculum("H1", "H2")
def test_the_worked_example_is_a_cross_correlation():
    x, kernel = np.asarray(IMAGE)[None, ..., None], np.asarray(KERNEL)[..., None, None]
    expected = [[262, 480, 463], [-196, -211, -30], [-253, -444, -459]]
    np.testing.assert_array_equal(correlate(x, kernel)[0, ..., 0], expected)
    np.testing.assert_array_equal(convolve(x, kernel)[0, ..., 0], -np.asarray(expected))  # as the formula beside it


@pytest.mark.curriculum("H2", "H7")
@pytest.mark.parametrize("word", ["valid", "same", "full"])
def test_true_convolutions_are_those_of_scipy(word):
    x, kernel = RNG.normal(size=(7, 6)), RNG.normal(size=(3, 5))
    as_layer = x[None, ..., None], kernel[..., None, None]
    expected = signal.convolve2d(x, kernel, word)
    np.testing.assert_allclose(convolve(*as_layer, padding=word)[0, ..., 0], expected, atol=1e-5)
    expected = signal.correlate2d(x, kernel, word)
    np.testing.assert_allclose(correlate(*as_layer, padding=word)[0, ..., 0], expected, atol=1e-5)
    line = np.convolve(x[0], kernel[0], word)
    np.testing.assert_allclose(
        convolve(x[0][None, :, None], kernel[0][:, None, None], padding=word)[0, :, 0], line, atol=1e-5
    )


@pytest.mark.curriculum("H6")
@pytest.mark.parametrize("mode", convolution.PADDING_MODES)
def test_padding_modes(mode):
    x, around = RNG.normal(size=(2, 4, 5, 3)).astype(np.float32), ((1, 2), (3, 0))
    if mode == "mean":
        expected = np.stack(
            [[np.pad(x[b, ..., c], around, constant_values=x[b, ..., c].mean()) for c in range(3)] for b in range(2)]
        ).transpose(0, 2, 3, 1)
    else:
        expected = np.pad(x, ((0, 0), *around, (0, 0)), NUMPY[mode])
    np.testing.assert_allclose(convolution.pad(x, around, mode), expected, rtol=1e-6, atol=1e-7)
    kernel = RNG.normal(size=(3, 3)).astype(np.float32)
    y = correlate(x, np.broadcast_to(kernel[..., None, None], (3, 3, 1, 3)), groups=3, padding=1, padding_mode=mode)
    assert y.shape == x.shape
    for b, c in itertools.product(range(2), range(3)):
        how = {"mode": SCIPY.get(mode, "constant"), "cval": x[b, ..., c].mean() if mode == "mean" else 0}
        np.testing.assert_allclose(y[b, ..., c], ndimage.correlate(x[b, ..., c], kernel, **how), atol=1e-5)


def test_the_worked_paddings():
    line = jnp.asarray([1.0, 2.0, 3.0, 6.0])[None, :, None]
    expected = {
        "zeros": [0, 0, 1, 2, 3, 6, 0, 0], "replicate": [1, 1, 1, 2, 3, 6, 6, 6], "mean": [3, 3, 1, 2, 3, 6, 3, 3],
        "reflect": [3, 2, 1, 2, 3, 6, 3, 2], "circular": [3, 6, 1, 2, 3, 6, 1, 2],
    }  # fmt: skip
    for mode, values in expected.items():
        np.testing.assert_array_equal(convolution.pad(line, ((2, 2),), mode)[0, :, 0], values, mode)


@pytest.mark.curriculum("H10")
def test_dilation_is_a_kernel_with_zeros():
    x, kernel = RNG.normal(size=(2, 11, 10, 2)), RNG.normal(size=(3, 2, 2, 3))
    stuffed = convolution.zero_stuffed(kernel, (2, 3))
    assert stuffed.shape == (5, 4, 2, 3) and np.count_nonzero(stuffed) == kernel.size
    np.testing.assert_allclose(correlate(x, kernel, dilation=(2, 3)), correlate(x, stuffed), atol=1e-5)
    line = np.arange(10.0)  # y[i] = sum_k x[i + r k] w[k]
    y = correlate(line[None, :, None], np.array([1.0, 10.0, 100.0])[:, None, None], dilation=3)[0, :, 0]
    np.testing.assert_array_equal(y, [line[i] + 10 * line[i + 3] + 100 * line[i + 6] for i in range(4)])


@pytest.mark.curriculum("H12", "H13", "H15")
def test_groups_depthwise_and_pointwise():
    x, kernel = RNG.normal(size=(2, 6, 6, 4)).astype(np.float32), RNG.normal(size=(3, 3, 2, 6)).astype(np.float32)
    halves = [correlate(x[..., 2 * g : 2 * g + 2], kernel[..., 3 * g : 3 * g + 3]) for g in range(2)]
    np.testing.assert_allclose(correlate(x, kernel, groups=2), np.concatenate(halves, -1), atol=1e-5)
    depthwise = correlate(x, kernel[..., :1, :4], groups=4)
    each = [signal.correlate2d(x[1, ..., c], kernel[..., 0, c], "valid") for c in range(4)]
    np.testing.assert_allclose(depthwise[1], np.stack(each, -1), atol=1e-5)
    mixing = RNG.normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_allclose(correlate(x, mixing[None, None]), x @ mixing, atol=1e-5)


@pytest.mark.curriculum("H58")
def test_a_convolution_is_a_sparse_tied_matrix():
    kernel, sides = RNG.normal(size=(3, 2, 2, 3)).astype(np.float32), (5, 4)
    how = {"stride": (2, 1), "padding": 1}
    matrix = convolution.as_matrix(kernel, sides, **how)
    x = RNG.normal(size=(3, *sides, 2)).astype(np.float32)
    y = correlate(x, kernel, **how)
    np.testing.assert_allclose((x.reshape(3, -1) @ matrix).reshape(y.shape), y, atol=1e-5)
    assert matrix.shape == (40, 3 * 5 * 3)
    # Sparse: at most a window in each column. Tied: nothing but the weights of the kernel. Dense: 1800 parameters.
    assert (np.count_nonzero(matrix, 0) <= 3 * 2 * 2).all() and np.count_nonzero(matrix, 0).max() == 12
    assert set(np.unique(matrix)) == {0, *np.unique(kernel)} and kernel.size == 36 < matrix.size == 1800
    line = RNG.normal(size=3).astype(np.float32)
    toeplitz = linalg.toeplitz(np.r_[line, np.zeros(3)], np.r_[line[0], np.zeros(3)])
    np.testing.assert_array_equal(convolution.as_matrix(line[:, None, None], (6,)), toeplitz)


@pytest.mark.curriculum("H23")
def test_convolution_moves_with_the_image_and_pooling_hardly_notices():
    """Equivariance is exact with circular padding and inside the image with zeros; a dense layer has none."""
    from cvdl_jax.ops.pooling import max_pool

    x, kernel = RNG.normal(size=(1, 8, 8, 2)).astype(np.float32), RNG.normal(size=(3, 3, 2, 4)).astype(np.float32)
    moved, how = np.roll(x, (2, 3), (1, 2)), {"padding": 1, "padding_mode": "circular"}
    y = correlate(x, kernel, **how)
    np.testing.assert_allclose(correlate(moved, kernel, **how), np.roll(y, (2, 3), (1, 2)), atol=1e-5)
    zeros, after = correlate(x, kernel, padding=1), correlate(moved, kernel, padding=1)
    np.testing.assert_allclose(after[:, 3:-1, 4:-1], zeros[:, 1:-3, 1:-4], atol=1e-5)
    assert np.abs(after - np.roll(zeros, (2, 3), (1, 2))).max() > 0.1  # but not at the border
    strided = correlate(x, kernel, stride=2, **how)
    np.testing.assert_allclose(
        correlate(np.roll(x, 2, 1), kernel, stride=2, **how), np.roll(strided, 1, 1), atol=1e-5
    )  # by multiples of the stride alone
    matrix = RNG.normal(size=(128, 128))
    assert np.abs((moved.reshape(1, -1) - x.reshape(1, -1)) @ matrix).max() > 0.1
    # A bright spot moved, turned or scaled inside its window of the pooling leaves the same maximum.
    spots = np.zeros((4, 8, 8, 1), np.float32)
    spots[0, 1, 1], spots[1, 2, 3], spots[2, 0, 2] = 1, 1, 1
    spots[3, 1:3, 1:3] = 1
    pooled = np.asarray(max_pool(spots, 4))
    assert (pooled == pooled[:1]).all() and pooled.sum() == 4
    spots[0], spots[0, 1, 4] = 0, 1
    assert (np.asarray(max_pool(spots, 4))[0] != pooled[0]).any()  # across the edge of a window it does notice


TRANSPOSED = [  # sides, window, channels, features, groups, stride, padding, output_padding, dilation
    ((4,), (3,), 2, 3, 1, (2,), 1, 1, (1,)),
    ((3, 4), (3, 2), 4, 6, 2, (2, 3), (1, 0), (1, 2), (1, 2)),
    ((3, 3, 2), (2, 2, 2), 1, 2, 1, (1, 2, 1), 0, 0, (2, 1, 1)),
]


@pytest.mark.curriculum("M11")
def test_the_worked_transposed_convolutions():
    """OR58: the kernel times every pixel, added up. OR59: with stride 2 nothing overlaps; the size that output_padding
    chooses.
    """
    x = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
    kernel = np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1)
    np.testing.assert_array_equal(conv_transpose(x, kernel)[0, ..., 0], [[0, 0, 1], [0, 4, 6], [4, 12, 9]])
    apart = conv_transpose(x, kernel, stride=2)[0, ..., 0]
    np.testing.assert_array_equal(apart, [[0, 0, 0, 1], [0, 0, 2, 3], [0, 2, 0, 3], [4, 6, 6, 9]])
    ones = np.ones((3, 3, 1, 1), np.float32)
    odd = conv_transpose(x + 1, ones, stride=2, padding=1)[0, ..., 0]
    np.testing.assert_array_equal(odd, [[1, 3, 2], [4, 10, 6], [3, 7, 4]])
    even = conv_transpose(x + 1, ones, [1.0], stride=2, padding=1, output_padding=1)[0, ..., 0]
    np.testing.assert_array_equal(even[:3, :3] - 1, odd)
    assert even.shape == (4, 4) and even[3].tolist() == [4, 8, 5, 5]


@pytest.mark.curriculum("M11")
@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_the_transposed_convolution_is_the_adjoint(case):
    """<conv(y), x> = <y, convT(x)> for every y, and the size of the lectures."""
    sides, window, c, f, groups, stride, padding, more, dilation = case
    x, kernel = RNG.normal(size=(2, *sides, c)), RNG.normal(size=(*window, c, f // groups))
    with jax.enable_x64(True):
        z = conv_transpose(
            x, kernel, stride=stride, padding=padding, output_padding=more, dilation=dilation, groups=groups
        )
        pairs = (np.broadcast_to(v, len(sides)) for v in (sides, window, stride, padding, more, dilation))
        size = tuple((n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, o, d in zip(*pairs, strict=True))
        assert z.shape == (2, *size, f)
        # [*window, groups c/g, f/g] -> [*window, f/g, groups c/g]: feature c of a group sees the group's f/g channels
        back = np.swapaxes(kernel, -1, -2)

        def forward(y):
            return correlate(y, back, stride=stride, padding=padding, dilation=dilation, groups=groups)

        y = RNG.normal(size=z.shape)
        value, adjoint = jax.vjp(forward, y)
        assert value.shape == x.shape
        np.testing.assert_allclose((value * x).sum(), (y * z).sum(), rtol=1e-10)
        np.testing.assert_allclose(z, adjoint(x)[0], atol=1e-10)


@pytest.mark.curriculum("H24")
def test_a_dense_layer_is_a_convolution_for_larger_maps():
    h, w, c = 2, 3, 2
    dense, x = RNG.normal(size=(h * w * c, 4)).astype(np.float32), RNG.normal(size=(2, 4, 5, c)).astype(np.float32)
    y = correlate(x, convolution.dense_as_convolution(jnp.asarray(dense), (h, w)))
    for i, j in itertools.product(range(y.shape[1]), range(y.shape[2])):
        np.testing.assert_allclose(y[:, i, j], x[:, i : i + h, j : j + w].reshape(2, -1) @ dense, atol=1e-4)


def test_whole_numbers_are_convolved_as_floats_and_types_are_kept():
    x, kernel = np.full((1, 3, 3, 1), 200, np.uint8), np.ones((2, 2, 1, 1), np.int32)
    assert correlate(x, kernel).dtype == jnp.float32 and correlate(x, kernel)[0, 0, 0, 0] == 800
    half = correlate(jnp.ones((1, 3, 1), jnp.bfloat16), jnp.ones((2, 1, 1), jnp.bfloat16), np.ones(1))
    assert half.dtype == jnp.bfloat16 and (half == 3).all()
    mean = convolution.pad(np.array([[[1], [2]]]), ((1, 0),), "mean")
    assert mean[0, 0, 0] == 1.5  # not cut to a whole number


X = jnp.ones((1, 4, 4, 6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: correlate(X, jnp.ones((5, 5, 6, 1))), "a window of 5 pixels is larger than an axis of 4 pixels"),
        (lambda: correlate(X, jnp.ones((3, 3, 3, 4)), groups=4), "groups=4 must divide both the 6 input channels"),
        (lambda: correlate(X, jnp.ones((3, 3, 3, 4))), r"takes 3 channels, got 6"),
        (lambda: correlate(X, jnp.ones((3, 6, 4))), r"takes a kernel with 4 axes.*got \[3, 6, 4\]"),
        (lambda: correlate(X, jnp.ones((3, 3, 6, 4)), jnp.ones(3)), r"bias must have the shape \[4\], got \[3\]"),
        (lambda: correlate(X, jnp.ones((3, 3, 6, 4)), stride=2, padding="same"), "padding='same' keeps the size"),
        (lambda: correlate(X, jnp.ones((3, 3, 6, 4)), padding=1, padding_mode="mirror"), "'mirror' is not known"),
        (lambda: correlate(X, jnp.ones((3, 3, 6, 4)), padding=4, padding_mode="reflect"), "at most 3 pixels for a sid"),
        (lambda: correlate(X, jnp.ones((3, 3, 6, 4)), padding=5, padding_mode="circular"), "at most 4 pixels"),
        (lambda: correlate(X[0, 0], jnp.ones((3, 6))), r"a convolution takes \[b, \*sides, c\], got \[4, 6\]"),
        (lambda: conv_transpose(X, jnp.ones((3, 3, 5, 4))), r"takes a kernel \[\*window, 6, features / groups\]"),
        (lambda: conv_transpose(X, jnp.ones((3, 3, 6, 4)), output_padding=1), "output_padding=1 must be smaller"),
        (lambda: conv_transpose(X, jnp.ones((1, 1, 6, 4)), padding=2), "padding 2 and 2 leaves nothing of 4 pixels"),
        (lambda: convolution.as_matrix(jnp.ones((3, 3, 1, 1)), (100, 100)), "too large to look at"),
        (lambda: convolution.dense_as_convolution(jnp.ones((7, 2)), (2, 2)), "with 7 inputs has none for every pixel"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
