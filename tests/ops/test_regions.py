"""Regions of maps: ROI pooling in three quantisations, ROI Align against a loop, levels of a pyramid, warped crops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.ops.regions import level_of, roi_align, roi_pool, with_context

quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
REGIONS = np.array(
    [[0.1, 0.2, 0.7, 0.9], [0, 0, 1, 1], [0.3, 0.3, 0.3, 0.3], [-0.4, 0.5, 0.6, 1.3], [0.45, 0.05, 0.55, 0.12]], "f"
)


def bounds(n, size, how):
    for i in range(size):
        if how == "cover":
            yield int(np.floor(i * n / size)), int(np.ceil((i + 1) * n / size))
        else:
            one = max(n // size, 1)
            begin = min(i * one, n - 1)
            yield begin, n if how == "last" and i == size - 1 else begin + one


def cells(low, high, n):
    first = int(np.clip(np.floor(low * n + 0.5), 0, n - 1))
    return first, int(np.clip(np.floor(high * n + 0.5), first + 1, n))


def pooled_in_a_loop(features, regions, size, how):
    h, w, c = features.shape
    out = np.zeros((len(regions), size, size, c), features.dtype)
    for r, region in enumerate(regions):
        (y0, y1), (x0, x1) = cells(region[0], region[2], h), cells(region[1], region[3], w)
        for i, (a, b) in enumerate(bounds(y1 - y0, size, how)):
            for j, (c, d) in enumerate(bounds(x1 - x0, size, how)):
                out[r, i, j] = features[y0 + a : y0 + b, x0 + c : x0 + d].max((0, 1))
    return out


@pytest.mark.curriculum("L11")
@pytest.mark.parametrize(
    ("how", "rows"),
    [
        ("dropped", [[1, 3, 5], [7, 9, 11], [13, 15, 17]]),
        ("last", [[1, 3, 5], [7, 9, 11], [19, 21, 23]]),
        ("cover", [[7, 9, 11], [13, 15, 17], [19, 21, 23]]),
    ],
)
def test_four_rows_in_three_bins(how, rows):  # OR62, ER78
    features = jnp.arange(24.0).reshape(4, 6, 1)
    pooled = quick_jit(partial(roi_pool, size=3, quantisation=how))(features, jnp.float32([[0, 0, 1, 1]]))
    np.testing.assert_array_equal(pooled[0, ..., 0], rows)


@pytest.mark.curriculum("L11")
@pytest.mark.parametrize("how", ["cover", "dropped", "last"])
def test_pooling_equals_a_loop_over_bins(how):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(13, 9, 2)).astype(np.float32)
    pool = quick_jit(partial(roi_pool, size=3, quantisation=how))
    np.testing.assert_array_equal(pool(features, REGIONS), pooled_in_a_loop(features, REGIONS, 3, how))
    many = np.sort(rng.random((5, 2, 2)), 1).reshape(5, 4).astype(np.float32)
    np.testing.assert_array_equal(pool(features, many), pooled_in_a_loop(features, many, 3, how))


@pytest.mark.curriculum("L11")
def test_the_gradient_of_a_maximum_goes_to_its_cell_once():
    """A bin is read through four overlapping windows; its maximum still counts once."""
    features = np.random.default_rng(1).permutation(7 * 8).reshape(7, 8, 1).astype(np.float32)
    grad = quick_jit(jax.grad(lambda x: roi_pool(x, jnp.float32([[0, 0, 1, 1]]), 2).sum()))(features)
    expected = np.zeros((7, 8))
    for rows in (slice(0, 4), slice(3, 7)):
        for columns in (slice(0, 4), slice(4, 8)):
            part = features[rows, columns, 0]
            y, x = np.unravel_index(part.argmax(), part.shape)
            expected[rows, columns][y, x] += 1
    np.testing.assert_allclose(grad[..., 0], expected)


def aligned_in_a_loop(features, region, size, sampling, aligned):
    h, w, c = features.shape
    out = np.zeros((size, size, c))
    low = [region[i] * n - 0.5 * aligned for i, n in enumerate((h, w))]
    length = [(region[i + 2] - region[i]) * n for i, n in enumerate((h, w))]
    length = length if aligned else np.maximum(length, 1.0)
    for i, j, a, b in np.ndindex(size, size, sampling, sampling):
        y = low[0] + (i + (a + 0.5) / sampling) * length[0] / size
        x = low[1] + (j + (b + 0.5) / sampling) * length[1] / size
        if y < -1 or y > h or x < -1 or x > w:
            continue
        y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
        y0, x0 = int(y), int(x)
        y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
        top = features[y0, x0] * (1 - x + x0) + features[y0, x1] * (x - x0)
        bottom = features[y1, x0] * (1 - x + x0) + features[y1, x1] * (x - x0)
        out[i, j] += (top * (1 - y + y0) + bottom * (y - y0)) / sampling**2
    return out


@pytest.mark.curriculum("L12")
@pytest.mark.parametrize(("sampling", "aligned"), [(2, True), (2, False), (1, True), (3, True)])
def test_alignment_equals_a_bilinear_loop(sampling, aligned):
    """Of two levels of a pyramid, each region from its own."""
    rng = np.random.default_rng(0)
    levels = [rng.normal(size=(n, m, 3)).astype(np.float32) for n, m in ((8, 11), (4, 6))]
    level = np.array([0, 1, 0, 1, 0], np.int32)
    align = quick_jit(partial(roi_align, size=3, sampling=sampling, aligned=aligned))
    pooled = align(levels, REGIONS, level)
    for r, region in enumerate(REGIONS):
        expected = aligned_in_a_loop(levels[level[r]], region, 3, sampling, aligned)
        np.testing.assert_allclose(pooled[r], expected, atol=1e-5)


@pytest.mark.curriculum("L12")
def test_alignment_is_exact_on_a_plane_and_its_gradient_is_its_weights():
    """Bilinear samples of a linear map are the map at the centres of bins; every sample's weights add up to 1."""
    y, x = np.mgrid[:16, :12] + 0.5
    plane = jnp.asarray((2 * y - 3 * x)[..., None], jnp.float32)
    region = jnp.float32([[0.25, 0.25, 0.75, 0.75]])
    align = lambda f: roi_align([f], region, size=2)  # noqa: E731
    pooled = quick_jit(align)(plane)[0, ..., 0]
    np.testing.assert_allclose(pooled, [[2 * 6 - 3 * 4.5, 2 * 6 - 3 * 7.5], [2 * 10 - 3 * 4.5, 2 * 10 - 3 * 7.5]])
    grad = quick_jit(jax.grad(lambda f: align(f).sum()))(plane)
    np.testing.assert_allclose(grad.sum(), 4, rtol=1e-5)
    assert not grad[:3].any() and not grad[13:].any() and grad[4:12, 3:9].min() > 0


