"""How much boxes, or binary masks, overlap: IoU of every pair, in float64 on the host."""

import math
from typing import Literal

import numpy as np

from cvdl_jax.errors import DataError

Kind = Literal["boxes", "masks"]


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of boxes [n, 4] and [m, 4] in float64: [n, m]; 0 for two empty boxes."""
    a, b = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]

    def sides(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.prod(np.maximum(high - low, 0), -1)

    shared = sides(np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:]))
    union = sides(a[..., :2], a[..., 2:]) + sides(b[..., :2], b[..., 2:]) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def pairwise_mask_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of binary masks [n, h, w] and [m, h, w] in pixels: float64 [n, m]; 0 for two empty masks.

    Raises:
        DataError: for masks that are not binary, or of different size.
    """
    flat = []
    for name, masks in (("first", a), ("second", b)):
        masks = np.asarray(masks)
        if masks.ndim != 3 or np.shape(a)[1:] != np.shape(b)[1:]:
            raise DataError(f"masks must be [n, h, w] and [m, h, w], got {list(np.shape(a))} and {list(np.shape(b))}")
        if masks.dtype != bool and not np.isin(masks, (0, 1)).all():
            raise DataError(f"the {name} masks hold other values than 0 and 1; threshold them first")
        flat.append(masks.reshape(len(masks), math.prod(masks.shape[1:])).astype(np.float64))  # [n, h w]
    shared = flat[0] @ flat[1].T
    union = flat[0].sum(1)[:, None] + flat[1].sum(1)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


OVERLAPS = {"boxes": pairwise_iou, "masks": pairwise_mask_iou}
