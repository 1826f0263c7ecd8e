"""The classic kernels as printed, what they do to an image, and Gabor filters."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images import kernels
from cvdl_jax.ops.images.filters import smooth

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("H28")
def test_the_kernels_that_are_printed():
    raw = {name: kernels.kernel(name, normalised=False) for name in kernels.KERNELS}
    assert {name: float(kernel.sum()) for name, kernel in raw.items()} == {
        "identity": 1, "shift": 1, "box": 9, "gaussian3": 16, "gaussian5": 273, "sobel_x": 0, "sobel_y": 0,
        "prewitt_y": 0, "laplacian4": 0, "laplacian8": 0,
    }  # fmt: skip
    blurs = ("box", "gaussian3", "gaussian5")
    assert all(kernels.kernel(name).sum() == pytest.approx(1) for name in blurs)
    np.testing.assert_array_equal(kernels.kernel("gaussian3")[1], np.float32([2, 4, 2]) / 16)
    np.testing.assert_array_equal(raw["gaussian5"][2], [7, 26, 41, 26, 7])
    np.testing.assert_array_equal(raw["gaussian5"], raw["gaussian5"].T)
    np.testing.assert_array_equal(kernels.kernel("box"), np.full((3, 3), np.float32(1) / 9))
    np.testing.assert_array_equal(raw["sobel_y"], raw["sobel_x"].T)
    np.testing.assert_array_equal(kernels.kernel("sobel_x"), [[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    np.testing.assert_array_equal(raw["laplacian8"] - raw["laplacian4"], [[-1, 0, -1], [0, 4, 0], [-1, 0, -1]])


@pytest.mark.curriculum("H28")
def test_what_they_do():
    x = RNG.random((2, 6, 7, 3)).astype(np.float32)
    np.testing.assert_array_equal(kernels.filtered(x, kernels.kernel("identity")), x)
    shifted = kernels.filtered(x, kernels.kernel("shift"))
    np.testing.assert_array_equal(shifted[:, :, 1:], x[:, :, :-1])
    y = np.asarray(kernels.filtered(x, kernels.kernel("sobel_x")))
    np.testing.assert_allclose(y[1, ..., 2], -ndimage.sobel(x[1, ..., 2], axis=1, mode="nearest"), atol=1e-5)
    y = np.asarray(kernels.filtered(x, kernels.kernel("prewitt_y")))
    np.testing.assert_allclose(y[0, ..., 1], ndimage.prewitt(x[0, ..., 1], axis=0, mode="nearest"), atol=1e-5)
    y = np.asarray(kernels.filtered(x, kernels.kernel("laplacian4")))
    np.testing.assert_allclose(y[0, ..., 0], -ndimage.laplace(x[0, ..., 0], mode="nearest"), atol=1e-5)
    y = np.asarray(kernels.filtered(x, kernels.kernel("box")))
    np.testing.assert_allclose(y[0, ..., 0], ndimage.uniform_filter(x[0, ..., 0], 3, mode="nearest"), atol=1e-5)
    ones = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    inner = kernels.filtered(x, ones, padding="valid")
    np.testing.assert_allclose(inner, smooth(jnp.asarray(x))[:, 1:-1, 1:-1], atol=1e-6)
    flat = jnp.full((1, 4, 4, 1), 0.5)
    for name in ("sobel_x", "sobel_y", "prewitt_y", "laplacian4", "laplacian8"):
        assert not kernels.filtered(flat, kernels.kernel(name)).any()  # the border is no edge


def test_a_gabor_filter_is_its_formula():
    g = kernels.gabor(5, 4.0, math.pi / 2, phase=0.3, sigma=1.5, aspect=0.5)
    for y, x in ((0, 0), (1, 4), (3, 2)):
        u, v = y - 2, -(x - 2)  # at 90 degrees the wave runs down
        expected = math.exp(-(u**2 + 0.25 * v**2) / 4.5) * math.cos(math.pi / 2 * u + 0.3)
        assert g[y, x] == pytest.approx(expected, abs=1e-6)
    np.testing.assert_array_equal(kernels.gabor(7, 4.0), kernels.gabor(7, 4.0, sigma=2.24))
    assert kernels.gabor(7, 4.0)[3, 3] == 1 and kernels.gabor(7, 4.0, phase=math.pi / 2)[3, 3] == pytest.approx(
        0, abs=1e-7
    )


@pytest.mark.curriculum("H29")
def test_a_bank_of_gabor_filters_answers_to_its_own_stripes():
    bank = kernels.gabor_bank(11, (4.0, 6.0), orientations=4)
    assert bank.shape == (11, 11, 1, 2 * 4 * 2)
    np.testing.assert_allclose(bank.sum((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose((bank**2).sum((0, 1)), 1, rtol=1e-5)
    y, x = np.mgrid[:33, :33]
    for i in range(4):  # gratings of wavelength 6; the energy of an even and an odd filter does not depend on the phase
        grating = np.cos(2 * math.pi / 6 * (x * math.cos(math.pi * i / 4) + y * math.sin(math.pi * i / 4)))
        window = grating[11:22, 11:22]
        energy = (np.einsum("ij,ijkn->n", window, bank) ** 2).reshape(2, 4, 2).sum(-1)
        assert np.unravel_index(energy.argmax(), energy.shape) == (1, i)
    learned = np.repeat(bank[..., [3, 8]], 3, 2) * np.float32(-2) + np.float32(0.7)  # of colour images, with an offset
    noise = RNG.normal(size=(11, 11, 3, 1))
    flat = np.ones((11, 11, 3, 1))
    likeness = kernels.gabor_likeness(np.concatenate([learned, noise, flat], -1), bank)
    np.testing.assert_allclose(likeness[[0, 1, 3]], [1, 1, 0], atol=1e-5)
    assert likeness[2] < 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernels.kernel("sobel"), "there is no kernel 'sobel': did you mean 'sobel_[xy]'"),
        (lambda: kernels.gabor(5, 1.0), "the wavelength 2 or more"),
        (lambda: kernels.filtered(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1))), r"a kernel is a matrix \[k, l\]"),
        (lambda: kernels.gabor_likeness(np.ones((3, 3, 1, 2)), np.ones((5, 5, 1, 2))), "sides of one length"),
    ],
)
def test_what_is_impossible_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