@pytest.mark.curriculum("L24")
def test_levels_by_the_size_of_regions():  # Lin et al. 2017, equation 1
    sides = np.array([10, 111, 112, 223, 224, 447, 448, 900, 0])
    regions = np.zeros((9, 4), np.float32)
    regions[:, 2], regions[:, 3] = sides / 800, sides / 1000
    assert level_of(regions, (800, 1000), 4, 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0]
    assert level_of(regions, (800, 1000), 8, 3).tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 0]
    assert level_of(regions, (800, 1000), 4, 4, 112.0).tolist() == [0, 1, 2, 2, 3, 3, 3, 3, 0]


@pytest.mark.curriculum("L9")
def test_a_warped_crop_has_its_context_around_it():
    around = with_context(jnp.float32([[0.3, 0.2, 0.5, 0.6]]), 10, 2)[0]
    half = np.array([0.1, 0.2]) * 10 / 6
    np.testing.assert_allclose(around, np.concatenate([0.4 - half, 0.4 + half]), rtol=1e-5)
    image = jnp.zeros((40, 40, 1)).at[12:20, 8:24].set(1.0)  # exactly the box
    crop = quick_jit(partial(roi_align, size=10, sampling=4))([image], around[None])[0, ..., 0]
    assert crop[2:8, 2:8].min() > 0.85 and crop[:1].max() == 0 and crop[:, -1:].max() == 0
