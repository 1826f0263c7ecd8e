"""VGG: stacks of 3x3 convolutions with rectifiers, 2x2 maxima between them, and three dense layers.

Two 3x3 convolutions see 5x5 pixels, three see 7x7, with 27 c^2 weights in the place of 49 c^2 and more rectifiers.
Configuration A-LRN normalises the first layer by its neighbouring channels, which needs no parameters; C has 1x1
convolutions where D has a third 3x3. The `_bn` forms of torchvision put batch normalisation behind every convolution.
The first dense layer sees 7x7 places: an image of another size is pooled to them, as torchvision does.

Reference: Simonyan and Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition", table 1.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.models.torch_names import NameMap, conv_names, dense_names, norm_names
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import adaptive_mean, check_images, head
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.norms import normaliser
from cvdl_jax.nn.pooling import max_pool
from cvdl_jax.ops.normalise import local_response_norm
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Simonyan and Zisserman 2015, table 1, configurations A to E, and table 2; torchvision's names and counts
    "vgg11": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (1, 1, 2, 2, 2),
        "macs": 7_609_090_048, "params": 132_863_336,
    },  # A, 133 M
    "vgg11_lrn": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (1, 1, 2, 2, 2), "response": True,
        "macs": 7_609_090_048, "params": 132_863_336,
    },  # A-LRN, 133 M
    "vgg13": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (2, 2, 2, 2, 2),
        "macs": 11_308_466_176, "params": 133_047_848,
    },  # B, 133 M
    "vgg16_1x1": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (2, 2, 3, 3, 3), "pointwise": True,
        "macs": 11_770_888_192, "params": 133_638_952,
    },  # C, 134 M
    "vgg16": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (2, 2, 3, 3, 3),
        "macs": 15_470_264_320, "params": 138_357_544,
    },  # D, 138 M
    "vgg19": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (2, 2, 4, 4, 4),
        "macs": 19_632_062_464, "params": 143_667_240,
    },  # E, 144 M
    # torchvision's forms with batch normalisation
    "vgg11_bn": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (1, 1, 2, 2, 2), "norm": "batch",
        "macs": 7_609_090_048, "params": 132_868_840,
    },
    "vgg13_bn": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (2, 2, 2, 2, 2), "norm": "batch",
        "macs": 11_308_466_176, "params": 133_053_736,
    },
    "vgg16_bn": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (2, 2, 3, 3, 3), "norm": "batch",
        "macs": 15_470_264_320, "params": 138_365_992,
    },
    "vgg19_bn": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (2, 2, 4, 4, 4), "norm": "batch",
        "macs": 19_632_062_464, "params": 143_678_248,
    },
    "vgg_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "depths": (1, 3), "widths": (4, 8), "units": (16, 8), "places": 2,
        "pointwise": True, "response": True, "dropout": 0.0, "macs": 87_760, "params": 1_818,
    },
}  # fmt: skip


class VGG(nn.Module):
    """Stages of convolutions that keep the image's size, each followed by a 2x2 maximum, and a perceptron.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        depths: number of convolutions of every stage.
        widths: channels of every stage.
        units: of the hidden dense layers; () is no hidden layer.
        places: side of the map that the dense layers see, 7 from 224 pixels.
        response: local response normalisation behind the first convolution.
        pointwise: a third convolution of a stage is 1x1.
        output_stride: pixels of the image for one of the last stage, 8 for segmentation: stages beyond it have no
            maximum, and what follows is dilated; 0 for a maximum behind every stage.
        activation: name of the activation function.
        norm: normalisation behind every convolution (`nn/norms.py`): "none", "batch" ...
        dropout: rate behind the hidden dense layers.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's. (The paper's first nets draw from
            N(0, 0.01), and the deeper ones begin as trained shallow ones.)
        dtype: dtype of all layers but the last, which is at least float32.
    """

    num_classes: int
    depths: tuple[Size, ...]
    widths: tuple[Size, ...] = (64, 128, 256, 512, 512)
    units: tuple[Size, ...] = (4096, 4096)
    places: Size = 7
    response: bool = False
    pointwise: bool = False
    output_stride: Counted = 0
    activation: str = "relu"
    norm: str = "none"
    dropout: Share = 0.5
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], h and w at least 2^stages.
            train: dropout on, batch statistics used and updated.

        Returns:
            logits [b, num_classes]; {"stages": one array [b, h / 2^(i + 1), w / 2^(i + 1), widths[i]] behind the
            maximum of every stage, "pre_logits": [b, units[-1]]}.

        Raises:
            ConfigError: for images that are too small, or depths and widths of different length.
        """
        if len(self.depths) != len(self.widths) or not self.depths:
            raise ConfigError(f"config.model.depths={self.depths} and widths={self.widths} need one entry per stage")
        check_images(x, self, "vgg", 2 ** len(self.depths), "conv0_0")
        g, norm = activation(self.activation), normaliser(self.norm, self.dtype)[1]
        wide = at_least_float32(self.dtype)
        types = {
            "dtype": self.dtype,
            "param_dtype": wide,
            "kernel_init": initializer(self.kernel_init, self.activation),
        }
        x, stages, dilation = x.astype(self.dtype), [], 1
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            for j in range(depth):
                side = 1 if self.pointwise and j == 2 else 3
                # torchvision keeps the bias that batch normalisation takes away again
                conv = Conv(
                    width, (side, side), padding="SAME", kernel_dilation=(dilation,) * 2, **types, name=f"conv{i}_{j}"
                )
                x = g(norm(conv(x), train, f"norm{i}_{j}"))
                if self.response and i == j == 0:
                    x = local_response_norm(x)
            if self.output_stride and 2 ** (i + 1) > self.output_stride:
                dilation *= 2
            else:
                x = max_pool(x, 2)  # [b, h / 2^(i + 1), w / 2^(i + 1), width]
            stages.append(x)
        x = adaptive_mean(x, self.places).reshape(x.shape[0], -1)  # [b, 25088]
        for i, units in enumerate(self.units):
            x = Dropout(self.dropout)(g(nn.Dense(units, **types, name=f"dense{i}")(x)), train)
        logits = head(x, self.num_classes, self.dtype, initializer(self.kernel_init))
        return logits, {"stages": tuple(stages), "pre_logits": x}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> VGG:
    """A variant of the table with overrides."""
    return from_row(VGG, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)


def torch_names(variant: str) -> NameMap:
    """{our path: (torchvision's name, transform)}; "dense 7x7": torch flattens channels first."""
    row, names, place = VARIANTS[variant], {}, 0
    for i, depth in enumerate(row["depths"]):
        for j in range(depth):
            names |= conv_names(f"conv{i}_{j}", f"features.{place}")
            if row.get("norm") == "batch":
                names |= norm_names(f"norm{i}_{j}", f"features.{place + 1}")
                place += 1
            place += 2
        place += 1
    names |= dense_names("dense0", "classifier.0") | dense_names("dense1", "classifier.3")
    names["dense0/kernel"] = ("classifier.0.weight", "dense 7x7")
    return names | dense_names("head", "classifier.6")
