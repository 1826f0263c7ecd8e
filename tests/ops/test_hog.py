"""Histograms of oriented gradients against loops over pixels, and the detector that slides a linear SVM over them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.ops.images.hog import border, hog
from cvdl_jax.ops.losses import detection

RNG = np.random.default_rng(0)


def looped(image, cell, bins, block, clip, start):
    """The definition, pixel by pixel, vote by vote."""
    h, w, channels = image.shape
    rows, columns = (h - 2 * start) // cell, (w - 2 * start) // cell
    cells = np.zeros((rows, columns, bins))
    at = lambda y, x, k: image[min(max(y, 0), h - 1), min(max(x, 0), w - 1), k]  # noqa: E731
    for y in range(h):
        for x in range(w):
            gradients = [
                ((at(y + 1, x, k) - at(y - 1, x, k)) / 2, (at(y, x + 1, k) - at(y, x - 1, k)) / 2)
                for k in range(channels)
            ]
            dy, dx = max(gradients, key=lambda g: g[0] ** 2 + g[1] ** 2)
            degrees = np.degrees(np.arctan2(dy, dx)) % 180
            for b in range(bins):
                away = abs(degrees - (b + 0.5) * 180 / bins)
                away = min(away, 180 - away) / (180 / bins)
                for r in range(rows):
                    for c in range(columns):
                        down = abs(y + 0.5 - start - (r + 0.5) * cell) / cell
                        across = abs(x + 0.5 - start - (c + 0.5) * cell) / cell
                        weight = max(1 - away, 0) * max(1 - down, 0) * max(1 - across, 0)
                        cells[r, c, b] += weight * np.hypot(dy, dx)
    result = np.zeros((rows - block + 1, columns - block + 1, block * block * bins))
    for r, c in np.ndindex(result.shape[:2]):
        v = cells[r : r + block, c : c + block].ravel()
        v = np.minimum(v / np.sqrt(v @ v + 1e-6), clip)
        result[r, c] = v / np.sqrt(v @ v + 1e-6)
    return result


@pytest.mark.curriculum("L28", "X10")
@pytest.mark.parametrize(("cell", "bins", "block", "inside"), [(4, 9, 2, False), (3, 6, 2, True)])
def test_blocks_equal_loops(cell, bins, block, inside):
    image = RNG.random((14, 17, 3))
    expected = looped(image, cell, bins, block, 0.2, border(cell) if inside else 0)
    got = hog(jnp.asarray(image[None], jnp.float32), cell, bins, block, 0.2, inside)[0]
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_an_edge_votes_for_its_orientation_whatever_its_contrast():
    ramp = jnp.broadcast_to(jnp.arange(16.0)[None, None, :, None] / 16, (1, 16, 16, 1))  # grows to the right: 0 degrees
    for image in (ramp, 0.1 * ramp, 1 - ramp):
        blocks = np.asarray(hog(image, 8, 9, 2, clip=1.0)).reshape(4, 9)
        np.testing.assert_allclose(blocks[:, 0], blocks[:, 8], rtol=1e-4)  # between 10 and 170 degrees
        assert abs(blocks[:, 1:8]).max() < 1e-6
        np.testing.assert_allclose(blocks[:, 0], 8**-0.5, rtol=1e-3)
    np.testing.assert_array_equal(hog(jnp.full((1, 16, 16, 1), 0.5)), 0)
    with pytest.raises(
        ConfigError, match="15x16 pixels has 1x2 cells of 8 pixels and a block 2x2; use at least 16 pixels"
    ):
        hog(jnp.zeros((1, 15, 16, 1)))
    with pytest.raises(ValueError, match=r"hog takes images \[b, h, w, c\] of floats in 0..1, got uint8"):
        hog(jnp.zeros((1, 16, 16, 1), jnp.uint8))


@pytest.mark.curriculum("L28")
def test_windows_of_the_detector_have_the_scores_of_their_crops():
    """The blocks of a whole image are those of each window, as nothing is seen of a window's border."""
    section = {"name": "sliding_window", "classifier": {"name": "hog_linear"}, "window": 22, "sizes": (0.8,)}
    x = jnp.asarray(RNG.random((2, 40, 44, 3)), jnp.float32)
    more = {"kinds": ("detection",), "outputs": 3, "dtype": "float32", "remat": False}
    forms = ("convolutional", "crops")
    models = [registry.create({**section, "form": form}, "config.model", **more) for form in forms]
    shapes = jax.eval_shape(partial(models[0].init, train=False), jax.random.key(0), x)
    variables = jax.tree.map(lambda s: RNG.normal(size=s.shape).astype(s.dtype), shapes)
    logits = [jax.jit(lambda v, x, m=model: m.apply(v, x, False)[0])(variables, x) for model in models]
    assert logits[0].shape == (2, 2 * 3, 3) and float(logits[0].std()) > 0.05
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-4)


@pytest.mark.curriculum("L28")
def test_the_hinge_is_that_of_one_machine_for_each_class():
    logits, labels = RNG.normal(size=(2, 5, 3)), np.array([[0, 1, 2, 3, -1], [3, 0, 0, -1, 1]])
    expected = np.zeros((2, 5))
    for place in np.ndindex(2, 5):
        for k in range(3):
            sign = 1 if labels[place] == k + 1 else -1
            expected[place] += max(0, 0.5 - sign * logits[place][k]) * (labels[place] >= 0)
    np.testing.assert_allclose(detection.hinge(jnp.float32(logits), labels, margin=0.5), expected, rtol=1e-5)
