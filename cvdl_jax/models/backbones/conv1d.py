"""One-dimensional convolutional network for signals: convolutions in time, their mean over time, then scores.

Every unit looks at a short piece of the signal with weights that are the same at all times, so that a pattern is
recognised wherever it comes: the time-delay neural network.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_float, head
from cvdl_jax.nn.init import constant, initializer, lecun_normal
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # the idea is Waibel et al. 1989, "Phoneme Recognition Using Time-Delay Neural Networks", figure 2; sizes are ours
    "conv1d": {
        "input": (128,), "num_classes": 10, "channels": (16, 32, 32),
        "macs": 304_448, "params": 14_378,  # 10 * 16 + (9 * 16 + 1) * 32 + (9 * 32 + 1) * 32 + 33 * 10
    },
    "conv1d_tiny": {
        "input": (32,), "num_classes": 10, "channels": (4, 8), "kernel": 5,
        "macs": 1_680, "params": 282,  # 6 * 4 + (5 * 4 + 1) * 8 + 9 * 10
    },
}  # fmt: skip


class Conv1d(nn.Module):
    """Strided convolutions in time and a dense layer on the mean of the last one.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        channels: number of output channels of every convolution.
        kernel: number of samples of its input that a unit sees.
        stride: step of every convolution, in samples of its input.
        activation: name of the activation function after every convolution.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's in convolutions and LeCun's in the last.
        bias_init: initial value of the biases of the convolutions.
        dtype: dtype of the convolutions; the logits are at least float32.
    """

    num_classes: int
    channels: tuple[Size, ...] = (16, 32, 32)
    kernel: Size = 9
    stride: Size = 2
    activation: str = "relu"
    kernel_init: str = ""
    bias_init: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, t], or [b, t, c] of c recordings at once.
            train: no effect.

        Returns:
            logits [b, num_classes]; {"stages": of every convolution [b, t', channels], "pre_logits": [b, channels]}.

        Raises:
            ConfigError: for another shape, or impossible sizes.
        """
        check_float(x, "conv1d")
        if x.ndim not in (2, 3):
            raise ConfigError(f"conv1d takes signals [b, t] or [b, t, c], got shape {x.shape}; for images use lenet5")
        if not self.channels or min(self.kernel, self.stride, *self.channels) < 1:
            raise ConfigError(
                f"config.model: channels={self.channels}, kernel={self.kernel} and stride={self.stride} must be at "
                "least 1, and there must be a layer"
            )
        g, wide, stages = activation(self.activation), at_least_float32(self.dtype), []
        x = (x if x.ndim == 3 else x[..., None]).astype(self.dtype)  # [b, t, c]
        types = {"dtype": self.dtype, "param_dtype": wide, "bias_init": constant(self.bias_init)}
        types["kernel_init"] = initializer(self.kernel_init, self.activation)
        for i, channels in enumerate(self.channels):
            x = g(nn.Conv(channels, (self.kernel,), self.stride, **types, name=f"conv{i}")(x))  # [b, t / stride, c]
            stages.append(x)
        x = x.mean(1)  # [b, c]
        last = initializer(self.kernel_init, default=lecun_normal())
        logits = head(x, self.num_classes, self.dtype, last)
        return logits, {"stages": tuple(stages), "pre_logits": x}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> Conv1d:
    """A variant of the table with overrides."""
    return from_row(Conv1d, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
