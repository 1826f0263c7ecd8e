"""YOLO v1: one convolutional network with two dense layers, whose outputs are the boxes and classes of a grid of cells.

Reference: Redmon et al. 2016, "You Only Look Once: Unified, Real-Time Object Detection", section 2 and figure 3.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Share, Size, partially
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.criterion import Criterion, Sections, named_parts, refuse
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images, remat_block
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.pooling import max_pool
from cvdl_jax.nn.residual import Style
from cvdl_jax.ops.cells import cell_corners, from_cells
from cvdl_jax.ops.losses import yolo
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Redmon et al. 2016, figure 3: 24 convolutions and 2 dense layers, 7x7x30
    "yolo_v1": {
        "input": (448, 448, 3), "outputs": 20,
        # k^2 c c' + c' of the stages: 9,472 + 110,784 + 1,565,824 + 10,228,224 + 48,241,664; 7 * 7 * 1024 * 4096 + 4096
        # and 4096 * 1470 + 1470
        "params": 271_703_550,
    },
    # for scenes of 64 pixels and for photographs of some hundreds, with batch normalisation and cells of 16 pixels
    "yolo_v1_small": {
        "input": (64, 64, 3), "outputs": 6, "norm": "batch", "units": 256, "dropout": 0.0, "slope": 0.1,
        "stages": (((3, 16, 1),), ((3, 32, 1),), ((3, 64, 1),), ((3, 128, 1),), ((3, 128, 1), (1, 32, 1))),
        # kernels 9 * (3 * 16 + 16 * 32 + 32 * 64 + 64 * 128 + 128 * 128) + 128 * 32, norms 2 * (16 + 32 + 64 + 128 +
        # 128 + 32); 16 * 32 * 256 + 256; 256 * 256 + 256
        "params": 446_672,
    },
    "yolo_v1_tiny": {
        "input": (16, 16, 3), "outputs": 3, "units": 8, "norm": "batch",
        "stages": (((3, 4, 2),), ((1, 4, 1), (3, 6, 2))),
        # kernels 9 * 3 * 4 + 4 * 4 + 9 * 4 * 6, norms 2 * (4 + 4 + 6); 2 * 2 * 6 * 8 + 8; 8 * 4 * 13 + 52
        "params": 1_036,
    },
}  # fmt: skip
# (kernel, channels, stride) of the convolutions; between the stages is a maximum over 2x2 pixels
_BOTTLENECK = ((1, 256, 1), (3, 512, 1))
_WIDE = ((1, 512, 1), (3, 1024, 1))
STAGES = (
    ((7, 64, 2),),
    ((3, 192, 1),),
    ((1, 128, 1), (3, 256, 1), (1, 256, 1), (3, 512, 1)),
    (*(_BOTTLENECK * 4), (1, 512, 1), (3, 1024, 1)),
    (*(_WIDE * 2), (3, 1024, 1), (3, 1024, 2), (3, 1024, 1), (3, 1024, 1)),
)


class Stage(nn.Module):
    """Convolutions with leaky ReLU."""

    convolutions: tuple[tuple[int, int, int], ...]
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics. Returns: [b, h / strides, w / strides, channels]."""
        for i, (size, channels, stride) in enumerate(self.convolutions):
            x = self.style.convolution(channels, size, stride, f"conv{i}", self.style.activation)(x)
            x = self.style.activate(x, train, f"norm{i}")
        return x


