"""Faster R-CNN: a network proposes regions, a head judges what ROI Align takes of each from the same maps.

Training is one step for both stages, with fixed numbers of proposals and of regions (`models/region_stage.py`).

Reference: Ren et al. 2015, "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks"; Lin et al.
    2017, "Feature Pyramid Networks for Object Detection", section 4.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Inside, Positive, Probability, Size
from cvdl_jax.models import region_stage
from cvdl_jax.models.criterion import Criterion, Sections, with_backbone
from cvdl_jax.models.region_stage import choose, choose_anchors, keys_of, region_criterion
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.necks import FeaturePyramid, chosen_stages
from cvdl_jax.nn.two_stage import RegionHead, RegionProposals
from cvdl_jax.ops.anchors import stride_of
from cvdl_jax.ops.proposals import Match, Sample
from cvdl_jax.ops.regions import level_of, roi_align

VARIANTS = {
    # Lin et al. 2017, section 4: ResNet-50, P2 to P6. As torchvision's, whose 41,755,286 parameters of 91 outputs leave
    # out the scales and shifts of the backbone's batch normalisation, which are frozen there
    "faster_rcnn_resnet50_fpn": {
        "input": (800, 800, 3), "outputs": 91, "backbone": {"name": "resnet50"},
        # ResNet-50 without its head 23,508,032; laterals 256 * 3,840 + 1,024 and levels 4 * 590,080; proposals 590,080
        # and 257 * 3 * 5; regions 12,545 * 1024 + 1025 * 1024; 1025 * 91 * 5
        "params": 41_808_406,
    },
    # a small one for scenes of 64 pixels and for photographs of some hundreds
    "faster_rcnn_small": {
        "input": (64, 64, 3), "outputs": 7, "channels": 64, "norm": "batch", "widths": (128,), "sizes": (2.5, 4.0),
        "backbone": {"name": "resnet18", "widths": (16, 32, 64, 128)}, "before": (300, 300), "after": (100, 100),
        "anchor_sample": (64, 0.5), "region_sample": (64, 0.25), "canonical": 112.0,
        # ResNet-18 with a quarter of the width without its head 702,096; laterals 64 * 240; 3x3 kernels
        # 36,864 * (4 + 1); norms 2 * 64 * (4 + 4 + 1); proposals 65 * 6 * 5; regions
        # (7 * 7 * 64 + 1) * 128; 129 * 7 * 5
        "params": 1_310_929,
    },
    "faster_rcnn_tiny": {
        "input": (16, 16, 3), "outputs": 4, "channels": 8, "widths": (8,), "sizes": (2.0,), "ratios": (1.0,),
        "backbone": {"name": "resnet8_tiny"}, "levels": (1, 2), "extra": 0, "pooled": 3, "before": (20, 20),
        "after": (10, 10), "anchor_sample": (16, 0.5), "region_sample": (8, 0.25), "canonical": 16.0,
        # ResNet-8 without its head 4,836; laterals 8 * (8 + 16) + 16; 3x3 kernels 584 * (2 + 1); proposals 9 * 5;
        # regions (3 * 3 * 8 + 1) * 8; 9 * 4 * 5
        "params": 7_605,
    },
}  # fmt: skip


class FasterRCNN(nn.Module):
    """A backbone, perhaps with a feature pyramid, a region proposal network, ROI Align, and a head of dense layers.

    Attributes:
        outputs: scores of a region; class 0 is the background.
        backbone: made from `config.model.backbone`, the name of a variant or a section with its `name`.
        levels: the stages that are read; without a pyramid there must be one.
        channels: of the pyramid and the region proposal network; 0 for no pyramid, where regions are of the stage.
        extra: levels beyond the last one, by every other pixel, that the region proposal network alone reads.
        sizes: of the anchors of a cell, square roots of their areas in strides of the level.
        ratios: height / width of the anchors.
        before: anchors of a level that enter the suppression of proposals, in training and in evaluation.
        after: proposals of an image, in training and in evaluation.
        proposal_iou: threshold of that suppression.
        anchor_match: (positive, negative), thresholds of IoU for anchors; a box's best anchor is positive, too.
        anchor_sample: (number, largest share of objects) of the anchors of an image that are trained on.
        region_match: (positive, negative), or (positive, negative, lowest), for regions; `ops.proposals.Match`.
        region_sample: (number, largest share of objects) of the regions of an image that are trained on.
        pooled: side of what is pooled of a region.
        samples: of ROI Align in a bin, on a side.
        canonical: side of regions, in pixels, that read the level of stride 16.
        widths: of the head's dense layers.
        norm: normalisation of the pyramid and the region proposal network; the paper has none.
        kernel_init: initialiser of the pyramid; "" for He's.
        remat: recompute blocks of the backbone in the backward pass.
        dtype: dtype of all layers but the predictions, which are at least float32.
    """

    outputs: int
    backbone: nn.Module
    levels: tuple[Counted, ...] = (0, 1, 2, 3)
    channels: Counted = 256
    extra: Counted = 1
    sizes: tuple[Positive, ...] = (8.0,)
    ratios: tuple[Positive, ...] = (0.5, 1.0, 2.0)
    before: tuple[Size, Size] = (2000, 1000)
    after: tuple[Size, Size] = (1000, 1000)
    proposal_iou: Inside = 0.7
    anchor_match: tuple[Probability, Probability] = (0.7, 0.3)
    anchor_sample: tuple[Size, Inside] = (256, 0.5)
    region_match: tuple[Probability, ...] = (0.5, 0.5)
    region_sample: tuple[Size, Inside] = (512, 0.25)
    pooled: Size = 7
    samples: Size = 2
    canonical: Positive = 224.0
    widths: tuple[Size, ...] = (1024, 1024)
    norm: str = "none"
    kernel_init: str = ""
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool, truth: dict[str, jax.Array] | None = None
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Proposes regions and scores them.

        Args:
            x: float [b, h, w, c].
            train: batch statistics used and updated; a sample of the regions, drawn from the rng "dropout", is scored.
            truth: true boxes, see `models/criterion.py`; needed in training, and for the losses of an evaluation.

        Returns:
            logits [b, r, outputs]; {"region_deltas": [b, r, outputs - 1, 4], "regions", "regions_mask", "chosen": see
            `models/region_stage.py`, "first": what `RegionProposals` returns, and its "chosen" anchors, "stages": of
            the backbone, "levels": what regions are pooled from}.

        Raises:
            ConfigError: for images that are too small, levels that the backbone has not, or training without truth.
        """
        return self.judged(x, train, truth)

    @nn.nowrap
    def judged(self, x: jax.Array, train: bool, truth: dict[str, jax.Array] | None) -> tuple[jax.Array, dict[str, Any]]:
        """What `__call__` does, for the `__call__` of detectors with a further head, too."""
        check_images(x, self, "faster_rcnn")
        stages = self.backbone(x, train)[1].get("stages", ())
        levels, image = self.pyramid(stages, train), x.shape[1:3]
        further = [levels[-1][:, :: 2**i, :: 2**i] for i in range(1, self.extra + 1)]
        propose = RegionProposals(
            self.channels or levels[0].shape[-1], self.sizes, self.ratios, self.before, self.after, self.proposal_iou,
            self.norm, self.dtype, name="proposals",
        )  # fmt: skip
        first = propose((*levels, *further), image, train)
        if truth is not None:
            how = Match(*self.anchor_match), Sample(*self.anchor_sample)
            first["chosen"] = choose_anchors(keys_of(self, len(x), train), first["anchors"], truth, *how)
        how = Match(*self.region_match), Sample(*self.region_sample)
        out = choose(self, first["proposals"], first["proposals_mask"], truth, *how, train)
        logits, deltas = RegionHead(self.outputs, self.widths, self.dtype, name="regions")(
            self.pool(levels, out["regions"], image), train
        )
        return logits, {**out, "region_deltas": deltas, "first": first, "stages": stages, "levels": levels}

    @nn.nowrap
    def pyramid(self, stages: tuple[jax.Array, ...], train: bool) -> tuple[jax.Array, ...]:
        """The maps from which regions are pooled, [b, h_i, w_i, c]; called in `__call__`."""
        if not self.channels:
            return tuple(chosen_stages(stages, self.levels[:1]))
        how = {"norm": self.norm, "kernel_init": self.kernel_init, "dtype": self.dtype, "name": "pyramid"}
        return FeaturePyramid(self.levels, self.channels, **how)(stages, train)

    @nn.nowrap
    def pool(self, levels: tuple[jax.Array, ...], regions: jax.Array, image: tuple[int, int]) -> jax.Array:
        """What ROI Align takes of each region from its level: [b, r, pooled, pooled, c] of regions [b, r, 4]."""
        stride = stride_of(levels[0].shape[1], image[0])
        level = level_of(regions, image, stride, len(levels), self.canonical)
        return jax.vmap(partial(roi_align, size=self.pooled, sampling=self.samples))(levels, regions, level)

    def criterion(self, sections: Sections) -> Criterion:
        """Four losses: of anchors, whether they are objects and where, and of regions, of which class and where."""
        return region_criterion(sections, "faster_rcnn", "set config.model.anchor_match and region_match")


def build(variant: str, outputs: int, dtype: Any = jnp.float32, remat: bool = False, **overrides: Any) -> FasterRCNN:
    """A variant of the table with overrides.

    Raises:
        ConfigError: for thresholds that contradict each other, or several levels without a pyramid.
    """
    row = VARIANTS[variant]
    more = {"outputs": outputs, "dtype": dtype, "remat": remat}
    model = from_row(FasterRCNN, row, with_backbone(row, overrides, dtype, remat), **more)
    region_stage.check(model, ("anchor_match", "region_match"))
    return model
