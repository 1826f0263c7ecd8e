"""A network made by hand, of which it is known what it looks at: a bright square in one of four quadrants of noise."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from cvdl_jax.analysis.logits import Logits

SIDE, SQUARE, NOISE = 24, 5, 0.6  # of the images and of the square, in pixels; the brightest noise
PARAMS = {
    "conv": {
        "kernel": np.full((SQUARE, SQUARE, 1, 1), 1 / SQUARE**2, np.float32),
        "bias": np.full(1, -NOISE, np.float32),
    },
    "head": {"kernel": 100 * np.eye(4, dtype=np.float32), "bias": np.zeros(4, np.float32)},
}


class Quadrants(nn.Module):
    """Means of a rectified filter over four quadrants, and a dense layer."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Args: x float [b, h, w, 1]. Returns: scores [b, 4] of the quadrants, row by row."""
        y = nn.relu(nn.Conv(1, (SQUARE, SQUARE), name="conv")(x))
        b, h, w, _ = y.shape
        return nn.Dense(4, name="head")(y.reshape(b, 2, h // 2, 2, w // 2).mean((2, 4)).reshape(b, 4))


def logits_of(params: Any) -> Logits:
    """The network with some parameters; `PARAMS` average 5 x 5 pixels and ask for more than noise."""
    return Logits(lambda x: Quadrants().apply({"params": params}, x))


def images(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images of noise with a bright square.

    Args:
        n: how many.
        seed: of the noise and the places.

    Returns:
        float32 [n, 24, 24, 1], the quadrant of each square int [n], and its pixels bool [n, 24, 24].
    """
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, NOISE, (n, SIDE, SIDE, 1)).astype(np.float32)
    truth, quadrant, half = np.zeros((n, SIDE, SIDE), bool), rng.integers(0, 4, n), SIDE // 2
    for i, c in enumerate(quadrant):
        top, left = (rng.integers(1, half - SQUARE, 2) + half * np.array([c // 2, c % 2])).tolist()
        truth[i, top : top + SQUARE, left : left + SQUARE] = True
    x[truth] = 1
    return x, quadrant, truth
