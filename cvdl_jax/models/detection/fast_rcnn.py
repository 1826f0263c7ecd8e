"""Fast R-CNN: one map of the whole image, ROI pooling of given regions, and a head for their classes and boxes.

Regions come with the batch: `config.data.proposals` adds those of selective search, computed once.

Reference: Girshick 2015, "Fast R-CNN".
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Inside, Probability, Size
from cvdl_jax.models import region_stage
from cvdl_jax.models.criterion import Criterion, Sections, with_backbone
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.necks import chosen_stages
from cvdl_jax.nn.two_stage import RegionHead
from cvdl_jax.ops.boxes import area
from cvdl_jax.ops.proposals import Match, Sample
from cvdl_jax.ops.regions import Quantisation, roi_pool

VARIANTS = {
    # Girshick 2015, section 2.1: VGG-16 up to its last maximum, whose place ROI pooling takes; VOC's 20 classes
    "fast_rcnn_vgg16": {
        "input": (600, 600, 3), "outputs": 21, "level": 4, "widths": (4096, 4096),
        "backbone": {"name": "vgg16", "output_stride": 16, "units": ()},
        # the 13 convolutions of VGG-16 14,714,688; regions 25,089 * 4096 + 4097 * 4096; 4097 * 21 * 5
        "params": 134_690_729,
    },
    # a small one for scenes of 64 pixels and for photographs of some hundreds
    "fast_rcnn_small": {
        "input": (64, 64, 3), "outputs": 7, "backbone": {"name": "resnet18", "widths": (16, 32, 64, 128)}, "level": 1,
        "widths": (128,), "region_sample": (64, 0.25),
        # ResNet-18 with a quarter of the width without its head 702,096; regions (7 * 7 * 32 + 1) * 128; 129 * 7 * 5
        "params": 907_443,
    },
    "fast_rcnn_tiny": {
        "input": (16, 16, 3), "outputs": 4, "backbone": {"name": "resnet8_tiny"}, "level": 1, "pooled": 3,
        "widths": (8,), "region_sample": (8, 0.25),
        # ResNet-8 without its head 4,836; regions (3 * 3 * 8 + 1) * 8; 9 * 4 * 5
        "params": 5_600,
    },
}  # fmt: skip


class FastRCNN(nn.Module):
    """A backbone, ROI pooling of one of its stages, and a head of dense layers.

    Attributes:
        outputs: scores of a region; class 0 is the background.
        backbone: made from `config.model.backbone`, the name of a variant or a section with its `name`.
        level: the stage from which regions are pooled.
        region_match: (positive, negative), or (positive, negative, lowest), for regions; `ops.proposals.Match`.
        region_sample: (number, largest share of objects) of the regions of an image that are trained on.
        pooled: side of what is pooled of a region.
        quantisation: of a region's bins; `ops.regions.roi_pool`.
        widths: of the head's dense layers.
        remat: recompute blocks of the backbone in the backward pass.
        dtype: dtype of all layers but the predictions, which are at least float32.
    """

    outputs: int
    backbone: nn.Module
    level: Counted = 2
    region_match: tuple[Probability, ...] = (0.5, 0.5, 0.1)
    region_sample: tuple[Size, Inside] = (64, 0.25)
    pooled: Size = 7
    quantisation: Quantisation = "cover"
    widths: tuple[Size, ...] = (1024, 1024)
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, proposals: jax.Array, train: bool, truth: dict[str, jax.Array] | None = None
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Scores regions.

        Args:
            x: float [b, h, w, c].
            proposals: regions [b, n, 4] in 0..1; one without area is none.
            train: batch statistics used and updated; a sample of the regions, drawn from the rng "dropout", is scored.
            truth: true boxes, see `models/criterion.py`; needed in training, and for the losses of an evaluation.

        Returns:
            logits [b, r, outputs]; {"region_deltas": [b, r, outputs - 1, 4], "regions", "regions_mask", "chosen": see
            `models/region_stage.py`, "stages": of the backbone}.

        Raises:
            ConfigError: for images that are too small, a level that the backbone has not, or training without truth.
        """
        check_images(x, self, "fast_rcnn")
        stages = self.backbone(x, train)[1].get("stages", ())
        (features,) = chosen_stages(stages, (self.level,))
        mask = (area(proposals) > 0).astype(proposals.dtype)
        how = Match(*self.region_match), Sample(*self.region_sample)
        out = region_stage.choose(self, proposals, mask, truth, *how, train)
        pool = jax.vmap(partial(roi_pool, size=self.pooled, quantisation=self.quantisation))
        head = RegionHead(self.outputs, self.widths, self.dtype, name="regions")
        logits, deltas = head(pool(features, out["regions"]), train)
        return logits, {**out, "region_deltas": deltas, "stages": stages}

    def criterion(self, sections: Sections) -> Criterion:
        """Two losses of regions: of which class they are, and where."""
        return region_stage.region_criterion(sections, "fast_rcnn", "set config.model.region_match", ("proposals",))


def build(variant: str, outputs: int, dtype: Any = jnp.float32, remat: bool = False, **overrides: Any) -> FastRCNN:
    """A variant of the table with overrides.

    Raises:
        ConfigError: for thresholds that contradict each other.
    """
    row = VARIANTS[variant]
    more = {"outputs": outputs, "dtype": dtype, "remat": remat}
    model = from_row(FastRCNN, row, with_backbone(row, overrides, dtype, remat), **more)
    region_stage.check(model, ("region_match",))
    return model


def example(row: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
    """An image and ten regions of it."""
    return jnp.zeros((1, *row["input"])), jnp.broadcast_to(jnp.float32([0.2, 0.2, 0.8, 0.8]), (1, 10, 4))
