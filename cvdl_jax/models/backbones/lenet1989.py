"""The first LeNet: two convolutions with stride 2, a hidden layer and ten units on 16x16 digits. 9,760 parameters.

    H1: 12 maps of 8x8, 5x5 with stride 2;  H2: 12 maps of 4x4, 5x5 with stride 2, each sees 8 maps of H1;  H3: 30 units

Weights are shared over places, biases are not. The image and the maps continue as background, -1, outside. There is no
pooling. The paper does not say which maps H2's see: here thirds of them see thirds 0 and 1, 1 and 2, or 0 and 2 of H1.
Scores are linear (the paper's are squashed and compared with -1 and 1).

Reference: LeCun et al. 1989, "Backpropagation Applied to Handwritten Zip Code Recognition", section 3.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images, head
from cvdl_jax.nn.conv import Conv
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # LeCun et al. 1989, section 3.3 and figure 3: 64,660 connections, of which 1,000 are biases
    "lenet1989": {
        "input": (16, 16, 1), "num_classes": 10, "maps": 12, "units": 30,
        "macs": 63_660, "params": 9_760,  # 1,068 + 2,592 + 5,790 + 310
    },
    "lenet1989_tiny": {
        "input": (16, 16, 1), "num_classes": 10, "maps": 3, "units": 6,
        "macs": 7_548, "params": 829,  # 3 * (25 + 64) + 3 * (2 * 25 + 16) + 49 * 6 + 7 * 10
    },
}  # fmt: skip
SEEN = ((0, 1), (1, 2), (0, 2))  # thirds of H1 that the thirds of H2 see


def by_fan_in(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """U(-2.4 / F, 2.4 / F) for F inputs of a unit, the paper's initialiser."""
    bound = 2.4 / math.prod(shape[:-1])
    return jax.random.uniform(key, shape, dtype, -bound, bound)


class LeNet1989(nn.Module):
    """Two layers of shared weights and a hidden layer.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        maps: of H1 and of H2, a multiple of 3.
        units: of H3.
        activation: of all units, the paper's scaled tanh.
        background: value outside of the image and of the maps.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    num_classes: int
    maps: Size = 12
    units: Size = 30
    activation: str = "lecun_tanh"
    background: float = -1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], h and w at least 4, in the paper 16; the biases are learned for its size.
            train: no effect.

        Returns:
            logits [b, num_classes]; {"stages": (H1 [b, h / 2, w / 2, maps], H2 [b, h / 4, w / 4, maps]), "pre_logits":
            H3 [b, units]}.

        Raises:
            ConfigError: for images that are too small or of another size than the biases, or maps that are no multiple
                of 3.
        """
        check_images(x, self, "lenet1989", 4, "conv0")
        if self.maps % 3:
            raise ConfigError(f"config.model.maps={self.maps} must be a multiple of 3, such as 12")
        g, wide = activation(self.activation), at_least_float32(self.dtype)
        types = {"dtype": self.dtype, "param_dtype": wide, "kernel_init": by_fan_in}
        conv = {"strides": (2, 2), "padding": "VALID", "use_bias": False, **types}
        y = Conv(self.maps, (5, 5), **conv, name="conv0")(self._continued(x.astype(self.dtype)))
        first = g(self._biased(y, "bias0"))  # [b, 8, 8, 12]
        thirds = jnp.split(self._continued(first), 3, -1)
        parts = [
            Conv(self.maps // 3, (5, 5), **conv, name=f"conv1_{i}")(jnp.concatenate([thirds[a], thirds[b]], -1))
            for i, (a, b) in enumerate(SEEN)
        ]
        second = g(self._biased(jnp.concatenate(parts, -1), "bias1"))  # [b, 4, 4, 12]
        x = g(nn.Dense(self.units, **types, name="dense")(second.reshape(second.shape[0], -1)))  # [b, 30]
        logits = head(x, self.num_classes, self.dtype, by_fan_in)
        return logits, {"stages": (first, second), "pre_logits": x}

    def _continued(self, x: jax.Array) -> jax.Array:
        return jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), constant_values=self.background)

    def _biased(self, x: jax.Array, name: str) -> jax.Array:
        if self.has_variable("params", name) and self.get_variable("params", name).shape != x.shape[1:]:
            h, w = self.get_variable("params", name).shape[:2]
            raise ConfigError(
                f"this lenet1989 has biases for maps of {h}x{w} places, got {x.shape[1]}x{x.shape[2]}; "
                "set config.data.image_size to that of its training, (16, 16) in the paper"
            )
        bias = self.param(name, nn.initializers.zeros, x.shape[1:], at_least_float32(self.dtype))
        return x + bias.astype(self.dtype)[None]


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> LeNet1989:
    """A variant of the table with overrides."""
    return from_row(LeNet1989, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
