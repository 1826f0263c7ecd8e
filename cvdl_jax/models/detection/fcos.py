"""FCOS: every point of a feature pyramid predicts a class, the distances to the sides of its box, and its centreness.

Reference: Tian et al. 2019, "FCOS: Fully Convolutional One-Stage Object Detection".
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cvdl_jax.config.binding import Counted, Inside, Positive, Size, partially
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.criterion import (
    Criterion,
    Sections,
    class_loss_of,
    corner_loss_of,
    parts_of,
    weight_of,
    with_backbone,
)
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.dense_heads import DenseHead
from cvdl_jax.nn.necks import FeaturePyramid
from cvdl_jax.ops import points
from cvdl_jax.ops.anchors import stride_of

VARIANTS = {
    # Tian et al. 2019, section 4: ResNet-50, P3 to P7 (P6 from P5), group normalisation in the towers
    "fcos_resnet50": {
        "input": (512, 512, 3), "outputs": 80, "backbone": {"name": "resnet50"}, "kernel_init": "normal(std=0.01)",
        # ResNet-50 without its head 23,508,032; laterals 918,272, levels 3 * 590,080, P6 and P7 2 * 590,080; two towers
        # of 4 * (589,824 + 512); 2,305 * (80 + 4 + 1); a scale for each of 5 levels
        "params": 32_295_322,
    },
    # a small one for scenes of 64 pixels and for photographs of some hundreds
    "fcos_small": {
        "input": (64, 64, 3), "outputs": 6, "channels": 64, "depth": 2, "extra": 0, "norm": "group(groups=8)",
        "backbone": {"name": "resnet18", "widths": (16, 32, 64, 128)},
        # ResNet-18 with a quarter of the width without its head 702,096; laterals 64 * 224 + 192; levels 3 * 36,928;
        # towers 4 * (36,864 + 128); 577 * (6 + 4 + 1); 3 scales
        "params": 981_726,
    },
    "fcos_tiny": {
        "input": (16, 16, 3), "outputs": 3, "channels": 8, "depth": 1, "extra": 1, "levels": (1, 2),
        "norm": "group(groups=2)", "backbone": {"name": "resnet8_tiny"},
        # ResNet-8 without its head 4,836; laterals 8 * (8 + 16) + 16; 3x3 kernels 584 * (2 + 1); towers 2 * (576 + 16);
        # predictions 73 * (3 + 4 + 1); 3 scales
        "params": 8_567,
    },
}  # fmt: skip


class FCOS(nn.Module):
    """A feature pyramid, and two towers shared by its levels: classes; distances and centreness.

    The distances of a level are `stride exp(s x)`, with a learned s of its own.

    Attributes:
        outputs: scores of a point.
        backbone: made from `config.model.backbone`, the name of a variant or a section with its `name`.
        levels: the stages that the pyramid reads.
        extra: levels of the pyramid beyond the last stage.
        channels: of the pyramid and the towers.
        depth: convolutions of a tower.
        reach: largest distance to a side on a level, in strides; there is no limit on the last level.
        prior: initial probability of every score.
        norm: normalisation of the towers (`nn/norms.py`).
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
    reach: Positive = 8.0
    prior: Inside = 0.01
    norm: str = "group(groups=32)"
    kernel_init: str = ""
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Scores all points.

        Args:
            x: float [b, h, w, c].
            train: batch statistics used and updated.

        Returns:
            logits [b, p, outputs]; {"distances": [b, p, 4] in pixels, "centreness": logits [b, p], "points": [p, 2] in
            pixels, "strides": [p], "ranges": [p, 2], "size": [2], height and width of the image, "stages", "levels"}.

        Raises:
            ConfigError: for images that are too small, or levels that the backbone has not.
        """
        check_images(x, self, "fcos")
        stages = self.backbone(x, train)[1].get("stages", ())
        init = {"kernel_init": self.kernel_init, "dtype": self.dtype}
        pyramid = FeaturePyramid(self.levels, self.channels, self.extra, "level", **init, name="pyramid")
        levels = pyramid(stages, train)
        tower = {"width": self.channels, "depth": self.depth, "norm": self.norm, **init}
        classes = DenseHead(self.outputs, prior=self.prior, **tower, name="classes")
        sides = DenseHead(5, **tower, name="sides")  # and the centreness
        logits, distances, centreness, places, low = [], [], [], [], 0.0
        for i, y in enumerate(levels):
            stride = stride_of(y.shape[1], x.shape[1])
            logits.append(classes(y, train))
            side = sides(y, train)
            scale = self.param(f"scale{i}", nn.initializers.ones, (), side.dtype)
            distances.append(stride * jnp.exp(jnp.minimum(scale * side[..., :4], 10.0)))
            centreness.append(side[..., 4])
            high = self.reach * stride if i < len(levels) - 1 else np.inf
            limits, low = (stride, low, high), high
            grid = points.point_grid(*y.shape[1:3], x.shape[1:3])
            places.append(np.concatenate([grid, np.broadcast_to(np.float32(limits), (len(grid), 3))], 1))
        place = jnp.asarray(np.concatenate(places), logits[0].dtype)  # [p, 5]
        return jnp.concatenate(logits, 1), {
            "distances": jnp.concatenate(distances, 1), "centreness": jnp.concatenate(centreness, 1),
            "points": place[:, :2], "strides": place[:, 2], "ranges": place[:, 3:],
            "size": jnp.asarray(x.shape[1:3], place.dtype), "stages": stages, "levels": levels,
        }  # fmt: skip

    def criterion(self, sections: Sections) -> Criterion:
        """Focal loss, a loss of corners and the cross-entropy of the centreness (Tian et al. 2019, equation 2).

        `config.match` is of `ops.points.point_targets`; `config.boxes` names a loss of `ops.losses.boxes`, by default
        "giou". Detections are scored by `sqrt(class score * centreness)`.

        Raises:
            ConfigError: for a loss with a background, or a section that does not fit its function.
        """
        given = ("boxes", "labels", "mask", "points", "strides", "ranges")
        match = partially(points.point_targets, sections["match"], "config.match", *given)
        class_loss, background = class_loss_of(sections)
        if background:
            raise ConfigError(f"config.loss.name={sections['loss']['name']!r} is of anchors; fcos needs 'focal'")
        weight, name, rest = weight_of(sections["boxes"], "giou")
        corner_loss = corner_loss_of(name, rest)

        def losses(logits: jax.Array, out: dict, truth: dict) -> tuple[dict[str, jax.Array], jax.Array]:
            size = jnp.tile(out["size"], 2)[None, None]
            targets = jax.vmap(partial(match, **{key: out[key] for key in given[3:]}))
            label, distance = targets(truth["boxes"] * size, truth["labels"], truth["mask"])  # [b, p], [b, p, 4]
            positive, where = label > 0, out["points"][None]
            predicted, true = (points.from_distances(where, d) for d in (out["distances"], distance))
            far = jnp.where(positive, weight * corner_loss(predicted, true), 0).sum(1)
            central = optax.sigmoid_binary_cross_entropy(out["centreness"], points.centreness(distance))
            parts, count = parts_of(class_loss(logits, label).sum(1), far, positive.sum(1))
            parts["centreness_loss"] = jnp.where(positive, central, 0).sum(1)
            return {**parts, "loss": parts["loss"] + parts["centreness_loss"]}, count

        def decode(logits: jax.Array, out: dict) -> tuple[jax.Array, jax.Array]:
            made = points.from_distances(out["points"][None], out["distances"]) / jnp.tile(out["size"], 2)[None, None]
            scores = jax.nn.sigmoid(logits) * jax.nn.sigmoid(out["centreness"])[..., None]
            return made, jnp.sqrt(scores)

        return Criterion(losses, decode)


def build(variant: str, outputs: int, dtype: Any = jnp.float32, remat: bool = False, **overrides: Any) -> FCOS:
    """A variant of the table with overrides."""
    row = VARIANTS[variant]
    more = {"outputs": outputs, "dtype": dtype, "remat": remat}
    return from_row(FCOS, row, with_backbone(row, overrides, dtype, remat), **more)
