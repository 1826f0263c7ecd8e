"""Classification with localisation: the class and the bounding box of one object per image."""

from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from cvdl_jax.ops.losses.reduction import reducible
from cvdl_jax.ops.losses.regression import l2
from cvdl_jax.ops.value_checks import between, floats, same_shape


@reducible
def classification_localisation(
    logits: Any, boxes: Any, labels: Any, true_boxes: Any, box_weight: float = 1.0
) -> jax.Array:
    """Cross-entropy over background and K classes, plus the squared error of the box where there is an object.

    `L = - log p_y + w [y != 0] sum_{x, y, h, w} (b - t)^2`.

    Args:
        logits: float [b, K + 1], background first.
        boxes: b, predicted, in any parametrisation, float [b, 4].
        labels: y, int [b], 0 for no object.
        true_boxes: t, float [b, 4]; rows without an object may hold anything.
        box_weight: w, 0 or more.

    Returns:
        float32 [b].

    Raises:
        ConfigError: for logits and labels that do not fit together.
        ValueError: for boxes of another shape, NaN, a label that is no class (NaN inside jit), or a negative weight.

    Reference: Sermanet et al. 2014, "OverFeat", section 4, trains the two parts one after the other.
    """
    between("box_weight", box_weight, 0.0, float("inf"))
    logits, labels = floats("logits", logits), jnp.asarray(labels)
    classification = softmax_cross_entropy(logits, labels)
    if labels.ndim != 1:
        raise ValueError(f"labels must be int [b], got shape {list(labels.shape)}: a box belongs to one class")
    boxes, true_boxes = floats("boxes", boxes), jnp.asarray(true_boxes)
    same_shape(boxes=boxes, true_boxes=true_boxes)
    if boxes.shape != (*labels.shape, 4):
        raise ValueError(f"boxes must be [{len(labels)}, 4], one for each row of logits, got {list(boxes.shape)}")
    present = (labels != 0)[:, None]  # [b, 1]
    targets = jnp.where(present, true_boxes.astype(boxes.dtype), jax.lax.stop_gradient(boxes))
    localisation = jnp.where(present, l2(boxes, targets), 0.0).sum(1)  # [b]
    return classification + box_weight * localisation
