"""The typical convolutional network, `[[conv - ReLU] * m - pool] * n - [dense - ReLU] * k - softmax`, from its numbers.

It ends in one of two ways: `scores="flatten"` puts dense layers on the flat map, which know the place of everything and
hold most of the parameters; `scores="maps"` makes a map of scores for each class by a 1 x 1 convolution, and averages
it (global average pooling), which has none for places and takes images of any size.

Reference: Lin et al. 2014, "Network In Network", section 3.2, for the second.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images, head
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.init import initializer, lecun_normal
from cvdl_jax.nn.norms import keeps_bias, normaliser, with_activation
from cvdl_jax.nn.pooling import max_pool
from cvdl_jax.ops import pooling
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # the pattern of the course, [convolutions, pooling] x N, [dense] x K, in sizes of our own
    "convnet": {
        "input": (32, 32, 3), "num_classes": 10, "channels": (32, 64, 128), "units": (256,),
        "macs": 10_848_768, "params": 620_362,  # 896 + 18,496 + 73,856 + 524,544 + 2,570
    },
    "convnet_maps": {
        "input": (32, 32, 3), "num_classes": 10, "channels": (32, 64, 128), "units": (), "scores": "maps",
        "macs": 10_342_400, "params": 94_538,  # 896 + 18,496 + 73,856 + 1,290
    },
    # Snell et al. 2017, "Prototypical Networks for Few-shot Learning", section 3.1, "Conv-4", with a layer of scores.
    # A convolution before a norm has no bias, as everywhere here; the pooling drops an odd last row and column.
    "conv4": {
        "input": (28, 28, 1), "num_classes": 5, "channels": (64, 64, 64, 64), "units": (), "norm": "batch",
        "macs": 9_815_360,  # 451,584 + 7,225,344 + 1,806,336 + 331,776 + 320
        "params": 112_005,  # (576 + 128) + 3 (36,864 + 128) + 325
    },
    "convnet_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "channels": (4, 8), "units": (16,),
        "macs": 48_288, "params": 2_642,  # 112 + 296 + 2,064 + 170
    },
}  # fmt: skip
POOLS = {"max": max_pool, "average": pooling.avg_pool}


class ConvNet(nn.Module):
    """Blocks of convolutions and a pooling, then dense layers or maps of scores.

    Attributes:
        num_classes: number of logits; 0 for the features before them.
        channels: of the convolutions of each block.
        convolutions: of every block.
        kernel: side of the kernels.
        separable: all convolutions but the first in two parts, a filter for each channel and a 1 x 1 mixture of them.
        padding: "same" keeps the size, "valid" loses `kernel - 1` pixels.
        pool: "max" or "average".
        window: side of the pooling.
        pool_stride: of the pooling; less than the window makes it overlap.
        units: of the dense layers before the scores; none with `scores="maps"`.
        scores: "flatten" or "maps".
        activation: name of the activation function.
        norm: normalisation before every activation (`nn/norms.py`).
        dropout: rate before every dense layer; with "maps", before the scores.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's, and LeCun's for the scores.
        dtype: of all layers but the scores, which are at least float32.
    """

    num_classes: int
    channels: tuple[Size, ...] = (32, 64, 128)
    convolutions: Layers = 1
    kernel: Size = 3
    separable: bool = False
    padding: Literal["same", "valid"] = "same"
    pool: Literal["max", "average"] = "max"
    window: Size = 2
    pool_stride: Size = 2
    units: tuple[Size, ...] = (256,)
    scores: Literal["flatten", "maps"] = "flatten"
    activation: str = "relu"
    norm: str = "none"
    dropout: Share = 0.0
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c].
            train: dropout on, batch statistics used and updated.

        Returns:
            logits [b, num_classes]; {"stages": after each pooling, "pre_logits": [b, d], and with scores="maps" "maps"
            [b, h', w', num_classes], whose mean is the logits}.

        Raises:
            ConfigError: for images that are too small, dense layers before maps, or a network without a block.
        """
        if not self.channels or (self.scores == "maps" and self.units):
            raise ConfigError(
                f"config.model: channels={self.channels} must name a block or more, and scores='maps' has no dense "
                f"layers, got units={self.units}; set config.model.units=()"
            )
        check_images(x, self, "convnet", self._smallest(), "conv0")
        wide, (kind, norm) = at_least_float32(self.dtype), normaliser(self.norm, self.dtype)
        g = with_activation(activation(self.activation), norm, "before")
        types = {"dtype": self.dtype, "param_dtype": wide, "use_bias": keeps_bias(kind, "before")}
        types["kernel_init"] = initializer(self.kernel_init, self.activation)
        x, stages, drop = x.astype(self.dtype), [], Dropout(self.dropout)
        for i, channels in enumerate(c for c in self.channels for _ in range(self.convolutions)):
            x = g(self._convolve(x, channels, f"conv{i}", i > 0, types), train, f"conv{i}_norm")
            if (i + 1) % self.convolutions == 0:
                x = POOLS[self.pool](x, self.window, self.pool_stride)
                stages.append(x)
        out: dict[str, Any] = {"stages": tuple(stages)}
        last = initializer(self.kernel_init, default=lecun_normal())
        if self.scores == "maps":
            out["maps"] = head(drop(x, train), self.num_classes, self.dtype, last)  # [b, h', w', classes]
            return out["maps"].mean((1, 2)), {**out, "pre_logits": x.mean((1, 2))}
        x = x.reshape(x.shape[0], -1)
        for i, units in enumerate(self.units):
            x = g(nn.Dense(units, **types, name=f"dense{i}")(drop(x, train)), train, f"dense{i}_norm")
        return head(drop(x, train), self.num_classes, self.dtype, last), {**out, "pre_logits": x}

    def _convolve(self, x: jax.Array, channels: int, name: str, later: bool, types: dict[str, Any]) -> jax.Array:
        """One convolution, whole or in two parts."""
        window, how = (self.kernel,) * 2, {"padding": self.padding.upper(), **types}
        if not (self.separable and later):
            return Conv(channels, window, **how, name=name)(x)
        c = x.shape[-1]
        x = Conv(c, window, feature_group_count=c, **how, name=f"{name}_depthwise")(x)
        return Conv(channels, (1, 1), **types, name=name)(x)

    def _smallest(self) -> int:
        """The side of an image of which one pixel is left."""
        side = 1
        for _ in self.channels:
            side = (side - 1) * self.pool_stride + self.window
            side += self.convolutions * (self.kernel - 1) * (self.padding == "valid")
        return side


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> ConvNet:
    """A variant of the table with overrides."""
    return from_row(ConvNet, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
