"""The sliding window: a classifier with a background class on every window of an image, at several sizes.

A window of size r times that of the classifier is cut from an image that is r times smaller. Without padding in the
classifier the convolutional form, which shares what windows have in common, gives the same scores as one crop after the
other, at a fraction of the cost.

Reference: Sermanet et al. 2014, "OverFeat", section 3.5.
"""

import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.criterion import Criterion, Sections, anchored, with_backbone
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.sliding import sliding

VARIANTS = {
    # LeNet-5 in its modern form on windows of 16, 22 and 32 pixels of scenes of 64
    "sliding_window": {
        "input": (64, 64, 3), "outputs": 7, "sizes": (0.25, 0.35, 0.5),
        "classifier": {"name": "lenet5", "smallest": 16, "maps": (16, 32), "activation": "relu", "pool": "max"},
        # 5x5 kernels 75 * 16 + 16 and 400 * 32 + 32; 32 * 120 + 120, 120 * 84 + 84, 84 * 7 + 7
        "params": 28_767,
    },
    "sliding_window_tiny": {
        "input": (24, 24, 3), "outputs": 4, "sizes": (0.7, 1.0), "classifier": {"name": "lenet5_tiny"},
        # 75 * 2 + 2 + 50 * 4 + 4; 4 * 8 + 8, 8 * 8 + 8, 8 * 4 + 4
        "params": 504,
    },
}  # fmt: skip


class SlidingWindow(nn.Module):
    """A classifier on all windows of some sizes.

    Attributes:
        outputs: scores of a window, the background first.
        classifier: made from `config.model.classifier`, a section with the `name` of a backbone without padding that
            has a dense layer on a map, such as lenet5, and no running averages.
        window: side of the classifier's images in pixels.
        stride: product of the classifier's strides, the distance between its windows in pixels.
        sizes: sides of the windows, in heights of the image.
        form: "convolutional", or "crops" for one window after the other; the scores are equal.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    outputs: int
    classifier: nn.Module
    window: Size = 16
    stride: Size = 4
    sizes: tuple[Positive, ...] = (0.25, 0.5)
    form: Literal["convolutional", "crops"] = "convolutional"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Scores all windows.

        Args:
            x: float [b, h, w, c].
            train: has no effect; a classifier with dropout or running averages is refused.

        Returns:
            logits [b, a, outputs]; {"anchors": the windows [a, 4] in 0..1, "deltas": zeros [b, a, 4]}.

        Raises:
            ConfigError: for images that are too small for a window, or another classifier.
        """
        check_images(x, self, "sliding_window")
        shape = (self.window, self.window, x.shape[-1])
        if self.is_initializing():
            self.classifier(jnp.zeros((1, *shape), x.dtype), False)
        if set(self.classifier.variables) != {"params"}:
            raise ConfigError("config.model.classifier: a sliding window needs one without running averages; norm=none")
        model, variables = self.classifier.clone(parent=None, name=None), dict(self.classifier.variables)
        logits, windows = [], []
        for size in self.sizes:
            zoom = self.window / (size * x.shape[1])
            sides = [round(n * zoom) for n in x.shape[1:3]]
            if min(sides) < self.window:
                raise ConfigError(
                    f"config.model.sizes={self.sizes}: a window of {size} heights does not fit into an image of "
                    f"{x.shape[1]}x{x.shape[2]} pixels; use at most {min(x.shape[1:3]) / x.shape[1]:.3g}"
                )
            small = jax.image.resize(x, (len(x), *sides, x.shape[-1]), "linear", antialias=True)
            if self.form == "convolutional":
                scores = sliding(model, variables, shape)(small)  # [b, rows, columns, outputs]
                rows, columns = scores.shape[1:3]
            else:
                rows, columns = ((n - self.window) // self.stride + 1 for n in sides)
                scores = _crop_by_crop(model, variables, small, self.window, self.stride, (rows, columns))
            logits.append(scores.reshape(len(x), rows * columns, -1))
            windows.append(window_grid(rows, columns, self.window, self.stride, sides))
        windows = jnp.asarray(np.concatenate(windows), logits[0].dtype)
        deltas = jnp.zeros((len(x), len(windows), 4), logits[0].dtype)
        return jnp.concatenate(logits, 1), {"anchors": windows, "deltas": deltas}

    def criterion(self, sections: Sections) -> Criterion:
        """The class loss of anchors, whose windows are not moved: `boxes.weight` has to be 0.

        Raises:
            ConfigError: for a loss of boxes.
        """
        if sections["boxes"].get("weight") != 0:
            raise ConfigError("config.boxes: a sliding window moves no box; set config.boxes={'weight': 0.0}")
        return anchored(sections)


def _crop_by_crop(
    model: nn.Module, variables: Any, x: jax.Array, window: int, stride: int, grid: tuple[int, int]
) -> jax.Array:
    """Scores [b, rows, columns, outputs] of windows that are cut out and classified one after the other."""
    places = np.meshgrid(*(np.arange(n) * stride for n in grid), indexing="ij")
    corners = jnp.asarray(np.stack(places, -1).reshape(-1, 2))

    def score(corner: jax.Array) -> jax.Array:
        crop = jax.lax.dynamic_slice(x, (0, corner[0], corner[1], 0), (len(x), window, window, x.shape[-1]))
        return model.apply(variables, crop, False)[0]

    return jnp.moveaxis(jax.lax.map(score, corners), 0, 1).reshape(len(x), *grid, -1)


def window_grid(rows: int, columns: int, window: int, stride: int, sides: list[int]) -> np.ndarray:
    """The windows of a map of scores: float32 [rows * columns, 4] in 0..1 of an image of `sides` pixels."""
    y, x = np.meshgrid(np.arange(rows) * stride, np.arange(columns) * stride, indexing="ij")
    low = np.stack([y, x], -1).reshape(-1, 2)
    return (np.concatenate([low, low + window], 1) / np.tile(sides, 2)).astype(np.float32)


def build(variant: str, outputs: int, dtype: Any = jnp.float32, **overrides: Any) -> SlidingWindow:
    """A variant of the table with overrides.

    Raises:
        ConfigError: for no sizes, or an unknown classifier.
    """
    row = VARIANTS[variant]
    overrides = with_backbone(row, overrides, dtype, field="classifier", num_classes=outputs)
    model = from_row(SlidingWindow, row, overrides, outputs=outputs, dtype=dtype)
    if not model.sizes or not all(math.isfinite(size) for size in model.sizes):
        raise ConfigError(f"config.model.sizes={model.sizes} needs sides of windows, such as (0.25, 0.5)")
    return model
