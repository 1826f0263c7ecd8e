"""Residual networks, `y = relu(F(x) + shortcut(x))`. The CIFAR form: depth 6n + 2, three stages of n basic blocks."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError
from cvdl_jax.models_index import from_table
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.init import Initializer, initializer
from cvdl_jax.nn.inputs import check_images
from cvdl_jax.nn.norm import BatchNorm
from cvdl_jax.nn.precision import at_least_float32
from cvdl_jax.nn.remat import remat_block

VARIANTS = {
    # He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2 and table 6
    "resnet20": {"input": (32, 32, 3), "depths": (3, 3, 3), "widths": (16, 32, 64)},  # 0.27 M
    "resnet32": {"input": (32, 32, 3), "depths": (5, 5, 5), "widths": (16, 32, 64)},  # 0.46 M
    "resnet44": {"input": (32, 32, 3), "depths": (7, 7, 7), "widths": (16, 32, 64)},  # 0.66 M
    "resnet56": {"input": (32, 32, 3), "depths": (9, 9, 9), "widths": (16, 32, 64)},  # 0.85 M
    "resnet110": {"input": (32, 32, 3), "depths": (18, 18, 18), "widths": (16, 32, 64)},  # 1.7 M
    "resnet8_tiny": {"input": (16, 16, 3), "depths": (1, 1, 1), "widths": (4, 8, 16)},
}


def convolution(features: int, size: int, stride: int, dtype: Any, name: str, kernel_init: Initializer) -> nn.Conv:
    """A convolution without bias before a normalisation, padded by size // 2 on every side (as in PyTorch)."""
    pad = size // 2
    return nn.Conv(
        features,
        (size, size),
        (stride, stride),
        padding=((pad, pad), (pad, pad)),
        use_bias=False,
        kernel_init=kernel_init,
        dtype=dtype,
        param_dtype=at_least_float32(dtype),
        name=name,
    )


class Shortcut(nn.Module):
    """The identity where shapes agree; else option A, every stride-th pixel and zeros for the new channels (no
    parameters), or option B, a 1x1 convolution.

    Reference: He et al. 2016, section 3.3 and table 3.
    """

    features: int
    stride: int
    option: str
    dtype: Any = jnp.float32
    kernel_init: str = ""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics. Returns: [b, ceil(h / stride), ceil(w / stride), features]."""
        if self.option not in ("A", "B"):
            raise ConfigError(f"config.model.shortcut={self.option!r} must be 'A' (zeros) or 'B' (1x1 convolution)")
        c = x.shape[-1]
        if self.stride == 1 and c == self.features:
            return x
        if self.option == "B":
            x = convolution(self.features, 1, self.stride, self.dtype, "conv", initializer(self.kernel_init))(x)
            return BatchNorm(dtype=self.dtype, name="norm")(x, train)
        if c > self.features:
            raise ConfigError(f"shortcut 'A' cannot go from {c} to {self.features} channels; use 'B'")
        x = x[:, :: self.stride, :: self.stride]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.features - c)))


class BasicBlock(nn.Module):
    """conv3x3 - norm - g - conv3x3 - norm, plus the shortcut, g (He et al. 2016, figure 5, left)."""

    features: int
    stride: int
    shortcut: str
    dtype: Any = jnp.float32
    activation: str = "relu"
    kernel_init: str = ""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics. Returns: [b, ceil(h / stride), ceil(w / stride), features]."""
        g, init = activation(self.activation), initializer(self.kernel_init, self.activation)
        y = convolution(self.features, 3, self.stride, self.dtype, "conv0", init)(x)
        y = g(BatchNorm(dtype=self.dtype, name="norm0")(y, train))
        y = convolution(self.features, 3, 1, self.dtype, "conv1", init)(y)
        y = BatchNorm(dtype=self.dtype, name="norm1")(y, train)
        shortcut = Shortcut(self.features, self.stride, self.shortcut, self.dtype, self.kernel_init, name="shortcut")
        return g(y + shortcut(x, train))


class ResNet(nn.Module):
    """A 3x3 stem, stages of residual blocks that halve the image from the second on, mean over pixels, linear scores.

    Attributes:
        num_classes: number of logits.
        depths: blocks of each stage.
        widths: channels of each stage; the stem has those of the first.
        shortcut: "A" (zero-padded, the paper's choice for CIFAR) or "B" (1x1 convolution).
        activation: its name, after the stem, inside the blocks and after their sums.
        remat: recompute blocks in the backward pass.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's.
        dtype: of all layers but the last, which is at least float32.
    """

    num_classes: int
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    shortcut: str = "A"
    activation: str = "relu"
    remat: bool = False
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], h and w at least 2^(stages - 1).
            train: batch statistics used and updated.

        Returns:
            logits [b, num_classes]; {"stages": one array [b, h / 2^i, w / 2^i, widths[i]] per stage,
            "pre_logits": [b, widths[-1]]}.

        Raises:
            ConfigError: for images that are too small, or depths and widths of different length.
        """
        if len(self.depths) != len(self.widths) or not self.depths:
            raise ConfigError(f"config.model.depths={self.depths} and widths={self.widths} need one entry per stage")
        check_images(x, self, "resnet", 2 ** (len(self.depths) - 1), "stem")
        block = remat_block(BasicBlock, self.remat)
        init = initializer(self.kernel_init, self.activation)
        x = convolution(self.widths[0], 3, 1, self.dtype, "stem", init)(x.astype(self.dtype))  # [b, h, w, widths[0]]
        x = activation(self.activation)(BatchNorm(dtype=self.dtype, name="stem_norm")(x, train))
        stages = []
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                name = f"stage{i}_block{j}"
                more = {"activation": self.activation, "kernel_init": self.kernel_init, "name": name}
                x = block(width, stride, self.shortcut, self.dtype, **more)(x, train)
            stages.append(x)  # [b, h / 2^i, w / 2^i, width]
        wide = at_least_float32(self.dtype)
        x = x.astype(wide).mean((1, 2))  # [b, widths[-1]]
        last = initializer(self.kernel_init)
        logits = nn.Dense(self.num_classes, kernel_init=last, dtype=wide, param_dtype=wide, name="head")(x)
        return logits, {"stages": tuple(stages), "pre_logits": x}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> ResNet:
    """A variant of the table with overrides, checked."""
    return from_table(ResNet, VARIANTS, variant, num_classes, dtype, overrides)
