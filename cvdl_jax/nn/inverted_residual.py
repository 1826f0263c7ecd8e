"""Blocks of networks for small devices: convolution with norm and activation, and MBConv.

MBConv, the inverted bottleneck: `y = x + P(SE(D(E(x))))`, E 1x1 to more channels, D depthwise, P 1x1 back, linear.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import remat_block
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.dropout import DropPath
from cvdl_jax.nn.init import he_normal, initializer
from cvdl_jax.nn.norms import keeps_bias, normaliser
from cvdl_jax.nn.squeeze_excite import SqueezeExcite
from cvdl_jax.ops.precision import at_least_float32

FAN_OUT = he_normal("fan_out")
NORM = {"scale": "weight", "bias": "bias"}
STATISTICS = {"mean": "running_mean", "var": "running_var"}


class Style(NamedTuple):
    """What all layers of a network share.

    Attributes:
        norm: behind every convolution (`nn/norms.py`): "batch", "batch(momentum=0.01, epsilon=0.001)", "layer" ...
        kernel_init: initialiser of every convolution (`nn/init.py`); "" for He's by fan-out.
        dtype: of all layers.
    """

    norm: str = "batch"
    kernel_init: str = ""
    dtype: Any = jnp.float32

    def convolution(self, features: int, size: int, name: str, follows: str, **how: Any) -> nn.Conv:
        """A convolution with `size // 2` pixels of padding on every side, as in PyTorch."""
        pad = (size // 2, size // 2)
        return Conv(
            features,
            (size, size),
            padding=(pad, pad),
            kernel_init=initializer(self.kernel_init, follows, default=FAN_OUT),
            dtype=self.dtype,
            param_dtype=at_least_float32(self.dtype),
            name=name,
            **how,
        )

    def layer(
        self, x: jax.Array, train: bool, name: str, features: int, size: int = 1, stride: int = 1, *,
        act: str = "identity", groups: int = 1,
    ) -> jax.Array:  # fmt: skip
        """Convolution, norm and activation, called in a compact method.

        Args:
            x: [b, h, w, c].
            train: batch statistics.
            name: of the convolution; the norm is `{name}_norm`.
            features: output channels.
            size: side of the kernel, odd.
            stride: of both axes.
            act: name of the activation.
            groups: of channels that are convolved on their own; c for a depthwise convolution.

        Returns:
            [b, ceil(h / stride), ceil(w / stride), features].

        Raises:
            ConfigError: for groups that do not divide the channels.
        """
        if x.shape[-1] % groups or features % groups:
            raise ConfigError(
                f"{name}: {groups} groups must divide the {x.shape[-1]} channels of the input and the {features} of "
                "the output; choose widths that are multiples of it"
            )
        kind, norm = normaliser(self.norm, self.dtype)
        how = {"strides": (stride, stride), "feature_group_count": groups, "use_bias": keeps_bias(kind, "before")}
        x = self.convolution(features, size, name, act, **how)(x)
        return activation(act)(norm(x, train, f"{name}_norm"))


class InvertedResidual(nn.Module):
    """MBConv: expand by 1x1, depthwise k x k, squeeze-and-excitation, project by 1x1 without activation.

    The sum with x is taken where the shapes agree; stochastic depth drops whole branches of it.

    Attributes:
        features: output channels.
        expanded: channels inside; no expansion where x has as many.
        kernel: side of the depthwise kernel.
        stride: of the depthwise convolution.
        squeezed: channels of squeeze-and-excitation; 0 for none.
        act: activation after the expansion and the depthwise convolution.
        squeeze_act: activation inside squeeze-and-excitation.
        gate: activation at its end.
        drop_path: rate of stochastic depth.
        style: what all layers share.

    Reference: Sandler et al. 2018, "MobileNetV2", table 1; Tan et al. 2019, "MnasNet", figure 7, with SE.
    """

    features: int
    expanded: int
    kernel: int
    stride: int
    squeezed: int = 0
    act: str = "relu6"
    squeeze_act: str = "relu"
    gate: str = "sigmoid"
    drop_path: float = 0.0
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics. Returns: [b, ceil(h / stride), ceil(w / stride), features]."""
        style, y = self.style, x
        if self.expanded != x.shape[-1]:
            y = style.layer(y, train, "expand", self.expanded, act=self.act)
        y = style.layer(
            y, train, "depthwise", self.expanded, self.kernel, self.stride, act=self.act, groups=self.expanded
        )
        if self.squeezed:
            y = SqueezeExcite(self.squeezed, self.squeeze_act, self.gate, style.dtype, name="squeeze_excite")(y)
        y = style.layer(y, train, "project", self.features)
        if x.shape != y.shape:
            return y
        return x + DropPath(self.drop_path, name="drop_path")(y, train)


def run_blocks(
    x: jax.Array, train: bool, blocks: Sequence[Mapping[str, Any]], style: Style, remat: bool
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Inverted residuals "block0", "block1" ... one after the other, called in a compact method.

    Args:
        x: [b, h, w, c].
        train: batch statistics.
        blocks: the fields of every `InvertedResidual` but its style.
        style: what all layers share.
        remat: recompute blocks in the backward pass.

    Returns:
        The last block's output, and the last output of every resolution.
    """
    make, stages = remat_block(InvertedResidual, remat), []
    for i, fields in enumerate(blocks):
        if fields["stride"] > 1:
            stages.append(x)
        x = make(**fields, style=style, name=f"block{i}")(x, train)
    return x, (*stages, x)


def layer_names(ours: str, conv: str, norm: str) -> dict[str, tuple[str, str]]:
    """{our path: (name in torch, transform)} of a `Style.layer` with batch statistics.

    Args:
        ours: path of the convolution, such as "block0/expand".
        conv: torch's name of it, such as "features.0.0".
        norm: torch's name of its norm.
    """
    names = {f"params/{ours}/kernel": (f"{conv}.weight", "conv")}
    names |= {f"params/{ours}_norm/{a}": (f"{norm}.{b}", "") for a, b in NORM.items()}
    return names | {f"batch_stats/{ours}_norm/{a}": (f"{norm}.{b}", "") for a, b in STATISTICS.items()}


def linear_names(ours: str, torch: str, transform: str = "dense") -> dict[str, tuple[str, str]]:
    """{our path: (name in torch, transform)} of a layer with kernel and bias."""
    return {f"params/{ours}/kernel": (f"{torch}.weight", transform), f"params/{ours}/bias": (f"{torch}.bias", "")}


def block_names(ours: str, torch: str, row: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """{our path: (name in torch, transform)} of an `InvertedResidual`, for torchvision's MobileNetV3 and EfficientNet.

    torchvision's squeeze-and-excitation is made of 1x1 convolutions, ours of dense layers: two axes of length 1 fewer.

    Args:
        ours: path of the block.
        torch: torchvision's name of its sequence, such as "features.1.block".
        row: "expand" and "squeeze": whether the block has them.
    """
    parts = [*(["expand"] if row["expand"] else []), "depthwise", *(["squeeze"] if row["squeeze"] else []), "project"]
    names: dict[str, tuple[str, str]] = {}
    for i, part in enumerate(parts):
        if part == "squeeze":
            names |= linear_names(f"{ours}/squeeze_excite/excitation/reduce", f"{torch}.{i}.fc1", "pixel")
            names |= linear_names(f"{ours}/squeeze_excite/excitation/expand", f"{torch}.{i}.fc2", "pixel")
        else:
            names |= layer_names(f"{ours}/{part}", f"{torch}.{i}.0", f"{torch}.{i}.1")
    return names
