"""Residual networks for large images: 7x7 stem, four stages of basic or bottleneck blocks; wide, grouped, attentive.

    basic:       y = g(conv3x3(conv3x3(x)) + s(x))
    bottleneck:  y = g(conv1x1(conv3x3(conv1x1(x))) + s(x)),  four times as many channels out as the stage's width

with a normalisation behind every convolution and g behind all but the last; s is the identity, or a projection where
shapes differ. The paper halves the image in a bottleneck's first 1x1 convolution, torchvision ("v1.5") in the 3x3.
A Wide ResNet has more channels inside its bottlenecks, a ResNeXt has its 3x3 convolution in groups: the sum of
`cardinality` branches of the same shape. Squeeze-and-excitation or CBAM scale a branch before it is added.

Reference: He et al. 2016, "Deep Residual Learning for Image Recognition", table 1; Zagoruyko and Komodakis 2016; Xie et
    al. 2017, "Aggregated Residual Transformations for Deep Neural Networks", table 1; Hu et al. 2018; Woo et al. 2018.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Layers, Positive, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.models.torch_names import NameMap, conv_names, dense_names, norm_names
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images, head, remat_block
from cvdl_jax.nn.dropout import DropPath
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.pooling import max_pool
from cvdl_jax.nn.residual import Shortcut, Style
from cvdl_jax.nn.squeeze_excite import attention
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # He et al. 2016, table 1; names and parameters as torchvision's
    "resnet18": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "basic", "depths": (2, 2, 2, 2),
        "macs": 1_814_073_344, "params": 11_689_512,
    },  # 1.8e9 FLOPs
    "resnet34": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "basic", "depths": (3, 4, 6, 3),
        "macs": 3_663_761_408, "params": 21_797_672,
    },  # 3.6e9 FLOPs
    # torchvision's "v1.5": the stride is in the 3x3 convolution
    "resnet50": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 4, 6, 3),
        "macs": 4_089_184_256, "params": 25_557_032,
    },  # 4.09e9
    "resnet101": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 4, 23, 3),
        "macs": 7_801_405_440, "params": 44_549_160,
    },  # 7.80e9
    "resnet152": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 8, 36, 3),
        "macs": 11_513_626_624, "params": 60_192_808,
    },  # 11.51e9
    # He et al. 2016, table 1: the stride is in the first 1x1 convolution
    "resnet50_v1": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 4, 6, 3),
        "stride_in": "1x1", "macs": 3_857_973_248, "params": 25_557_032,
    },  # 3.8e9
    "resnet101_v1": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 4, 23, 3),
        "stride_in": "1x1", "macs": 7_570_194_432, "params": 44_549_160,
    },  # 7.6e9
    "resnet152_v1": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 8, 36, 3),
        "stride_in": "1x1", "macs": 11_282_415_616, "params": 60_192_808,
    },  # 11.3e9
    # Zagoruyko and Komodakis 2016, "Wide Residual Networks", table 8, WRN-50-2-bottleneck; torchvision
    "wide_resnet50_2": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 4, 6, 3),
        "group_width": 128, "macs": 11_398_021_120, "params": 68_883_240,
    },  # 68.9 M
    "wide_resnet101_2": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 4, 23, 3),
        "group_width": 128, "macs": 22_753_050_624, "params": 126_886_696,
    },  # torchvision only
    # Woo et al. 2018, "CBAM", table 4, WideResNet18 with all stages widened behind a stem of 64
    "wide_resnet18_1_5": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "basic", "depths": (2, 2, 2, 2), "widen": 1.5,
        "macs": 3_866_327_040, "params": 25_875_816,
    },  # 25.88 M, 3.866e9
    "wide_resnet18_2": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "basic", "depths": (2, 2, 2, 2), "widen": 2.0,
        "macs": 6_695_706_624, "params": 45_618_216,
    },  # 45.62 M, 6.696e9
    # Xie et al. 2017, tables 1 and 4; the stride is in the grouped 3x3, as in the paper and in torchvision
    "resnext50_32x4d": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 4, 6, 3),
        "cardinality": 32, "group_width": 4, "macs": 4_230_479_872, "params": 25_028_904,
    },  # 25.0 M, 4.2e9
    "resnext101_32x4d": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 4, 23, 3),
        "cardinality": 32, "group_width": 4, "macs": 7_969_996_800, "params": 44_177_704,
    },  # 7.8e9; timm's count
    "resnext101_32x8d": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 4, 23, 3),
        "cardinality": 32, "group_width": 8, "macs": 16_414_015_488, "params": 88_791_336,
    },  # torchvision
    "resnext101_64x4d": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 4, 23, 3),
        "cardinality": 64, "group_width": 4, "macs": 15_460_270_080, "params": 83_455_272,
    },  # 15.6e9
    "resnext101_2x64d": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 4, 23, 3),
        "cardinality": 2, "group_width": 64, "macs": 15_123_087_360, "params": 84_198_184,
    },  # 15.5e9
    # Hu et al. 2018, "Squeeze-and-Excitation Networks", table 2; timm's names and counts
    "seresnet50": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 4, 6, 3),
        "attention": "se", "macs": 4_091_699_200, "params": 28_088_024,
    },  # 3.87e9
    "seresnext50_32x4d": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 4, 6, 3),
        "cardinality": 32, "group_width": 4, "attention": "se", "macs": 4_232_994_816, "params": 27_559_896,
    },  # 4.28e9
    # Woo et al. 2018, table 4
    "resnet50_cbam": {
        "input": (224, 224, 3), "num_classes": 1000, "block": "bottleneck", "depths": (3, 4, 6, 3),
        "stride_in": "1x1", "attention": "cbam", "macs": 3_864_362_102, "params": 28_089_624,
    },  # 28.09 M, 3.864e9
    # Xie et al. 2017, section 5.3, for CIFAR: 3x3 stem, three stages of three blocks
    "resnext29_8x64d": {
        "input": (32, 32, 3), "num_classes": 10, "block": "bottleneck", "depths": (3, 3, 3), "widths": (64, 128, 256),
        "stem": "cifar", "cardinality": 8, "group_width": 64, "macs": 5_387_266_048, "params": 34_426_698,
    },  # 34.4 M
    "resnext29_16x64d": {
        "input": (32, 32, 3), "num_classes": 10, "block": "bottleneck", "depths": (3, 3, 3), "widths": (64, 128, 256),
        "stem": "cifar", "cardinality": 16, "group_width": 64, "macs": 10_688_866_304, "params": 68_155_210,
    },  # 68.1 M
    "resnext_cbam_tiny": {
        "input": (32, 32, 3), "num_classes": 10, "block": "bottleneck", "depths": (1, 1), "widths": (4, 8),
        "cardinality": 2, "group_width": 16, "attention": "cbam", "reduction": 4, "macs": 183_264, "params": 2_940,
    },
}  # fmt: skip


class Basic(nn.Module):
    """Two 3x3 convolutions and the shortcut (He et al. 2016, figure 5, left)."""

    width: int
    stride: int
    shortcut: str
    scale: tuple[str, int] = ("none", 16)
    style: Style = Style()
    drop_path: float = 0.0
    dilations: tuple[int, int] = (1, 1)  # up to the convolution with the stride, and behind it

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics. Returns: [b, ceil(h / stride), ceil(w / stride), width]."""
        style, g, (before, behind) = self.style, self.style.activation, self.dilations
        y = style.convolution(self.width, 3, self.stride, "conv0", g, dilation=before)(x)
        y = style.activate(y, train, "norm0")
        y = style.normalise(style.convolution(self.width, 3, 1, "conv1", dilation=behind)(y), train, "norm1")
        y = DropPath(self.drop_path)(attention(*self.scale, style.dtype, "attention")(y, train), train)
        return activation(g)(y + Shortcut(self.width, self.stride, self.shortcut, style, name="shortcut")(x, train))


