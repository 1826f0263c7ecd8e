"""Corruptions and probes: values by hand and by other libraries, harder with severity, a function of the example."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage import color, transform

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.corruptions import corruption_errors, relative_corruption_errors
from cvdl_jax.ops.images import corruptions, host_warps, probes

RNG = np.random.default_rng(0)
# A smooth colour image, of which five severities are told apart, and others
SMOOTH = ndimage.gaussian_filter(RNG.uniform(size=(6, 24, 20, 3)), (0, 2, 2, 0), mode="wrap")
X = ((SMOOTH - SMOOTH.min()) / (SMOOTH.max() - SMOOTH.min())).astype(np.float32)


@pytest.mark.curriculum("U10")
@pytest.mark.parametrize("name", corruptions.KINDS)
def test_a_corruption_is_of_its_example_alone_and_grows(name):
    parts = [corruptions.corrupt(X[i : i + 1], name, 3, seed=5, first=i) for i in range(2)]
    whole = corruptions.corrupt(X[:2], name, 3, seed=5)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert whole.dtype == np.float32 and whole.shape == X[:2].shape and 0 <= whole.min() and whole.max() <= 1
    grey = corruptions.corrupt(X[:1, :, :, :1], name, 5)
    assert grey.shape == (1, 24, 20, 1) and np.isfinite(grey).all()
    errors = [np.abs(corruptions.corrupt(X, name, s) - X).mean() for s in (1, 5)]
    if name not in ("elastic", "glass_blur"):  # their levels are no order of pixel differences
        assert 0 < errors[0] < errors[1]
    drawn = name not in ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg")
    assert (corruptions.corrupt(X[:2], name, 3, seed=6) != whole).any() == drawn
    same = np.concatenate([X[:1], X[:1]])
    one, other = corruptions.corrupt(same, name, 3)
    assert (one != other).any() == drawn  # other numbers for another example


@pytest.mark.curriculum("U10")
def test_noise_has_the_moments_of_its_level():
    flat = np.full((4, 64, 64, 3), 0.5, np.float32)
    assert (corruptions.corrupt(flat, "gaussian_noise", 2) - flat).std() == pytest.approx(0.06, rel=0.03)
    shot = corruptions.corrupt(flat, "shot_noise", 5)  # Poisson of mean 25, over 50
    assert shot.mean() == pytest.approx(0.5, abs=0.003) and shot.std() == pytest.approx(5 / 50, rel=0.03)
    impulse = corruptions.corrupt(flat, "impulse_noise", 5)
    assert (impulse == 0).mean() == pytest.approx(0.035, abs=0.004) == (impulse == 1).mean()
    assert (impulse == 0.5).mean() == pytest.approx(0.93, abs=0.006)


@pytest.mark.curriculum("U10")
def test_light_and_digital_corruptions_are_those_of_other_libraries():
    hsv = color.rgb2hsv(X[0])
    hsv[..., 2] = np.clip(hsv[..., 2] + 0.2, 0, 1)
    np.testing.assert_allclose(corruptions.corrupt(X[:1], "brightness", 4)[0], color.hsv2rgb(hsv), atol=1e-6)
    black = corruptions.corrupt(np.zeros((1, 2, 2, 3), np.float32), "brightness", 1)
    np.testing.assert_allclose(black, 0.05, atol=1e-7)
    mean = X[0].mean((0, 1))
    want = np.clip((X[0] - mean) * 0.15 + mean, 0, 1)
    np.testing.assert_allclose(corruptions.corrupt(X[:1], "contrast", 5)[0], want, atol=1e-6)
    pixels = np.rint(255 * X[0]).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=58)
    np.testing.assert_array_equal(
        np.rint(255 * corruptions.corrupt(X[:1], "jpeg", 3)[0]), np.asarray(Image.open(buffer))
    )
    small = Image.fromarray(pixels).resize((int(20 * 0.65), int(24 * 0.65)), Image.BOX).resize((20, 24), Image.BOX)
    np.testing.assert_allclose(corruptions.corrupt(X[:1], "pixelate", 5)[0], np.asarray(small) / 255, atol=0.006)


@pytest.mark.curriculum("U10")
def test_blurs_by_hand():
    """A point of light: under defocus of radius 1 a cross of fifths, softened; in motion a line to the right."""
    point = np.zeros((1, 9, 9, 1), np.float32)
    point[0, 4, 4] = 1
    cross = corruptions.corrupt(point, "defocus_blur", 4)[0, :, :, 0]
    np.testing.assert_allclose([cross[4, 4], cross[3, 4], cross[4, 5]], 0.2, rtol=1e-3)
    assert cross.sum() == pytest.approx(1, abs=1e-4) and cross[3, 3] < 1e-4
    moved = host_warps.motion_blurred(point.astype(float), 2, 1.0, np.array([0.0]))[0, :, :, 0]
    weights = np.exp([0, -0.5, -2]) / np.exp([0, -0.5, -2]).sum()
    np.testing.assert_allclose(moved[4, 4:7], weights)
    assert moved.sum() == pytest.approx(1)
    up = host_warps.motion_blurred(point.astype(float), 1, 1.0, np.array([90.0]))[0, :, :, 0]
    assert up[3, 4] > 0 and up[5, 4] == 0
    flat = np.full((1, 12, 12, 1), 0.25, np.float32)
    for name in ("defocus_blur", "motion_blur", "zoom_blur", "glass_blur", "elastic", "pixelate"):
        np.testing.assert_allclose(corruptions.corrupt(flat, name, 5), flat, atol=1e-6)


def test_glass_moves_pixels_and_keeps_them():
    x = RNG.permutation(400).reshape(1, 20, 20, 1) / 400
    before = x.copy()
    moved = corruptions.KINDS["glass_blur"][0](x, (0.01, 2, 1), [np.random.default_rng(0)])
    np.testing.assert_allclose(np.sort(moved.ravel()), np.sort(x.ravel()))
    assert (moved != x).mean() > 0.5
    np.testing.assert_array_equal(x, before)


def test_warps_are_those_of_scikit_image():
    image = X[:1].astype(np.float64)
    corners = np.array([[[2.0, 1.0], [0.0, 17.0], [22.0, 19.0], [23.0, 3.0]]])
    frame = np.array([[0, 0], [19, 0], [19, 23], [0, 23]])  # (x, y), as scikit-image counts
    back = transform.ProjectiveTransform.from_estimate(frame, corners[0, :, ::-1])
    want = transform.warp(image[0], back, order=1, mode="edge")
    np.testing.assert_allclose(host_warps.perspective(image, corners)[0], want, atol=1e-9)
    c, s = np.cos(0.3), np.sin(0.3)
    turned = host_warps.affine(image, np.array([[[c, s, 0], [-s, c, 0]]]))
    want = transform.rotate(image[0], np.rad2deg(0.3), order=1, mode="edge")
    np.testing.assert_allclose(turned[0], want, atol=1e-9)
    ramp = np.broadcast_to(np.arange(21.0)[None, None, :, None], (1, 5, 21, 1))
    np.testing.assert_allclose(host_warps.zoomed(ramp, 2.0)[0, 2, :, 0], 10 + (np.arange(21) - 10) / 2)


@pytest.mark.curriculum("U10")
@pytest.mark.parametrize("name", probes.KINDS)
def test_probes_begin_at_the_image_and_move_away_from_it(name):
    _, levels, (_, high) = probes.KINDS[name]
    neutral = 1 if name in ("size", "scale") else 0
    np.testing.assert_allclose(probes.probe(X, name, neutral), X, atol=1e-6)
    errors = [np.abs(probes.probe(X, name, level) - X).mean() for level in levels]
    assert 0 < errors[0] < errors[-1]
    np.testing.assert_array_equal(probes.probe(X, name, levels[0], 3), probes.probe(X, name, levels[0], 3))
    with pytest.raises(ConfigError, match=f"the level .* of the probe '{name}' must be between"):
        probes.probe(X, name, high + 1)


@pytest.mark.curriculum("U10")
def test_probes_do_what_they_are_called():
    x = np.ones((40, 20, 20, 1), np.float32)
    hidden = probes.probe(x, "occlusion", 0.3)
    assert ((hidden == 0.5).sum((1, 2, 3)) == 36).all() and len({tuple(np.argwhere(h == 0.5)[0]) for h in hidden}) > 20
    lit = probes.probe(x, "illumination", 0.75)
    np.testing.assert_allclose([lit.max((1, 2, 3)), lit.min((1, 2, 3))], [[1] * 40, [0.25] * 40], atol=1e-6)
    kinds = np.broadcast_to(np.arange(40.0)[:, None, None, None] / 40, x.shape).astype(np.float32)
    mixed = probes.probe(kinds, "clutter", 1)
    assert ((mixed != kinds).sum((1, 2, 3)) == 25).all()  # a square of another example
    quarter = np.zeros((1, 21, 21, 1), np.float32)
    quarter[0, 10, 14:] = 1
    turned = probes.probe(quarter, "rotation", 90)[0, :, :, 0]
    assert turned[10, 16] < 1e-6 and max(turned[5, 10], turned[15, 10]) > 0.99
    ramp = np.broadcast_to(np.linspace(0, 1, 20)[None, :, None, None], (8, 20, 20, 1))
    seen = probes.probe(ramp, "viewpoint", 0.2, 1)
    spans = np.stack([seen[:, -1, side, 0] - seen[:, 0, side, 0] for side in (0, -1)])  # of the left and right edge
    assert (np.abs(spans - 1) < 1e-6).any() and (np.abs(spans - 0.6) < 1e-6).any()


@pytest.mark.curriculum("U10")
def test_corruption_errors_by_hand():
    """Errors 0.1 and 0.3 where the reference has 0.2 and 0.6: 1/2; beyond clean errors 0.1 and 0.2, 0.2 over 0.4."""
    errors, reference = [[0.1, 0.3], [0.5, 0.5]], [[0.2, 0.6], [0.5, 0.3]]
    np.testing.assert_allclose(corruption_errors(errors, reference), [0.5, 1.25])
    np.testing.assert_allclose(relative_corruption_errors(errors, 0.1, reference, 0.2), [0.2 / 0.4, 0.8 / 0.4])
    with pytest.raises(DataError, match="corruption 1 adds no errors to those of the reference"):
        corruption_errors(errors, [[0.1, 0.1], [0, 0]])
    for clean in ((10.0, 0.2), (0.1, -0.2)):
        with pytest.raises(DataError, match=r"error rates must be numbers in 0\.\.1"):
            relative_corruption_errors(errors, clean[0], reference, clean[1])
    for nothing in ([0.1, 0.3], [0.1, 0.2]):  # as many errors as without, but for rounding, and fewer
        with pytest.raises(DataError, match="corruption 0 adds no errors"):
            relative_corruption_errors(errors, 0.1, [nothing, [0.5, 0.3]], 0.2)


def test_what_cannot_be_corrupted_is_refused():
    with pytest.raises(ConfigError, match=r"there is no corruption 'fogg'.*'fog'"):
        corruptions.corrupt(X, "fogg", 1)
    with pytest.raises(ConfigError, match="severity=6 must be one of 1, 2, 3, 4, 5"):
        corruptions.corrupt(X, "fog", 6)
    with pytest.raises(ConfigError, match="got uint8"):
        corruptions.corrupt(np.zeros((1, 2, 2, 1), np.uint8), "fog", 1)
