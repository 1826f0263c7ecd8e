"""LeNet-5, convolutions and averages for hand-written digits.

C1 5x5 -> S2 2x2 -> C3 5x5 -> S4 2x2 -> C5 -> F6 -> scores. As it is usually drawn today: every map of C3 sees all of
S2 (table I of the paper connects some), the averages S2 and S4 have no parameters (the paper's have a weight and a
bias per map), and the scores are linear (the paper's are distances to fixed codes). 61,706 parameters at 32x32x1 and
ten classes.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Share, Size
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images, head
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.dropout import dense, dropout
from cvdl_jax.nn.init import constant, initializer, lecun_normal
from cvdl_jax.nn.norms import keeps_bias, normaliser, with_activation
from cvdl_jax.nn.pooling import max_pool
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", figure 2 and section II-B
    "lenet5": {
        "input": (32, 32, 1), "num_classes": 10, "maps": (6, 16), "units": (120, 84), "smallest": 32,
        "macs": 416_520, "params": 61_706,  # 156 + 2,416 + 48,120 + 10,164 + 850
    },
    "lenet5_tiny": {
        "input": (16, 16, 1), "num_classes": 10, "maps": (2, 4), "units": (8, 8), "smallest": 16,
        "macs": 8_176, "params": 458,  # 26 * 2 + 51 * 4 + 5 * 8 + 9 * 8 + 9 * 10
    },
}  # fmt: skip
POOLS = {"average": nn.avg_pool, "max": max_pool}


class LeNet(nn.Module):
    """Two convolutions with pooling and two dense layers.

    `activation="relu", pool="max"` is the modern form; the paper's own squashing is `activation="lecun_tanh"`.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        maps: feature maps of C1 and C3.
        units: units of C5 and F6. C5 covers whatever is left of the image, 5x5 at 32x32 pixels.
        activation: name of the activation function after every convolution and dense layer.
        pool: "average" or "max", 2x2 with stride 2; an odd last row or column is left out.
        norm: normalisation of every layer but the last (`nn/norms.py`): "none", "batch", "group(groups=2)" ...
        placement: whether the norm stands "before" or "after" the activation.
        dropout: dropout rate before C5 and before F6.
        dropout_kind: "inverted", "classic", "channels" or "connections" (`nn/dropout.py`).
        smallest: smallest side of an image that is accepted; the data section has to pad or resize 28x28 scans to
            32x32. At least 16 are needed, so that a pixel is left.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for LeCun's.
        bias_init: initial value of all biases but the last.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    num_classes: int
    maps: tuple[Size, Size] = (6, 16)
    units: tuple[Size, Size] = (120, 84)
    activation: str = "tanh"
    pool: str = "average"
    norm: str = "none"
    placement: str = "before"
    dropout: Share = 0.0
    dropout_kind: str = "inverted"
    smallest: Size = 32
    kernel_init: str = ""
    bias_init: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], h and w at least `smallest`.
            train: dropout on, batch statistics used and updated.

        Returns:
            logits [b, num_classes]; {"stages": (S2 [b, (h-4)/2, (w-4)/2, 6], S4), "pre_logits": F6 [b, 84]}.

        Raises:
            ConfigError: for images that are too small, or an unknown pool or activation.
        """
        check_images(x, self, "lenet", max(16, self.smallest), "conv0")
        if self.pool not in POOLS:
            raise ConfigError(f"config.model.pool={self.pool!r} is not known; {nearest(self.pool, POOLS)}")
        pool, wide, (kind, norm) = POOLS[self.pool], at_least_float32(self.dtype), normaliser(self.norm, self.dtype)
        g = with_activation(activation(self.activation), norm, self.placement)
        types = {"dtype": self.dtype, "param_dtype": wide, "use_bias": keeps_bias(kind, self.placement)}
        types["kernel_init"] = initializer(self.kernel_init, self.activation, default=lecun_normal())
        types["bias_init"] = constant(self.bias_init)
        x, stages = x.astype(self.dtype), []
        for i, maps in enumerate(self.maps):
            convolution = Conv(maps, (5, 5), padding="VALID", **types, name=f"conv{i}")
            x = g(convolution(x), train, f"conv{i}_norm")  # [b, h - 4, w - 4, maps]
            x = pool(x, (2, 2), (2, 2))  # [b, h / 2, w / 2, maps]
            stages.append(x)
        for i, units in enumerate(self.units):
            x = dropout(self.dropout_kind, self.dropout)(x, train).reshape(x.shape[0], -1)  # [b, 400] at 32x32
            x = dense(self.dropout_kind, self.dropout, units, **types, name=f"dense{i}")(x, train)
            x = g(x, train, f"dense{i}_norm")
        last = initializer(self.kernel_init, default=lecun_normal())
        logits = head(x, self.num_classes, self.dtype, last)
        return logits, {"stages": tuple(stages), "pre_logits": x}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> LeNet:
    """A variant of the table with overrides."""
    return from_row(LeNet, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
