"""AlexNet and ZFNet: five convolutions, overlapping 3x3 maxima with stride 2, three dense layers with dropout.

AlexNet has an 11x11 convolution with stride 4 on 227x227 pixels (the 224 of the paper's text do not fit, (224 - 11) / 4
is no whole number), and local response normalisation behind the first two. The paper splits conv2, conv4 and conv5 in
two groups, one a GPU: 60,965,224 parameters; in one tower they are 62,378,344. torchvision's form is that of Krizhevsky
2014, "One weird trick", figure 2: 64 channels first, no response normalisation, 224 pixels padded by 2, dropout in
front of the dense layers.
ZFNet has a 7x7 convolution with stride 2, a second one with stride 2, and, in the wider form, 512, 1024 and 512
channels behind them.

Reference: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 3; Zeiler
    and Fergus 2014, "Visualizing and Understanding Convolutional Networks", figure 3 and table 3.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.models.torch_names import NameMap, conv_names, dense_names
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import adaptive_mean, check_images, head
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.pooling import max_pool
from cvdl_jax.ops.normalise import local_response_norm
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Krizhevsky et al. 2012, section 3.5 and figure 2
    "alexnet_one_tower": {
        "input": (227, 227, 3), "num_classes": 1000, "maps": (96, 256, 384, 384, 256),
        "macs": 1_135_256_096, "params": 62_378_344,
    },  # all channels of a layer see all of the one before
    "alexnet_two_groups": {
        "input": (227, 227, 3), "num_classes": 1000, "maps": (96, 256, 384, 384, 256), "groups": 2,
        "macs": 724_406_816, "params": 60_965_224,
    },  # 60 M
    # Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", figure 2; torchvision
    "alexnet": {
        "input": (224, 224, 3), "num_classes": 1000, "maps": (64, 192, 384, 256, 256), "padding": (2, 2, 1, 1, 1),
        "response": False, "dropout_first": True, "macs": 714_188_480, "params": 61_100_840,
    },
    # Zeiler and Fergus 2014, figure 3
    "zfnet": {
        "input": (224, 224, 3), "num_classes": 1000, "maps": (96, 256, 384, 384, 256), "kernels": (7, 5, 3, 3, 3),
        "strides": (2, 2, 1, 1, 1), "padding": (1, 0, 1, 1, 1), "pool_padding": (1, 1, 0),
        "macs": 1_168_032_896, "params": 62_357_608,
    },
    # Zeiler and Fergus 2014, table 3, maps 512, 1024, 512 in layers 3 to 5
    "zfnet_wide": {
        "input": (224, 224, 3), "num_classes": 1000, "maps": (96, 256, 512, 1024, 512), "kernels": (7, 5, 3, 3, 3),
        "strides": (2, 2, 1, 1, 1), "padding": (1, 0, 1, 1, 1), "pool_padding": (1, 1, 0),
        "macs": 2_476_704_896, "params": 107_627_624,
    },
    "alexnet_tiny": {
        "input": (32, 32, 3), "num_classes": 10, "maps": (4, 8, 8, 8, 4), "kernels": (5, 5, 3, 3, 3),
        "strides": (1, 1, 1, 1, 1), "groups": 2, "units": (16, 16), "places": 2, "dropout": 0.0,
        "macs": 339_760, "params": 2_454,
    },
}  # fmt: skip
POOLED = (0, 1, 4)  # convolutions with a maximum behind them
GROUPED = (1, 3, 4)  # those that see the maps of their own GPU alone


class AlexNet(nn.Module):
    """Convolutions with rectifiers, maxima behind the first, second and fifth, and a perceptron.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        maps: channels of the five convolutions.
        kernels: their sides.
        strides: their strides.
        padding: their padding, pixels on every side.
        groups: of the second, fourth and fifth convolution.
        pool_padding: of the three maxima.
        response: local response normalisation behind the first two, before the maximum, k = 2, n = 5, alpha = 1e-4.
        units: of the hidden dense layers.
        places: side of the map that the dense layers see; another map is averaged to it.
        activation: name of the activation function.
        dropout: rate at the hidden dense layers.
        dropout_first: in front of them, as in torchvision, instead of behind them.
        kernel_init: initialiser of every kernel (`nn/init.py`), the paper's is "normal(std=0.01)"; "" for He's.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    num_classes: int
    maps: tuple[Size, Size, Size, Size, Size]
    kernels: tuple[Size, Size, Size, Size, Size] = (11, 5, 3, 3, 3)
    strides: tuple[Size, Size, Size, Size, Size] = (4, 1, 1, 1, 1)
    padding: tuple[int, int, int, int, int] = (0, 2, 1, 1, 1)
    groups: Size = 1
    pool_padding: tuple[int, int, int] = (0, 0, 0)
    response: bool = True
    units: tuple[Size, Size] = (4096, 4096)
    places: Size = 6
    activation: str = "relu"
    dropout: Share = 0.5
    dropout_first: bool = False
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], h and w at least 67 for AlexNet, 63 for torchvision's.
            train: dropout on.

        Returns:
            logits [b, num_classes]; {"stages": the maps behind every maximum, "pre_logits": [b, units[-1]]}.

        Raises:
            ConfigError: for images that are too small, or groups that do not divide the maps.
        """
        check_images(x, self, "alexnet", self._smallest(), "conv0")
        g, wide, stages = activation(self.activation), at_least_float32(self.dtype), []
        types = {
            "dtype": self.dtype,
            "param_dtype": wide,
            "kernel_init": initializer(self.kernel_init, self.activation),
        }
        x = x.astype(self.dtype)
        for i, maps in enumerate(self.maps):
            groups, size, stride, pad = self._groups(i), self.kernels[i], self.strides[i], self.padding[i]
            conv = Conv(
                maps, (size, size), (stride, stride), ((pad, pad), (pad, pad)), feature_group_count=groups, **types,
                name=f"conv{i}",
            )  # fmt: skip
            x = g(conv(x))
            if self.response and i < 2:
                x = local_response_norm(x)
            if i in POOLED:
                pad = self.pool_padding[POOLED.index(i)]
                x = max_pool(x, 3, 2, pad)
                stages.append(x)
        x = adaptive_mean(x, self.places).reshape(x.shape[0], -1)  # [b, 9216]
        drop = Dropout(self.dropout)
        for i, units in enumerate(self.units):
            dense = nn.Dense(units, **types, name=f"dense{i}")
            x = g(dense(drop(x, train))) if self.dropout_first else drop(g(dense(x)), train)
        logits = head(x, self.num_classes, self.dtype, initializer(self.kernel_init))
        return logits, {"stages": tuple(stages), "pre_logits": x}

    def _groups(self, i: int) -> int:
        groups = self.groups if i in GROUPED else 1
        if self.maps[i] % groups or self.maps[max(i - 1, 0)] % groups:
            raise ConfigError(
                f"config.model.groups={groups} does not divide the maps in front of and behind convolution {i + 1}, "
                f"{self.maps[max(i - 1, 0)]} and {self.maps[i]}; use a common divisor of them"
            )
        return groups

    def _smallest(self) -> int:
        """The side of an image of which one pixel is left."""
        side = 1
        for i in range(4, -1, -1):
            if i in POOLED:
                side = 2 * (side - 1) + 3 - 2 * self.pool_padding[POOLED.index(i)]
            side = self.strides[i] * (max(side, 1) - 1) + self.kernels[i] - 2 * self.padding[i]
        return max(side, 1)


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> AlexNet:
    """A variant of the table with overrides."""
    return from_row(AlexNet, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)


def torch_names(variant: str) -> NameMap:
    """{our path: (torchvision's name, transform)} of "alexnet"; "dense 6x6": torch flattens channels first."""
    if variant != "alexnet":
        return {}
    names: NameMap = {}
    for i, place in enumerate((0, 3, 6, 8, 10)):
        names |= conv_names(f"conv{i}", f"features.{place}")
    names |= dense_names("dense0", "classifier.1") | dense_names("dense1", "classifier.4")
    names["dense0/kernel"] = ("classifier.1.weight", "dense 6x6")
    return names | dense_names("head", "classifier.6")
