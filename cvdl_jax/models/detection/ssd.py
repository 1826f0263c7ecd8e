"""SSD: stages of a backbone and smaller maps behind them, each with its own 3x3 convolutions to default boxes.

Reference: Liu et al. 2016, "SSD: Single Shot MultiBox Detector", section 2.
"""

from itertools import pairwise
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config.binding import Counted, Inside, Positive, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.criterion import Criterion, Sections, anchored, with_backbone
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.dense_heads import DenseHead
from cvdl_jax.nn.necks import chosen_stages
from cvdl_jax.nn.residual import Style
from cvdl_jax.ops.anchors import shapes_on_grid

VARIANTS = {
    # a small one for scenes of 64 pixels and for photographs of some hundreds; 6 classes and the background
    "ssd_small": {
        "input": (64, 64, 3), "outputs": 7, "backbone": {"name": "resnet18", "widths": (16, 32, 64, 128)},
        # ResNet-18 with a quarter of the width without its head 702,096; extra maps 128 * 32 + 9 * 32 * 64 and
        # 64 * 32 + 9 * 32 * 64 and norms 2 * (32 + 64) each; predictions (9 * c + 1) * 6 * (7 + 4) of 32, 64, 128,
        # 64 and 64 channels
        "params": 954_906,
    },
    "ssd_tiny": {
        "input": (16, 16, 3), "outputs": 4, "backbone": {"name": "resnet8_tiny"}, "levels": (1, 2), "extra": (8,),
        "ratios": (2.0,),
        # ResNet-8 without its head 4,836; 16 * 4 + 9 * 4 * 8 and norms 2 * 12; (9 * c + 1) * 4 * (4 + 4) of 8, 16, 8
        "params": 14_524,
    },
}  # fmt: skip


class SSD(nn.Module):
    """Maps of several sizes, and for each cell of map k default boxes of size s_k and of the ratios 1, r and 1 / r.

    `s_k = smallest + (largest - smallest) (k - 1) / (m - 1)`; the ratio 1 also has a box of size `sqrt(s_k s_{k+1})`.

    Attributes:
        outputs: scores of a box.
        backbone: made from `config.model.backbone`, the name of a variant or a section with its `name`.
        levels: the stages with a head.
        extra: channels of the maps behind the last stage; each halves the last one by a 1x1 convolution to half as
            many channels and a 3x3 convolution of stride 2.
        smallest: size on the first map, the square root of the area in heights of the image.
        largest: size on the last map.
        ratios: of longer to shorter sides, beside 1.
        norm: normalisation of the extra maps (`nn/norms.py`).
        prior: initial probability of every score through a sigmoid; 0.5 for a softmax.
        remat: recompute blocks of the backbone in the backward pass.
        dtype: dtype of all layers but the predictions, which are at least float32.

    Reference: Liu et al. 2016, equation 4 and section 2.2; 0.2 and 0.9 there.
    """

    outputs: int
    backbone: nn.Module
    levels: tuple[Counted, ...] = (1, 2, 3)
    extra: tuple[Size, ...] = (64, 64)
    smallest: Positive = 0.2
    largest: Positive = 0.9
    ratios: tuple[Positive, ...] = (2.0, 3.0)
    norm: str = "batch"
    prior: Inside = 0.5
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Scores all default boxes.

        Args:
            x: float [b, h, w, c].
            train: batch statistics used and updated.

        Returns:
            logits [b, a, outputs]; {"deltas": [b, a, 4], "anchors": [a, 4] in 0..1, "stages": of the backbone,
            "levels": the maps with a head}.

        Raises:
            ConfigError: for images that are too small, or levels that the backbone has not.
        """
        check_images(x, self, "ssd")
        stages = self.backbone(x, train)[1].get("stages", ())
        levels = chosen_stages(stages, self.levels)
        style = Style(self.norm, dtype=self.dtype)
        for i, channels in enumerate(self.extra):
            y = style.convolution(max(channels // 2, 1), 1, 1, f"extra{i}_reduce", "relu")(levels[-1])
            y = style.activate(y, train, f"extra{i}_reduce_norm")
            y = style.convolution(channels, 3, 2, f"extra{i}", "relu")(y)
            levels.append(style.activate(y, train, f"extra{i}_norm"))
        shapes = default_shapes(len(levels), self.smallest, self.largest, self.ratios, x.shape[1] / x.shape[2])
        logits, deltas, anchors = [], [], []
        for i, y in enumerate(levels):
            head = {"anchors": len(shapes[i]), "depth": 0, "dtype": self.dtype}
            logits.append(DenseHead(self.outputs, prior=self.prior, **head, name=f"classes{i}")(y, train))
            deltas.append(DenseHead(4, **head, name=f"boxes{i}")(y, train))
            anchors.append(shapes_on_grid(*y.shape[1:3], shapes[i]))
        anchors = jnp.asarray(np.concatenate(anchors), logits[0].dtype)
        out = {"deltas": jnp.concatenate(deltas, 1), "anchors": anchors, "stages": stages, "levels": tuple(levels)}
        return jnp.concatenate(logits, 1), out

    def criterion(self, sections: Sections) -> Criterion:
        """Losses and boxes of anchors; see `models/criterion.py`."""
        return anchored(sections)


def default_shapes(
    maps: int, smallest: float, largest: float, ratios: tuple[float, ...], aspect: float = 1.0
) -> list[np.ndarray]:
    """Heights and widths of the default boxes of each map, [2 + 2 len(ratios), 2] in heights and widths of the image.

    Args:
        maps: their number, m.
        smallest: s_1.
        largest: s_m.
        ratios: of longer to shorter sides.
        aspect: height / width of the image.
    """
    step = (largest - smallest) / max(maps - 1, 1)
    shapes = []
    for size, larger in pairwise(smallest + step * k for k in range(maps + 1)):
        sides = [(size, size), (np.sqrt(size * larger),) * 2]
        sides += [(size * r**e, size / r**e) for r in ratios for e in (0.5, -0.5)]
        shapes.append(np.asarray(sides) * [1, aspect])
    return shapes


def build(variant: str, outputs: int, dtype: Any = jnp.float32, remat: bool = False, **overrides: Any) -> SSD:
    """A variant of the table with overrides.

    Raises:
        ConfigError: for a largest size below the smallest one.
    """
    row = VARIANTS[variant]
    more = {"outputs": outputs, "dtype": dtype, "remat": remat}
    model = from_row(SSD, row, with_backbone(row, overrides, dtype, remat), **more)
    if model.largest < model.smallest:
        raise ConfigError(f"config.model.largest={model.largest} must be at least smallest={model.smallest}")
    return model
