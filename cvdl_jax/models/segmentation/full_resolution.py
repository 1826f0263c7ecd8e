"""A network that never makes the image smaller: 3x3 convolutions at full resolution, the simplest one of all.

Every convolution costs as much as the first, and a pixel sees 2 n + 1 pixels after n of them: both are why networks
that go down and up again took its place.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Size
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images, head
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.residual import Style

VARIANTS = {
    # its defaults: 27 * 32 + 5 * 288 * 32, norms 6 * 64, scores 33 * 11
    "full_resolution": {"input": (60, 80, 3), "num_classes": 11, "params": 47_691},
    "full_resolution_tiny": {
        "input": (9, 10, 3), "num_classes": 3, "widths": (4, 6), "params": 365,  # 108 + 216, norms 20, scores 21
    },
}  # fmt: skip


class FullResolution(nn.Module):
    """Convolutions that keep the size.

    Attributes:
        num_classes: number of logits of a pixel.
        widths: channels of the convolutions.
        norm: normalisation behind every convolution (`nn/norms.py`).
        activation: name of the activation function.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's.
        dtype: of all layers but the last, which is at least float32.
    """

    num_classes: int
    widths: tuple[Size, ...] = (32, 32, 32, 32, 32, 32)
    norm: str = "batch"
    activation: str = "relu"
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Args: x float [b, h, w, c]; train: batch statistics. Returns: logits [b, h, w, num_classes]; {"stages"}."""
        check_images(x, self, "full_resolution", 1, "conv0")
        style = Style(self.norm, "before", "plain", self.activation, self.kernel_init, self.dtype)
        x, stages = x.astype(self.dtype), []
        for i, width in enumerate(self.widths):
            x = style.convolution(width, 3, 1, f"conv{i}", self.activation)(x)
            x = style.activate(x, train, f"norm{i}")
            stages.append(x)
        return head(x, self.num_classes, self.dtype, initializer(self.kernel_init)), {"stages": tuple(stages)}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> FullResolution:
    """A variant of the table with overrides."""
    return from_row(FullResolution, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
