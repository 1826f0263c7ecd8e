"""RetinaNet: a feature pyramid over any backbone, and towers shared by its levels, for classes and boxes of anchors.

Reference: Lin et al. 2017, "Focal Loss for Dense Object Detection", sections 4 and 4.1.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Inside, Positive, Size
from cvdl_jax.models.criterion import Criterion, Sections, anchored, with_backbone
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.dense_heads import DenseHead
from cvdl_jax.nn.necks import FeaturePyramid
from cvdl_jax.ops.anchors import anchor_pyramid

VARIANTS = {
    # Lin et al. 2017, table 1: ResNet-50, C3 to C5, P3 to P7, 9 anchors
    "retinanet_resnet50": {
        "input": (512, 512, 3), "outputs": 80, "backbone": {"name": "resnet50"}, "kernel_init": "normal(std=0.01)",
        # ResNet-50 without its head 23,508,032; laterals 918,272 and levels 3 * 590,080; P6 4,718,848, P7 590,080;
        # two towers of 4 * 590,080; 9 * 256 * (720 + 36) and as many biases
        "params": 37_968_692,
    },
    # a small one for scenes of 64 pixels and for photographs of some hundreds
    "retinanet_small": {
        "input": (64, 64, 3), "outputs": 6, "channels": 64, "depth": 2, "extra": 0, "scale": 3.0, "norm": "batch",
        "backbone": {"name": "resnet18", "widths": (16, 32, 64, 128)},
        # ResNet-18 with a quarter of the width without its head 702,096; laterals 64 * 224; 3x3 kernels
        # 36,864 * (3 + 4); norms 2 * 64 * (3 + 3 + 4); predictions 577 * 9 * (6 + 4)
        "params": 1_027_690,
    },
    "retinanet_tiny": {
        "input": (16, 16, 3), "outputs": 3, "channels": 8, "depth": 1, "extra": 1, "octaves": 1, "levels": (1, 2),
        "backbone": {"name": "resnet8_tiny"}, "ratios": (1.0,),
        # ResNet-8 without its head 4,836; laterals 8 * (8 + 16) + 16; 3x3 kernels 584 * (2 + 2) + 9 * 16 * 8 + 8;
        # predictions 73 * (3 + 4)
        "params": 9_051,
    },
}  # fmt: skip


class RetinaNet(nn.Module):
    """A feature pyramid, a tower for the classes and a tower for the boxes of anchors, each shared by all levels.

    Attributes:
        outputs: scores of an anchor.
        backbone: made from `config.model.backbone`, the name of a variant or a section with its `name`.
        levels: the stages that the pyramid reads.
        extra: levels of the pyramid beyond the last stage.
        channels: of the pyramid and the towers.
        depth: convolutions of a tower.
        scale: size of the smallest anchor of a level, in strides.
        octaves: sizes of anchors on a level.
        ratios: height / width of the anchors.
        prior: initial probability of every score.
        norm: normalisation of the pyramid and the towers; the paper has none.
        kernel_init: initialiser of the pyramid and the towers; "" for He's.
        remat: recompute blocks of the backbone in the backward pass.
        dtype: dtype of all layers but the predictions, which are at least float32.
    """

    outputs: int
    backbone: nn.Module
    levels: tuple[Counted, ...] = (1, 2, 3)
    extra: Counted = 2
    channels: Size = 256
    depth: Counted = 4
    scale: Positive = 4.0
    octaves: Size = 3
    ratios: tuple[Positive, ...] = (0.5, 1.0, 2.0)
    prior: Inside = 0.01
    norm: str = "none"
    kernel_init: str = ""
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Scores all anchors.

        Args:
            x: float [b, h, w, c].
            train: batch statistics used and updated.

        Returns:
            logits [b, a, outputs]; {"deltas": [b, a, 4], "anchors": [a, 4] in 0..1, "stages": of the backbone,
            "levels": of the pyramid, [b, h_i, w_i, channels]}.

        Raises:
            ConfigError: for images that are too small, or levels that the backbone has not.
        """
        check_images(x, self, "retinanet")
        stages = self.backbone(x, train)[1].get("stages", ())
        how = {"norm": self.norm, "kernel_init": self.kernel_init, "dtype": self.dtype}
        levels = FeaturePyramid(self.levels, self.channels, self.extra, **how, name="pyramid")(stages, train)
        count, tower = self.octaves * len(self.ratios), (self.channels, self.depth)
        classes = DenseHead(self.outputs, count, *tower, self.prior, **how, name="classes")
        places = DenseHead(4, count, *tower, **how, name="boxes")
        logits, deltas = (jnp.concatenate([head(y, train) for y in levels], 1) for head in (classes, places))
        maps = [y.shape[1:3] for y in levels]
        anchors = jnp.concatenate(anchor_pyramid(maps, x.shape[1:3], self.scale, self.octaves, self.ratios))
        out = {"deltas": deltas, "anchors": jnp.asarray(anchors, logits.dtype), "stages": stages, "levels": levels}
        return logits, out

    def criterion(self, sections: Sections) -> Criterion:
        """Losses and boxes of anchors; see `models/criterion.py`."""
        return anchored(sections)


def build(variant: str, outputs: int, dtype: Any = jnp.float32, remat: bool = False, **overrides: Any) -> RetinaNet:
    """A variant of the table with overrides."""
    row = VARIANTS[variant]
    more = {"outputs": outputs, "dtype": dtype, "remat": remat}
    return from_row(RetinaNet, row, with_backbone(row, overrides, dtype, remat), **more)
