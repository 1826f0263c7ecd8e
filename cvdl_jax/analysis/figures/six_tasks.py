"""The labels of a scene for six tasks, side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures import images as figures
from cvdl_jax.analysis.figures.images import EXAMPLES, class_name, new_figure, outline
from cvdl_jax.ops.images import palettes

TASKS = ("classification", "localisation", "detection", "semantic segmentation", "instance segmentation",
         "panoptic segmentation")  # fmt: skip


def six_tasks(images: Any, tasks: Sequence[Any], class_names: Sequence[str] = ()) -> Any:
    """A row for each scene, a column for each task.

    Masks of classes have the colours of PASCAL VOC; those of objects a colour for each object; a panoptic mask has the
    colour of the class, darker from object to object, and says class and number.

    Args:
        images: n of [h, w, c] in 0..1, of any sizes.
        tasks: n of `data.six_tasks.SixTasks`.
        class_names: one per class, or () for numbers.

    Returns:
        A matplotlib Figure, labelled as one of examples.
    """
    images = [np.repeat(x, 3, -1) if x.shape[-1] == 1 else x for x in map(np.asarray, images)]
    figure, axes = new_figure(len(images), len(TASKS), inches=1.9)
    for row, image, labels in zip(axes, images, tasks, strict=True):
        size = image.shape[:2]
        name = class_name(labels.label, class_names) if labels.label >= 0 else "nothing"
        for axis, shown in zip(row, _pictures(image, labels), strict=True):
            axis.imshow(shown, vmin=0, vmax=1)
        row[0].set_title(name, fontsize=8)
        row[1].set_title(name, fontsize=8)
        if labels.label >= 0:
            outline(row[1], labels.location / np.tile(size, 2), size, edgecolor="white", linewidth=1.2)
        for i, (box, c) in enumerate(zip(labels.boxes, labels.labels, strict=True)):
            outline(row[2], box / np.tile(size, 2), size, edgecolor="white", linewidth=1.2)
            text = class_name(c, class_names)
            row[2].text(box[1], box[0] - 1, text, fontsize=6, color="white")
            y, x = np.argwhere(labels.instances[i]).mean(0)
            row[5].text(x, y, f"{text} {i + 1}", fontsize=6, color="white", ha="center", va="center")
    for axis, title in zip(axes[0], TASKS, strict=True):
        axis.set_title(f"{title}\n{axis.get_title()}", fontsize=8)
    figure.set_label(EXAMPLES)
    return figure


def _pictures(image: np.ndarray, labels: Any) -> list[np.ndarray]:
    """What lies under the marks of each task: the image thrice, and three times with masks."""
    n, ids = len(labels.labels), labels.panoptic[..., 1]
    palette = palettes.voc(int(labels.semantic.max(initial=0)) + 1) / 255
    of_objects = np.asarray([(0, 0, 0), *(c[:3] for c in figures.class_colours(n))])
    shade = 1 - 0.5 * ids / max(n, 1)
    coloured = (palette[labels.semantic], of_objects[ids], palette[labels.semantic] * shade[..., None])
    there = (ids > 0)[..., None]  # opaque, so that a class has one colour whatever the object's is
    return [image, image, image, *(np.where(there, colours, image) for colours in coloured)]
