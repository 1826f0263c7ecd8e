"""Photometric operations: Pillow, scikit-image and SciPy as oracles, identities, draws, and refusals."""

from functools import partial
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from scipy import ndimage, stats
from skimage import color, exposure

from cvdl_jax.data.augment import policy
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images import colour, filters, histogram

KEY = jax.random.key(5)
RNG = np.random.default_rng(1)
BYTES = RNG.integers(0, 256, (4, 24, 23, 3)).astype(np.uint8)
BYTES[1] = 90 + BYTES[1] // 5  # low contrast
BYTES[2, ..., 1] = 77  # an even channel
IMAGE = (BYTES / 255).astype(np.float32)
FACTORS = np.array([0, 0.4, 1, 1.8], np.float32)
BITS = np.array([1, 3, 6, 8])
FUNCTIONS = [getattr(colour, f) for f in ("brightness", "brightness_shift", "contrast", "saturation", "hue", "gamma")]
FUNCTIONS += [colour.grayscale, colour.rgb_to_hsv, colour.hsv_to_rgb, colour.color_jitter]
FUNCTIONS += [getattr(histogram, f) for f in ("invert", "solarize", "posterize", "autocontrast", "equalize")]
FUNCTIONS += [getattr(filters, f) for f in ("gaussian_blur", "box_blur", "median", "smooth", "sharpness", "unsharp")]
J = {f.__name__: jax.jit(f) for f in FUNCTIONS}


def pillow(name, image, value):
    """Pillow's answer, uint8 [h, w, c], for one image and its parameter."""
    if name in ("brightness", "contrast", "saturation", "sharpness"):
        enhance = getattr(ImageEnhance, {"saturation": "Color"}.get(name, name.capitalize()))
        return enhance(image).enhance(float(value))
    if name == "solarize":
        return ImageOps.solarize(image, int(np.ceil(value * 255)))
    if name == "posterize":
        return ImageOps.posterize(image, int(value))
    if name == "grayscale":
        return ImageOps.grayscale(image).convert("RGB")
    if name in ("box_blur", "median", "smooth"):
        kind = {"median": ImageFilter.MedianFilter(3), "smooth": ImageFilter.SMOOTH}
        return image.filter(kind[name] if name in kind else ImageFilter.BoxBlur(float(value)))
    return getattr(ImageOps, name)(image)


def compare_with_pillow(name, values=None):
    arguments = () if values is None else (values,)
    ours = 255 * np.asarray(J[name](IMAGE, *arguments), np.float64)
    for i, image in enumerate(BYTES):
        value = None if values is None else values[i]
        theirs = np.asarray(pillow(name, Image.fromarray(image), value), np.float64)
        # Pillow cuts its result down to a byte, and rounds the grey or smoothed image that it blends with.
        blended = name in ("contrast", "saturation", "sharpness")
        bytes_off = 1 + abs(1 - value) if blended else 1
        assert abs(ours[i] - theirs).max() <= bytes_off + 1e-3
        if name in ("solarize", "posterize", "invert", "equalize", "median"):
            np.testing.assert_allclose(ours[i], theirs, atol=1e-3)


@pytest.mark.curriculum("F20", "F21", "F24")
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_blends_are_pillows(name):
    compare_with_pillow(name, FACTORS)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("solarize", np.array([0, 100.5, 180.5, 300]) / 255),
        ("posterize", BITS),
        *((name, None) for name in ("grayscale", "invert", "autocontrast", "equalize")),
    ],
)
def test_maps_of_values_are_pillows(name, values):
    compare_with_pillow(name, values)


@pytest.mark.curriculum("F26")
@pytest.mark.parametrize(
    ("name", "values"),
    [("sharpness", FACTORS), ("box_blur", np.array([0, 0.6, 1, 2.7])), ("median", None), ("smooth", None)],
)
def test_filters_are_pillows(name, values):
    compare_with_pillow(name, values)


def test_equalize_leaves_what_has_too_few_pixels():
    small = IMAGE[:, :9, :9]
    np.testing.assert_allclose(J["equalize"](small), small, atol=1e-6)


