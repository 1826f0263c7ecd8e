"""The classic kernels of image processing, as arrays, and a bank of Gabor filters.

Each is printed as it is applied by cross-correlation (`ops/convolution.py:correlate`), as a layer does; signal
processing turns them round (`convolve`), which changes the sign of the odd ones: Sobel, Prewitt and the shift.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config.binding import check_name
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.convolution import correlate
from cvdl_jax.ops.images.inputs import check_image

KERNELS: dict[str, list[list[float]]] = {
    "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "shift": [[0, 0, 0], [1, 0, 0], [0, 0, 0]],  # each pixel becomes its left neighbour: the image moves to the right
    "box": [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
    "gaussian3": [[1, 2, 1], [2, 4, 2], [1, 2, 1]],
    "gaussian5": [[1, 4, 7, 4, 1], [4, 16, 26, 16, 4], [7, 26, 41, 26, 7], [4, 16, 26, 16, 4], [1, 4, 7, 4, 1]],
    "sobel_x": [[1, 0, -1], [2, 0, -2], [1, 0, -1]],  # positive where it is brighter on the left
    "sobel_y": [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],  # positive where it is brighter above
    "prewitt_y": [[-1, -1, -1], [0, 0, 0], [1, 1, 1]],  # horizontal edges, positive where it is brighter below
    "laplacian4": [[0, -1, 0], [-1, 4, -1], [0, -1, 0]],
    "laplacian8": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
}


def kernel(name: str, normalised: bool = True) -> np.ndarray:
    """A classic kernel.

    Args:
        name: of KERNELS.
        normalised: divides blurs by their sum (9, 16, 273), so that they keep the brightness; the others stay.

    Returns:
        float32 [k, k].

    Raises:
        ConfigError: for another name, with the nearest.
    """
    check_name(name, KERNELS, f"there is no kernel {name!r}")
    values = np.asarray(KERNELS[name], np.float32)
    total = values.sum()
    return values / total if normalised and total > 0 else values


def filtered(x: Any, weights: Any, *, padding: Any = "same", padding_mode: str = "replicate") -> jax.Array:
    """Each channel of the images cross-correlated with one kernel.

    Args:
        x: float [b, h, w, c].
        weights: [k, l], such as `kernel("sobel_x")`.
        padding: as in `ops/convolution.py:correlate`.
        padding_mode: likewise; the nearest pixel by default, so that a border is no edge.

    Returns:
        [b, h', w', c], not clipped to 0..1.

    Raises:
        ValueError: for what is no batch of float images.
        ConfigError: for a kernel that is no matrix.
    """
    x, weights = check_image(x, "filtered"), jnp.asarray(weights)
    if weights.ndim != 2:
        raise ConfigError(f"a kernel is a matrix [k, l], got shape {list(weights.shape)}")
    channels = x.shape[-1]
    weights = jnp.broadcast_to(weights.astype(x.dtype)[..., None, None], (*weights.shape, 1, channels))
    return correlate(
        x, weights, padding=padding, padding_mode=padding_mode, groups=channels, precision=jax.lax.Precision.HIGHEST
    )


def gabor(
    size: int, wavelength: float, theta: float = 0.0, *, phase: float = 0.0, sigma: float = 0.0, aspect: float = 1.0
) -> np.ndarray:
    """A plane wave under a Gaussian, `exp(-(u^2 + (aspect v)^2) / (2 sigma^2)) cos(2 pi u / wavelength + phase)`.

    u and v are the coordinates across and along the stripes, from the middle pixel: `u = x cos theta + y sin theta`,
    `v = y cos theta - x sin theta`, x to the right and y down.

    Args:
        size: side of the kernel in pixels.
        wavelength: of the wave in pixels, 2 or more (a shorter one looks like a longer one).
        theta: direction of the wave in radians; 0 gives vertical stripes, pi / 2 horizontal ones.
        phase: 0 is even (a line), pi / 2 odd (an edge).
        sigma: standard deviation in pixels; 0 for 0.56 wavelengths, one octave of bandwidth.
        aspect: how many times shorter the Gaussian is along the stripes than across.

    Returns:
        float32 [size, size].

    Raises:
        ConfigError: for impossible numbers.

    Reference: Daugman 1985, "Uncertainty relation for resolution in space ...", equation 1; Petkov and Kruizinga 1997,
        "Computational models of visual neurons ...", equation 1 with its bandwidth of one octave.
    """
    if size < 1 or wavelength < 2 or sigma < 0 or not aspect > 0:
        raise ConfigError(
            f"gabor(size={size}, wavelength={wavelength}, sigma={sigma}, aspect={aspect}): the size must be 1 or more, "
            "the wavelength 2 or more, sigma 0 or more, the aspect positive"
        )
    sigma = sigma or 0.56 * wavelength
    axis = np.arange(size) - (size - 1) / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    u, v = x * math.cos(theta) + y * math.sin(theta), y * math.cos(theta) - x * math.sin(theta)
    wave = np.cos(2 * math.pi * u / wavelength + phase)
    return (np.exp(-(u**2 + (aspect * v) ** 2) / (2 * sigma**2)) * wave).astype(np.float32)


def gabor_bank(
    size: int, wavelengths: Sequence[float], orientations: int = 8, phases: Sequence[float] = (0.0, math.pi / 2)
) -> np.ndarray:
    """Gabor filters of mean 0 and norm 1 in all combinations, as the kernel of a convolution of grey images.

    Args:
        size: side of the kernels in pixels.
        wavelengths: in pixels.
        orientations: directions `0, pi / n, ..., (n - 1) pi / n`.
        phases: of the waves.

    Returns:
        float32 [size, size, 1, n], the last phase running fastest, then the directions.
    """
    thetas = [math.pi * i / orientations for i in range(orientations)]
    bank = np.stack([gabor(size, w, t, phase=p) for w in wavelengths for t in thetas for p in phases], -1)
    bank = bank - bank.mean((0, 1), keepdims=True)
    return (bank / np.linalg.norm(bank, axis=(0, 1), keepdims=True))[:, :, None].astype(np.float32)


def gabor_likeness(kernels: Any, bank: Any) -> np.ndarray:
    """How much each learned kernel looks like its nearest filter of a bank: the largest |cosine| of the angle between.

    Args:
        kernels: first layer of a network [k, k, c, n]; its channels are averaged and its mean is taken off.
        bank: [k, k, 1, m], from `gabor_bank`.

    Returns:
        float64 [n] in 0..1; 0 for a kernel that is flat.

    Raises:
        ConfigError: where the sides differ.
    """
    kernels, bank = np.asarray(kernels, np.float64), np.asarray(bank, np.float64)
    if kernels.ndim != 4 or kernels.shape[:2] != bank.shape[:2]:
        raise ConfigError(f"kernels {list(kernels.shape)} and a bank {list(bank.shape)} must have sides of one length")
    flat = kernels.mean(2).reshape(-1, kernels.shape[-1])  # [k k, n]
    flat = flat - flat.mean(0)
    norm = np.linalg.norm(flat, axis=0)
    unit = np.where(norm > 1e-12, flat / np.where(norm > 1e-12, norm, 1), 0)
    return np.abs(unit.T @ bank.reshape(-1, bank.shape[-1])).max(1)
