"""R-CNN: every region is cut out, warped to one size, and judged by a network of its own features.

The network is trained in one step with its classifier and its regression of boxes; the paper fine-tunes it first, then
fits a linear SVM for each class and a ridge regression on what it has learned. Regions come with the batch:
`config.data.proposals` adds those of selective search, computed once.

Reference: Girshick et al. 2014, "Rich Feature Hierarchies for Accurate Object Detection and Semantic Segmentation".
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Inside, Probability, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import region_stage
from cvdl_jax.models.criterion import Criterion, Sections, with_backbone
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.two_stage import RegionHead
from cvdl_jax.ops.boxes import area
from cvdl_jax.ops.proposals import Match, Sample
from cvdl_jax.ops.regions import roi_align, with_context

VARIANTS = {
    # Girshick et al. 2014, section 2: AlexNet on crops of 227 pixels, 16 of them context; VOC's 20 classes
    "rcnn_alexnet": {
        "input": (500, 500, 3), "outputs": 21, "backbone": {"name": "alexnet_two_groups"}, "crop": 227, "context": 16,
        "region_sample": (64, 0.25),
        # AlexNet without its last layer 56,868,224; 4097 * 21 * 5
        "params": 57_298_409,
    },
    # a small one for scenes of 64 pixels and for photographs of some hundreds
    "rcnn_small": {
        "input": (64, 64, 3), "outputs": 7, "backbone": {"name": "resnet20"}, "crop": 32, "context": 3,
        "region_sample": (32, 0.25),
        # ResNet-20 without its head 269,072; 65 * 7 * 5
        "params": 271_347,
    },
    "rcnn_tiny": {
        "input": (16, 16, 3), "outputs": 4, "backbone": {"name": "resnet8_tiny"}, "crop": 8, "context": 1,
        "region_sample": (8, 0.25),
        # ResNet-8 without its head 4,836; 17 * 4 * 5
        "params": 5_176,
    },
}  # fmt: skip


class RCNN(nn.Module):
    """Crops of regions, a backbone that sees each of them alone, and linear layers for its class and its box.

    Attributes:
        outputs: scores of a region; class 0 is the background.
        backbone: made from `config.model.backbone`, the name of a variant or a section with its `name`; its features
            of a whole crop are read.
        crop: side of a warped crop in pixels.
        context: pixels of a crop, on each side, that show what is around the region; black outside the image, which is
            the mean of the pixels once these are normalised.
        samples: bilinear samples of the image for a pixel of the crop, on a side.
        region_match: (positive, negative), or (positive, negative, lowest), for regions; `ops.proposals.Match`.
        region_sample: (number, largest share of objects) of the regions of an image that are trained on.
        remat: recompute blocks of the backbone in the backward pass.
        dtype: dtype of the backbone; the predictions are at least float32.
    """

    outputs: int
    backbone: nn.Module
    crop: Size = 32
    context: Counted = 3
    samples: Size = 2
    region_match: tuple[Probability, ...] = (0.5, 0.5)
    region_sample: tuple[Size, Inside] = (64, 0.25)
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
            `models/region_stage.py`, "crops": [b, r, crop, crop, c]}.

        Raises:
            ConfigError: for crops that are too small for the backbone, or training without truth.
        """
        check_images(x, self, "rcnn")
        mask = (area(proposals) > 0).astype(proposals.dtype)
        how = Match(*self.region_match), Sample(*self.region_sample)
        out = region_stage.choose(self, proposals, mask, truth, *how, train)
        cut = jax.vmap(partial(roi_align, size=self.crop, sampling=self.samples))
        crops = cut((x,), with_context(out["regions"], self.crop, self.context))  # [b, r, crop, crop, c]
        features = self.backbone(crops.reshape(-1, *crops.shape[2:]), train)[0]
        head = RegionHead(self.outputs, (), self.dtype, name="regions")
        logits, deltas = head(features.reshape(*crops.shape[:2], -1), train)
        return logits, {**out, "region_deltas": deltas, "crops": crops}

    def criterion(self, sections: Sections) -> Criterion:
        """Two losses of regions: of which class they are, and where."""
        return region_stage.region_criterion(sections, "rcnn", "set config.model.region_match", ("proposals",))


def build(variant: str, outputs: int, dtype: Any = jnp.float32, remat: bool = False, **overrides: Any) -> RCNN:
    """A variant of the table with overrides.

    Raises:
        ConfigError: for thresholds that contradict each other, or a context that leaves nothing of a crop.
    """
    row = VARIANTS[variant]
    more = {"outputs": outputs, "dtype": dtype, "remat": remat}
    model = from_row(RCNN, row, with_backbone(row, overrides, dtype, remat), **more)
    region_stage.check(model, ("region_match",))
    if 2 * model.context >= model.crop:
        raise ConfigError(f"config.model.context={model.context} leaves nothing of crops of {model.crop} pixels")
    return model


def example(row: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
    """An image and ten regions of it."""
    return jnp.zeros((1, *row["input"])), jnp.broadcast_to(jnp.float32([0.2, 0.2, 0.8, 0.8]), (1, 10, 4))