def test_equalize_by_comparisons_is_the_same():
    """What TPUs compute, where a scatter over all rows would be a sum over devices."""
    images = jnp.concatenate([IMAGE, IMAGE[:, ::-1] ** 2])
    expected = histogram.equalize(images)
    compared = partial(histogram.equalize, compare=True)
    made = jax.make_jaxpr(compared)(images)
    assert not any(name in str(made) for name in ("scatter", "dynamic_slice"))
    np.testing.assert_array_equal(compared(images), expected)


@pytest.mark.curriculum("F26")
def test_blurs_are_scipys():
    sigma, radius = np.array([0, 0.3, 1.7, 4], np.float32), np.array([0, 1, 2, 5], np.float32)
    blurred, boxed = np.asarray(J["gaussian_blur"](IMAGE, sigma)), np.asarray(J["box_blur"](IMAGE, radius))
    sharp = np.asarray(J["unsharp"](IMAGE, sigma, 0.7))
    for i, image in enumerate(IMAGE.astype(np.float64)):
        expected = ndimage.gaussian_filter(image, (sigma[i], sigma[i], 0), mode="nearest", truncate=4)
        np.testing.assert_allclose(blurred[i], expected, atol=1e-5)
        np.testing.assert_allclose(sharp[i], np.clip(image + 0.7 * (image - expected), 0, 1), atol=1e-5)
        size = int(2 * radius[i] + 1)
        np.testing.assert_allclose(boxed[i], ndimage.uniform_filter(image, (size, size, 1), mode="nearest"), atol=1e-5)


@pytest.mark.curriculum("F23")
def test_hue_saturation_and_value_are_scikit_images():
    hsv = color.rgb2hsv(IMAGE.astype(np.float64))
    np.testing.assert_allclose(J["rgb_to_hsv"](IMAGE), hsv, atol=1e-5)
    np.testing.assert_allclose(J["hsv_to_rgb"](hsv.astype(np.float32)), IMAGE, atol=1e-5)
    turns = np.array([-0.3, 0.05, 0.5, 0.9], np.float32)
    hsv[..., 0] = (hsv[..., 0] + turns[:, None, None]) % 1
    np.testing.assert_allclose(J["hue"](IMAGE, turns), color.hsv2rgb(hsv), atol=1e-5)
    red = jnp.asarray([1.0, 0, 0]).reshape(1, 1, 1, 3)
    np.testing.assert_allclose(colour.hue(red, 0.5).ravel(), [0, 1, 1], atol=1e-6)
    np.testing.assert_allclose(colour.hue(red, 1 / 3).ravel(), [0, 1, 0], atol=1e-6)


@pytest.mark.curriculum("F22")
def test_gamma_is_scikit_images():
    exponent = np.array([0.3, 1, 1.5, 4], np.float32)
    out = J["gamma"](IMAGE, exponent)
    for i, image in enumerate(IMAGE.astype(np.float64)):
        np.testing.assert_allclose(out[i], exposure.adjust_gamma(image, float(exponent[i])), atol=1e-5)


@pytest.mark.curriculum("F20", "F21", "F24")
def test_worked_numbers_of_brightness_contrast_and_saturation():
    x = jnp.asarray([[[[1.0, 0.0, 0.0], [0.5, 0.5, 0.5]]]])  # grey 0.299 and 0.5, mean 0.3995
    np.testing.assert_allclose(J["brightness"](x, 0.5)[0, 0], [[0.5, 0, 0], [0.25, 0.25, 0.25]], atol=1e-6)
    np.testing.assert_allclose(J["brightness_shift"](x, -0.2)[0, 0], [[0.8, 0, 0], [0.3, 0.3, 0.3]], atol=1e-6)
    low = 0.5 * 0.3995
    np.testing.assert_allclose(J["contrast"](x, 0.5)[0, 0], [[0.5 + low, low, low], [0.25 + low] * 3], atol=1e-6)
    np.testing.assert_allclose(J["saturation"](x, 0.5)[0, 0], [[0.6495, 0.1495, 0.1495], [0.5] * 3], atol=1e-6)
    assert J["brightness"](x, 2.0).max() == 1 and J["contrast"](x, 3.0).min() == 0  # saturated


