"""Pooling against worked numbers, loops and SciPy: values, places of the maxima, gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops import pooling
from cvdl_jax.ops.conv_arithmetic import output_size

RNG = np.random.default_rng(0)
FOUR = np.array([[1, 3, 6, 6], [20, 9, 8, 4], [2, 1, 4, 5], [1, 12, 13, 10]], np.float32)[None, ..., None]
OTHER = np.array([[2, 2, 7, 3], [9, 4, 6, 1], [8, 5, 2, 4], [3, 1, 2, 6]], np.float32)[None, ..., None]


def run(pool, x, *args, **how):
    """The result in NumPy, compiled in one piece."""
    return jax.tree.map(np.asarray, jax.jit(lambda x: pool(x, *args, **how))(x))


def by_loops(x, window, stride, padding, dilation=None, ceil_mode=False):
    """(places, values) of every window, {(b, *window, c): ([flat places], [values])}, without the padding."""
    (b, *sides, c), axes = x.shape, x.ndim - 2
    dilation = dilation or (1,) * axes
    count = output_size(tuple(sides), window, stride, padding, dilation, ceil_mode)
    seen = {}
    for place in itertools.product(*map(range, count)):
        lines = [
            [p * s + o * d - low for o in range(k) if 0 <= p * s + o * d - low < n]
            for p, s, k, d, low, n in zip(place, stride, window, dilation, padding, sides, strict=True)
        ]
        for i, j in itertools.product(range(b), range(c)):
            at = list(itertools.product(*lines))
            flat = [int(np.ravel_multi_index(pixel, sides)) for pixel in at]
            seen[(i, *place, j)] = flat, [x[(i, *pixel, j)] for pixel in at]
    return (b, *count, c), seen


@pytest.mark.curriculum("H17", "H18")
def test_the_worked_examples():
    np.testing.assert_array_equal(pooling.max_pool(FOUR, 2, 1)[0, ..., 0], [[20, 9, 8], [20, 9, 8], [12, 13, 13]])
    np.testing.assert_array_equal(pooling.max_pool(FOUR, 2)[0, ..., 0], [[20, 8], [12, 13]])
    np.testing.assert_array_equal(pooling.avg_pool(FOUR, 2)[0, ..., 0], [[8.25, 6], [4, 8]])
    np.testing.assert_array_equal(pooling.max_pool(OTHER, 2)[0, ..., 0], [[9, 7], [8, 6]])
    values, places = pooling.max_pool(OTHER, 2, return_indices=True)
    np.testing.assert_array_equal(values[0, ..., 0], [[9, 7], [8, 6]])
    np.testing.assert_array_equal(places[0, ..., 0], [[4, 2], [8, 15]])


CASES = [  # sides, window, stride, padding, dilation, ceil_mode
    ((9,), (3,), (2,), (1,), (1,), False),
    ((10,), (3,), (3,), (0,), (2,), True),
    ((7, 6), (3, 3), (2, 2), (0, 0), (1, 1), True),  # overlapping, as in AlexNet
    ((6, 7), (3, 2), (2, 2), (1, 1), (1, 1), True),
    ((8, 7), (2, 3), (1, 2), (1, 1), (2, 1), False),
    ((4, 5, 4), (2, 2, 3), (2, 1, 1), (0, 1, 1), (1, 1, 1), True),
]


@pytest.mark.curriculum("H4", "H17", "H19")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_max_pooling_against_loops(case):
    sides, window, stride, padding, dilation, ceil_mode = case
    x = RNG.integers(-9, 0, size=(2, *sides, 2)).astype(np.float32)  # negative: a padding of zeros would win; with ties
    shape, seen = by_loops(x, *case[1:])
    values, places = run(
        pooling.max_pool, x, window, stride, padding, dilation, ceil_mode=ceil_mode, return_indices=True
    )
    assert values.shape == places.shape == shape and places.dtype == jnp.int32
    for at, (flat, pixels) in seen.items():
        assert (values[at], places[at]) == (max(pixels), flat[int(np.argmax(pixels))]), at
    without = run(pooling.max_pool, x, window, stride, padding, dilation, ceil_mode=ceil_mode)
    np.testing.assert_array_equal(without, values)


@pytest.mark.curriculum("M10")
def test_the_worked_unpooling():
    """OR57: the maxima return to their places among zeros."""
    x = np.float32([[1, 4, 3, 1], [2, 3, 5, 2], [10, 9, 2, 3], [7, 3, 4, 20]])[None, ..., None]
    values, places = pooling.max_pool(x, 2, return_indices=True)
    np.testing.assert_array_equal(values[0, ..., 0], [[4, 5], [10, 20]])
    back = pooling.max_unpool(values, places, 2)[0, ..., 0]
    np.testing.assert_array_equal(back, [[0, 4, 0, 0], [0, 0, 5, 0], [10, 0, 0, 0], [0, 0, 0, 20]])


@pytest.mark.curriculum("M10")
@pytest.mark.parametrize(("ceil_mode", "case"), [*((False, c) for c in CASES if c[5] is False), (True, CASES[2]),
                                                 (False, ((7, 5), (3, 2), (3, 2), (0, 0), (1, 1), False)),
                                                 (False, ((5,), (2,), (3,), (1,), (1,), False))], ids=str)  # fmt: skip
def test_unpooling_against_loops(ceil_mode, case):
    """With windows that tile the image, overlap or leave gaps, and other values than the maxima; and its gradient."""
    sides, window, stride, padding, dilation, _ = case
    sides = tuple(n - (ceil_mode and n % 2 == 0) for n in sides)
    x = RNG.normal(size=(2, *sides, 2)).astype(np.float32)
    _, places = pooling.max_pool(x, window, stride, padding, dilation, ceil_mode=ceil_mode, return_indices=True)
    places, y = np.asarray(places), RNG.normal(size=places.shape).astype(np.float32)
    expected, taken = np.zeros((2, int(np.prod(sides)), 2), np.float32), {}
    for at in np.ndindex(y.shape):
        expected[at[0], places[at], at[-1]] = y[at]  # of several windows the last one
        taken[at[0], int(places[at]), at[-1]] = at
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True))

    def unpool(y):
        return pooling.max_unpool(y, places, reach, stride, padding, output_size=sides)

    np.testing.assert_array_equal(run(unpool, y), expected.reshape(x.shape))
    weights = RNG.normal(size=x.shape).astype(np.float32)
    slope, flat = run(jax.grad(lambda y: (unpool(y) * weights).sum()), y), weights.reshape(2, -1, 2)
    known = np.zeros_like(y)
    for (b, place, c), at in taken.items():
        known[at] = flat[b, place, c]
    np.testing.assert_array_equal(slope, known)


def test_unpooling_refuses_what_does_not_fit():
    x = RNG.normal(size=(1, 5, 7, 1)).astype(np.float32)
    values, places = pooling.max_pool(x, 2, return_indices=True)
    whole = pooling.max_unpool(values, places, 2, output_size=(5, 7))
    np.testing.assert_array_equal(pooling.max_pool(whole[:, :4, :6], 2), np.maximum(values, 0))
    with pytest.raises(ValueError, match="places of the pooled image; give its sides as output_size"):
        pooling.max_unpool(values, places, 2)  # places in an image of 7 columns, not of 6
    assert np.isnan(run(lambda y: pooling.max_unpool(y, places, 2), values)).any()
    with pytest.raises(ValueError, match="places of the pooled image"):
        pooling.max_unpool(values, places + 100, 2, 1)
    assert np.isnan(run(lambda y: pooling.max_unpool(y, places + 100, 2, 1), values)).all()
    for how, said in [
        ({"output_size": (6, 9)}, r"output_size=\(6, 9\) is not the size of an image that pools to \(2, 3\) windows"),
        ({"padding": 2}, "leaves nothing of"),
    ]:
        with pytest.raises(ConfigError, match=said):
            pooling.max_unpool(values, places, 2, **how)
    with pytest.raises(ConfigError, match="values and whole numbers of one shape"):
        pooling.max_unpool(values, values, 2)


@pytest.mark.parametrize("return_indices", [False, True])
def test_the_gradient_of_a_maximum_goes_to_the_first_of_the_largest(return_indices):
    """Also where pixels are left over at the end, and where dilation takes the other form."""

    def total(x, dilation):
        y = pooling.max_pool(x, 2, 3, dilation=dilation, return_indices=return_indices)
        return (y[0] if return_indices else y).sum()

    x = jnp.asarray([5.0, 5.0, 1.0, 2.0, 7.0, 0.0, 3.0])[None, :, None]
    np.testing.assert_array_equal(run(jax.grad(total), x, 1)[0, :, 0], [1, 0, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(run(jax.grad(total), x, 2)[0, :, 0], [1, 0, 0, 1, 0, 0, 0])


@pytest.mark.curriculum("H18")
@pytest.mark.parametrize("case", [case for case in CASES if max(case[4]) == 1], ids=str)
def test_average_pooling_against_loops(case):
    sides, window, stride, padding, _, ceil_mode = case
    x = RNG.normal(size=(2, *sides, 2)).astype(np.float32)
    shape, seen = by_loops(x, *case[1:])
    inner = run(pooling.avg_pool, x, window, stride, padding, ceil_mode=ceil_mode, count_include_pad=False)
    outer = run(pooling.avg_pool, x, window, stride, padding, ceil_mode=ceil_mode)
    seven = run(pooling.avg_pool, x, window, stride, padding, ceil_mode=ceil_mode, divisor_override=7)
    assert inner.shape == outer.shape == shape
    # What is beyond the padding, where ceil_mode reaches, does not count
    padded = np.pad(np.ones(sides), [(p, p) for p in padding], constant_values=1)
    _, whole = by_loops(padded[None, ..., None], window, stride, (0,) * len(sides), None, ceil_mode)
    for at, (_, pixels) in seen.items():
        np.testing.assert_allclose(inner[at], np.mean(pixels), atol=1e-6)
        np.testing.assert_allclose(outer[at], np.sum(pixels) / len(whole[(0, *at[1:-1], 0)][0]), atol=1e-6)
        np.testing.assert_allclose(seven[at], np.sum(pixels) / 7, atol=1e-6)


def test_stride_one_is_the_filter_of_scipy():
    x = RNG.normal(size=(6, 7)).astype(np.float32)
    y = pooling.max_pool(x[None, ..., None], (3, 5), 1, "same")[0, ..., 0]
    np.testing.assert_array_equal(y, ndimage.maximum_filter(x, (3, 5), mode="constant", cval=-np.inf))
    y = pooling.avg_pool(x[None, ..., None], 3, 1, 1)[0, ..., 0]
    np.testing.assert_allclose(y, ndimage.uniform_filter(x, 3, mode="constant"), atol=1e-6)


@pytest.mark.curriculum("H20", "H21")
def test_global_pooling():
    x = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(pooling.global_average(x), x.mean((1, 2)), atol=1e-6)
    np.testing.assert_array_equal(pooling.global_max(x), x.max((1, 2)))
    np.testing.assert_allclose(pooling.adaptive_avg_pool(x, 1)[:, 0, 0], x.mean((1, 2)), atol=1e-6)
    np.testing.assert_allclose(pooling.avg_pool(x, (3, 4))[:, 0, 0], x.mean((1, 2)), atol=1e-6)
    many = jnp.full((1, 64, 64, 1), 1 + 2**-7, jnp.bfloat16)  # summed in bfloat16 it would stop growing at 256
    assert pooling.global_average(many)[0, 0] == many[0, 0, 0, 0] and pooling.global_average(many).dtype == many.dtype


@pytest.mark.curriculum("H22")
@pytest.mark.parametrize(
    ("sides", "output"), [((7,), (3,)), ((6, 5), (2, 7)), ((7, 9), (7, 4)), ((3, 4, 5), (2, 3, 2))]
)
def test_adaptive_pooling_against_loops(sides, output):
    x = RNG.integers(-5, 5, size=(2, *sides, 2)).astype(np.float32)
    mean = run(pooling.adaptive_avg_pool, x, output)
    largest, places = run(pooling.adaptive_max_pool, x, output, return_indices=True)
    assert mean.shape == largest.shape == places.shape == (2, *output, 2)
    flat = np.arange(np.prod(sides)).reshape(sides)
    for at in itertools.product(*map(range, output)):
        bins = tuple(
            slice(int(np.floor(i * n / m)), int(np.ceil((i + 1) * n / m)))
            for i, n, m in zip(at, sides, output, strict=True)
        )
        for b, c in itertools.product(range(2), range(2)):
            pixels = x[(b, *bins, c)].ravel()
            np.testing.assert_allclose(mean[(b, *at, c)], pixels.mean(), atol=1e-6)
            assert largest[(b, *at, c)] == pixels.max()
            assert places[(b, *at, c)] == flat[bins].ravel()[pixels.argmax()]
    np.testing.assert_array_equal(run(pooling.adaptive_max_pool, x, output), largest)


def test_adaptive_pooling_to_the_size_of_the_image_is_the_image():
    x = RNG.normal(size=(2, 4, 6, 3)).astype(np.float32)
    np.testing.assert_array_equal(pooling.adaptive_avg_pool(x, (None, 6)), x)
    np.testing.assert_allclose(
        run(pooling.adaptive_avg_pool, x, (None, 3)), run(pooling.avg_pool, x, (1, 2)), atol=1e-6
    )
    np.testing.assert_array_equal(run(pooling.adaptive_max_pool, x, (2, None)), run(pooling.max_pool, x, (2, 1)))
    slope = run(jax.grad(lambda x: pooling.adaptive_max_pool(x, 3).sum()), x)
    assert slope.sum() == 2 * 9 * 3 and set(np.unique(slope)) <= {0.0, 1.0, 2.0, 4.0}  # a pixel may be in several bins


def test_unusual_values():
    low = np.full((1, 3, 1), -np.inf, np.float32)
    values, places = run(pooling.max_pool, low, 3, 1, 1, return_indices=True)
    assert (values == -np.inf).all() and places[0, :, 0].tolist() == [0, 0, 1]  # pixels, not the padding
    nan = np.array([1, np.nan, 2, 3], np.float32)[None, :, None]
    for more in ({}, {"dilation": 1, "return_indices": True}):
        values = run(pooling.max_pool, nan, 2, **more)
        assert np.isnan((values[0] if more else values)[0, 0, 0])
    whole = np.array([3, -4, -5, -6], np.int32)[None, :, None]
    assert pooling.max_pool(whole, 3, 1, 1).tolist() == [[[3], [3], [-4], [-5]]]
    assert pooling.avg_pool(whole, 4).dtype == jnp.float32 and pooling.avg_pool(whole, 4)[0, 0, 0] == -3
    assert pooling.max_pool(np.zeros((0, 4, 4, 2), np.float32), 2).shape == (0, 2, 2, 2)


X = jnp.ones((1, 4, 4, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pooling.max_pool(X, 5), "a window of 5 pixels is larger than an axis of 4 pixels padded to 4"),
        (lambda: pooling.max_pool(X, 2, 1, 2), "padding=2 lets a window of 2 pixels see nothing but padding.*; 1 on"),
        (lambda: pooling.avg_pool(X, 2, 1, 2), "nothing but padding on an axis of 4 pixels"),
        (lambda: pooling.max_pool(X[:, :1, :1], 2, 1, 2, 3), "nothing but padding on an axis of 1 pixels"),
        (lambda: pooling.max_pool(X, -1), "window=-1 must be whole numbers of 1 or more"),
        (lambda: pooling.max_pool(X, 2, 0), "stride=0 must be whole numbers of 1 or more"),
        (lambda: pooling.max_pool(X, 3, 2, "same"), "padding='same' keeps the size, which stride"),
        (lambda: pooling.avg_pool(X, 2, divisor_override=0), "divisor_override=0 must be"),
        (lambda: pooling.adaptive_avg_pool(X, 0), "output=0 must be whole numbers of 1 or more"),
        (lambda: pooling.adaptive_max_pool(X, (2, 2, 2)), "has 3 numbers for 2 axes"),
        (lambda: pooling.max_pool(X > 0, 2), "max_pool takes real numbers, got bool"),
        (lambda: pooling.global_max(jnp.ones((2, 3))), r"global_max takes \[b, \*sides, c\] with a pixel or more"),
        (lambda: pooling.global_average(jnp.ones((2, 0, 3, 1))), "with a pixel or more"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
