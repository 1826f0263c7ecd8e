"""One scene labelled for six tasks, all from which object is seen at each pixel, so that no two labels can disagree.

Classification names the scene, localisation adds a box, detection has a class and a box for every object, semantic
segmentation a class for every pixel, instance segmentation a mask for every object, and panoptic segmentation a class
and a number of the object for every pixel.

Reference: Kirillov et al. 2019, "Panoptic Segmentation", section 3.1, for the last.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.errors import DataError


class SixTasks(NamedTuple):
    """The labels of a scene with n visible objects.

    Attributes:
        label: the class of the object with the largest visible area, the first of equals; -1 for a scene without one.
        location: its box, int64 [4]: [ymin, xmin, ymax, xmax] in pixels; zeros for a scene without one.
        boxes: the bounds of the visible parts, int64 [n, 4].
        labels: their classes, int64 [n].
        semantic: the class of every pixel plus one, 0 for the background: int64 [h, w].
        instances: the masks, bool [n, h, w]; no two of them overlap.
        panoptic: (class plus one, number of the object in its scene, from 1 on) of every pixel, (0, 0) for the
            background: int64 [h, w, 2].
    """

    label: int
    location: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    semantic: np.ndarray
    instances: np.ndarray
    panoptic: np.ndarray


def six_tasks(objects: Any, labels: Any) -> SixTasks:
    """All labels of a scene.

    Args:
        objects: int [h, w], 0 for the background, i + 1 where object i is seen.
        labels: int [n], the classes of the objects, from 0 on.

    Raises:
        DataError: for a pixel of an object that has no class, or an object without a pixel.
    """
    objects, labels = np.asarray(objects).astype(np.int64), np.asarray(labels).astype(np.int64).reshape(-1)
    n = len(labels)
    areas = np.bincount(objects.ravel(), minlength=n + 1) if objects.min(initial=0) >= 0 else np.zeros(0)
    if len(areas) != n + 1 or not areas[1:].all():
        raise DataError(
            f"the scene shows the objects {np.unique(objects[objects != 0]).tolist()} and has {n} classes; number the "
            "objects that are seen from 1 on, in the order of their classes"
        )
    instances = objects[None] == np.arange(1, n + 1)[:, None, None]
    semantic = np.concatenate([[0], labels + 1])[objects]
    boxes = np.asarray([bounds(mask) for mask in instances], np.int64).reshape(-1, 4)
    largest = int(areas[1:].argmax()) if n else -1
    return SixTasks(
        label=int(labels[largest]) if n else -1,
        location=boxes[largest] if n else np.zeros(4, np.int64),
        boxes=boxes,
        labels=labels,
        semantic=semantic,
        instances=instances,
        panoptic=np.stack([semantic, objects], -1),
    )


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The smallest box (ymin, xmin, ymax, xmax), in pixels, around the pixels of a mask bool [h, w] that has some."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def disagreements(example: Mapping[str, Any]) -> list[str]:
    """The entries of an example that do not agree with what its instance mask says.

    Args:
        example: `instance_mask` [h, w, 1] and `objects/label` [n], and of `label`, `objects/bbox` [n, 4] in 0..1 and
            `segmentation_mask` [h, w, 1] those that it has, as the set `shapes` delivers them.

    Returns:
        Their names.

    Raises:
        DataError: as of `six_tasks`.
    """
    objects = np.asarray(example["instance_mask"])[..., 0]
    tasks = six_tasks(objects, example["objects/label"])
    sides = np.tile(objects.shape, 2)
    expected = {"label": tasks.label, "objects/bbox": tasks.boxes, "segmentation_mask": tasks.semantic[..., None]}
    given = {name: np.asarray(example[name]) for name in expected if name in example}
    if "objects/bbox" in given:
        given["objects/bbox"] = given["objects/bbox"].reshape(-1, 4) * sides
    return [
        name for name, x in given.items()
        if x.shape != np.shape(expected[name]) or not np.allclose(x, expected[name], atol=1e-3)
    ]  # fmt: skip
