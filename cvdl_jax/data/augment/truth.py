"""Operations that change the labels and boxes the model should find, and nothing else: images pass bit for bit.

Those that move an image together with its boxes and masks are in `geometry.py`, `affine.py` and `crops.py`.
"""

import jax
import jax.numpy as jnp

from cvdl_jax.data.augment._carry import check_boxes
from cvdl_jax.data.augment._rows import check_number, check_probability, chosen
from cvdl_jax.data.augment._truth import classes, find, soft
from cvdl_jax.errors import ConfigError
from cvdl_jax.parallel import row_random


def label_noise(probability: float = 0.1, entry: str = "label", num_classes: int | None = None):
    """Replaces class labels by one of the other classes, all equally likely.

    It draws anew each time an example is seen; the paper corrupts the labels of a data set once, and keeps them.

    Args:
        probability: of each label.
        entry: of the batch, int [b] or, for objects, [b, n]; those of padding stay.
        num_classes: at least 2.

    Raises:
        ConfigError: for a missing entry, or labels that are soft or of fewer than two classes.

    Reference: Zhang et al. 2017, "Understanding Deep Learning Requires Rethinking Generalization", section 2.2.
    """
    check_probability("label_noise", probability)

    def update(state, batch, key):
        label = find("label_noise", batch, entry)  # [b, ...]
        if not jnp.issubdtype(label.dtype, jnp.integer):
            raise ConfigError(
                f"config.augment: label_noise takes class numbers, and {entry!r} is {label.dtype} {list(label.shape)}; "
                "put it before operations that blend or smooth labels"
            )
        count = classes("label_noise", num_classes)
        if count < 2:
            raise ConfigError(f"config.augment: label_noise needs another class, and there is {count}; remove it")
        which, what = jax.random.split(key)
        flip = row_random(jax.random.uniform, which, label.shape) < probability
        if "/" in entry and "boxes_mask" in batch:
            flip &= batch["boxes_mask"] > 0
        step = row_random(lambda k, s: jax.random.randint(k, s, 1, count), what, label.shape)  # wide enough to add
        other = ((label + step) % count).astype(label.dtype)
        return state, {**batch, entry: jnp.where(flip, other, label)}, {}

    return update


def smooth_labels(smoothing: float = 0.1, probability: float = 1.0, num_classes: int | None = None):
    """Label smoothing of the ground truth: `y <- (1 - smoothing) y + smoothing / num_classes`.

    Args:
        smoothing: 0..1.
        probability: for each row.
        num_classes: to turn integer labels into one-hot rows.

    Returns:
        A transform; labels become float32 [b, num_classes], each row's sum unchanged.

    Reference: Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7.
    """
    check_number("smooth_labels", "smoothing", smoothing, 0, 1)
    check_probability("smooth_labels", probability)

    def update(state, batch, key):
        label = soft("smooth_labels", find("smooth_labels", batch, "label"), num_classes)  # [b, num_classes]
        share = jnp.where(chosen(key, probability, label)[:, 0, 0], smoothing, 0.0).astype(label.dtype)  # [b, 1]
        return state, {**batch, "label": (1 - share) * label + share * label.mean(1, keepdims=True)}, {}

    return update


def box_jitter(amount: float = 0.1, probability: float = 1.0, entry: str = "objects/bbox"):
    """Moves each of the four sides of each box by a part of the box's height or width uniform in -amount ... amount.

    What would lie beyond the image is cut off, and boxes keep a positive area; padding stays zero.

    Args:
        amount: 0..0.49: below one half, opposite sides never meet.
        probability: for each row of the batch.
        entry: of the batch, [b, ..., 4] as ymin, xmin, ymax, xmax in 0..1.

    Raises:
        ConfigError: for a missing entry, boxes that are known to be wrong, or an amount out of range.
    """
    check_number("box_jitter", "amount", amount, 0, 0.49)
    check_probability("box_jitter", probability)

    def update(state, batch, key):
        boxes = find("box_jitter", batch, entry)  # [b, ..., 4]
        check_boxes("box_jitter", entry, boxes)
        where, which = jax.random.split(key)
        u = row_random(lambda k, s: jax.random.uniform(k, s, boxes.dtype, -amount, amount), where, boxes.shape)
        sides = jnp.tile(boxes[..., 2:] - boxes[..., :2], 2)  # [b, ..., 4]: height, width, height, width
        real = jnp.any(boxes != 0, -1, keepdims=True)
        if "boxes_mask" in batch and batch["boxes_mask"].shape == boxes.shape[:-1]:
            real &= batch["boxes_mask"][..., None] > 0
        rows = chosen(which, probability, boxes).reshape(-1, *(1,) * (boxes.ndim - 1))
        return state, {**batch, entry: jnp.where(real & rows, jnp.clip(boxes + u * sides, 0, 1), boxes)}, {}

    return update
