"""Classification with localisation: one network says whether there is an object, of which class, and where.

Reference: Sermanet et al. 2014, "OverFeat", section 4, trains the two heads one after the other.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, partially
from cvdl_jax.models.criterion import Criterion, Sections, refuse, with_backbone
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images, head
from cvdl_jax.nn.necks import chosen_stages
from cvdl_jax.ops.boxes import area, from_centres, to_centres
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from cvdl_jax.ops.losses.localisation import classification_localisation

VARIANTS = {
    # for scenes of 64 pixels with one object: maps of 4x4 before the heads
    "localiser": {
        "input": (64, 64, 3), "outputs": 6, "backbone": {"name": "resnet18", "widths": (16, 32, 64, 128)}, "level": 2,
        # ResNet-18 with a quarter of the width without its head 702,096; (4 * 4 * 64 + 1) * (7 + 4)
        "params": 713_371,
    },
    "localiser_tiny": {
        "input": (16, 16, 3), "outputs": 3, "backbone": {"name": "resnet8_tiny"}, "level": 2,
        # ResNet-8 without its head 4,836; (4 * 4 * 16 + 1) * (4 + 4)
        "params": 6_892,
    },
}  # fmt: skip


class Localiser(nn.Module):
    """A backbone, and on one of its stages, flat, a head for the class and one for the box.

    Attributes:
        outputs: K, the number of classes; class 0 of the scores is the background.
        backbone: made from `config.model.backbone`, the name of a variant or a section with its `name`.
        level: the stage that the heads read; all of its pixels, since a mean over them would not say where.
        remat: recompute blocks of the backbone in the backward pass.
        dtype: dtype of the backbone; the heads are at least float32.
    """

    outputs: int
    backbone: nn.Module
    level: Counted = 3
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Scores an image.

        Args:
            x: float [b, h, w, c], of one size.
            train: batch statistics used and updated.

        Returns:
            logits [b, K + 1]; {"box": its centre (y, x), height and width in 0..1, [b, 4], "stages": of the backbone}.

        Raises:
            ConfigError: for images that are too small, or a level that the backbone has not.
        """
        check_images(x, self, "localiser")
        stages = self.backbone(x, train)[1].get("stages", ())
        (y,) = chosen_stages(stages, (self.level,))
        y = y.reshape(len(y), -1)
        logits = head(y, self.outputs + 1, self.dtype, name="classes")
        return logits, {"box": jax.nn.sigmoid(head(y, 4, self.dtype, name="box")), "stages": stages}

    def criterion(self, sections: Sections) -> Criterion:
        """`ops.losses.localisation.classification_localisation`, whose weight is `config.loss.box_weight`.

        The target of an image with several objects is the largest, of one without any the background. There is one
        detection, whose scores are the probabilities of the classes.

        Raises:
            ConfigError: for `match` or `boxes`, or a loss of another form.
        """
        refuse(sections, ("match", "boxes"), "localiser")
        given = ("logits", "boxes", "labels", "true_boxes")
        loss = partially(classification_localisation, sections["loss"], "config.loss", *given, "reduction")

        def losses(logits: jax.Array, out: dict, truth: dict) -> tuple[dict[str, jax.Array], jax.Array]:
            label, box = largest_object(truth["boxes"], truth["labels"], truth["mask"])
            whole, classes = loss(logits, out["box"], label, to_centres(box)), softmax_cross_entropy(logits, label)
            parts = {"loss": whole, "class_loss": classes, "box_loss": whole - classes}
            return parts, jnp.ones(len(logits), logits.dtype)

        def decode(logits: jax.Array, out: dict) -> tuple[jax.Array, jax.Array]:
            return from_centres(out["box"])[:, None], jax.nn.softmax(logits)[:, None, 1:]

        return Criterion(losses, decode)


def largest_object(boxes: jax.Array, labels: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The label int32 [b], 0 for no object, else the class plus one, and the box [b, 4] of the largest object.

    Args:
        boxes: [b, n, 4]; n may be 0.
        labels: int [b, n], classes from 0 on.
        mask: [b, n], 1 where a box is real.
    """
    if not boxes.shape[1]:
        return jnp.zeros(len(boxes), jnp.int32), jnp.zeros((len(boxes), 4), boxes.dtype)
    size = jnp.where(mask > 0, area(boxes), -1.0)
    best = size.argmax(1)[:, None]  # [b, 1]
    label = jnp.where(size.max(1) >= 0, jnp.take_along_axis(labels, best, 1)[:, 0] + 1, 0)
    return label.astype(jnp.int32), jnp.take_along_axis(boxes, best[..., None], 1)[:, 0]


def build(variant: str, outputs: int, dtype: Any = jnp.float32, remat: bool = False, **overrides: Any) -> Localiser:
    """A variant of the table with overrides."""
    row = VARIANTS[variant]
    more = {"outputs": outputs, "dtype": dtype, "remat": remat}
    return from_row(Localiser, row, with_backbone(row, overrides, dtype, remat), **more)