class Bottleneck(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolutions and the shortcut (He et al. 2016, figure 5, right)."""

    width: int  # inside
    features: int  # that come out
    stride: int
    stride_in: str
    groups: int
    shortcut: str
    scale: tuple[str, int] = ("none", 16)
    style: Style = Style()
    drop_path: float = 0.0
    dilations: tuple[int, int] = (1, 1)  # up to the convolution with the stride, and behind it

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics. Returns: [b, ceil(h / stride), ceil(w / stride), features]."""
        style, g = self.style, self.style.activation
        strides = (self.stride, 1) if self.stride_in == "1x1" else (1, self.stride)
        dilation = self.dilations[1 if self.stride_in == "1x1" else 0]
        y = style.activate(style.convolution(self.width, 1, strides[0], "conv0", g)(x), train, "norm0")
        y = style.convolution(self.width, 3, strides[1], "conv1", g, self.groups, dilation)(y)
        y = style.convolution(self.features, 1, 1, "conv2")(style.activate(y, train, "norm1"))
        y = attention(*self.scale, style.dtype, "attention")(style.normalise(y, train, "norm2"), train)
        y = DropPath(self.drop_path)(y, train)
        return activation(g)(y + Shortcut(self.features, self.stride, self.shortcut, style, name="shortcut")(x, train))


class ImageNetResNet(nn.Module):
    """A residual network whose stem makes images four times as small.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        block: "basic" or "bottleneck".
        depths: number of blocks of every stage.
        widths: of every stage; a bottleneck returns four times as many channels. The stem has the first one's.
        stem: "imagenet", 7x7 with stride 2 and a pooling, or "cifar", 3x3 without a stride.
        widen: factor of the widths behind the stem.
        cardinality: groups of the 3x3 convolution of a bottleneck.
        group_width: channels of one group in a stage of width 64; they grow with the stage.
        stride_in: convolution of a bottleneck that halves the image, "3x3" or "1x1".
        shortcut: where shapes differ, "B" (1x1 convolution) or "A" (zeros for new channels).
        output_stride: pixels of the image for one of the last stage, 8 or 16 as segmentation needs it: stages beyond it
            are dilated where they would halve the image; 0 for no dilation.
        attention: on every branch, "none", "se" (squeeze-and-excitation), "cbam" or "cbam_plain".
        reduction: channels over hidden units of that.
        drop_path: rate of stochastic depth in the last block; it rises linearly from 0 in the first.
        activation: name of the activation function.
        norm: normalisation behind every convolution (`nn/norms.py`).
        conv: "plain", or "standardised" for weight standardisation.
        remat: recompute blocks in the backward pass.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    num_classes: int
    block: Literal["basic", "bottleneck"]
    depths: tuple[Layers, ...]
    widths: tuple[Size, ...] = (64, 128, 256, 512)
    stem: Literal["imagenet", "cifar"] = "imagenet"
    widen: Positive = 1.0
    cardinality: Size = 1
    group_width: Size = 64
    stride_in: Literal["3x3", "1x1"] = "3x3"
    shortcut: Literal["A", "B"] = "B"
    output_stride: Counted = 0
    attention: Literal["none", "se", "cbam", "cbam_plain"] = "none"
    reduction: Size = 16
    drop_path: Share = 0.0
    activation: str = "relu"
    norm: str = "batch"
    conv: str = "plain"
    remat: bool = False
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], h and w at least 2^(stages + 1), 32 for four stages; a fourth with stem "cifar".
            train: batch statistics used and updated.

        Returns:
            logits [b, num_classes]; {"stages": one array [b, h / 2^(i + 2), w / 2^(i + 2), c_i] per stage i, sides four
            times as large with stem "cifar", "pre_logits": [b, c]}.

        Raises:
            ConfigError: for images that are too small, depths and widths of different length, groups, widths and
                reductions that do not fit each other, or an output stride that the stem exceeds.
        """
        if len(self.depths) != len(self.widths) or not self.depths:
            raise ConfigError(f"config.model.depths={self.depths} and widths={self.widths} need one entry per stage")
        if self.block == "basic" and (self.cardinality, self.group_width) != (1, 64):
            raise ConfigError(
                "config.model.cardinality and group_width are of bottlenecks; set config.model.block=bottleneck, or "
                "widen basic blocks by config.model.widen"
            )
        large = self.stem == "imagenet"
        strides, dilations = self._strides(4 if large else 1)
        check_images(x, self, "resnet", 2 ** (len(self.depths) + (1 if large else -1)), "stem")
        style = Style(self.norm, "before", self.conv, self.activation, self.kernel_init, self.dtype)
        size, stride = (7, 2) if large else (3, 1)
        x = style.convolution(self.widths[0], size, stride, "stem", self.activation)(x.astype(self.dtype))
        x = style.activate(x, train, "stem_norm")  # [b, h / 2, w / 2, widths[0]]
        if large:
            x = max_pool(x, 3, 2, 1)  # [b, h / 4, w / 4, widths[0]]
        stages = []
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            for j in range(depth):
                stride, first = strides[i] if j == 0 else 1, dilations[i - 1 if j == 0 and i > 0 else i]
                rate = self.drop_path * (sum(self.depths[:i]) + j) / max(sum(self.depths) - 1, 1)
                x = self._block(width, stride, (first, dilations[i]), rate, style, f"stage{i}_block{j}")(x, train)
            stages.append(x)
        x = x.astype(at_least_float32(self.dtype)).mean((1, 2))  # [b, c]
        logits = head(x, self.num_classes, self.dtype, initializer(self.kernel_init))
        return logits, {"stages": tuple(stages), "pre_logits": x}

    def _strides(self, pixels: int) -> tuple[list[int], list[int]]:
        """Stride and dilation of every stage; `pixels` are those of the image for one behind the stem.

        A stage that is dilated in place of a stride begins with the dilation of the one before, as in torchvision.
        """
        if 0 < self.output_stride < pixels:
            raise ConfigError(
                f"config.model.output_stride={self.output_stride} is less than the stem's, {pixels}; use 8 or 16, or 0 "
                "for no dilation"
            )
        strides, dilations = [1], [1]
        for _ in self.depths[1:]:
            halve = not self.output_stride or pixels * 2 <= self.output_stride
            pixels *= 2 if halve else 1
            strides.append(2 if halve else 1)
            dilations.append(dilations[-1] * (1 if halve else 2))
        return strides, dilations

    def _block(
        self, width: int, stride: int, dilations: tuple[int, int], rate: float, style: Style, name: str
    ) -> nn.Module:
        wide = whole(width * self.widen, f"width {width} times config.model.widen={self.widen}")
        scale = (self.attention, self.reduction)
        if self.block == "basic":
            make = remat_block(Basic, self.remat)
            return make(wide, stride, self.shortcut, scale, style, rate, dilations, name=name)
        inside = wide * self.group_width / 64
        inside = self.cardinality * whole(inside, f"width {wide} times config.model.group_width={self.group_width}/64")
        make, how = remat_block(Bottleneck, self.remat), (self.shortcut, scale, style, rate, dilations)
        return make(inside, 4 * wide, stride, self.stride_in, self.cardinality, *how, name=name)


def whole(number: float, what: str) -> int:
    """A number of channels.

    Raises:
        ConfigError: for a fraction.
    """
    if number != round(number) or number < 1:
        raise ConfigError(f"{what} is {number:g}, not a whole number of channels")
    return round(number)


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> ImageNetResNet:
    """A variant of the table with overrides."""
    return from_row(ImageNetResNet, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)


def torch_names(variant: str) -> NameMap:
    """{our path: (torchvision's or timm's name, transform)} of a variant without CBAM; {} of those for CIFAR."""
    row = VARIANTS[variant]
    if row.get("stem") == "cifar":
        return {}
    convs = 2 if row["block"] == "basic" else 3
    names = conv_names("stem", "conv1", bias=False) | norm_names("stem_norm", "bn1") | dense_names("head", "fc")
    for i, depth in enumerate(row["depths"]):
        for j in range(depth):
            ours, theirs = f"stage{i}_block{j}", f"layer{i + 1}.{j}"
            for k in range(convs):
                names |= conv_names(f"{ours}/conv{k}", f"{theirs}.conv{k + 1}", bias=False)
                names |= norm_names(f"{ours}/norm{k}", f"{theirs}.bn{k + 1}")
            if j == 0 and (i > 0 or row["block"] == "bottleneck" or row.get("widen", 1) != 1):
                names |= conv_names(f"{ours}/shortcut/conv", f"{theirs}.downsample.0", bias=False)
                names |= norm_names(f"{ours}/shortcut/norm", f"{theirs}.downsample.1")
            if row.get("attention") == "se":  # timm's are 1x1 convolutions
                for layer, fc in (("reduce", "fc1"), ("expand", "fc2")):
                    path = f"{ours}/attention/excitation/{layer}"
                    names[f"{path}/kernel"] = (f"{theirs}.se.{fc}.weight", "pixel")
                    names[f"{path}/bias"] = (f"{theirs}.se.{fc}.bias", "")
    return names
