"""A linear classifier of histograms of oriented gradients; with the hinge loss the classic detector's SVM.

Reference: Dalal and Triggs 2005, "Histograms of Oriented Gradients for Human Detection".
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images, head
from cvdl_jax.ops.images.hog import border, hog
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # four by four cells of four pixels inside a border of three: 9 blocks of 36 numbers, 324 * 10 + 10; votes of rows
    # 4 * 22 * 22 * 9 and of columns 4 * 4 * 22 * 9 are products, too
    "hog_linear": {"input": (22, 22, 3), "num_classes": 10, "cell": 4, "inside": True, "macs": 23_832, "params": 3_250},
    # the window of the paper, 7 x 15 blocks of 36 numbers: 3,780 * 2 + 2
    "hog_person": {"input": (128, 64, 3), "num_classes": 2, "macs": 1_260_936, "params": 7_562},
    # one block of 2 * 2 * 4 numbers
    "hog_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "cell": 4, "bins": 4, "inside": True, "macs": 2_464, "params": 170,
    },
}  # fmt: skip


class HogLinear(nn.Module):
    """A linear map of the blocks of an image.

    Attributes:
        num_classes: number of scores; 0 for the blocks themselves.
        cell: side of a cell in pixels; see `ops/images/hog.py`, as the next three.
        bins: orientations.
        block: side of a block in cells.
        clip: the most that an entry of a block may be.
        inside: only cells that see nothing of the border.
        dtype: ignored beyond float32.
    """

    num_classes: int
    cell: Size = 8
    bins: Size = 9
    block: Size = 2
    clip: Positive = 0.2
    inside: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c].
            train: no effect.

        Returns:
            scores [b, num_classes]; {"stages": the blocks [b, rows, columns, d] alone, "pre_logits": flat}.

        Raises:
            ConfigError: for an image without a whole block.
        """
        check_images(x, self, "hog", self.block * self.cell + 2 * (border(self.cell) if self.inside else 0))
        wide = at_least_float32(self.dtype)
        blocks = hog(x.astype(wide), self.cell, self.bins, self.block, self.clip, self.inside)
        flat = blocks.reshape(len(blocks), -1)
        return head(flat, self.num_classes, self.dtype), {"stages": (blocks,), "pre_logits": flat}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> HogLinear:
    """A variant of the table with overrides."""
    return from_row(HogLinear, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
