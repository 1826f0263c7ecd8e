"""Losses of YOLO, of one image: squared errors of cells (v1), and of anchors in cells (from v2 on).

Truth is padded: boxes [n, 4] ([ymin, xmin, ymax, xmax] in 0..1), labels int [n], mask [n]; n may be 0. Where several
objects share a cell (or a cell and an anchor), only the first of them is a target; "lost" counts the others.
"""

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.config.binding import NotNegative, Probability
from cvdl_jax.ops.boxes import iou, of_pairs
from cvdl_jax.ops.cells import best_shapes, cell_corners, cells_of, first_in, from_cells, in_cells


def cells(
    places: jax.Array,
    confidence: jax.Array,
    scores: jax.Array,
    boxes: jax.Array,
    labels: jax.Array,
    mask: jax.Array,
    coordinates: NotNegative = 5.0,
    no_object: NotNegative = 0.5,
) -> dict[str, jax.Array]:
    """The five terms of YOLO v1.

        coordinates sum 1_ij [(x - x*)^2 + (y - y*)^2] + coordinates sum 1_ij [(sqrt w - sqrt w*)^2 + (sqrt h - ...)^2]
        + sum 1_ij (C - IoU)^2 + no_object sum (1 - 1_ij) C^2 + sum 1_i sum_c (p(c) - p*(c))^2

    over the S x S cells i and the B boxes j; 1_i says that the centre of an object is in cell i, and 1_ij that box j of
    it is responsible: the one with the largest IoU with the object, or the nearest in its numbers if none overlaps.

    Args:
        places: [rows, columns, B, 4]: centre (y, x) in the cell, and the square roots of height and width.
        confidence: C, [rows, columns, B].
        scores: p, [rows, columns, classes].
        boxes: [n, 4].
        labels: int [n].
        mask: [n].
        coordinates: lambda_coord.
        no_object: lambda_noobj.

    Returns:
        Scalars: "loss", the sum of "centre", "side", "object", "no_object" and "class"; and "lost".

    Reference: Redmon et al. 2016, "You Only Look Once", equation 3. Errata of the course: ER77.
    """
    rows, columns, count = confidence.shape
    corners = cell_corners(rows, columns, places.dtype)
    places, confidence = places.reshape(-1, count, 4), confidence.reshape(-1, count)  # [s, B, 4], [s, B]
    scores = scores.reshape(rows * columns, -1)
    index, present = first_in(cells_of(boxes, rows, columns), mask, rows * columns)  # [s]
    box, label = _at(boxes, index, 4), _at(labels, index)
    target = in_cells(box, corners, rows, columns)  # [s, 4]
    target = jnp.concatenate([target[:, :2], jnp.sqrt(jnp.maximum(target[:, 2:], 0))], -1)
    predicted = jnp.concatenate([places[..., :2], places[..., 2:] ** 2], -1)
    corner = jnp.broadcast_to(corners[:, None], (*confidence.shape, 2))
    overlap = of_pairs(iou, from_cells(predicted, corner, rows, columns), box[:, None])  # [s, B]
    overlap = jax.lax.stop_gradient(overlap)
    far = places - target[:, None]  # [s, B, 4]
    nearest = jax.lax.stop_gradient(-(far**2).sum(-1))
    best = jnp.where((overlap > 0).any(1, keepdims=True), overlap, nearest).argmax(1)
    responsible = (jnp.arange(count)[None] == best[:, None]) & present[:, None]  # [s, B]
    own = jnp.where(responsible[..., None], far, 0)
    one_hot = jax.nn.one_hot(label, scores.shape[-1], dtype=scores.dtype)
    terms = {
        "centre": coordinates * (own[..., :2] ** 2).sum(),
        "side": coordinates * (own[..., 2:] ** 2).sum(),
        "object": jnp.where(responsible, (confidence - overlap) ** 2, 0).sum(),
        "no_object": no_object * jnp.where(responsible, 0, confidence**2).sum(),
        "class": jnp.where(present[:, None], (scores - one_hot) ** 2, 0).sum(),
    }
    return {"loss": sum(terms.values()), **terms, "lost": _lost(mask, present, scores.dtype)}


