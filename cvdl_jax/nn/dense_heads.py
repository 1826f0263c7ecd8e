"""Heads that predict something for every cell of a map, shared by the levels of a pyramid or one for each."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.residual import Style
from cvdl_jax.ops.precision import at_least_float32


def prior_bias(prior: float) -> nn.initializers.Initializer:
    """The bias with which a sigmoid begins at a probability, `-log((1 - p) / p)`.

    Reference: Lin et al. 2017, "Focal Loss", section 4.1.
    """
    return nn.initializers.constant(-math.log((1 - prior) / prior))


class DenseHead(nn.Module):
    """A tower of 3x3 convolutions, and a 3x3 convolution to the predictions of every cell.

    Applied to several maps it shares its parameters; give each map a head of its own by a `name` of its own.

    Attributes:
        outputs: numbers predicted for each anchor.
        anchors: of a cell.
        width: channels of the tower.
        depth: convolutions of the tower.
        prior: initial probability that the bias gives through a sigmoid; 0.5 is a bias of zero.
        norm: normalisation in the tower (`nn/norms.py`); "batch" mixes the levels that share it.
        kernel_init: initialiser of the tower; "" for He's.
        activation: of the tower.
        dtype: of the tower; predictions are at least float32.
    """

    outputs: int
    anchors: int = 1
    width: int = 256
    depth: int = 4
    prior: float = 0.5
    norm: str = "none"
    kernel_init: str = ""
    activation: str = "relu"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics. Returns: [b, h w anchors, outputs], in rows of cells."""
        style = Style(self.norm, "before", "plain", self.activation, self.kernel_init, self.dtype)
        for i in range(self.depth):
            x = style.convolution(self.width, 3, 1, f"conv{i}", self.activation)(x.astype(self.dtype))
            x = style.activate(x, train, f"norm{i}")
        wide = at_least_float32(self.dtype)
        last = Conv(
            self.anchors * self.outputs, (3, 3), padding=((1, 1), (1, 1)), kernel_init=initializer("normal(std=0.01)"),
            bias_init=prior_bias(self.prior), dtype=wide, param_dtype=wide, name="predictions",
        )  # fmt: skip
        return last(x.astype(wide)).reshape(len(x), -1, self.outputs)
