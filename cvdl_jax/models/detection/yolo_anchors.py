"""YOLO with anchors: every cell of a map has a few shapes, each with a box, an objectness and classes.

Reference: Redmon and Farhadi 2017, "YOLO9000: Better, Faster, Stronger", section 2.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Inside, Positive, Size, partially
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.criterion import Criterion, Sections, named_parts, refuse, with_backbone
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.dense_heads import DenseHead
from cvdl_jax.nn.necks import chosen_stages
from cvdl_jax.ops.losses import yolo

VARIANTS = {
    # a small one for scenes of 64 pixels and for photographs of some hundreds
    "yolo_anchors_small": {
        "input": (64, 64, 3), "outputs": 6, "backbone": {"name": "resnet18", "widths": (16, 32, 64, 128)},
        # ResNet-18 with a quarter of the width without its head 702,096; 9 * 64 * 64 and norms 2 * 64;
        # 577 * 3 * (5 + 6)
        "params": 758_129,
    },
    "yolo_anchors_tiny": {
        "input": (16, 16, 3), "outputs": 3, "backbone": {"name": "resnet8_tiny"}, "width": 8,
        # ResNet-8 without its head 4,836; 9 * 16 * 8 and norms 2 * 8; 73 * 3 * (5 + 3)
        "params": 7_756,
    },
}  # fmt: skip


class YoloAnchors(nn.Module):
    """A backbone and a convolutional head on one of its stages.

    Attributes:
        outputs: number of classes.
        backbone: made from `config.model.backbone`, the name of a variant or a section with its `name`.
        level: the stage with the head.
        shapes: heights and widths of the anchors in 0..1 of the image; `ops.cells.clustered_shapes` finds those of a
            data set.
        width: channels of the head.
        depth: 3x3 convolutions of the head before the last one.
        prior: initial probability of an object.
        norm: normalisation of the head (`nn/norms.py`).
        remat: recompute blocks of the backbone in the backward pass.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    outputs: int
    backbone: nn.Module
    level: Counted = 2
    shapes: tuple[tuple[Positive, Positive], ...] = ((0.2, 0.2), (0.35, 0.2), (0.3, 0.35))
    width: Size = 64
    depth: Counted = 1
    prior: Inside = 0.01
    norm: str = "batch"
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Scores the anchors of every cell.

        Args:
            x: float [b, h, w, c].
            train: batch statistics used and updated.

        Returns:
            logits of the classes [b, rows, columns, a, outputs]; {"raw": t_y, t_x, t_h, t_w, t_o [b, rows, columns, a,
            5], "stages": of the backbone}.

        Raises:
            ConfigError: for images that are too small, or a level that the backbone has not.
        """
        check_images(x, self, "yolo_anchors")
        stages = self.backbone(x, train)[1].get("stages", ())
        (y,) = chosen_stages(stages, (self.level,))
        count = len(self.shapes)
        tower = {"width": self.width, "depth": self.depth, "norm": self.norm, "activation": "leaky_relu(slope=0.1)"}
        head = DenseHead(5 + self.outputs, count, **tower, prior=0.5, dtype=self.dtype, name="cells")
        z = head(y, train).reshape(len(y), *y.shape[1:3], count, 5 + self.outputs)
        start = jnp.log(self.prior / (1 - self.prior))
        raw = jnp.concatenate([z[..., :4], z[..., 4:5] + start], -1)
        return z[..., 5:], {"raw": raw, "stages": stages}

    def criterion(self, sections: Sections) -> Criterion:
        """`ops.losses.yolo.anchored_cells`, whose weights are `config.loss`; scores are objectness times class.

        Raises:
            ConfigError: for `match` or `boxes`, or a loss of another form.
        """
        refuse(sections, ("match", "boxes"), "yolo_anchors")
        given = ("raw", "scores", "boxes", "labels", "mask")
        loss = partially(yolo.anchored_cells, sections["loss"], "config.loss", *given, "shapes")
        shapes = jnp.asarray(self.shapes, jnp.float32)

        def losses(logits: jax.Array, out: dict, truth: dict) -> tuple[dict[str, jax.Array], jax.Array]:
            arrays = (out["raw"], logits, *(truth[name] for name in given[2:]))
            parts = jax.vmap(lambda *row: loss(**dict(zip(given, row, strict=True)), shapes=shapes))(*arrays)
            return named_parts(parts), jnp.ones(len(logits), logits.dtype)

        def decode(logits: jax.Array, out: dict) -> tuple[jax.Array, jax.Array]:
            made = jax.vmap(yolo.decode_anchored, (0, None))(out["raw"], shapes)
            scores = jax.nn.softmax(logits) * jax.nn.sigmoid(out["raw"][..., 4:5])
            return made.reshape(len(made), -1, 4), scores.reshape(len(made), -1, logits.shape[-1])

        return Criterion(losses, decode)


def build(variant: str, outputs: int, dtype: Any = jnp.float32, remat: bool = False, **overrides: Any) -> YoloAnchors:
    """A variant of the table with overrides.

    Raises:
        ConfigError: for no shapes.
    """
    row = VARIANTS[variant]
    more = {"outputs": outputs, "dtype": dtype, "remat": remat}
    model = from_row(YoloAnchors, row, with_backbone(row, overrides, dtype, remat), **more)
    if not model.shapes:
        raise ConfigError(
            "config.model.shapes=() needs heights and widths of anchors, such as ((0.2, 0.2), (0.4, 0.3))"
        )
    return model
