"""Boxes: formats, overlap, and their encoding relative to others.

Boxes are [ymin, xmin, ymax, xmax] in any unit, 0..1 in batches. Other formats are named: "centres" are [cy, cx, h, w],
"xywh" is COCO's [xmin, ymin, w, h], "xyxy" that of PASCAL VOC and torchvision, [xmin, ymin, xmax, ymax], and "cxcywh"
that of YOLO, [cx, cy, w, h]. Functions accept any leading axes unless their docstring gives the shape.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError, nearest


def to_centres(boxes: jax.Array) -> jax.Array:
    """[ymin, xmin, ymax, xmax] as [cy, cx, h, w]: [..., 4]."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([(low + high) / 2, high - low], -1)


def from_centres(centres: jax.Array) -> jax.Array:
    """[cy, cx, h, w] as [ymin, xmin, ymax, xmax]: [..., 4]."""
    centre, half = centres[..., :2], centres[..., 2:] / 2
    return jnp.concatenate([centre - half, centre + half], -1)


def to_xywh(boxes: jax.Array) -> jax.Array:
    """[ymin, xmin, ymax, xmax] as [xmin, ymin, w, h]: [..., 4]."""
    ymin, xmin, ymax, xmax = (boxes[..., i] for i in range(4))
    return jnp.stack([xmin, ymin, xmax - xmin, ymax - ymin], -1)


def from_xywh(boxes: jax.Array) -> jax.Array:
    """[xmin, ymin, w, h] as [ymin, xmin, ymax, xmax]: [..., 4]."""
    x, y, w, h = (boxes[..., i] for i in range(4))
    return jnp.stack([y, x, y + h, x + w], -1)


def swap_axes(boxes: jax.Array) -> jax.Array:
    """The order of x and y turned round in both halves of a box: [..., 4]."""
    return jnp.stack([boxes[..., i] for i in (1, 0, 3, 2)], -1)


_FORMATS: dict[str, tuple[Callable, Callable]] = {  # to and from corners
    "corners": (lambda boxes: boxes, lambda boxes: boxes),
    "centres": (from_centres, to_centres),
    "xywh": (from_xywh, to_xywh),
    "xyxy": (swap_axes, swap_axes),
    "cxcywh": (lambda boxes: from_centres(swap_axes(boxes)), lambda boxes: swap_axes(to_centres(boxes))),
}


def convert(boxes: jax.Array, source: str, target: str) -> jax.Array:
    """Boxes [..., 4] of one format in another one: "corners" (this module's own), "centres", "xywh", "xyxy", "cxcywh".

    Raises:
        ConfigError: for another format.
    """
    for name in (source, target):
        if name not in _FORMATS:
            raise ConfigError(f"there is no format of boxes {name!r}; {nearest(name, _FORMATS)}")
    return _FORMATS[target][1](_FORMATS[source][0](boxes))


def to_pixels(boxes: jax.Array, height: int, width: int) -> jax.Array:
    """Boxes in 0..1 as boxes in pixels of an image: [..., 4], as corners or centres."""
    return boxes * _sides(height, width, boxes)


def from_pixels(boxes: jax.Array, height: int, width: int) -> jax.Array:
    """Boxes in pixels of an image as boxes in 0..1: [..., 4], as corners or centres."""
    return boxes / _sides(height, width, boxes)


def _sides(height: int, width: int, boxes: jax.Array) -> jax.Array:
    return jnp.asarray([height, width, height, width], boxes.dtype).reshape((1,) * (boxes.ndim - 1) + (4,))


