"""Affine warps and windows of images, against SciPy, scikit-image, Pillow and NumPy slices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage import transform

from cvdl_jax.ops.images import affine, crops

RNG = np.random.default_rng(0)
IMAGES = RNG.random((3, 7, 9, 2), np.float32)
SQUARE = RNG.random((3, 6, 6, 2), np.float32)
SCIPY = {"constant": "grid-constant", "edge": "nearest", "reflect": "mirror"}
WINDOWS = jnp.asarray([[0, 0, 7, 9], [1, 2, 3, 4], [2, 3, 5, 1]])
build = jax.jit(
    lambda degrees, y, x, slope: affine.compose(
        affine.rotation(degrees), affine.translation(y, x), affine.scaling(1 + y / 9, 1 + x / 9), affine.shear_x(slope)
    )
)


def f32(*values):
    return jnp.asarray(values, jnp.float32)


MATRICES = build(f32(10, 50, 200), f32(1, 0.3, -2), f32(0, 2.2, 1), f32(0.1, 0.2, -0.3))


def grid(h, w):
    """Coordinates of the pixels from the centre: [2, h * w]."""
    return np.stack([p.ravel() for p in np.mgrid[:h, :w]]) - np.asarray([[(h - 1) / 2], [(w - 1) / 2]])


@pytest.mark.curriculum("F13", "F18", "F19")
@pytest.mark.parametrize("mode", SCIPY)
@pytest.mark.parametrize(("order", "number"), [("bilinear", 1), ("nearest", 0)])
def test_warps_are_those_of_scipy(order, number, mode):
    out = affine.warp(IMAGES, MATRICES, order=order, mode=mode, fill=0.25)
    centre = np.asarray([3, 4])
    for image, m, ours in zip(IMAGES.astype(float), np.asarray(MATRICES, float), out, strict=True):
        offset = centre - m[:, :2] @ centre + m[:, 2]
        for k in range(2):
            expected = ndimage.affine_transform(
                image[..., k], m[:, :2], offset, order=number, mode=SCIPY[mode], cval=0.25
            )
            np.testing.assert_allclose(ours[..., k], expected, atol=2e-6)


@pytest.mark.curriculum("F13")
def test_rotation_is_counter_clockwise_about_the_centre():
    ours = affine.warp(IMAGES, affine.rotation(f32(30, -45, 100)), mode="edge")
    for image, degrees, result in zip(IMAGES, (30, -45, 100), ours, strict=True):
        np.testing.assert_allclose(result, transform.rotate(image, degrees, order=1, mode="edge"), atol=1e-5)


@pytest.mark.curriculum("F13")
@given(st.tuples(*[st.integers(-9, 9)] * 3))
def test_quarter_turns_are_exact(turns):
    ours = affine.warp(SQUARE, affine.rotation(90 * f32(*turns)))
    for image, turn, result in zip(SQUARE, turns, ours, strict=True):
        np.testing.assert_array_equal(result, np.rot90(image, turn))


@pytest.mark.parametrize("mode", SCIPY)
@pytest.mark.parametrize("order", ["bilinear", "nearest"])
def test_the_identity_is_exact(order, mode):
    for images in (IMAGES, SQUARE):
        np.testing.assert_array_equal(
            affine.warp(images, affine.rotation(f32(0, 0, 0)), order=order, mode=mode), images
        )


@pytest.mark.curriculum("F13", "F18", "F19")
@given(
    st.tuples(*[st.floats(-180, 180, width=32)] * 3),
    st.tuples(*[st.floats(-2, 2, width=32)] * 3),
    st.tuples(*[st.floats(-1, 1, width=32)] * 3),
)
def test_bilinear_interpolation_is_exact_on_a_plane(degrees, shift, slope):
    """I(p) = p, so that the warped image holds the input coordinates: inside these are A p' + t."""
    matrices = build(f32(*degrees), f32(*shift), f32(*shift[::-1]), f32(*slope))
    plane = np.broadcast_to(grid(7, 9).T.reshape(1, 7, 9, 2), (3, 7, 9, 2)).astype(np.float32)
    out = np.asarray(affine.warp(plane, matrices, mode="edge")).reshape(3, 63, 2)
    m = np.asarray(matrices, float)
    expected = (m[:, :, :2] @ grid(7, 9)[None] + m[:, :, 2:]).swapaxes(1, 2)  # [3, 63, 2]
    most = np.asarray([3, 4])
    np.testing.assert_allclose(out, np.clip(expected, -most, most), atol=2e-5)


