"""Canny's edges, normalised cuts and the shape of regions against worked numbers, brute force and scikit-image."""

import itertools

import numpy as np
import pytest

from cvdl_jax.errors import DataError
from cvdl_jax.ops.classical import canny, normalised_cuts, region_shape, sift, viola_jones

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("X5")
def test_edges_are_thin_and_where_the_step_is():
    image = np.zeros((24, 24))
    image[:, 12:] = 1
    edges = canny.canny(image, 1.0, 0.05, 0.1)
    assert (edges[1:-1].sum(1) == 1).all() and set(np.nonzero(edges)[1].tolist()) <= {11, 12}
    assert canny.canny(image.T, 1.0, 0.05, 0.1)[:, 1:-1].sum(0).tolist() == [1] * 22
    y, x = np.mgrid[:40, :40]
    ring = canny.canny((np.hypot(y - 20, x - 19.5) < 10).astype(float), 1.4, 0.05, 0.1)
    radius = np.hypot(*(np.argwhere(ring) - [20, 19.5]).T)
    assert (abs(radius - 9.7) < 1).all() and 50 < ring.sum() < 85


@pytest.mark.curriculum("X5")
def test_non_maxima_go_along_the_gradient():
    dy, dx = np.zeros((5, 7)), np.zeros((5, 7))
    dx[:, :] = [1, 2, 3, 5, 5, 2, 1]
    expected = np.zeros((5, 7))
    expected[1:-1, 3] = 5  # of two equal ones the first
    np.testing.assert_array_equal(canny.thinned(dy, dx), expected)
    np.testing.assert_array_equal(canny.thinned(dx.T, dy.T), expected.T)
    # A gradient of (1, 2) points between the pixel beside and the diagonal one, half each.
    dy, dx = np.full((3, 3), 0.0), np.full((3, 3), 0.0)
    dy[1, 1], dx[1, 1] = 1, 2  # length 2.236
    for beside, kept in ((2.2, True), (2.3, False)):
        dx[1, 2], dx[2, 2] = beside - 0.5, beside + 0.5
        assert (canny.thinned(dy, dx)[1, 1] > 0) == kept


@pytest.mark.curriculum("X5")
def test_hysteresis_is_scikit_images():
    from scipy import ndimage
    from skimage.filters import apply_hysteresis_threshold

    strength = RNG.random((20, 22))
    labels, _ = ndimage.label(strength >= 0.6, np.ones((3, 3)))
    expected = np.isin(labels, np.unique(labels[(strength >= 0.95)])) & (labels > 0)
    np.testing.assert_array_equal(canny.hysteresis(strength, 0.6, 0.95), expected)
    straight = apply_hysteresis_threshold(strength, 0.6, 0.95)  # joined over sides alone, so no more
    assert (canny.hysteresis(strength, 0.6, 0.95) | ~straight).all()
    with pytest.raises(ValueError, match=r"low=0.5, high=0.2: expected 0 < low <= high"):
        canny.hysteresis(strength, 0.5, 0.2)


@pytest.mark.curriculum("X6")
def test_the_cut_by_hand_and_against_all_partitions():
    w = np.asarray([[0, 3, 1, 0], [3, 0, 0, 0], [1, 0, 0, 2], [0, 0, 2, 0.0]])
    assert normalised_cuts.ncut(w, np.asarray([True, True, False, False])) == pytest.approx(1 / 7 + 1 / 5)
    assert normalised_cuts.ncut(w, np.ones(4, bool)) == 2
    points = np.concatenate([RNG.normal(0, 0.6, 5), RNG.normal(4, 0.6, 4)])
    w = np.exp(-np.square(points[:, None] - points[None]))
    side, value = normalised_cuts.best_split(w)
    all_ = [np.asarray((False, *s)) for s in itertools.product((False, True), repeat=8) if any(s)]
    assert value == pytest.approx(min(normalised_cuts.ncut(w, s) for s in all_))
    assert len(set(side[:5])) == 1 and side[0] != side[-1] and len(set(side[5:])) == 1


@pytest.mark.curriculum("X6")
def test_the_eigenvector_is_the_generalised_one():
    from scipy.linalg import eigh

    w = RNG.random((12, 12))
    w = w + w.T
    d = np.diag(w.sum(1))
    theirs, ours = eigh(d - w, d)[1][:, 1], normalised_cuts.second_eigenvector(w)
    np.testing.assert_allclose(ours * np.sign(ours @ theirs), theirs, atol=1e-9)


