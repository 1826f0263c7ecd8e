"""A one-stage detector: a backbone of strided convolutions and heads that score anchors on some of its stages."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Inside, Layers, Positive, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.criterion import Criterion, Sections, anchored
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.batch_norm import BatchNorm
from cvdl_jax.nn.common import check_images, remat_block
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.dense_heads import prior_bias
from cvdl_jax.nn.init import HE_NORMAL
from cvdl_jax.ops.anchors import anchor_grid
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # its defaults
    "anchor_detector": {
        "input": (64, 64, 3), "outputs": 6,
        # 3x3 kernels 9 * (3 * 16 + 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64), those of the heads
        # 9 * (32 * 32 + 64 * 64), norms 2 * (2 * 16 + 3 * 32 + 3 * 64), 6 scores and 4 deltas of 6 anchors
        # (33 + 65) * 6 * 10
        "params": 124_456,
    },
    "anchor_detector_tiny": {
        "input": (16, 16, 3), "outputs": 6, "widths": (4, 6), "depth": 1, "levels": (0, 1),
        "sizes": ((0.2,), (0.4, 0.5)), "ratios": (1.0, 2.0),
        # 3x3 kernels 9 * (3 * 4 + 4 * 6 + 4 * 4 + 6 * 6), norms 2 * (4 + 6 + 4 + 6), 6 scores and 4 deltas of 2 and
        # 4 anchors (4 + 1) * 2 * 10 + (6 + 1) * 4 * 10
        "params": 1_212,
    },
}  # fmt: skip


class ConvNormRelu(nn.Module):
    """A 3x3 convolution, batch normalisation and ReLU."""

    features: int
    stride: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics. Returns: [b, ceil(h / stride), ceil(w / stride), features]."""
        x = Conv(
            self.features, (3, 3), (self.stride, self.stride), padding=((1, 1), (1, 1)), use_bias=False,
            kernel_init=HE_NORMAL, dtype=self.dtype, param_dtype=at_least_float32(self.dtype), name="conv",
        )(x)  # fmt: skip
        return activation("relu")(BatchNorm(dtype=self.dtype, name="norm")(x, train))


class AnchorHead(nn.Module):
    """A 3x3 convolution, then 1x1 convolutions to scores and box deltas of the anchors of every cell.

    Attributes:
        width: channels of the 3x3 convolution.
        anchors: number of them in a cell.
        outputs: scores of an anchor.
        prior: initial probability that the bias gives each score through a sigmoid; 0.5 is a bias of zero.

    Reference: Lin et al. 2017, "Focal Loss", section 4.1, for the bias.
    """

    width: int
    anchors: int
    outputs: int
    prior: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Args: x [b, h, w, c]; train. Returns: scores [b, h w anchors, outputs], deltas [b, h w anchors, 4]."""
        x = ConvNormRelu(self.width, dtype=self.dtype, name="conv")(x, train)
        wide = at_least_float32(self.dtype)
        parts = []
        for name, size, start in (("score", self.outputs, prior_bias(self.prior)), ("delta", 4, nn.initializers.zeros)):
            part = Conv(
                self.anchors * size, (1, 1), kernel_init=nn.initializers.normal(0.01), bias_init=start, dtype=wide,
                param_dtype=wide, name=name,
            )(x.astype(wide))  # fmt: skip
            parts.append(part.reshape(len(x), -1, size))  # [b, h w anchors, size]
        return parts[0], parts[1]


class AnchorDetector(nn.Module):
    """A detector with anchors on one or more stages of a convolutional backbone; stage i has stride 2^(i + 1).

    Attributes:
        outputs: scores of an anchor, one per class, or one more for the background.
        widths: number of channels of every stage.
        depth: number of convolutions of every stage, the first with stride 2.
        levels: the stages with a head.
        sizes: the sizes of the anchors of every level, in heights of the image.
        ratios: height / width of the anchors.
        prior: initial probability of every score; see `AnchorHead`.
        remat: recompute convolutions in the backward pass.
        dtype: dtype of all layers but the last, which are at least float32.
    """

    outputs: int
    widths: tuple[Size, ...] = (16, 32, 64)
    depth: Layers = 2
    levels: tuple[Counted, ...] = (1, 2)
    sizes: tuple[tuple[float, ...], ...] = ((0.15, 0.21), (0.28, 0.38))
    ratios: tuple[Positive, ...] = (0.5, 1.0, 2.0)
    prior: Inside = 0.5
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Scores all anchors.

        Args:
            x: float [b, h, w, c].
            train: batch statistics used and updated.

        Returns:
            logits [b, a, outputs]; {"deltas": [b, a, 4], "anchors": [a, 4] in 0..1, "stages": [b, h / 2^(i + 1), ...]}.

        Raises:
            ConfigError: for images that are too small.
        """
        check_images(x, self, "the detector", 2 ** (max(self.levels) + 1))
        aspect = x.shape[1] / x.shape[2]
        block = remat_block(ConvNormRelu, self.remat)
        x, stages = x.astype(self.dtype), []
        for i, width in enumerate(self.widths[: max(self.levels) + 1]):
            for j in range(self.depth):
                x = block(width, 2 if j == 0 else 1, self.dtype, name=f"stage{i}_conv{j}")(x, train)
            stages.append(x)  # [b, h / 2^(i + 1), w / 2^(i + 1), width]
        logits, deltas, anchors = [], [], []
        for level, sizes in zip(self.levels, self.sizes, strict=True):
            stage, count = stages[level], len(sizes) * len(self.ratios)
            head = AnchorHead(stage.shape[-1], count, self.outputs, self.prior, self.dtype, name=f"head{level}")
            score, delta = head(stage, train)
            logits.append(score)
            deltas.append(delta)
            anchors.append(jnp.asarray(anchor_grid(*stage.shape[1:3], sizes, self.ratios, aspect), score.dtype))
        out = {"deltas": jnp.concatenate(deltas, 1), "anchors": jnp.concatenate(anchors), "stages": tuple(stages)}
        return jnp.concatenate(logits, 1), out

    def criterion(self, sections: Sections) -> Criterion:
        """Losses and boxes of anchors; see `models/criterion.py`."""
        return anchored(sections)


def build(variant: str, outputs: int, dtype: Any = jnp.float32, **overrides: Any) -> AnchorDetector:
    """A variant of the table with overrides.

    Raises:
        ConfigError: for levels without a stage, or sizes that do not fit the levels.
    """
    model = from_row(AnchorDetector, VARIANTS[variant], overrides, outputs=outputs, dtype=dtype)
    levels, widths, sizes, ratios = model.levels, model.widths, model.sizes, model.ratios
    if not levels or min(levels) < 0 or max(levels) >= len(widths):
        raise ConfigError(f"config.model.levels={levels} must name stages, 0 to {len(widths) - 1} of widths={widths}")
    if len(sizes) != len(levels) or min((min(s, default=0) for s in sizes), default=0) <= 0:
        raise ConfigError(
            f"config.model.sizes={sizes} must give a tuple of positive sizes for each of levels={levels}, such as "
            "((0.15, 0.2), (0.3, 0.4))"
        )
    if not ratios or min(ratios) <= 0:
        raise ConfigError(f"config.model.ratios={ratios} must be positive numbers, such as (0.5, 1.0, 2.0)")
    if model.depth < 1:
        raise ConfigError(f"config.model.depth={model.depth} must be at least 1")
    return model