@pytest.mark.curriculum("F17")
def test_translation_by_whole_pixels_moves_them():
    out = np.asarray(affine.warp(IMAGES, affine.translation(f32(2, -1, 0), f32(-3, 0, 4)), fill=0.5))
    wide = np.pad(IMAGES, ((0, 0), (4, 4), (4, 4), (0, 0)), constant_values=0.5)
    for result, image, y, x in zip(out, wide, (2, -1, 0), (-3, 0, 4), strict=True):
        np.testing.assert_array_equal(result, image[4 - y : 11 - y, 4 - x : 13 - x])


@pytest.mark.curriculum("F18")
def test_a_shear_of_slope_one_moves_each_line_by_one_pixel_more():
    lines = affine.warp(IMAGES, affine.shear_x(f32(1, 1, 1)))
    columns = affine.warp(IMAGES, affine.shear_y(f32(1, 1, 1)))
    wide = np.pad(IMAGES, ((0, 0), (4, 4), (4, 4), (0, 0)))
    for i in range(7):  # line i is i - 3 below the centre
        np.testing.assert_array_equal(lines[:, i], wide[:, i + 4, 4 - (i - 3) : 13 - (i - 3)])
    for j in range(9):
        np.testing.assert_array_equal(columns[:, :, j], wide[:, 4 - (j - 4) : 11 - (j - 4), j + 4])


@pytest.mark.curriculum("F16", "F19")
def test_scaling_enlarges_and_stretches():
    dot = np.zeros((2, 9, 9, 1), np.uint8)
    dot[:, 3:6, 3:6] = 1
    out = np.asarray(affine.warp(dot, affine.scaling(f32(1.9, 1), f32(1.9, 3)), order="nearest"))[..., 0]
    assert out.dtype == np.uint8
    ys, xs = np.nonzero(out[0])
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (2, 6, 2, 6)  # |p'| / 1.9 rounds to at most 1
    np.testing.assert_array_equal(out[1], np.pad(np.ones((3, 9)), ((3, 3), (0, 0))))


def test_compositions_and_inverses():
    first, second = MATRICES, affine.inverse(MATRICES)
    still = np.broadcast_to(np.eye(2, 3), (3, 2, 3))
    np.testing.assert_allclose(affine.compose(first, second), still, atol=1e-5)
    np.testing.assert_allclose(affine.compose(second, first), still, atol=1e-5)
    right, turn = affine.translation(f32(0), f32(1)), affine.rotation(f32(90))
    dot = np.zeros((1, 5, 5, 1), np.float32)
    dot[0, 2, 2] = 1
    for matrices, place in ((affine.compose(right, turn), (1, 2)), (affine.compose(turn, right), (2, 3))):
        assert np.unravel_index(np.argmax(affine.warp(dot, matrices)), (5, 5)) == place


@pytest.mark.curriculum("F34", "F35")
def test_boxes_go_where_their_pixels_go():
    box = np.asarray([[[10, 12, 22, 20], [16, 14, 18, 26]]], np.float32)  # pixels of an image of 32 x 40
    matrices = affine.compose(affine.rotation(f32(25)), affine.shear_x(f32(0.3)), affine.translation(f32(2), f32(4)))
    moved = affine.warp_boxes(box / np.asarray([32, 40, 32, 40], np.float32), matrices, 32, 40)[0]
    for before, after in zip(box[0].astype(int), np.asarray(moved) * [32, 40, 32, 40], strict=True):
        mask = np.zeros((1, 32, 40, 1), np.uint8)
        mask[0, before[0] : before[2], before[1] : before[3]] = 1
        y, x, _ = np.nonzero(np.asarray(affine.warp(mask, matrices, order="nearest"))[0])
        np.testing.assert_allclose(after, [y.min(), x.min(), y.max() + 1, x.max() + 1], atol=1.01)


