"""Cells in the place of anchors: which object a cell of a grid over the image has to find, in the way of YOLO.

Boxes are [ymin, xmin, ymax, xmax] in 0..1.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.ops.boxes import from_centres, to_centres


def cells_of(boxes: jax.Array, rows: int, columns: int) -> jax.Array:
    """The number, `row * columns + column`, of the cell in which the centre of a box lies: int32 [...] of [..., 4].

    A centre outside the image belongs to the nearest cell.
    """
    centre = to_centres(boxes)[..., :2]
    row = jnp.clip((centre[..., 0] * rows).astype(jnp.int32), 0, rows - 1)
    column = jnp.clip((centre[..., 1] * columns).astype(jnp.int32), 0, columns - 1)
    return row * columns + column


def first_in(slots: jax.Array, mask: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The first real object of every slot.

    Args:
        slots: int [n], the slot of each object, in 0..count - 1.
        mask: [n], 1 where an object is real.
        count: number of slots.

    Returns:
        int32 [count], an object (meaningful where there is one); bool [count], whether there is one.
    """
    if not len(slots):
        return jnp.zeros(count, jnp.int32), jnp.zeros(count, bool)
    here = (jnp.arange(count)[:, None] == slots[None]) & (mask > 0)[None]  # [count, n]
    return here.argmax(1).astype(jnp.int32), here.any(1)


def cell_corners(rows: int, columns: int, dtype: jax.typing.DTypeLike = jnp.float32) -> jax.Array:
    """Row and column of every cell: [rows * columns, 2]."""
    row, column = jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij")
    return jnp.stack([row, column], -1).reshape(-1, 2).astype(dtype)


def in_cells(boxes: jax.Array, cells: jax.Array, rows: int, columns: int) -> jax.Array:
    """Boxes as a cell sees them: (y, x) of the centre in sides of the cell from its corner, and height and width.

    Args:
        boxes: [..., 4].
        cells: row and column of the cell of each box, [..., 2].
        rows: of the grid.
        columns: of the grid.

    Returns:
        [..., 4]; y and x are in 0..1 for the cell that holds the centre, sides in 0..1 of the image.

    Reference: Redmon et al. 2016, "You Only Look Once", section 2.
    """
    centres = to_centres(boxes)
    grid = jnp.asarray([rows, columns], centres.dtype).reshape((1,) * (centres.ndim - 1) + (2,))
    return jnp.concatenate([centres[..., :2] * grid - cells, centres[..., 2:]], -1)


def from_cells(places: jax.Array, cells: jax.Array, rows: int, columns: int) -> jax.Array:
    """The inverse of `in_cells`: corners in 0..1, [..., 4]."""
    grid = jnp.asarray([rows, columns], places.dtype).reshape((1,) * (places.ndim - 1) + (2,))
    return from_centres(jnp.concatenate([(places[..., :2] + cells) / grid, places[..., 2:]], -1))


def best_shapes(boxes: jax.Array, shapes: jax.Array) -> jax.Array:
    """The shape that overlaps most with each box when both are centred: int32 [...] of boxes [..., 4].

    Args:
        boxes: [..., 4].
        shapes: heights and widths, [s, 2].

    Reference: Redmon and Farhadi 2017, "YOLO9000", section 2, dimension clusters.
    """
    return centred_iou(to_centres(boxes)[..., 2:], shapes).argmax(-1).astype(jnp.int32)


def centred_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """IoU of boxes with the same centre: heights and widths [..., 2] and [s, 2] give [..., s]."""
    b = b.reshape((1,) * (a.ndim - 1) + b.shape)
    shared = jnp.minimum(a[..., None, :], b).prod(-1)  # [..., s]
    union = a.prod(-1)[..., None] + b.prod(-1) - shared
    return shared / jnp.where(union > 0, union, 1)


def clustered_shapes(boxes: Sequence, count: int, rounds: int = 100) -> list[tuple[float, float]]:
    """Heights and widths of anchors for a data set: k-means of its boxes under the distance `1 - IoU`.

    The first centres are boxes at equal distances in the order of their areas, so that nothing is random.

    Args:
        boxes: true boxes of the training split, [n, 4] in 0..1.
        count: k, at most n.
        rounds: most iterations.

    Returns:
        k pairs (h, w), by area.

    Raises:
        ValueError: for fewer boxes than clusters.

    Reference: Redmon and Farhadi 2017, section 2.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    if len(sides) < count or count < 1:
        raise ValueError(f"{len(sides)} boxes cannot make {count} clusters")
    sides = sides[np.argsort(sides.prod(-1))]
    centres = sides[np.linspace(0, len(sides) - 1, 2 * count + 1).astype(int)[1::2]]
    for _ in range(rounds):
        shared = np.minimum(sides[:, None], centres[None]).prod(-1)  # [n, k]
        nearest = (shared / (sides.prod(-1)[:, None] + centres.prod(-1)[None] - shared)).argmax(-1)
        members = [sides[nearest == k] for k in range(count)]
        moved = np.stack([m.mean(0) if len(m) else c for m, c in zip(members, centres, strict=True)])
        if np.array_equal(moved, centres):
            break
        centres = moved
    return sorted(((float(h), float(w)) for h, w in centres), key=lambda side: side[0] * side[1])