class YoloV1(nn.Module):
    """Convolutions, a dense layer, and a dense layer to `5 B + C` numbers for each cell.

    The numbers of a cell are y, x, sqrt(h), sqrt(w) and confidence of each of B boxes, then p of each class. An image
    has one cell for each pixel of the last map, so the dense layers are for images of one size.

    Attributes:
        outputs: C, the number of classes.
        boxes: B, boxes of a cell.
        stages: (kernel, channels, stride) of the convolutions of every stage; the maximum over 2x2 pixels between them.
        units: of the first dense layer.
        dropout: rate behind it.
        slope: of leaky ReLU for negative inputs.
        norm: normalisation of the convolutions (`nn/norms.py`); the paper has none.
        remat: recompute stages in the backward pass.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    outputs: int
    boxes: Size = 2
    stages: tuple[tuple[tuple[Size, Size, Size], ...], ...] = STAGES
    units: Size = 4096
    dropout: Share = 0.5
    slope: Share = 0.1
    norm: str = "none"
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Predicts the boxes and classes of the cells.

        Args:
            x: float [b, h, w, c]; a cell for every product of all strides, rounded up.
            train: dropout on, batch statistics used and updated.

        Returns:
            p of the classes [b, rows, columns, C]; {"places": [b, rows, columns, B, 4], "confidence": [b, rows,
            columns, B], "stages": the maps of every stage}.

        Raises:
            ConfigError: for images that are too small.
        """
        check_images(x, self, "yolo_v1", 2 ** (len(self.stages) - 1))
        g = f"leaky_relu(slope={self.slope})"
        style = Style(self.norm, activation=g, dtype=self.dtype)
        x, stages = x.astype(self.dtype), []
        for i, convolutions in enumerate(self.stages):
            x = max_pool(x, 2) if i else x
            x = remat_block(Stage, self.remat)(convolutions, style, name=f"stage{i}")(x, train)
            stages.append(x)
        b, rows, columns, _ = x.shape
        wide = at_least_float32(self.dtype)
        x = nn.Dense(self.units, dtype=self.dtype, param_dtype=wide, name="dense")(x.reshape(b, -1))
        x = Dropout(self.dropout)(activation(g)(x), train)
        size = 5 * self.boxes + self.outputs
        x = nn.Dense(rows * columns * size, dtype=wide, param_dtype=wide, name="cells")(x.astype(wide))
        x = x.reshape(b, rows, columns, size)
        own = x[..., : 5 * self.boxes].reshape(b, rows, columns, self.boxes, 5)
        return x[..., 5 * self.boxes :], {"places": own[..., :4], "confidence": own[..., 4], "stages": tuple(stages)}

    def criterion(self, sections: Sections) -> Criterion:
        """The five terms of `ops.losses.yolo.cells`, whose weights are `config.loss`; detections score p times C.

        Raises:
            ConfigError: for `match` or `boxes`, or a loss of another form.
        """
        refuse(sections, ("match", "boxes"), "yolo_v1")
        given = ("places", "confidence", "scores", "boxes", "labels", "mask")
        loss = partially(yolo.cells, sections["loss"], "config.loss", *given)

        def losses(logits: jax.Array, out: dict, truth: dict) -> tuple[dict[str, jax.Array], jax.Array]:
            arrays = (out["places"], out["confidence"], logits, *(truth[name] for name in given[3:]))
            parts = jax.vmap(lambda *row: loss(**dict(zip(given, row, strict=True))))(*arrays)
            return named_parts(parts), jnp.ones(len(logits), logits.dtype)

        return Criterion(losses, partial(_decode, self.boxes))


def _decode(count: int, logits: jax.Array, out: dict) -> tuple[jax.Array, jax.Array]:
    b, rows, columns, classes = logits.shape
    places = jnp.concatenate([out["places"][..., :2], out["places"][..., 2:] ** 2], -1)
    corner = cell_corners(rows, columns, places.dtype).reshape(1, rows, columns, 1, 2)
    made = from_cells(places, jnp.broadcast_to(corner, (*places.shape[:-1], 2)), rows, columns)
    scores = jnp.clip(logits, 0, 1)[..., None, :] * jnp.clip(out["confidence"], 0, 1)[..., None]
    return made.reshape(b, -1, 4), scores.reshape(b, rows * columns * count, classes)


def build(variant: str, outputs: int, dtype: Any = jnp.float32, **overrides: Any) -> YoloV1:
    """A variant of the table with overrides.

    Raises:
        ConfigError: for no stages.
    """
    model = from_row(YoloV1, VARIANTS[variant], overrides, outputs=outputs, dtype=dtype)
    if not model.stages or not all(model.stages):
        raise ConfigError(f"config.model.stages={model.stages} needs (kernel, channels, stride) in every stage")
    return model
