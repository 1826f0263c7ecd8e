"""Network in Network: convolutions followed by 1x1 convolutions, and one map a class, whose means are the scores.

`f = relu(w2 relu(w1 relu(conv(x))))` at every place is a small perceptron that slides over the image ("mlpconv"). There
is no dense layer: the last 1x1 convolution makes as many maps as there are classes, and each score is its map's mean.

Reference: Lin et al. 2014, "Network in Network", figure 2 and section 4; kernels as in the authors' CIFAR-10 and
    ImageNet definitions, which the paper does not print.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config.binding import Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.pooling import max_pool
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Lin et al. 2014, section 4.2: three mlpconv layers for CIFAR
    "nin_cifar": {
        "input": (32, 32, 3), "num_classes": 10, "maps": ((192, 160, 96), (192, 192, 192), (192, 192)),
        "kernels": (5, 5, 3), "macs": 222_486_528, "params": 966_986,
    },  # 0.97 M
    # the authors' model for ImageNet, four mlpconv layers
    "nin_imagenet": {
        "input": (224, 224, 3), "num_classes": 1000,
        "maps": ((96, 96, 96), (256, 256, 256), (384, 384, 384), (1024, 1024)), "kernels": (11, 5, 3, 3),
        "strides": (4, 1, 1, 1), "macs": 1_257_711_616, "params": 7_595_176,
    },  # 7.6 M
    "nin_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "maps": ((8, 8), (8,)), "kernels": (5, 3), "dropout": 0.0,
        "macs": 211_968, "params": 1_354,
    },
}  # fmt: skip


class NetworkInNetwork(nn.Module):
    """Mlpconv layers with 3x3 maxima of stride 2 between them, one map a class, and their means.

    Attributes:
        num_classes: number of logits; 0 for the means of the maps before, without a head.
        maps: of every mlpconv layer, the channels of its convolution and of the 1x1 convolutions behind it. The
            scores' maps are one more.
        kernels: side of the convolution of every layer.
        strides: their strides; () for 1.
        activation: name of the activation function.
        dropout: rate behind every maximum.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    num_classes: int
    maps: tuple[tuple[Size, ...], ...]
    kernels: tuple[Size, ...]
    strides: tuple[Size, ...] = ()
    activation: str = "relu"
    dropout: Share = 0.5
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], h and w at least the product of all strides.
            train: dropout on.

        Returns:
            logits [b, num_classes]; {"stages": the maps of every mlpconv layer, "maps": those of the classes
            [b, h', w', num_classes], "pre_logits": means of the last layer's maps [b, c]}.

        Raises:
            ConfigError: for images that are too small, or lists of different length.
        """
        strides = self.strides or (1,) * len(self.maps)
        if not len(self.maps) == len(self.kernels) == len(strides) or not all(self.maps):
            raise ConfigError(
                f"config.model.maps={self.maps}, kernels={self.kernels} and strides={strides} need one entry per layer"
            )
        smallest = 2 ** (len(self.maps) - 1)
        for stride in strides:
            smallest *= stride
        check_images(x, self, "nin", smallest, "conv0_0")
        g, wide, stages = activation(self.activation), at_least_float32(self.dtype), []
        types = {"padding": "SAME", "kernel_init": initializer(self.kernel_init, self.activation), "param_dtype": wide}
        x = x.astype(self.dtype)
        for i, (maps, size, stride) in enumerate(zip(self.maps, self.kernels, strides, strict=True)):
            if i > 0:
                x = max_pool(x, 3, 2, lax.padtype_to_pads(x.shape[1:3], (3, 3), (2, 2), "SAME"))
                x = Dropout(self.dropout)(x, train)
            for j, features in enumerate(maps):
                side, step = (size, stride) if j == 0 else (1, 1)
                x = g(Conv(features, (side, side), (step, step), dtype=self.dtype, **types, name=f"conv{i}_{j}")(x))
            stages.append(x)
        out = {"stages": tuple(stages), "pre_logits": x.astype(wide).mean((1, 2))}
        if self.num_classes == 0:
            return out["pre_logits"], out
        x = g(Conv(self.num_classes, (1, 1), dtype=wide, **types, name="head")(x.astype(wide)))  # [b, h', w', classes]
        return x.mean((1, 2)), {**out, "maps": x}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> NetworkInNetwork:
    """A variant of the table with overrides."""
    return from_row(NetworkInNetwork, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
