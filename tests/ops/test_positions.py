"""Position embeddings of other grids, and their similarity."""

import numpy as np
import pytest
from PIL import Image

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.positions import position_similarity, resample_positions, sincos


@pytest.mark.curriculum("J19")
@pytest.mark.parametrize("new", [(3, 4), (9, 6), (5, 7)])
def test_positions_are_resized_as_pillow_resizes_an_image(new):
    """Bicubic with anti-aliasing, a = -0.5, each channel on its own; the class token keeps its own."""
    positions = np.random.default_rng(0).normal(size=(1, 1 + 5 * 7, 2)).astype(np.float32)
    got = np.asarray(resample_positions(positions, (5, 7), new))
    np.testing.assert_array_equal(got[:, 0], positions[:, 0])
    for c in range(2):
        image = Image.fromarray(positions[0, 1:, c].reshape(5, 7))
        expected = np.asarray(image.resize(new[::-1], Image.Resampling.BICUBIC))
        np.testing.assert_allclose(got[0, 1:, c].reshape(new), expected, atol=1e-5)


def test_positions_of_the_same_grid_are_untouched_and_others_are_refused():
    positions = np.ones((1, 2 + 6, 3), np.float32)
    assert resample_positions(positions, (2, 3), (2, 3), prefix=2) is positions
    with pytest.raises(ValueError, match=r"do not fit a grid of 2x3 patches behind 1 other tokens; .* \(1, 7, d\)"):
        resample_positions(positions, (2, 3), (4, 6))
    with pytest.raises(ValueError, match="at least 1x1"):
        resample_positions(positions, (2, 3), (0, 6), prefix=2)
    with pytest.raises(ValueError, match="do not fit 3x3 patches"):
        position_similarity(positions, (3, 3))


@pytest.mark.curriculum("J20")
def test_similarity_is_the_cosine_of_every_pair_of_patches():
    """A 14x14 grid; a vector has 1 with itself, -1 with its opposite, 0 with one of length 0."""
    positions = np.random.default_rng(0).normal(size=(1, 197, 8)).astype(np.float32)
    positions[0, 1 + 14 * 2 + 3] = -2 * positions[0, 1]
    positions[0, 2] = 0
    got = np.asarray(position_similarity(positions, (14, 14)))
    assert got.shape == (14, 14, 14, 14)
    np.testing.assert_allclose((got[0, 0, 0, 0], got[0, 0, 2, 3], got[0, 0, 0, 1]), (1, -1, 0), atol=1e-6)
    u, v = positions[0, 1 + 14 * 5 + 6], positions[0, 1 + 14 * 9 + 1]
    np.testing.assert_allclose(got[5, 6, 9, 1], u @ v / np.sqrt(u @ u * (v @ v)), atol=1e-6)


def test_fixed_positions_by_loops():
    """Columns first, then rows, sine and cosine of each; the first frequency is 1, the last 1/10,000."""
    h, w, d = 3, 2, 16
    got = np.asarray(sincos((h, w), d))
    expected = np.zeros((h * w, d))
    for y in range(h):
        for x in range(w):
            for i in range(4):
                frequency = 10_000 ** (-i / 3)
                expected[y * w + x, [i, 4 + i]] = np.sin(x * frequency), np.cos(x * frequency)
                expected[y * w + x, [8 + i, 12 + i]] = np.sin(y * frequency), np.cos(y * frequency)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    for wrong in (6, 4):
        with pytest.raises(ConfigError, match=f"a multiple of 4 from 8 on, not {wrong}"):
            sincos((2, 2), wrong)
