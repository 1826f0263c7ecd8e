"""The discriminator of DCGAN: strided convolutions and one score. The generator is in `dcgan_generator.py`."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.models.registry import from_table
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.batch_norm import BatchNorm
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.init import HE_NORMAL
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Radford et al. 2016, "Unsupervised Representation Learning with DCGANs", figure 1 mirrored
    "dcgan_discriminator": {"input": (64, 64, 3), "widths": (128, 256, 512, 1024), "kernel": 5},
    # the same for 28x28 images, with fewer maps and no paper
    "dcgan_discriminator_28": {"input": (28, 28, 1), "widths": (32, 64), "kernel": 4},
    "dcgan_discriminator_tiny": {"input": (8, 8, 1), "widths": (4, 8), "kernel": 4},
}
NORMAL_002 = nn.initializers.normal(0.02)  # Radford et al. 2016, section 4


def _image_norm(dtype: Any, name: str) -> nn.LayerNorm:
    """Layer normalisation of a whole image [h, w, c], scale and bias per channel (Gulrajani et al. 2017, section 4)."""
    return nn.LayerNorm(
        epsilon=1e-5, dtype=dtype, param_dtype=at_least_float32(dtype), reduction_axes=(-3, -2, -1), feature_axes=-1,
        use_fast_variance=False, name=name,
    )  # fmt: skip


class Discriminator(nn.Module):
    """Convolutions of stride 2, each followed by normalisation (but the first) and a leaky ReLU; a linear score.

    The score is a logit: there is no sigmoid. A critic whose gradient is penalised row by row must not mix rows, so it
    takes `norm="layer"` or `norm="none"`. Weights start from N(0, 0.02^2) before batch normalisation, which makes their
    scale irrelevant, else from He's normal.

    Attributes:
        num_classes: number of scores, 1 for a discriminator.
        widths: channels of each convolution; each halves the image, rounded up.
        kernel: side of the kernels.
        norm: "batch", "layer" (over the whole image) or "none".
        slope: of the leaky ReLU for negative inputs.
        dtype: of all layers but the last, which is at least float32.

    Reference: Radford et al. 2016, section 3; Gulrajani et al. 2017, "Improved Training of Wasserstein GANs",
    section 4.
    """

    num_classes: int
    widths: tuple[int, ...] = (32, 64)
    kernel: int = 4
    norm: str = "batch"
    slope: float = 0.2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Scores images.

        Args:
            x: float [b, h, w, c], in -1..1 by convention.
            train: batch statistics used and updated.

        Returns:
            logits [b, num_classes]; {"stages": one array [b, h / 2^i, w / 2^i, widths[i - 1]] per convolution,
            "pre_logits": the last one flattened}.

        Raises:
            ConfigError: for an unknown norm, or something that is no image.
        """
        check_images(x, self, "dcgan discriminator", 2, "conv0")
        wide, stages = at_least_float32(self.dtype), []
        norms: dict[str, Callable[[int], Callable]] = {
            "batch": lambda i: lambda y: BatchNorm(dtype=self.dtype, name=f"norm{i}")(y, train),
            "layer": lambda i: _image_norm(self.dtype, f"norm{i}"),
            "none": lambda i: lambda y: y,
        }
        if self.norm not in norms:
            raise ConfigError(f"config.model.norm={self.norm!r} is not known; {nearest(self.norm, norms)}")
        init = NORMAL_002 if self.norm == "batch" else HE_NORMAL
        x = x.astype(self.dtype)
        for i, width in enumerate(self.widths):
            normalised = i > 0 and self.norm != "none"
            x = Conv(
                width, (self.kernel, self.kernel), (2, 2), use_bias=not normalised, kernel_init=init,
                dtype=self.dtype, param_dtype=wide, name=f"conv{i}",
            )(x)  # [b, h / 2, w / 2, width]  # fmt: skip
            x = norms[self.norm](i)(x) if normalised else x
            x = activation(f"leaky_relu(slope={self.slope})")(x)
            stages.append(x)
        x = x.reshape(x.shape[0], -1).astype(wide)  # [b, h / 2^n * w / 2^n * widths[-1]]
        logits = nn.Dense(self.num_classes, kernel_init=init, dtype=wide, param_dtype=wide, name="head")(x)
        return logits, {"stages": tuple(stages), "pre_logits": x}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> Discriminator:
    """A variant of the table with overrides, checked."""
    return from_table(Discriminator, VARIANTS, variant, num_classes, dtype, overrides)
