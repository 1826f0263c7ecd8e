"""Another hue inside a soft mask: hue and luminance by Python's own colour conversions."""

import colorsys

import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.ops.images.colour import recolour

RNG = np.random.default_rng(0)


def luminance(x):
    return np.asarray(x) @ np.array([0.299, 0.587, 0.114])


@pytest.mark.curriculum("M20")
def test_hue_is_replaced_and_luminance_stays():
    x = jnp.asarray(RNG.random((3, 5, 4, 3)), jnp.float32)
    turns = np.float32([0.0, 0.4, 0.75])
    y = np.asarray(recolour(x, jnp.ones((3, 5, 4, 1)), turns))
    assert y.min() >= 0 and y.max() <= 1
    np.testing.assert_allclose(luminance(y), luminance(x), atol=1e-5)
    for image, before, turn in zip(y, np.asarray(x), turns, strict=True):
        for pixel, old in zip(image.reshape(-1, 3), before.reshape(-1, 3), strict=True):
            hue = colorsys.rgb_to_hsv(*pixel)[0]
            assert min(abs(hue - turn), 1 - abs(hue - turn)) < 1e-3
            chroma, at_most = np.ptp(pixel), np.ptp(old)
            at_the_end = pixel.min() < 1e-5 or pixel.max() > 1 - 1e-5
            assert chroma < at_most + 1e-5 and (at_the_end or chroma > at_most - 1e-5)


def test_the_mask_is_soft_and_grey_gets_colour_when_asked_to():
    grey = jnp.full((1, 1, 4, 3), 0.5)
    mask = jnp.asarray([0.0, 0.25, 0.5, 1.0]).reshape(1, 1, 4, 1)
    np.testing.assert_allclose(recolour(grey, mask, 0.0), grey, atol=1e-6)  # no chroma, no hue
    y = np.asarray(recolour(grey, mask, 0.0, least=0.4))[0, 0]
    np.testing.assert_allclose(y[3], 0.5 + 0.4 * np.array([1 - 0.299, -0.299, -0.299]), atol=1e-6)
    np.testing.assert_allclose(y - 0.5, np.array([0, 0.25, 0.5, 1])[:, None] * (y[3] - 0.5)[None], atol=1e-6)
    ends = jnp.asarray([0.0, 1.0])[None, None, :, None] * jnp.ones((1, 1, 1, 3))
    np.testing.assert_allclose(recolour(ends, jnp.ones((1, 1, 2, 1)), 0.5, least=1.0), ends, atol=1e-6)
    with pytest.raises(ValueError, match=r"takes a mask \[1, 1, 4, 1\] for its images, got \[1, 1, 4\]"):
        recolour(grey, mask[..., 0], 0.0)
    with pytest.raises(ValueError, match="turns"):
        recolour(grey, mask, 1.5)
