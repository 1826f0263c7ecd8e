"""Points in the place of anchors: which true box contains a point, and how far its sides are.

Boxes are [ymin, xmin, ymax, xmax] and points [y, x], all in pixels.

Reference: Tian et al. 2019, "FCOS: Fully Convolutional One-Stage Object Detection", sections 3.1 to 3.3.
"""

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config.binding import Positive


def point_grid(rows: int, columns: int, image: tuple[int, int]) -> np.ndarray:
    """The centres of the cells of a grid over an image of (height, width) pixels: float32 [rows * columns, 2]."""
    y, x = (np.arange(rows) + 0.5) * image[0] / rows, (np.arange(columns) + 0.5) * image[1] / columns
    return np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)


def from_distances(points: jax.Array, distances: jax.Array) -> jax.Array:
    """The boxes [..., 4] of points [..., 2] and their distances to the top, left, bottom and right sides [..., 4]."""
    return jnp.concatenate([points - distances[..., :2], points + distances[..., 2:]], -1)


def to_distances(points: jax.Array, boxes: jax.Array) -> jax.Array:
    """The distances [..., 4] of points [..., 2] to the sides of boxes [..., 4]; negative outside."""
    return jnp.concatenate([points - boxes[..., :2], boxes[..., 2:] - points], -1)


def centreness(distances: jax.Array) -> jax.Array:
    """How central a point of a box is, `sqrt(min(t, b) / max(t, b) min(l, r) / max(l, r))`.

    Args:
        distances: to the top, left, bottom and right sides, [..., 4].

    Returns:
        [...]: 1 in the centre, 0 on a side and outside.

    Reference: Tian et al. 2019, equation 3.
    """
    low, high = distances[..., :2], distances[..., 2:]
    near, far = jnp.maximum(jnp.minimum(low, high), 0), jnp.maximum(jnp.maximum(low, high), 1e-6)
    return jnp.sqrt((near / far).prod(-1))


def point_targets(
    boxes: jax.Array,
    labels: jax.Array,
    mask: jax.Array,
    points: jax.Array,
    strides: jax.Array,
    ranges: jax.Array,
    radius: Positive = 1.5,
) -> tuple[jax.Array, jax.Array]:
    """The class of every point of one image, and the distances to the sides of its box.

    A point belongs to a box if it lies in it, no further than `radius` strides from its centre in y and in x, and if
    the largest of its distances to the sides is in the range of the point's level; to the smallest of several boxes.

    Args:
        boxes: [n, 4].
        labels: int [n], classes from 0 on.
        mask: [n], 1 where a box is real.
        points: [p, 2].
        strides: of the points' levels, [p].
        ranges: (low, high] of the points' levels, [p, 2].
        radius: infinity for every point of a box.

    Returns:
        int32 [p], class plus one, 0 for the background; [p, 4], the distances, 0 where there is none.
    """
    if not len(boxes):
        return jnp.zeros(len(points), jnp.int32), jnp.zeros((len(points), 4), points.dtype)
    distances = to_distances(points[:, None], boxes[None])  # [p, n, 4]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = jnp.abs(points[:, None] - centres[None]).max(-1) <= radius * strides[:, None]  # [p, n]
    reach = distances.max(-1)
    fits = (reach > ranges[:, :1]) & (reach <= ranges[:, 1:])
    chosen = (distances.min(-1) > 0) & near & fits & (mask > 0)[None]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    box = jnp.where(chosen, area[None], jnp.inf).argmin(1)  # [p]
    positive = chosen.any(1)
    label = jnp.where(positive, labels[box] + 1, 0)
    own = jnp.take_along_axis(distances, box[:, None, None], 1)[:, 0]  # [p, 4]
    return label.astype(jnp.int32), jnp.where(positive[:, None], own, 0)
