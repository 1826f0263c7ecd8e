"""Residual networks, `y = relu(F(x) + shortcut(x))`. The CIFAR form: depth 6n + 2, three stages of n basic blocks."""

from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Size
from cvdl_jax.core.trees import STACKED
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.batch_norm import BatchNorm
from cvdl_jax.nn.common import check_images, head, remat_block, scan_blocks
from cvdl_jax.nn.convolution import identity_kernel
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.residual import Shortcut, Style
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2 and table 6
    "resnet20": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (3, 3, 3), "widths": (16, 32, 64),
        "macs": 40_551_040, "params": 269_722,
    },  # 0.27 M
    "resnet32": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (5, 5, 5), "widths": (16, 32, 64),
        "macs": 68_862_592, "params": 464_154,
    },  # 0.46 M
    "resnet44": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (7, 7, 7), "widths": (16, 32, 64),
        "macs": 97_174_144, "params": 658_586,
    },  # 0.66 M
    "resnet56": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (9, 9, 9), "widths": (16, 32, 64),
        "macs": 125_485_696, "params": 853_018,
    },  # 0.85 M
    "resnet110": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (18, 18, 18), "widths": (16, 32, 64),
        "macs": 252_887_680, "params": 1_727_962,
    },  # 1.7 M
    "resnet1202": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (200, 200, 200), "widths": (16, 32, 64), "scan": True,
        "macs": 2_829_238_912, "params": 19_421_274,
    },  # 19.4 M
    "resnet8_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "depths": (1, 1, 1), "widths": (4, 8, 16),
        # 3x3 kernels 9 * (12 + 16 + 16 + 32 + 64 + 128 + 256), norms 2 * (3 * 4 + 2 * 8 + 2 * 16), head 17 * 10
        "macs": 212_128, "params": 5_006,
    },
}  # fmt: skip