def area(boxes: jax.Array) -> jax.Array:
    """Areas [...] of boxes [..., 4]; 0 where a side is zero or negative."""
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Intersection over union of every pair, `|A n B| / |A u B|`.

    Args:
        a: [..., n, 4].
        b: [..., m, 4].

    Returns:
        [..., n, m] in 0..1; 0 for two empty boxes.
    """
    return _overlap(a, b)[0]


def giou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Generalised IoU of every pair, `IoU - (|C| - |A u B|) / |C|`, C the smallest box around both.

    Args:
        a: [..., n, 4].
        b: [..., m, 4].

    Returns:
        [..., n, m] in (-1, 1]; unlike IoU it distinguishes near boxes from far ones.

    Reference: Rezatofighi et al. 2019, "Generalized Intersection over Union", algorithm 1.
    """
    ratio, union, low, high = _overlap(a, b)
    around = area(jnp.concatenate([low, high], -1))  # [..., n, m]
    return ratio - _divide(around - union, around)


def diou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Distance IoU of every pair, `IoU - d^2 / c^2`: d between the centres, c the diagonal of the box around both.

    Args:
        a: [..., n, 4].
        b: [..., m, 4].

    Returns:
        [..., n, m] in (-1, 1]; unlike GIoU it falls with the distance of the centres inside a larger box too.

    Reference: Zheng et al. 2020, "Distance-IoU Loss", equation 7.
    """
    ratio, _, low, high = _overlap(a, b)
    gap = to_centres(a)[..., :, None, :2] - to_centres(b)[..., None, :, :2]  # [..., n, m, 2]
    return ratio - _divide((gap**2).sum(-1), ((high - low) ** 2).sum(-1))


def of_pairs(measure: Callable[[jax.Array, jax.Array], jax.Array], a: jax.Array, b: jax.Array) -> jax.Array:
    """A measure of every pair, such as `iou`, of each box and its partner alone.

    Args:
        measure: `iou`, `giou` or `diou`.
        a: [..., 4].
        b: [..., 4]; the leading axes are broadcast.

    Returns:
        [...].
    """
    return measure(a[..., None, :], b[..., None, :])[..., 0, 0]


def _overlap(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """IoU and union [..., n, m], and both corners [..., n, m, 2] of the box around each pair."""
    a, b = a[..., :, None, :], b[..., None, :, :]  # [..., n, 1, 4], [..., 1, m, 4]
    low, high = jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])  # [..., n, m, 2]
    shared = area(jnp.concatenate([low, high], -1))  # [..., n, m]
    union = area(a) + area(b) - shared
    around = jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])
    return _divide(shared, union), union, *around


def _divide(x: jax.Array, y: jax.Array) -> jax.Array:
    """`x / y`, or 0 where y is 0; the inner `where` keeps the gradient finite."""
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1), 0)


def encode(boxes: jax.Array, anchors: jax.Array) -> jax.Array:
    """The offsets from anchors to boxes: `t_y = (y - y_a) / h_a, t_h = log(h / h_a)`, and x, w likewise.

    Args:
        boxes: [..., 4], of positive area.
        anchors: [..., 4], of positive area.

    Returns:
        [..., 4]: (t_y, t_x, t_h, t_w).

    Reference: Ren et al. 2015, "Faster R-CNN", equation 2.
    """
    b, a = to_centres(boxes), to_centres(anchors)
    return jnp.concatenate([(b[..., :2] - a[..., :2]) / a[..., 2:], jnp.log(b[..., 2:] / a[..., 2:])], -1)


def decode(deltas: jax.Array, anchors: jax.Array, largest: float = 4.135) -> jax.Array:
    """The inverse of `encode`: the boxes of given offsets.

    Args:
        deltas: [..., 4]: (t_y, t_x, t_h, t_w).
        anchors: [..., 4].
        largest: bound on t_h and t_w, so that extreme predictions stay finite; log(1000 / 16) is usual.

    Returns:
        [..., 4].
    """
    a = to_centres(anchors)
    sides = jnp.exp(jnp.minimum(deltas[..., 2:], largest)) * a[..., 2:]
    return from_centres(jnp.concatenate([deltas[..., :2] * a[..., 2:] + a[..., :2], sides], -1))