@pytest.mark.curriculum("X6")
def test_a_small_image_falls_into_its_areas():
    image = np.full((12, 14, 1), 0.1)
    image[:, 7:], image[6:, :7] = 0.9, 0.5
    label = normalised_cuts.segment(normalised_cuts.affinity(image + RNG.normal(0, 0.02, image.shape)), 0.1).reshape(
        12, 14
    )
    assert label.max() == 2
    for part in (label[:, 7:], label[6:, :7], label[:6, :7]):
        assert len(np.unique(part)) == 1
    w = normalised_cuts.affinity(image, 0.5, 2.0, 3.0)
    assert w[0, 1] == pytest.approx(np.exp(-1 / 4)) and w[0, 3] == 0
    assert w[6, 7] == pytest.approx(np.exp(-(0.8**2) / 0.25 - 1 / 4))
    with pytest.raises(DataError, match=r"finite floats in 0..1, got uint8 \[12, 14, 1\]"):
        normalised_cuts.affinity((255 * image).astype(np.uint8))
    with pytest.raises(ValueError, match="least=0 nodes of a part must be 1 or more"):
        normalised_cuts.segment(w, 0.1, 0)


@pytest.mark.curriculum("X6")
@pytest.mark.parametrize("sign", [1, -1])
def test_parts_stay_whole_that_are_small_or_hold_together(monkeypatch, sign):
    """A vector and its negative are the same cut, and either side of it may be the small one."""
    plain = normalised_cuts.second_eigenvector
    monkeypatch.setattr(normalised_cuts, "second_eigenvector", lambda w: sign * plain(w))
    label = np.repeat([0, 1], [8, 3])
    w = np.where(label[:, None] == label[None], 1.0, 0.001)
    assert normalised_cuts.segment(w, 0.1, 4).max() == 0
    np.testing.assert_array_equal(
        normalised_cuts.segment(w, 0.1, 3) == normalised_cuts.segment(w, 0.1, 3)[0], label == 0
    )
    w = np.asarray([[0, 3, 1, 0], [3, 0, 0, 0], [1, 0, 0, 2], [0, 0, 2, 0.0]])  # of ncut 1/7 + 1/5 = 0.343
    assert normalised_cuts.segment(w, 0.34, 2).max() == 0 and normalised_cuts.segment(w, 0.345, 2).max() == 1


@pytest.mark.curriculum("X12")
def test_shapes_are_scikit_images():
    from skimage import filters, measure

    y, x = np.mgrid[:40, :50]
    mask = ((0.8 * (y - 18) + 0.6 * (x - 23)) / 14) ** 2 + ((0.8 * (x - 23) - 0.6 * (y - 18)) / 6) ** 2 < 1
    mask[10:14, 30:40] = True
    mask = measure.label(mask) == measure.label(mask)[18, 23]
    ours, theirs = region_shape.describe(mask), measure.regionprops(mask.astype(int))[0]
    assert ours.area == theirs.area and ours.centroid == pytest.approx(theirs.centroid)
    assert np.cos(ours.orientation - theirs.orientation) ** 2 == pytest.approx(1)
    # A pixel is a square here and a point there: 16 / 12 more in the square of an axis.
    major, minor = (np.sqrt(axis**2 + 16 / 12) for axis in (theirs.axis_major_length, theirs.axis_minor_length))
    assert (ours.major, ours.minor) == pytest.approx((major, minor))
    assert ours.eccentricity == pytest.approx(np.sqrt(1 - (minor / major) ** 2))
    assert ours.perimeter == pytest.approx(theirs.perimeter)
    np.testing.assert_allclose(ours.hu, theirs.moments_hu, atol=1e-12)
    image = np.where(mask, 0.7, 0.2) + RNG.normal(0, 0.05, mask.shape)
    bin_ = np.ptp(image) / 256  # theirs is the centre of the bin whose largest value is ours
    assert region_shape.otsu(image) == pytest.approx(filters.threshold_otsu(image), abs=bin_ / 2 + 1e-9)
    assert ((image > region_shape.otsu(image)) == mask).mean() > 0.99
    with pytest.raises(DataError, match="a threshold needs two values"):
        region_shape.otsu(np.ones((3, 3)))
    with pytest.raises(DataError, match="a region needs one"):
        region_shape.describe(np.zeros((3, 3), bool))


