"""The head that gives every region a mask for each class."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.nn.conv import Conv, ConvTranspose
from cvdl_jax.nn.init import initializer
from cvdl_jax.ops.precision import at_least_float32


class MaskHead(nn.Module):
    """3x3 convolutions, a transposed one that doubles the side, and 1x1 to the masks of the classes.

    Attributes:
        outputs: masks of a region, one for no class among them, which nothing reads, as in torchvision.
        widths: of the 3x3 convolutions; the transposed one has the last of them.
        dtype: of all layers but the last, which is at least float32.

    Reference: He et al. 2017, "Mask R-CNN", figure 4, right.
    """

    outputs: int
    widths: tuple[int, ...] = (256, 256, 256, 256)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Args: x [b, r, s, s, c], what was pooled of regions. Returns: logits [b, r, 2 s, 2 s, outputs]."""
        b, r, s = x.shape[:3]
        wide = at_least_float32(self.dtype)
        how = {"kernel_init": initializer("", "relu"), "dtype": self.dtype, "param_dtype": wide}
        x = x.reshape(b * r, s, s, -1).astype(self.dtype)
        for i, width in enumerate(self.widths):
            x = nn.relu(Conv(width, (3, 3), padding="SAME", **how, name=f"conv{i}")(x))
        x = nn.relu(ConvTranspose(self.widths[-1], (2, 2), (2, 2), **how, name="double")(x))
        last = {"kernel_init": initializer("", "relu"), "dtype": wide, "param_dtype": wide}
        x = Conv(self.outputs, (1, 1), **last, name="masks")(x)
        return x.reshape(b, r, 2 * s, 2 * s, self.outputs)
