"""Mask R-CNN: Faster R-CNN, and beside its head of classes and boxes one that gives a region a mask for every class.

The masks of the sample's objects are trained, each on the mask of its true class alone, so that classes do not compete
for pixels; in evaluation the detections get masks, of their own classes.

Reference: He et al. 2017, "Mask R-CNN".
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import region_stage
from cvdl_jax.models.criterion import Criterion, Sections, with_backbone
from cvdl_jax.models.detection.faster_rcnn import FasterRCNN
from cvdl_jax.models.region_stage import of_sample, region_criterion
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.mask_head import MaskHead
from cvdl_jax.ops.anchors import stride_of
from cvdl_jax.ops.instance_masks import mask_loss, mask_targets
from cvdl_jax.ops.proposals import Sample
from cvdl_jax.ops.regions import level_of, roi_align

VARIANTS = {
    # He et al. 2017, table 1 and figure 4: ResNet-50 with a pyramid. As torchvision's, whose 44,401,393 parameters of
    # 91 outputs leave out the 53,120 scales and shifts of the backbone's batch normalisation, which are frozen there
    "maskrcnn_resnet50_fpn": {
        "input": (800, 800, 3), "outputs": 91, "backbone": {"name": "resnet50"},
        # Faster R-CNN 41,808,406; masks 4 * 590,080, 4 * 256 * 256 + 256, 257 * 91
        "params": 44_454_513,
    },
    # a small one for images of some hundreds of pixels with many small objects
    "mask_rcnn_small": {
        "input": (64, 64, 3), "outputs": 7, "channels": 64, "norm": "batch", "widths": (128,), "sizes": (2.5, 4.0),
        "backbone": {"name": "resnet18", "widths": (16, 32, 64, 128)}, "before": (300, 300), "after": (100, 100),
        "anchor_sample": (64, 0.5), "region_sample": (64, 0.25), "canonical": 112.0, "mask_widths": (64, 64),
        # Faster R-CNN 1,310,929; masks 2 * (9 * 64 * 64 + 64), 4 * 64 * 64 + 64, 65 * 7
        "params": 1_401_688,
    },
    "mask_rcnn_tiny": {
        "input": (16, 16, 3), "outputs": 4, "channels": 8, "widths": (8,), "sizes": (2.0,), "ratios": (1.0,),
        "backbone": {"name": "resnet8_tiny"}, "levels": (1, 2), "extra": 0, "pooled": 3, "before": (20, 20),
        "after": (10, 10), "anchor_sample": (16, 0.5), "region_sample": (8, 0.25), "canonical": 16.0,
        "mask_widths": (6,), "mask_pooled": 4,
        # Faster R-CNN 7,605; masks 9 * 8 * 6 + 6, 4 * 6 * 6 + 6, 7 * 4
        "params": 8_221,
    },
}  # fmt: skip


class MaskRCNN(FasterRCNN):
    """Faster R-CNN, see there for its fields, with a mask head.

    Attributes:
        mask_pooled: side of what is pooled of a region for its mask, of half the side of the mask.
        mask_widths: of the head's convolutions.
    """

    mask_pooled: Size = 14
    mask_widths: tuple[Size, ...] = (256, 256, 256, 256)

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool, truth: dict[str, jax.Array] | None = None
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Proposes regions, scores them, and gives masks to the objects of the sample.

        Args:
            x: float [b, h, w, c].
            train: see `FasterRCNN`.
            truth: true boxes, see `models/criterion.py`; needed in training, and for the losses of an evaluation.

        Returns:
            What `FasterRCNN` does, and in the dictionary "mask_logits", [b, n, m, m, outputs] of the first n regions of
            the sample, its objects; of one region only where the truth is not known.

        Raises:
            ConfigError: as `FasterRCNN`.
        """
        logits, out = self.judged(x, train, truth)
        regions = out["regions"][:, :1]  # a mask that nobody needs, so that the head has its parameters
        if "chosen" in out:
            regions = of_sample(out["regions"], out["chosen"])[:, : Sample(*self.region_sample).objects]
        head = MaskHead(self.outputs, self.mask_widths, self.dtype, name="masks")
        return logits, {**out, "mask_logits": head(self.pool_masks(out["levels"], regions, x.shape[1:3]))}

    @nn.nowrap
    def pool_masks(self, levels: tuple[jax.Array, ...], regions: jax.Array, image: tuple[int, int]) -> jax.Array:
        """What ROI Align takes of each region for its mask: [b, r, s, s, c] of regions [b, r, 4]."""
        stride = stride_of(levels[0].shape[1], image[0])
        level = level_of(regions, image, stride, len(levels), self.canonical)
        return jax.vmap(partial(roi_align, size=self.mask_pooled, sampling=self.samples))(levels, regions, level)

    @nn.nowrap
    def masks(
        self,
        params: dict[str, Any],
        levels: tuple[jax.Array, ...],
        boxes: jax.Array,
        classes: jax.Array,
        image: tuple[int, int],
    ) -> jax.Array:
        """Probabilities of the masks of detections, each of its own class.

        Args:
            params: of the whole model.
            levels: `out["levels"]`.
            boxes: [b, d, 4].
            classes: int [b, d], from 0 on.
            image: (height, width) in pixels.

        Returns:
            float [b, d, m, m].
        """
        head = MaskHead(self.outputs, self.mask_widths, self.dtype)
        logits = head.apply({"params": params["masks"]}, self.pool_masks(levels, boxes, image))
        own = jnp.broadcast_to(classes[:, :, None, None, None] + 1, (*logits.shape[:4], 1))
        return jax.nn.sigmoid(jnp.take_along_axis(logits, own, -1)[..., 0])

    def criterion(self, sections: Sections) -> Criterion:
        """Losses of Faster R-CNN and that of masks, which reads "ids" of the truth: int [b, h, w], the row plus one."""
        inner = region_criterion(sections, "mask_rcnn", "set config.model.anchor_match and region_match")

        def losses(logits: jax.Array, out: dict, truth: dict) -> tuple[dict[str, jax.Array], jax.Array]:
            if "ids" not in truth:
                raise ConfigError(
                    "config.model.name: mask_rcnn is trained on masks, which experiment 'detect' does not read; set "
                    "config.experiment='instances' as configs/segment/nuclei.py does, or choose faster_rcnn_small"
                )
            parts, weight = inner.losses(logits, out, truth)
            chosen, n = out["chosen"], out["mask_logits"].shape[1]
            labels = chosen["labels"][:, :n]
            regions = of_sample(out["regions"], chosen)[:, :n]
            numbers = jnp.where(labels > 0, chosen["matched"][:, :n] + 1, 0)
            cut = partial(mask_targets, size=out["mask_logits"].shape[2])
            masks = mask_loss(out["mask_logits"], jax.vmap(cut)(truth["ids"], regions, numbers), labels)
            return {**parts, "loss": parts["loss"] + masks, "mask_loss": masks}, weight

        return inner._replace(losses=losses)


def build(variant: str, outputs: int, dtype: Any = jnp.float32, remat: bool = False, **overrides: Any) -> MaskRCNN:
    """A variant of the table with overrides.

    Raises:
        ConfigError: as `faster_rcnn.build`.
    """
    if not overrides.get("mask_widths", (1,)):
        raise ConfigError("config.model.mask_widths=() needs a number for every convolution, such as (256, 256)")
    row = VARIANTS[variant]
    more = {"outputs": outputs, "dtype": dtype, "remat": remat}
    model = from_row(MaskRCNN, row, with_backbone(row, overrides, dtype, remat), **more)
    region_stage.check(model, ("anchor_match", "region_match"))
    return model
