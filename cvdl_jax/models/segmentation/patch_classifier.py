"""The sliding window: a classifier of the pixel in the middle of a patch, run on the patch around every pixel.

As it is said ("patches"), neighbouring patches compute nearly the same again. The same network run on the whole image
("convolution") shares that: a maximum with a stride becomes one at every pixel, and all that follows is dilated by the
stride, so that every pixel sees what it would see in its own patch. Both forms have the same parameters and logits.

Reference: Ciresan et al. 2012, "Deep Neural Networks Segment Neuronal Membranes in Electron Microscopy Images"; Long et
    al. 2015, "Fully Convolutional Networks", section 3.2, for the dilated form.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config.binding import Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images, head
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.init import initializer
from cvdl_jax.ops.pooling import max_pool
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # its defaults: 75 * 32 + 32, 25 * 32 * 64 + 64, 6 * 6 * 64 * 128 + 128 of the patch's last map, scores 129 * 11
    "patch_classifier": {"input": (60, 80, 3), "num_classes": 11, "params": 350_155},
    "patch_classifier_tiny": {
        "input": (9, 10, 3), "num_classes": 3, "patch": 11, "widths": (4, 4), "side": 2, "units": 6,
        # 12 * 4 + 4, 16 * 4 + 4, 2 * 2 * 4 * 6 + 6, scores 7 * 3
        "params": 243,
    },
}  # fmt: skip


class PatchClassifier(nn.Module):
    """Convolutions with 2x2 maxima, a dense layer and scores, for the pixel in the middle of a patch.

    Attributes:
        num_classes: number of logits of a pixel.
        patch: side of the patch, odd; beyond the image there are zeros.
        widths: channels of the convolutions, each followed by a maximum.
        side: of their windows.
        units: of the dense layer.
        form: "convolution", on the whole image, or "patches", on one after the other.
        activation: name of the activation function.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's.
        dtype: of all layers but the last, which is at least float32.
    """

    num_classes: int
    patch: Size = 37
    widths: tuple[Size, ...] = (32, 64)
    side: Size = 5
    units: Size = 128
    form: Literal["convolution", "patches"] = "convolution"
    activation: str = "relu"
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies pixels.

        Args:
            x: float [b, h, w, c].
            train: without effect.

        Returns:
            logits [b, h, w, num_classes]; {"stages": maps of the convolutions, "pre_logits": [b, h, w, units]}.

        Raises:
            ConfigError: for an even patch, or one of which nothing is left for the dense layer.
        """
        left = self.patch
        for _ in self.widths:
            left = (left - self.side + 1) // 2
        if self.patch % 2 == 0 or left < 1:
            raise ConfigError(
                f"config.model.patch={self.patch} must be odd, and leave a pixel for the dense layer: here {left} are "
                f"left behind {len(self.widths)} convolutions of {self.side}x{self.side} pixels with maxima"
            )
        check_images(x, self, "patch_classifier", 1, "conv0")
        b, h, w, c = x.shape
        around, dense = self.patch // 2, self.form == "convolution"
        x = jnp.pad(x.astype(self.dtype), ((0, 0), (around, around), (around, around), (0, 0)))
        if not dense:
            x = lax.conv_general_dilated_patches(
                x, (self.patch, self.patch), (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )  # [b, h, w, c patch patch]
            x = x.reshape(b * h * w, c, self.patch, self.patch).transpose(0, 2, 3, 1)
        g, init = activation(self.activation), initializer(self.kernel_init, self.activation)
        types = {"kernel_init": init, "dtype": self.dtype, "param_dtype": at_least_float32(self.dtype)}
        stages, apart = [], 1
        for i, width in enumerate(self.widths):
            layer = {"padding": "VALID", "kernel_dilation": (apart, apart), **types}
            x = g(Conv(width, (self.side, self.side), **layer, name=f"conv{i}")(x))
            x = max_pool(x, 2, 1 if dense else 2, dilation=apart)
            apart *= 2 if dense else 1
            stages.append(x)
        x = g(Conv(self.units, (left, left), padding="VALID", kernel_dilation=(apart, apart), **types, name="dense")(x))
        x = x[:, :h, :w] if dense else x.reshape(b, h, w, self.units)
        return head(x, self.num_classes, self.dtype, initializer(self.kernel_init)), {
            "stages": tuple(stages),
            "pre_logits": x,
        }


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> PatchClassifier:
    """A variant of the table with overrides."""
    return from_row(PatchClassifier, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