@given(turns=st.floats(-0.5, 0.5), more=st.floats(-0.5, 0.5))
def test_rotations_of_the_hue_add_and_keep_value_and_saturation(turns, more):
    x = IMAGE[:, :4, :4]
    once = np.asarray(J["hue"](x, np.full(4, turns + more, np.float32)))
    twice = J["hue"](J["hue"](x, np.full(4, turns, np.float32)), np.full(4, more, np.float32))
    np.testing.assert_allclose(twice, once, atol=2e-5)
    np.testing.assert_allclose(once.max(-1), x.max(-1), atol=1e-6)
    np.testing.assert_allclose(once.min(-1), x.min(-1), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "tolerance"),
    [
        *((name, 1.0, 0) for name in ("brightness", "contrast", "saturation", "sharpness", "gamma")),
        *((name, 0.0, 1e-6) for name in ("brightness_shift", "hue", "gaussian_blur", "box_blur", "unsharp")),
        *(("hue", turns, 5e-6) for turns in (1.0, -1.0)),
        ("posterize", 8, 1e-7),
        ("solarize", 1.1, 0),
    ],
)
def test_what_changes_nothing(name, value, tolerance):
    np.testing.assert_allclose(J[name](IMAGE, np.full(4, value, np.float32)), IMAGE, atol=tolerance)


@pytest.mark.curriculum("F25")
def test_color_jitter_is_the_composition_in_every_order():
    orders = np.array(list(permutations(range(4))))
    x = RNG.random((24, 3, 4, 3), np.float32)
    factors = RNG.uniform(0.3, 1.7, (24, 3)).astype(np.float32)
    turns = RNG.uniform(-0.5, 0.5, 24).astype(np.float32)
    full, without = (np.asarray(J["color_jitter"](x, orders, factors, *more)) for more in ((turns,), ()))
    for i, order in enumerate(orders):
        values = [*factors[i], turns[i]]
        parts = [J[name] for name in ("brightness", "contrast", "saturation", "hue")]
        both = [x[i : i + 1], x[i : i + 1]]
        for part in order:
            both[0] = parts[part](both[0], values[part])
            both[1] = both[1] if part == 3 else parts[part](both[1], values[part])
        np.testing.assert_allclose(full[i], both[0][0], atol=1e-5)
        np.testing.assert_allclose(without[i], both[1][0], atol=1e-5)


def run(text, image, key=KEY, **more):
    batch = {"image": jnp.asarray(image), "label": jnp.zeros(len(image), jnp.int32), **more}
    return np.asarray(jax.jit(policy.build(text, 4).update)(None, batch, key)[1]["image"])


def hue_of(image):
    """Turns away from red, -0.5..0.5."""
    return (color.rgb2hsv(image)[:, 0, 0, 0] + 0.5) % 1 - 0.5


def uniform(sample, low, high):
    return stats.kstest(sample, stats.uniform(low, high - low).cdf).pvalue > 1e-3


RED = np.tile(np.asarray([0.6, 0.2, 0.2], np.float32), (2000, 1, 2, 1))
TWO = np.stack([np.full((2000, 1, 3), 0.4), np.full((2000, 1, 3), 0.6)], 2).astype(np.float32)  # mean 0.5


@pytest.mark.curriculum("F20", "F21", "F22")
@pytest.mark.parametrize(
    ("text", "image", "measure", "low", "high"),
    [
        ("brightness(0.3)", TWO, lambda out: out[:, 0, 0, 0] / 0.4, 0.7, 1.3),
        ("brightness(0.3, mode='add')", TWO, lambda out: out[:, 0, 1, 2] - 0.6, -0.3, 0.3),
        ("contrast(0.5)", TWO, lambda out: (out[:, 0, 1, 0] - out[:, 0, 0, 0]) / 0.2, 0.5, 1.5),
        ("gamma(1.0)", TWO, lambda out: np.log2(np.log(out[:, 0, 0, 0]) / np.log(0.4)), -1, 1),
    ],
)
def test_amounts_are_uniform(text, image, measure, low, high):
    assert uniform(measure(run(text, image)), low, high)


@pytest.mark.curriculum("F23", "F24")
@pytest.mark.parametrize(
    ("text", "measure", "low", "high"),
    [
        ("saturation(0.5)", lambda out: (out[:, 0, 0, 0] - out[:, 0, 0, 1]) / 0.4, 0.5, 1.5),
        ("hue(0.2)", hue_of, -0.2, 0.2),
    ],
)
def test_amounts_of_colour_are_uniform(text, measure, low, high):
    assert uniform(measure(run(text, RED)), low, high)


