"""Block matching: by a loop over pixels and windows, on shifted views, in other light; depth by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops import stereo

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("X2")
def test_depth_by_hand():
    """f = 500 pixels, B = 0.2 m: 10 pixels are 10 m, and half the disparity is twice the depth."""
    depth = stereo.depth_from_disparity(jnp.asarray([10.0, 5.0, 0.0, -1.0, np.nan]), 500.0, 0.2)
    np.testing.assert_allclose(depth, [10, 20, np.inf, np.nan, np.nan])


@pytest.mark.curriculum("X2")
@pytest.mark.parametrize("measure", ["sad", "ssd", "census"])
def test_costs_by_a_loop(measure):
    left, right = RNG.random((6, 8, 2)).astype(np.float32), RNG.random((6, 8, 2)).astype(np.float32)
    got = np.asarray(stereo.matching_costs(jnp.asarray(left), jnp.asarray(right), 3, 3, measure))

    def bits(image, y, x):
        grey = image.sum(-1)
        near = [(y + i, x + j) for i in range(-2, 3) for j in range(-2, 3) if (i, j) != (0, 0)]
        return np.array([0 <= a < 6 and 0 <= b < 8 and grey[a, b] > grey[y, x] for a, b in near])

    def pixel(y, x, d):
        if measure == "census":
            return (bits(left, y, x) != bits(right, y, x - d)).sum()
        wrong = left[y, x] - right[y, x - d]
        return abs(wrong).sum() if measure == "sad" else (wrong**2).sum()

    for y, x, d in ((0, 0, 0), (2, 4, 2), (5, 7, 1), (3, 2, 2)):
        around = [(i, j) for i in (y - 1, y, y + 1) for j in (x - 1, x, x + 1) if 0 <= i < 6 and d <= j < 8]
        assert got[y, x, d] == pytest.approx(np.mean([pixel(i, j, d) for i, j in around]), rel=1e-5)
    assert np.isinf(got[:, :2, 2]).all() and np.isfinite(got[:, 2:]).all()


@pytest.fixture(scope="module")
def pair():
    """Two planes: the upper half is moved by 2 pixels, the lower one by 5; the first columns are seen once."""
    wide = RNG.random((16, 45, 1)).astype(np.float32)
    left = wide[:, 5:]
    right = np.concatenate([wide[:8, 7:], RNG.random((8, 2, 1))], 1), np.concatenate([wide[8:, 10:], wide[8:, :5]], 1)
    return jnp.asarray(left), jnp.asarray(np.concatenate(right), jnp.float32)


@pytest.mark.curriculum("X2")
@pytest.mark.parametrize("measure", ["sad", "ssd", "census"])
def test_views_that_are_shifted_have_that_disparity(pair, measure):
    left, right = pair
    costs = stereo.matching_costs(left, right, 8, 5, measure)
    found = stereo.disparities_of(costs, subpixel=False)
    assert (found[:6, 6:] == 2).all() and (found[10:, 6:] == 5).all()
    other = stereo.disparities_of(stereo.right_costs(costs), subpixel=False)
    good = stereo.consistent(found, other)
    assert good[:6, 6:].all() and not good[10:, :2].any()  # what the right camera does not see
    if measure == "census":  # other brightness and contrast leave it as it is
        same = stereo.matching_costs(left, 0.5 * right + 0.2, 8, 5, measure)
        np.testing.assert_array_equal(costs, same)


@pytest.mark.curriculum("X2")
def test_the_vertex_of_a_parabola_and_what_has_none():
    d = jnp.arange(6.0)
    costs = jnp.stack([(d - 2.3) ** 2, (d - 0.2) ** 2, jnp.full(6, 1.0), jnp.abs(d - 4.9)])[None]
    np.testing.assert_allclose(stereo.disparities_of(costs)[0], [2.3, 0, 0, 5], rtol=1e-6)
    np.testing.assert_array_equal(stereo.disparities_of(costs, False)[0], [2, 0, 0, 5])
    infinite = jnp.asarray([[[jnp.inf, 1.0, 2.0, 9.0]]])
    np.testing.assert_array_equal(stereo.disparities_of(infinite), [[1]])
    for subpixel in (True, False):  # what no cost speaks for is no disparity of 0, and agrees with nothing
        nothing = stereo.disparities_of(jnp.asarray([[[jnp.nan] * 4, [jnp.inf] * 4, [1.0, 0, 1, 1]]]), subpixel)
        np.testing.assert_array_equal(jnp.isnan(nothing), [[True, True, False]])
        assert not stereo.consistent(nothing, nothing)[0, :2].any()


@pytest.mark.curriculum("X2")
def test_a_match_outside_the_other_view_is_none():
    """Column 0 with a disparity of 3 would be at -3, whatever the first column there says."""
    left, right = jnp.asarray([[3.0, 0, -3, -3]]), jnp.asarray([[3.0, 0, 0, -3]])
    assert stereo.consistent(left, right).tolist() == [[False, True, False, False]]


@pytest.mark.curriculum("X2")
def test_costs_of_the_right_view_are_those_of_the_views_in_mirrors():
    left, right = (jnp.asarray(RNG.random((5, 9, 1)), jnp.float32) for _ in range(2))
    got = stereo.right_costs(stereo.matching_costs(left, right, 4, 1))
    want = stereo.matching_costs(right[:, ::-1], left[:, ::-1], 4, 1)[:, ::-1]
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"disparities": 9}, "disparities=9 must be between 1 and the width, 8"),
        ({"disparities": 2, "window": 4}, "window=4 must be odd"),
        ({"disparities": 2, "measure": "mad"}, "measure='mad' must be"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(lambda x: stereo.matching_costs(x, x, **arguments), jnp.zeros((4, 8, 1)))