def anchored_cells(
    raw: jax.Array,
    scores: jax.Array,
    boxes: jax.Array,
    labels: jax.Array,
    mask: jax.Array,
    shapes: jax.Array,
    coordinates: NotNegative = 5.0,
    no_object: NotNegative = 1.0,
    ignore: Probability = 0.6,
) -> dict[str, jax.Array]:
    """YOLO with anchors: an object trains the anchor of its cell whose shape overlaps with it most.

        coordinates sum 1_ij |(sigma(t_y), sigma(t_x), t_h, t_w) - t*|^2 + sum 1_ij log(1 / sigma(t_o))
        + no_object sum 0_ij log(1 / (1 - sigma(t_o))) + sum 1_ij (cross-entropy of the class)

    `t*_h = log(h / h_anchor)`; 0_ij are the anchors without an object whose box has an IoU with all objects of less
    than `ignore`: a box that is nearly right is not pushed down.

    Args:
        raw: t_y, t_x, t_h, t_w and t_o, [rows, columns, a, 5].
        scores: logits of the classes, [rows, columns, a, classes].
        boxes: [n, 4].
        labels: int [n].
        mask: [n].
        shapes: heights and widths of the anchors in 0..1 of the image, [a, 2].
        coordinates: weight.
        no_object: weight.
        ignore: see above.

    Returns:
        Scalars: "loss", the sum of "box", "object", "no_object" and "class"; and "lost".

    Reference: Redmon and Farhadi 2017, "YOLO9000", section 2; 2018, "YOLOv3", section 2.1, for the cross-entropies.
    """
    rows, columns, count = raw.shape[:3]
    slots = cells_of(boxes, rows, columns) * count + best_shapes(boxes, shapes)
    index, present = first_in(slots, mask, rows * columns * count)  # [s a]
    box, label = _at(boxes, index, 4), _at(labels, index)
    corner = jnp.repeat(cell_corners(rows, columns, raw.dtype), count, 0)
    shape = jnp.tile(shapes, (rows * columns, 1))  # [s a, 2]
    place = in_cells(box, corner, rows, columns)
    sides = jnp.log(jnp.where(present[:, None], place[:, 2:], shape) / shape)
    target = jnp.concatenate([place[:, :2], sides], -1)
    flat, scores = raw.reshape(-1, 5), scores.reshape(rows * columns * count, -1)
    own = jnp.concatenate([jax.nn.sigmoid(flat[:, :2]), flat[:, 2:4]], -1) - target
    made = jax.lax.stop_gradient(decode_anchored(raw, shapes).reshape(-1, 4))
    overlap = jnp.where((mask > 0)[None], iou(made, boxes), 0).max(1, initial=0)  # [s a]
    absent = ~present & (overlap < ignore)
    right = optax.softmax_cross_entropy_with_integer_labels(scores, label)
    terms = {
        "box": coordinates * jnp.where(present[:, None], own**2, 0).sum(),
        "object": jnp.where(present, jax.nn.softplus(-flat[:, 4]), 0).sum(),
        "no_object": no_object * jnp.where(absent, jax.nn.softplus(flat[:, 4]), 0).sum(),
        "class": jnp.where(present, right, 0).sum(),
    }
    return {"loss": sum(terms.values()), **terms, "lost": _lost(mask, present, scores.dtype)}


def decode_anchored(raw: jax.Array, shapes: jax.Array, largest: float = 4.135) -> jax.Array:
    """The boxes of an image: `b_y = (row + sigma(t_y)) / rows`, `b_h = h_anchor exp(t_h)`, and x, w likewise.

    Args:
        raw: t_y, t_x, t_h, t_w ..., [rows, columns, a, at least 4].
        shapes: heights and widths of the anchors, [a, 2].
        largest: bound on t_h and t_w; log(1000 / 16).

    Returns:
        [rows, columns, a, 4].

    Reference: Redmon and Farhadi 2017, section 2, direct location prediction.
    """
    rows, columns, count = raw.shape[:3]
    sides = jnp.exp(jnp.minimum(raw[..., 2:4], largest)) * shapes[None, None]
    places = jnp.concatenate([jax.nn.sigmoid(raw[..., :2]), sides], -1)
    corner = cell_corners(rows, columns, raw.dtype).reshape(rows, columns, 1, 2)
    return from_cells(places, jnp.broadcast_to(corner, (rows, columns, count, 2)), rows, columns)


def _at(values: jax.Array, index: jax.Array, width: int = 0) -> jax.Array:
    """Rows of padded truth; zeros where it has none at all."""
    if len(values):
        return values[index]
    return jnp.zeros((len(index), width) if width else len(index), values.dtype)


def _lost(mask: jax.Array, present: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    return ((mask > 0).sum() - present.sum()).astype(dtype)