@pytest.mark.curriculum("F14", "F15")
def test_crops_are_slices():
    places = [(0, 0), (3, 5), (1, 2)]
    out = crops.crop(jnp.asarray(IMAGES), jnp.asarray(places), (4, 3))
    for image, (y, x), result in zip(IMAGES, places, out, strict=True):
        np.testing.assert_array_equal(result, image[y : y + 4, x : x + 3])
    five = np.asarray(crops.five_crop(jnp.asarray(IMAGES), (4, 3)))
    assert five.shape == (3, 5, 4, 3, 2)
    expected = [IMAGES[:, y : y + 4, x : x + 3] for y, x in ((0, 0), (0, 6), (3, 0), (3, 6), (1, 3))]
    np.testing.assert_array_equal(five, np.stack(expected, 1))
    np.testing.assert_array_equal(crops.center_crop(jnp.asarray(IMAGES), (4, 3)), expected[4])
    np.testing.assert_array_equal(crops.five_places(7, 9, (4, 3)), [(0, 0), (0, 6), (3, 0), (3, 6), (1, 3)])


@pytest.mark.curriculum("F16")
@pytest.mark.parametrize("antialias", [True, False])
def test_a_resized_crop_is_the_resized_window(antialias):
    out = crops.resized_crop(jnp.asarray(IMAGES), WINDOWS, (5, 6), antialias=antialias)
    for image, window, ours in zip(IMAGES, np.asarray(WINDOWS).tolist(), out, strict=True):
        y, x, h, w = window
        part = image[y : y + h, x : x + w]
        np.testing.assert_allclose(ours, jax.image.resize(part, (5, 6, 2), "linear", antialias=antialias), atol=1e-6)
        if antialias:
            pillow = [Image.fromarray(part[..., k]).resize((6, 5), Image.Resampling.BILINEAR) for k in (0, 1)]
            np.testing.assert_allclose(ours, np.stack(pillow, -1), atol=1e-5)


@pytest.mark.curriculum("F16", "F35")
def test_a_resized_crop_of_a_mask_takes_the_nearest_pixel():
    masks = (255 * IMAGES).astype(np.uint8)
    out = crops.resized_crop(jnp.asarray(masks), WINDOWS, (5, 6), order="nearest")
    assert out.dtype == jnp.uint8
    for image, (y, x, h, w), ours in zip(masks, np.asarray(WINDOWS).tolist(), out, strict=True):
        expected = jax.image.resize(image[y : y + h, x : x + w], (5, 6, 2), "nearest")
        np.testing.assert_array_equal(ours, expected)


def test_mistakes_say_what_is_wanted():
    still, pixels = affine.identity(3), (255 * IMAGES).astype(np.uint8)
    with pytest.raises(ValueError, match=r"matrices \[b, 2, 3\]"):
        affine.warp(IMAGES, still[:2])
    with pytest.raises(ValueError, match="order='cubic' must be"):
        affine.warp(IMAGES, still, order="cubic")
    with pytest.raises(ValueError, match="mode='wrap' must be"):
        affine.warp(IMAGES, still, mode="wrap")
    with pytest.raises(ValueError, match="uint8; use 'nearest'"):
        affine.warp(pixels, still)
    with pytest.raises(ValueError, match="uint8; use 'nearest'"):
        crops.resized_crop(pixels, WINDOWS, (5, 6))
    with pytest.raises(ValueError, match=r"windows \[b, 4\]"):
        crops.resized_crop(IMAGES, WINDOWS[:, :2], (5, 6))
    with pytest.raises(ValueError, match="order='cubic' must be"):
        crops.resized_crop(IMAGES, WINDOWS, (5, 6), order="cubic")
    with pytest.raises(ValueError, match="8 x 3 pixels does not fit into images of 7 x 9"):
        crops.five_crop(IMAGES, (8, 3))
    with pytest.raises(ValueError, match=r"places\[:, 0\]\[1\]=4 must be in 0..3"):
        crops.crop(IMAGES, jnp.asarray([[0, 0], [4, 0], [0, 0]]), (4, 3))
    with pytest.raises(ValueError, match=r"\[b, h, w, c\]"):
        crops.center_crop(IMAGES[0], (2, 2))