class BasicBlock(nn.Module):
    """conv3x3 - norm - g - conv3x3 - norm, plus the shortcut, g (He et al. 2016, figure 5, left).

    With the norms after the activations: conv3x3 - g - norm - conv3x3, plus the shortcut, g - norm.
    """

    features: int
    stride: int
    shortcut: str
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics. Returns: [b, ceil(h / stride), ceil(w / stride), features]."""
        style, follows = self.style, self.style.activation
        y = style.convolution(self.features, 3, self.stride, "conv0", follows)(x)
        y = style.activate(y, train, "norm0")
        y = style.convolution(self.features, 3, 1, "conv1", follows)(y)
        if style.placement == "before":
            y = style.normalise(y, train, "norm1")
        if self.shortcut != "none":
            y = y + Shortcut(self.features, self.stride, self.shortcut, style, name="shortcut")(x, train)
        y = activation(style.activation)(y)
        return y if style.placement == "before" else style.normalise(y, train, "norm1")


class ResNet(nn.Module):
    """A 3x3 stem, stages of residual blocks that halve the image from the second on, mean over pixels, linear scores.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        depths: number of blocks of every stage.
        widths: number of channels of every stage; the stem has as many as the first.
        shortcut: "A" (zero-padded, the paper's choice for CIFAR) or "B" (1x1 convolution); "none" for the plain network
            that the paper compares with, which has the parameters of "A".
        activation: name of the activation function after the stem, inside the blocks and after their sums.
        norm: normalisation behind every convolution (`nn/norms.py`): "batch", "group(groups=8)", "layer",
            "instance", "none" ...
        placement: whether the norm stands "before" or "after" the activation.
        conv: "plain", or "standardised" for weight standardisation.
        remat: recompute blocks in the backward pass.
        scan: run the equal blocks of a stage, all but the first, as one loop: a network of a thousand layers compiles
            as fast as one of ten, and its parameters are stacked.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    num_classes: int
    depths: tuple[Layers, ...]
    widths: tuple[Size, ...]
    shortcut: Literal["A", "B", "none"] = "A"
    activation: str = "relu"
    norm: str = "batch"
    placement: str = "before"
    conv: str = "plain"
    remat: bool = False
    scan: bool = False
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], h and w at least 2^(stages - 1).
            train: batch statistics used and updated.

        Returns:
            logits [b, num_classes]; {"stages": one array [b, h / 2^i, w / 2^i, widths[i]] per stage,
            "pre_logits": [b, widths[-1]]}.

        Raises:
            ConfigError: for images that are too small, or depths and widths of different length.
        """
        if len(self.depths) != len(self.widths) or not self.depths:
            raise ConfigError(f"config.model.depths={self.depths} and widths={self.widths} need one entry per stage")
        check_images(x, self, "resnet", 2 ** (len(self.depths) - 1), "stem")
        block = remat_block(BasicBlock, self.remat)
        style = Style(self.norm, self.placement, self.conv, self.activation, self.kernel_init, self.dtype)
        x = style.convolution(self.widths[0], 3, 1, "stem", self.activation)(x.astype(self.dtype))
        x = style.activate(x, train, "stem_norm")  # [b, h, w, widths[0]]
        stages = []
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            for j in range(1 if self.scan else depth):
                stride = 2 if i > 0 and j == 0 else 1
                name = f"stage{i}_block{j}"
                x = block(width, stride, self.shortcut, style, name=name)(x, train)
            if self.scan and depth > 1:
                rest = block(width, 1, self.shortcut, style, name=f"stage{i}{STACKED}")
                x = scan_blocks(rest, x, train, depth - 1)
            stages.append(x)  # [b, h / 2^i, w / 2^i, width]
        wide = at_least_float32(self.dtype)
        x = x.astype(wide).mean((1, 2))  # [b, widths[-1]]
        last = initializer(self.kernel_init)
        logits = head(x, self.num_classes, self.dtype, last)
        return logits, {"stages": tuple(stages), "pre_logits": x}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> ResNet:
    """A variant of the table with overrides."""
    return from_row(ResNet, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)


def deepened(
    shallow: ResNet, variables: Mapping[str, Any], deeper: ResNet, fresh: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Variables of a deeper network that computes what a shallow one does: the blocks that are new are the identity.

    What enters a block is not negative, so that `relu(x) = x`. A residual block is the identity where its branch is
    zero: its last scale and bias are 0, or its last kernel where it has no norms. A plain block is where its
    convolutions pass every channel on and its norms divide by 1, which those of batches do in evaluation alone.

    Args:
        shallow: the trained network.
        variables: {"params", "batch_stats"} of it.
        deeper: a network that differs in `depths` alone, none of which is smaller.
        fresh: {"params", "batch_stats"} of the deeper one, as initialised; the other layers of new residual blocks
            keep these.

    Raises:
        ConfigError: for networks whose blocks cannot be the identity, or that differ in more than `depths`.

    Reference: He et al. 2016, section 1, the "solution by construction"; Chen et al. 2016, "Net2Net", section 2.3.
    """
    grows = len(deeper.depths) == len(shallow.depths) and all(map(int.__le__, shallow.depths, deeper.depths))
    if not grows or shallow.clone(depths=deeper.depths) != deeper:
        raise ConfigError(
            f"a network that is to hold this one must have at least the depths {shallow.depths}, and be the same "
            f"otherwise; got {deeper.depths}"
        )
    plain = deeper.shortcut == "none"
    if deeper.activation != "relu" or deeper.placement != "before" or deeper.scan or deeper.conv != "plain":
        raise ConfigError(
            "blocks that are the identity need config.model.activation='relu', placement='before', conv='plain' and "
            f"scan=False, got {deeper.activation!r}, {deeper.placement!r}, {deeper.conv!r} and {deeper.scan}"
        )
    if plain and deeper.norm not in ("batch", "none"):
        raise ConfigError(
            f"plain blocks are the identity with config.model.norm='batch' or 'none', got {deeper.norm!r}"
        )
    old, made = variables["params"], {"params": {}, "batch_stats": {}}
    for block, layers in fresh["params"].items():
        stats = variables.get("batch_stats", {})
        if block in old:
            made["params"][block] = old[block]
        elif plain:
            made["params"][block] = jax.tree_util.tree_map_with_path(_passes, layers)
            stats = {block: {name: _unit(norm) for name, norm in fresh.get("batch_stats", {}).get(block, {}).items()}}
        else:
            last = "norm1" if "scale" in layers.get("norm1", {}) else "conv1"
            made["params"][block] = {**layers, last: jax.tree.map(jnp.zeros_like, layers[last])}
            stats = fresh.get("batch_stats", {})
        if stats.get(block):
            made["batch_stats"][block] = stats[block]
    return made


def _passes(path: Any, leaf: jax.Array) -> jax.Array:
    """A convolution that passes every channel on; scales of 1, biases of 0."""
    if leaf.ndim == 4:
        return identity_kernel(None, leaf.shape, leaf.dtype)
    return jnp.full_like(leaf, float(path[-1].key == "scale"))


def _unit(norm: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Running averages by which a norm changes nothing."""
    return {**norm, "mean": jnp.zeros_like(norm["mean"]), "var": jnp.full_like(norm["var"], 1 - BatchNorm.epsilon)}