@pytest.mark.curriculum("F25")
def test_color_jitter_draws_an_order_and_amounts_for_each_row(monkeypatch):
    seen = {}
    monkeypatch.setattr(colour, "color_jitter", lambda x, *drawn: seen.update(drawn=drawn) or x)
    batch = {"image": jnp.asarray(RED)}
    policy.build("color_jitter(0.1, 0.2, 0.3, 0.4)").update(None, batch, KEY)
    order, factors, turns = (np.asarray(v) for v in seen["drawn"])
    _, counts = np.unique(order, axis=0, return_counts=True)
    assert len(counts) == 24 and stats.chisquare(counts).pvalue > 1e-3
    assert all(uniform(factors[:, i], 1 - a, 1 + a) for i, a in enumerate((0.1, 0.2, 0.3)))
    assert uniform(turns, -0.4, 0.4)
    policy.build("color_jitter(hue=0.0)").update(None, batch, KEY)
    assert seen["drawn"][2] is None


@pytest.mark.curriculum("F25")
def test_color_jitter_takes_grey_images_without_colour():
    grey = TWO[..., :1]
    out = run("color_jitter(saturation=0, hue=0)", grey)
    assert out.shape == grey.shape and np.ptp(out[:, 0, 0, 0]) > 0.2
    with pytest.raises(ConfigError, match=r"color_jitter needs images with 3 channels .*have 1; set saturation=0"):
        run("color_jitter", grey)


def test_grayscale_leaves_one_grey():
    out = run("grayscale(probability=1.0)", RED)
    np.testing.assert_allclose(out, 0.299 * 0.6 + 0.701 * 0.2, atol=1e-6)
    assert 0.1 < np.mean(run("grayscale", RED)[:, 0, 0, 0] < 0.5) < 0.3


@pytest.mark.curriculum("F26")
def test_random_filters_draw_their_width():
    x = IMAGE[[0, 0, 0, 0]]
    expected = J["gaussian_blur"](x, np.full(4, 1.3, np.float32))
    np.testing.assert_allclose(run("blur(1.3, 1.3, 1.0)", x), expected, atol=1e-6)
    np.testing.assert_allclose(run("median_blur(1.0)", x), J["median"](x), atol=1e-6)
    soft = (0.4 + 0.2 * RNG.random((500, 1, 5, 5, 1), np.float32)[:, 0]).astype(np.float32)  # nothing saturates
    difference = np.asarray(soft - J["smooth"](soft))
    factor = (run("sharpen(0.8, 1.0)", soft) - soft)[:, 2, 2, 0] / difference[:, 2, 2, 0]
    clear = abs(difference[:, 2, 2, 0]) > 0.01
    assert uniform(factor[clear], 0, 0.8)
    line = np.zeros((500, 1, 9, 1), np.float32)
    line[:, 0, 4] = 1
    side = 1 / run("box_blur(2.0, 1.0)", line)[:, 0, 4, 0]  # of the square, 2 r + 1
    assert uniform((side - 1) / 2, 0, 2)
    sigma = np.sqrt(run("blur(0.5, 0.9, 1.0)", line)[:, 0, :, 0] @ np.square(np.arange(9) - 4))
    assert sigma.min() > 0.4 and sigma.max() < 0.91 and np.ptp(sigma) > 0.3