@pytest.mark.curriculum("X12")
def test_all_of_the_best_ground_is_ground():
    """Levels 0 and 0.003 share the first of 256 bins, above whose centre the second one is; 1 is the figure."""
    values = np.repeat([0.0, 0.003, 1.0], [10, 1000, 50])
    assert region_shape.otsu(values) == 0.003
    # Four levels: {0, 1 | 3, 4} has w0 w1 (m0 - m1)^2 = 2 2 9 / 16 of all, {0 | 1, 3, 4} less.
    assert region_shape.otsu(np.asarray([4.0, 0.0, 3.0, 1.0]), 4) == 1.0


@pytest.mark.curriculum("X5", "X7", "X12")
def test_what_is_no_grey_image_is_refused():
    """Thresholds are of grey levels in 0..1: bytes would be 255 times too steep everywhere."""
    image = RNG.random((20, 20))
    spoilt = np.where(np.eye(20, dtype=bool), np.nan, image)
    methods = {
        "canny": canny.canny, "blobs": lambda x: region_shape.blobs(x, (2.0, 3.0, 4.0)), "sift": sift.detect,
        "viola_jones": lambda x: viola_jones.scan(None, [], x, 4),
    }  # fmt: skip
    for name, method in methods.items():
        method(image.astype(np.float32))
        with pytest.raises(DataError, match=rf"{name} takes one grey image \[h, w\] .*, got uint8 \[20, 20\]; divide"):
            method((image * 255).astype(np.uint8))
        with pytest.raises(DataError, match=r"got float64 \[20, 20, 3\]"):
            method(np.stack([image] * 3, -1))
        with pytest.raises(DataError, match=rf"{name} takes levels in 0\.\.1, got .*; divide by 255"):
            method((image * 255).astype(np.uint8).astype(float))
        with pytest.raises(DataError, match=f"{name}: 20 pixels of the image are NaN"):
            method(spoilt)
    for shape in ((1, 9), (2, 5), (9, 1)):
        assert not canny.canny(RNG.random(shape)).any() and canny.canny(RNG.random(shape)).shape == shape


@pytest.mark.curriculum("X7", "X12")
def test_a_blob_between_pixels_is_one():
    """Four pixels around the middle are equal, of which none is above the others."""
    y, x = np.mgrid[:48, :64]
    image = 0.8 * np.exp(-((y - 20.5) ** 2 + (x - 25.5) ** 2) / 18)
    np.testing.assert_allclose(region_shape.blobs(image, (2.0, 3.0, 4.0, 6.0)), [[20, 25, 3]])
    points = sift.detect(image)
    assert len(points.scale) and abs(points.place - [20.5, 25.5]).max() < 0.05
    stack = np.zeros((3, 6, 6))
    stack[1, 2:4, 3:5] = 1.0
    assert sift.extrema(stack, 0.5).tolist() == sift.extrema(-stack, 0.5).tolist() == [[1, 2, 3]]


@pytest.mark.curriculum("X12")
def test_shape_of_a_rectangle_by_hand():
    mask = np.zeros((12, 12), bool)
    mask[3:5, 2:8] = True  # 2 rows, 6 columns
    shape = region_shape.describe(mask)
    assert shape.area == 12 and shape.centroid == (3.5, 4.5)
    assert (shape.major, shape.minor) == pytest.approx((4 * np.sqrt(3), 4 * np.sqrt(4 / 12)))
    assert abs(shape.orientation) == pytest.approx(np.pi / 2) and shape.perimeter == 12
    turned = region_shape.describe(np.rot90(mask))
    np.testing.assert_allclose(turned.hu, shape.hu, atol=1e-12)
    assert abs(turned.orientation) == pytest.approx(0)


@pytest.mark.curriculum("X12")
def test_a_disc_is_a_blob_of_its_own_scale():
    y, x = np.mgrid[:50, :60]
    image = (np.hypot(y - 20, x - 25) < 8) * 0.8
    blobs = region_shape.blobs(image, (2.0, 4.0, 8 / np.sqrt(2), 8.0, 11.0), 0.3)
    np.testing.assert_allclose(blobs, [[20, 25, 8 / np.sqrt(2)]])
    assert region_shape.blobs(-image, (2.0, 4.0, 6.0), 0.5).shape[1] == 3
