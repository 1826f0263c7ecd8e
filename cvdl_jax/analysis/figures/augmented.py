"""What an augmentation policy makes of images, as a picture: originals beside several draws, boxes and masks on top."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures import images
from cvdl_jax.data.augment._carry import IGNORE
from cvdl_jax.data.augment._rows import is_boxes


def draws(transform: Any, batch: Mapping[str, Any], count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """A batch as it is, then changed several times.

    Args:
        transform: of `data.augment.policy.build`.
        batch: image [b, h, w, c] in 0..1 and what belongs to it.
        count: how often it is changed.
        seed: of the draws.

    Returns:
        1 + count batches of NumPy arrays.
    """
    import jax

    change = jax.jit(lambda batch, key: transform.update(None, batch, key)[1])
    keys = [jax.random.fold_in(jax.random.key(seed), i) for i in range(count)]
    return [jax.tree.map(np.asarray, changed) for changed in (dict(batch), *(change(batch, key) for key in keys))]


def grid(batches: Sequence[Mapping[str, np.ndarray]], class_names: Sequence[str] = ()) -> Any:
    """A row for each image: as it is, then each of its changes.

    Labels are written above, those of several classes with their shares. Boxes are outlined, masks coloured: white is a
    label to be ignored.

    Args:
        batches: of `draws`: image [b, h, w, c], label int [b] or float [b, classes], boxes [b, n, 4], masks [b, h, w,
            ...].
        class_names: one per class, or () for numbers.

    Returns:
        A matplotlib Figure.
    """
    rows = len(batches[0]["image"])
    figure, axes = images.new_figure(rows, len(batches), inches=1.4)
    for column, batch in enumerate(batches):
        for row, axis in enumerate(axes[:, column]):
            _draw(axis, {name: x[row] for name, x in batch.items()}, class_names, row == 0 and column == 0)
    return figure


def _draw(axis: Any, example: Mapping[str, np.ndarray], class_names: Sequence[str], first: bool) -> None:
    image = np.clip(example["image"], 0, 1)
    axis.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1)
    for name, x in example.items():
        if name.endswith("mask") and x.ndim > 1:
            labels = x.reshape(*x.shape[:2], -1).max(-1)
            axis.imshow(
                np.ma.masked_where((labels == 0) | (labels == IGNORE), (labels - 1) % 10),
                cmap="tab10",
                vmin=0,
                vmax=9,
                alpha=0.5,
            )
            axis.imshow(np.ma.masked_not_equal(labels, IGNORE), cmap="gray", vmin=0, vmax=IGNORE, alpha=0.5)
        elif is_boxes(name):
            labels = example.get(f"{name.rpartition('/')[0]}/label", np.zeros(0))
            for i, box in enumerate(x.reshape(-1, 4)):
                if np.any(box != 0):  # else it is padding
                    images.outline(axis, box, image.shape[:2], edgecolor="tab:orange", linewidth=1)
                    text = _label(labels[i], class_names) if i < len(labels) else ""
                    axis.text(
                        box[1] * image.shape[1], box[0] * image.shape[0] - 1, text, fontsize=4, color="tab:orange"
                    )
    title = _label(example["label"], class_names) if "label" in example else ""
    axis.set_title(f"original: {title}".rstrip(": ") if first else title, fontsize=7)


def _label(label: np.ndarray, class_names: Sequence[str]) -> str:
    """A class, or the classes of a soft label with their shares, the largest two."""
    if label.ndim == 0:
        whole = np.issubdtype(label.dtype, np.integer)
        return images.class_name(int(label), class_names) if whole else f"{label:.3g}"
    best = [c for c in np.argsort(-label)[:2] if label[c] >= 0.005] if label.ndim == 1 else []
    named = {c: images.class_name(c, class_names) for c in best}
    return ", ".join(name if label[c] > 0.995 else f"{name} {label[c]:.2f}" for c, name in named.items())
