"""What an autoencoder has learned, in figures: the plane of its codes, samples, walks, and the features of units."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.figures import codes, images

MOST = 256  # units whose weights are shown


def overview(
    name: str, decode: Callable[[jax.Array], jax.Array], code: Any, labels: Any, class_names: Sequence[str], seed: int
) -> dict[str, Any]:
    """The codes in the plane, samples of a normal distribution with their mean and deviations, and walks between them.

    Args:
        name: of the autoencoder, in front of the figures' names.
        decode: codes [n, d] -> images [n, h, w, c] in 0..1.
        code: [b, d].
        labels: int [b].
        class_names: of the labels.
        seed: of the samples.

    Returns:
        {"<name>_codes", "<name>_samples", "<name>_walks": figure}.
    """
    code = np.asarray(code)
    noise = np.random.default_rng(seed).normal(size=(64, code.shape[1]))
    drawn = (code.mean(0) + code.std(0) * noise).astype(code.dtype)
    ways = codes.walks(jnp.asarray(code))  # [n, steps, d]
    return {
        f"{name}_codes": codes.plane(code, labels, class_names),
        f"{name}_samples": images.mosaic(decode(jnp.asarray(drawn))),
        f"{name}_walks": images.mosaic(decode(ways.reshape(-1, code.shape[1])), columns=ways.shape[1]),
    }


def features(kernel: Any, shape: tuple[int, int, int]) -> Any:
    """The weights of units as images, each from its least (black) to its largest (white).

    Args:
        kernel: [pixels, units], of which the first 256 are shown.
        shape: (h, w, c) of the images.

    Returns:
        A matplotlib Figure.
    """
    shown = np.asarray(kernel).T[:MOST].reshape(-1, *shape)
    low, high = (f(shown, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    return images.mosaic((shown - low) / np.maximum(high - low, 1e-12), columns=16)
