"""GoogLeNet: nine Inception modules, 22 layers, a mean over pixels, and auxiliary classifiers for training.

An Inception module looks at its input with filters of several sizes and joins what they find,

    y = [conv1x1(x), conv3x3(x), conv5x5(x), maxpool3x3(x)]                                       (naive)
    y = [conv1x1(x), conv3x3(conv1x1(x)), conv5x5(conv1x1(x)), conv1x1(maxpool3x3(x))]            (with bottlenecks)

where the 1x1 convolutions have fewer maps than x, so that the larger filters cost less. Behind 4a and 4d stand
auxiliary classifiers, mean 5x5 with stride 3 - conv1x1 - dense - dense, whose losses are added with weight 0.3
(`config.auxiliary_weight`) and which are absent in evaluation. torchvision's form has batch normalisation, 3x3 filters
in the place of the 5x5 and another auxiliary pooling.

Deviation: the 2.7K parameters of table 1's first row are not those of a full 7x7 convolution, 9,408, which is built
here. Kernels are He's, of which the paper says nothing.

Reference: Szegedy et al. 2015, "Going Deeper with Convolutions", figures 2 and 3, table 1 and section 5.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.models.torch_names import NameMap, conv_names, dense_names, norm_names
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.batch_norm import BatchNorm
from cvdl_jax.nn.common import adaptive_mean, check_images, head, remat_block
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.pooling import max_pool
from cvdl_jax.ops.normalise import local_response_norm
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Szegedy et al. 2015, table 1
    "googlenet_paper": {
        "input": (224, 224, 3), "num_classes": 1000, "macs": 1_582_671_872, "params": 6_998_552,
    },  # two auxiliary heads have 3,188,840 and 3,190,888 more
    # torchvision's form, named as there
    "googlenet": {
        "input": (224, 224, 3), "num_classes": 1000, "batch_norm": True, "dropout": 0.2,
        "macs": 1_498_376_192, "params": 6_624_904,
    },
    "googlenet_tiny": {
        "input": (32, 32, 3), "num_classes": 10, "stem": (4, 4, 8),
        "modules": (((4, 4, 4, 2, 4, 4),), ((4, 4, 4, 2, 4, 4),)), "heads": (), "dropout": 0.0,
        "macs": 179_712, "params": 2_146,
    },
}  # fmt: skip
# Table 1: maps of #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj of every module, by resolution
MODULES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),  # 3a, 3b
    (
        (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128),
    ),  # 4a to 4e
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),  # 5a, 5b
)  # fmt: skip
Maps = tuple[Size, Size, Size, Size, Size, Size]


class Unit(nn.Module):
    """A convolution of stride 1 or 2 that keeps or halves the image, batch normalisation where asked for, g."""

    features: int
    size: int
    stride: int = 1
    batch_norm: bool = False
    activation: str = "relu"
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics. Returns: [b, ceil(h / stride), ..., features]."""
        pad = self.size // 2
        x = Conv(
            self.features, (self.size,) * 2, (self.stride,) * 2, ((pad, pad), (pad, pad)),
            use_bias=not self.batch_norm, kernel_init=initializer(self.kernel_init, self.activation), dtype=self.dtype,
            param_dtype=at_least_float32(self.dtype), name="conv",
        )(x)  # fmt: skip
        x = BatchNorm(epsilon=1e-3, dtype=self.dtype, name="norm")(x, train) if self.batch_norm else x
        return activation(self.activation)(x)


