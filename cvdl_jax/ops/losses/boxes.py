"""Losses of predicted boxes by their overlap with the true ones. `config.boxes.name` is the name of one of them.

`1 - IoU` and its generalisations do not depend on the scale of a box; that of plain IoU has no gradient where boxes do
not overlap.
"""

import jax

from cvdl_jax.ops import boxes as measures


def iou(boxes: jax.Array, true_boxes: jax.Array) -> jax.Array:
    """`1 - IoU` of each box and its partner, in 0..1.

    Args:
        boxes: predicted corners, float [..., 4].
        true_boxes: float [..., 4].

    Returns:
        [...].

    Reference: Yu et al. 2016, "UnitBox", which takes the logarithm.
    """
    return 1 - measures.of_pairs(measures.iou, boxes, true_boxes)


def giou(boxes: jax.Array, true_boxes: jax.Array) -> jax.Array:
    """`1 - GIoU` of each box and its partner, in 0..2.

    Args:
        boxes: predicted corners, float [..., 4].
        true_boxes: float [..., 4].

    Returns:
        [...].

    Reference: Rezatofighi et al. 2019, "Generalized Intersection over Union", algorithm 2.
    """
    return 1 - measures.of_pairs(measures.giou, boxes, true_boxes)


def diou(boxes: jax.Array, true_boxes: jax.Array) -> jax.Array:
    """`1 - DIoU` of each box and its partner, in 0..2.

    Args:
        boxes: predicted corners, float [..., 4].
        true_boxes: float [..., 4].

    Returns:
        [...].

    Reference: Zheng et al. 2020, "Distance-IoU Loss", equation 8.
    """
    return 1 - measures.of_pairs(measures.diou, boxes, true_boxes)