@pytest.mark.curriculum("F27")
def test_noise_has_its_distribution_and_saturates():
    grey = np.full((16, 9, 9, 3), 0.5, np.float32)
    normal, white = run("gaussian_noise(0.1)", grey) - 0.5, run("uniform_noise(0.2)", grey) - 0.5
    assert stats.kstest(normal.ravel(), stats.norm(0, 0.1).cdf).pvalue > 1e-3
    assert uniform(white.ravel(), -0.2, 0.2)
    assert len(np.unique(normal)) > 0.99 * normal.size - 50  # every value of every row has its own
    for noise in (normal, white):  # every value of every row and channel has its own, up to the spacing of float32
        assert len(np.unique(noise)) > 0.99 * noise.size - 50
        flat = noise.reshape(16, 81, 3)
        for one in (flat.transpose(2, 0, 1).reshape(3, -1), flat.transpose(1, 0, 2).reshape(81, -1)[:9], flat[:, :, 0]):
            assert abs(np.corrcoef(one) - np.eye(len(one))).max() < 0.65  # channels, places, rows
    black = run("gaussian_noise(0.1)", 0 * grey)
    assert black.min() == 0 and 0.4 < np.mean(black == 0) < 0.6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("brightness(1.5)", r"brightness\(amount=1.5\) must be between 0 and 1"),
        ("brightness(mode='multipy')", "did you mean 'multiply'"),
        ("contrast(-0.1)", "between 0 and 1"),
        ("hue(0.6)", "between 0 and 0.5"),
        ("gamma(-1)", "between 0 and 10"),
        ("gamma(1e39)", "between 0 and 10"),
        ("color_jitter(saturation=2.0)", r"color_jitter\(saturation=2.0\)"),
        ("color_jitter(hue=0.7)", "between 0 and 0.5"),
        ("blur(2.0, 1.0)", r"blur\(low=2.0\) must be at most high=1.0"),
        ("box_blur(-1.0)", "at least 0"),
        ("sharpen(-1.0)", "at least 0"),
        ("gaussian_noise(-0.1)", "at least 0"),
        ("uniform_noise(1.1)", "between 0 and 1"),
        ("grayscale(1.1)", "between 0 and 1"),
    ],
)
def test_amounts_out_of_range(text, message):
    with pytest.raises(ConfigError, match=message):
        policy.build(text)


@pytest.mark.parametrize("name", ["saturation", "hue", "grayscale"])
def test_grey_images_have_no_colour_to_change(name):
    with pytest.raises(
        ConfigError, match=rf"config.augment: {name} needs images with 3 channels .*these have 1; remove"
    ):
        run(name, TWO[..., :1])


def test_contrast_needs_to_know_the_grey():
    with pytest.raises(ConfigError, match=r"contrast needs images with 1 or 3 channels .*these have 2"):
        run("contrast", TWO[..., :2])


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (colour.brightness, (IMAGE, -1.0), "factor=-1.0 must be at least 0"),
        (colour.brightness, (IMAGE, np.ones(3)), r"one per image \[4\], got shape \[3\]"),
        (colour.brightness, (BYTES, 1.0), "divide bytes by 255"),
        (colour.hue, (IMAGE, 1.5), r"turns=1.5 must be in \[-1.0, 1.0\]"),
        (colour.hue, (IMAGE[..., :1], 0.1), "hue takes images with 3 channels .*got 1"),
        (histogram.posterize, (IMAGE, 9), r"bits=9 must be in \[0, 8\]"),
        (filters.gaussian_blur, (IMAGE[0], 1.0), "add an axis"),
    ],
)
def test_functions_refuse(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


@pytest.mark.parametrize("name", ["brightness", "contrast", "gamma", "solarize", "posterize", "gaussian_blur"])
def test_bad_parameters_are_nan_inside_jit(name):
    out = np.asarray(J[name](IMAGE, np.array([1, 1, -1, 1], np.float32)))
    assert np.isnan(out[2]).mean() > 0.9  # 1 to any power is 1
    assert np.isfinite(out[[0, 1, 3]]).all()


@pytest.mark.curriculum("H33")
def test_lighting_adds_one_colour_to_an_image_with_the_covariance_of_imagenet():
    """Its covariance over images is `std^2 V diag(l^2) V'`: red, green and blue go together, each by 0.012."""
    image = np.full((4000, 1, 2, 3), 0.5, np.float32)
    out = jax.jit(policy.build("lighting(0.1)", 4).update)(None, {"image": image, "label": None}, KEY)[1]["image"]
    shift = np.asarray(out - image)
    np.testing.assert_array_equal(shift[:, 0, 0], shift[:, 0, 1])  # all pixels alike
    vectors = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    expected = 0.01 * vectors @ np.diag(np.square([0.2175, 0.0188, 0.0045])) @ vectors.T
    np.testing.assert_allclose(np.cov(shift[:, 0, 0].T), expected, atol=1.5e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(expected)), [0.0124, 0.0126, 0.0128], atol=2e-4)
    assert np.abs(shift.mean(0)).max() < 8e-4
    with pytest.raises(ConfigError, match=r"lighting.*channels"):
        policy.build("lighting", 4).update(None, {"image": jnp.zeros((2, 4, 4, 1))}, KEY)