class Inception(nn.Module):
    """Four branches, joined along the channels.

    Attributes:
        maps: of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5 and pool projection. A reduction or projection of 0 maps is left
            out: without all three the module is the naive one.
        large: side of the third branch's filters, 5, or 3 in torchvision's form.
        batch_norm: behind every convolution.
        activation: name of g.
        kernel_init: initialiser of every kernel; "" for He's.
        dtype: of the result.
    """

    maps: tuple[int, int, int, int, int, int]
    large: int = 5
    batch_norm: bool = False
    activation: str = "relu"
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics. Returns: [b, h, w, sum of the branches' maps]."""
        point, reduce3, three, reduce5, five, projection = self.maps

        def unit(x: jax.Array, features: int, size: int, name: str) -> jax.Array:
            how = (1, self.batch_norm, self.activation, self.kernel_init, self.dtype)
            return Unit(features, size, *how, name=name)(x, train) if features else x

        pooled = max_pool(x, 3, 1, "same")
        return jnp.concatenate(
            [
                unit(x, point, 1, "point"),
                unit(unit(x, reduce3, 1, "reduce3"), three, 3, "three"),
                unit(unit(x, reduce5, 1, "reduce5"), five, self.large, "five"),
                unit(pooled, projection, 1, "projection"),
            ],
            -1,
        )


class AuxiliaryHead(nn.Module):
    """A small classifier of an inner map: mean, conv1x1, dense, dropout, scores.

    Attributes:
        num_classes: number of logits.
        maps: of the 1x1 convolution.
        units: of the dense layer.
        batch_norm: torchvision's form: means of 4x4 windows that cover the map, batch normalisation.
        dropout: rate in front of the scores.
        activation: name of g.
        kernel_init: initialiser of every kernel; "" for He's.
        dtype: of all but the scores.
    """

    num_classes: int
    maps: int = 128
    units: int = 1024
    batch_norm: bool = False
    dropout: float = 0.7
    activation: str = "relu"
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: dropout, batch statistics. Returns: logits [b, num_classes]."""
        if x.shape[1:3] == (14, 14) and not self.batch_norm:
            x = nn.avg_pool(x, (5, 5), (3, 3))  # [b, 4, 4, c]
        else:
            x = adaptive_mean(x, 4)  # images of another size: as many places
        x = Unit(
            self.maps, 1, 1, self.batch_norm, self.activation, self.kernel_init, self.dtype, name="point"
        )(x, train)  # fmt: skip
        wide = at_least_float32(self.dtype)
        dense = nn.Dense(
            self.units, kernel_init=initializer(self.kernel_init, self.activation), dtype=self.dtype, param_dtype=wide,
            name="dense",
        )  # fmt: skip
        x = activation(self.activation)(dense(x.reshape(x.shape[0], -1)))
        return head(Dropout(self.dropout)(x, train), self.num_classes, self.dtype, initializer(self.kernel_init))


class GoogLeNet(nn.Module):
    """Stem, Inception modules with maxima between resolutions, mean over pixels, dropout, linear scores.

    Attributes:
        num_classes: number of logits; 0 for the features, without any head.
        stem: maps of the 7x7, 1x1 and 3x3 convolutions.
        modules: for every resolution from an eighth on, the maps of every module; see `Inception`.
        heads: modules with an auxiliary classifier behind them, as (resolution, module).
        auxiliary: auxiliary classifiers in training; set config.auxiliary_weight with it.
        batch_norm: torchvision's form: batch normalisation (epsilon 1e-3) for response normalisation, 3x3 for 5x5.
        dropout: rate in front of the scores.
        activation: name of the activation function.
        remat: recompute modules in the backward pass.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    num_classes: int
    stem: tuple[Size, Size, Size] = (64, 64, 192)
    modules: tuple[tuple[Maps, ...], ...] = MODULES
    heads: tuple[tuple[int, int], ...] = ((1, 0), (1, 3))
    auxiliary: bool = False
    batch_norm: bool = False
    dropout: Share = 0.4
    activation: str = "relu"
    remat: bool = False
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], h and w at least 2^(resolutions + 2), 32 for three.
            train: dropout and auxiliary classifiers on, batch statistics used and updated.

        Returns:
            logits [b, num_classes]; {"stages": the maps of every resolution, "pre_logits": [b, c], and in training
            "auxiliary": logits [b, num_classes] of every auxiliary classifier}.

        Raises:
            ConfigError: for images that are too small, or a head behind a module that is not there.
        """
        if not self.modules or any((i, j) not in self._places() for i, j in self.heads):
            raise ConfigError(f"config.model.heads={self.heads} must be pairs out of {self._places()}")
        check_images(x, self, "googlenet", 2 ** (len(self.modules) + 2))
        how = (self.batch_norm, self.activation, self.kernel_init, self.dtype)
        x, stages, auxiliary = self._stem(x.astype(self.dtype), train, how), [], []
        module = remat_block(Inception, self.remat)
        for i, row in enumerate(self.modules):
            if i > 0:
                window = 2 if self.batch_norm and i == len(self.modules) - 1 else 3  # torchvision's last one is 2x2
                x = halved(x, window)
            for j, maps in enumerate(row):
                x = module(maps, 3 if self.batch_norm else 5, *how, name=f"stage{i}_module{j}")(x, train)
                if (i, j) in self.heads and self.auxiliary and self.num_classes and (train or self.is_initializing()):
                    small = AuxiliaryHead(
                        self.num_classes, 128, 1024, self.batch_norm, 0.7, *how[1:], name=f"head{i}_{j}"
                    )
                    auxiliary.append(small(x, train))
            stages.append(x)
        features = x.astype(at_least_float32(self.dtype)).mean((1, 2))  # [b, 1024]
        out = {"stages": tuple(stages), "pre_logits": features}
        last = initializer(self.kernel_init)
        logits = head(Dropout(self.dropout)(features, train), self.num_classes, self.dtype, last)
        return logits, {**out, "auxiliary": tuple(auxiliary)} if auxiliary and train else out

    def _places(self) -> list[tuple[int, int]]:
        return [(i, j) for i, row in enumerate(self.modules) for j in range(len(row))]

    def _stem(self, x: jax.Array, train: bool, how: tuple) -> jax.Array:
        response = (lambda x: x) if self.batch_norm else local_response_norm
        x = Unit(self.stem[0], 7, 2, *how, name="stem0")(x, train)
        x = response(halved(x))  # [b, h / 4, w / 4, 64]
        x = Unit(self.stem[1], 1, 1, *how, name="stem1")(x, train)
        x = response(Unit(self.stem[2], 3, 1, *how, name="stem2")(x, train))
        return halved(x)  # [b, h / 8, w / 8, 192]


def halved(x: jax.Array, window: int = 3) -> jax.Array:
    """The maximum with stride 2 of windows that begin inside the image; the last ones may end outside (ceil_mode).

    Args:
        x: float [b, h, w, c].
        window: side, 2 or 3.

    Returns:
        [b, ceil(h / 2), ceil(w / 2), c] for even sides.
    """
    sizes = [-(-(n - window) // 2) + 1 if n >= window else 1 for n in x.shape[1:3]]
    pads = [(0, max(2 * (size - 1) + window - n, 0)) for size, n in zip(sizes, x.shape[1:3], strict=True)]
    return max_pool(x, window, 2, pads)


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> GoogLeNet:
    """A variant of the table with overrides."""
    return from_row(GoogLeNet, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)


def torch_names(variant: str) -> NameMap:
    """{our path: (torchvision's name, transform)} of "googlenet"; of its auxiliary heads "dense 4x4"."""
    if variant != "googlenet":
        return {}
    names = dense_names("head", "fc")
    units = {f"stem{i}": f"conv{i + 1}" for i in range(3)}
    branches = {
        "point": "branch1", "reduce3": "branch2.0", "three": "branch2.1", "reduce5": "branch3.0", "five": "branch3.1",
        "projection": "branch4.1",
    }  # fmt: skip
    for i, row in enumerate(MODULES):
        for j in range(len(row)):
            theirs = f"inception{i + 3}{'abcde'[j]}"
            units |= {f"stage{i}_module{j}/{ours}": f"{theirs}.{branch}" for ours, branch in branches.items()}
    for ours, theirs in (("head1_0", "aux1"), ("head1_3", "aux2")):
        units[f"{ours}/point"] = f"{theirs}.conv"
        names |= dense_names(f"{ours}/dense", f"{theirs}.fc1") | dense_names(f"{ours}/head", f"{theirs}.fc2")
        names[f"{ours}/dense/kernel"] = (f"{theirs}.fc1.weight", "dense 4x4")
    for ours, theirs in units.items():
        names |= conv_names(f"{ours}/conv", f"{theirs}.conv", bias=False) | norm_names(f"{ours}/norm", f"{theirs}.bn")
    return names
