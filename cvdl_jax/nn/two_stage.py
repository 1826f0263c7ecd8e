"""The parts of detectors of two stages: a network that proposes regions, and a head that judges each of them."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.residual import Style
from cvdl_jax.ops.anchors import anchor_grid, stride_of
from cvdl_jax.ops.precision import at_least_float32
from cvdl_jax.ops.proposals import propose

SMALL = "normal(std=0.01)"  # of the first predictions, in both stages


class ProposalHead(nn.Module):
    """A 3x3 convolution, then 1x1 convolutions to the objectness and the box of each anchor of a cell.

    Attributes:
        anchors: of a cell.
        channels: of the 3x3 convolution.
        norm: normalisation behind the 3x3 convolution.
        dtype: of the 3x3 convolution; predictions are at least float32.
    """

    anchors: int
    channels: int
    norm: str = "none"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Args: x [b, h, w, c]; train: batch statistics. Returns: logits [b, a]; deltas [b, a, 4], in rows of cells."""
        wide = at_least_float32(self.dtype)
        style = Style(self.norm, "before", "plain", "relu", SMALL, self.dtype)
        x = style.convolution(self.channels, 3, 1, "conv", "relu")(x.astype(self.dtype))
        x = style.activate(x, train, "norm").astype(wide)
        how = {"kernel_init": initializer(SMALL), "dtype": wide, "param_dtype": wide}
        objectness = Conv(self.anchors, (1, 1), **how, name="objectness")(x)
        deltas = Conv(4 * self.anchors, (1, 1), **how, name="boxes")(x)
        return objectness.reshape(len(x), -1), deltas.reshape(len(x), -1, 4)


class RegionProposals(nn.Module):
    """Region proposal network: anchors on every level of a pyramid, scored by one head, and the best of them.

    Attributes:
        channels: of the head.
        sizes: of the anchors of a cell, square roots of their areas in strides of the level.
        ratios: height / width of the anchors.
        before: anchors of a level that enter the suppression, in training and in evaluation.
        after: proposals of an image, in training and in evaluation.
        iou_threshold: of the suppression.
        norm: of the head.
        dtype: of the head.

    Reference: Ren et al. 2015, "Faster R-CNN", section 3.1.
    """

    channels: int
    sizes: tuple[float, ...] = (8.0,)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    before: tuple[int, int] = (2000, 1000)
    after: tuple[int, int] = (1000, 1000)
    iou_threshold: float = 0.7
    norm: str = "none"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, levels: Sequence[jax.Array], image: tuple[int, int], train: bool) -> dict[str, jax.Array]:
        """Proposes regions.

        Args:
            levels: maps [b, h_i, w_i, c].
            image: (height, width) in pixels.
            train: batch statistics, and which of two numbers.

        Returns:
            "objectness": logits [b, a]; "deltas" [b, a, 4]; "anchors" [a, 4] in 0..1; "proposals" [b, p, 4] and
            "proposals_mask" [b, p], see `ops.proposals.propose`.
        """
        count = len(self.sizes) * len(self.ratios)
        head = ProposalHead(count, self.channels, self.norm, self.dtype, name="head")
        objectness, deltas = zip(*(head(x, train) for x in levels), strict=True)
        anchors = []
        for x in levels:
            stride = stride_of(x.shape[1], image[0])
            sizes = [size * stride / image[0] for size in self.sizes]
            grid = anchor_grid(*x.shape[1:3], sizes, self.ratios, image[0] / image[1])
            anchors.append(jnp.asarray(grid, deltas[0].dtype))
        before, after = (pair[0 if train else 1] for pair in (self.before, self.after))
        best = partial(propose, anchors=anchors, before=before, after=after, iou_threshold=self.iou_threshold)
        proposals, mask = jax.vmap(best)(objectness, deltas)
        return {
            "objectness": jnp.concatenate(objectness, 1), "deltas": jnp.concatenate(deltas, 1),
            "anchors": jnp.concatenate(anchors), "proposals": proposals, "proposals_mask": mask,
        }  # fmt: skip


class RegionHead(nn.Module):
    """Dense layers on what was pooled of each region, then its scores and, for each class, its box.

    As in torchvision there are weights for a box of the background, too, which nothing reads.

    Attributes:
        outputs: scores of a region, the background's among them.
        widths: of the dense layers.
        dtype: of the dense layers; predictions are at least float32.

    Reference: Girshick 2015, "Fast R-CNN", section 2.1; two layers of 1024 as in Lin et al. 2017, section 4.2.
    """

    outputs: int
    widths: tuple[int, ...] = (1024, 1024)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Args: x [b, r, ...]; train. Returns: logits [b, r, outputs]; deltas [b, r, outputs - 1, 4]."""
        b, r = x.shape[:2]
        wide = at_least_float32(self.dtype)
        x = x.reshape(b * r, math.prod(x.shape[2:]))
        for i, width in enumerate(self.widths):
            x = nn.relu(nn.Dense(
                width, kernel_init=initializer("", "relu"), dtype=self.dtype, param_dtype=wide, name=f"dense{i}"
            )(x))  # fmt: skip
        last = {"dtype": wide, "param_dtype": wide}
        logits = nn.Dense(self.outputs, kernel_init=initializer(SMALL), **last, name="classes")(x)
        deltas = nn.Dense(4 * self.outputs, kernel_init=initializer("normal(std=0.001)"), **last, name="boxes")(x)
        return logits.reshape(b, r, self.outputs), deltas.reshape(b, r, self.outputs, 4)[:, :, 1:]
