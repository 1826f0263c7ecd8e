"""A convolutional network that looks at each frame of a clip, and a recurrent one that reads what it saw.

Reference: Donahue et al. 2015, "Long-term Recurrent Convolutional Networks for Visual Recognition and Description",
section 4.1 and figure 3, which averages the scores of all times; here the last state has seen all frames.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.criterion import with_backbone
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.structures import SequenceLabeller

VARIANTS = {
    # sizes of ours, for clips of 8 frames of 24x24 pixels: LRCN with few units
    "lrcn": {
        "input": (8, 24, 24, 1), "num_classes": 5, "structure": "many_to_one", "steps": 1, "backbone": {
            "name": "convnet", "channels": (8, 16, 16), "units": (32,)
        },
        # convolutions 80 + 1,168 + 2,320, dense layer (3 * 3 * 16 + 1) * 32; 4 * 64 * (32 + 64 + 1) + 65 * 5
        "params": 33_365,
    },
    "lrcn_tiny": {
        "input": (3, 16, 16, 1), "num_classes": 5, "structure": "many_to_one", "steps": 1, "units": 4, "backbone": {
            "name": "resnet8_tiny"
        },
        # ResNet-8 of one channel without its head 4,764; 4 * 4 * (16 + 4 + 1) + 5 * 5
        "params": 5_125,
    },
}  # fmt: skip


class FrameReader(nn.Module):
    """A backbone on every frame, alike, then a recurrent network on the sequence of its features.

    Attributes:
        num_classes: scores of an output.
        backbone: made from `config.model.backbone`, the name of a variant or a section with its `name`; its features
            before the scores are what is read.
        structure: "many_to_one", "many_to_many" or "delayed" (`nn/structures.py`).
        steps: outputs of "delayed".
        cell: see `SequenceLabeller`, as all that follow.
        layers: number of recurrent layers.
        units: of every layer.
        bidirectional: every layer reads both ways.
        dropout: rate on the output of each layer.
        remat: recompute blocks of the backbone in the backward pass.
        dtype: of the backbone and the matrix products.
    """

    num_classes: int
    backbone: nn.Module
    structure: str = "many_to_one"
    steps: Size = 1
    cell: str = "lstm"
    layers: Layers = 1
    units: Size = 64
    bidirectional: bool = False
    dropout: Share = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Scores of the outputs.

        Args:
            x: float [b, t, h, w, c].
            train: dropout on, batch statistics used and updated.

        Returns:
            scores [b, num_classes], or [b, t or steps, num_classes]; {"pre_logits": the states they are made of,
            "features": of every frame, [b, t, d]}.

        Raises:
            ConfigError: for an input of another shape.
        """
        if x.ndim != 5:
            raise ConfigError(f"lrcn takes clips [b, t, h, w, c], got shape {x.shape}; for vectors use lstm_labeller")
        b, t = x.shape[:2]
        features = self.backbone(x.reshape(b * t, *x.shape[2:]), train)[1]["pre_logits"].reshape(b, t, -1)
        fields = ("num_classes", "structure", "steps", "cell", "layers", "units", "bidirectional", "dropout", "dtype")
        reader = SequenceLabeller(**{field: getattr(self, field) for field in fields}, name="reader")
        scores, out = reader(features, train)
        return scores, {**out, "features": features}


def build(
    variant: str, num_classes: int, structure: str, steps: int, dtype: Any = jnp.float32, remat: bool = False,
    **overrides: Any,
) -> FrameReader:  # fmt: skip
    """A variant of the table with overrides."""
    row = VARIANTS[variant]
    overrides = with_backbone(row, overrides, dtype, remat)
    context = {"num_classes": num_classes, "structure": structure, "steps": steps, "dtype": dtype, "remat": remat}
    return from_row(FrameReader, row, overrides, **context)
