"""Figures of instance segmentation: masks and boxes of objects over their images, and the quality of every class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures.images import EXAMPLES, class_name, outline
from cvdl_jax.core.formatting import columns
from cvdl_jax.metrics import panoptic

OPACITY, OF_STUFF = 0.45, 0.15  # of a segment's colour over the image; stuff is most of an image, and has no box
OUTCOMES = {
    "found": ("tab:blue", "true, found"), "missed": ("tab:red", "true, missed"),
    "right": ("tab:green", "predicted, right"), "extra": ("tab:orange", "predicted, false"),
}  # fmt: skip


def overlays(
    images: Any, predicted: Mapping[str, Any], truth: Mapping[str, Any], class_names: Sequence[str] = (),
    examples: int = 3, stuff: Sequence[int] = (),
) -> Any:  # fmt: skip
    """The worst and the best images by their panoptic quality: the image, true objects and predicted ones over it.

    An object is its mask, in the colour of what became of it, with its box; of several classes its class is written on.

    Args:
        images: [n, h, w, c] in 0..1.
        predicted: ids int [n, h, w], classes int [n, d], scores [n, d].
        truth: ids int [n, h, w], classes int [n, t], mask [n, t], perhaps crowd bool [n, t].
        class_names: one per class, or () for numbers.
        examples: how many of each.
        stuff: classes that have one segment in an image, drawn without a box.

    Returns:
        A matplotlib Figure, labelled as one of examples; images without objects, true or predicted, are not shown.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    images = np.asarray(images)
    predicted, truth = ({k: np.asarray(v) for k, v in x.items()} for x in (predicted, truth))
    ends = [panoptic.of_image(predicted, truth, i) for i in range(len(images))]
    quality = np.array([_quality(end) for end in ends])
    order = [i for i in np.argsort(quality, kind="stable") if not np.isnan(quality[i])]
    shown = order if len(order) <= 2 * examples else order[:examples] + order[-examples:]
    h, w = images.shape[1:3]
    figure = Figure(figsize=(3 * 2.4 + 1.6, max(len(shown), 1) * (2.4 * h / w + 0.25)), layout="constrained")
    axes = figure.subplots(max(len(shown), 1), 3, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, i in zip(axes, shown, strict=False):
        image, end = np.repeat(images[i], 3, -1) if images.shape[-1] == 1 else images[i, ..., :3], ends[i]
        row[0].set_title(f"PQ {quality[i]:.2f}", fontsize=8)
        row[0].imshow(image, vmin=0, vmax=1)
        _draw(row[1], image, truth, i, {"found": end.hit, "missed": end.missed}, class_names, stuff)
        _draw(row[2], image, predicted, i, {"right": end.right, "extra": end.extra}, class_names, stuff)
    for axis, title in zip(axes[0, 1:], ("truth", "prediction"), strict=True):
        axis.set_title(title, fontsize=8)
    patches = [Patch(color=colour, label=text) for colour, text in OUTCOMES.values()]
    figure.legend(handles=patches, loc="outside right upper", fontsize=8)
    figure.set_label(EXAMPLES)
    return figure


def _quality(end: panoptic.Segments) -> float:
    """Panoptic quality of one image, whatever the classes; NaN for one without segments."""
    whole = end.right.sum() + (end.extra.sum() + end.missed.sum()) / 2
    return float(end.iou.sum() / whole) if whole else float("nan")


def _draw(
    axis: Any, image: np.ndarray, of: Mapping[str, np.ndarray], i: int, outcomes: Mapping[str, np.ndarray],
    class_names: Sequence[str], stuff: Sequence[int],
) -> None:  # fmt: skip
    """The objects of an image over it; the pixels of an object beside another one are not coloured."""
    from matplotlib.colors import to_rgb

    ids, picture, several = of["ids"][i], np.array(image, np.float64), len(class_names) > 1
    rim = np.zeros(ids.shape, bool)
    rim[:-1] |= (ids[:-1] != ids[1:]) & (ids[:-1] > 0) & (ids[1:] > 0)
    rim[:, :-1] |= (ids[:, :-1] != ids[:, 1:]) & (ids[:, :-1] > 0) & (ids[:, 1:] > 0)
    boxes = panoptic.boxes_of(ids, len(of["classes"][i]))
    wide = np.isin(of["classes"][i], list(stuff))
    for name, which in outcomes.items():
        colour = OUTCOMES[name][0]
        for some, opacity in ((which & ~wide, OPACITY), (which & wide, OF_STUFF)):
            there = np.isin(ids, np.flatnonzero(some) + 1) & ~rim
            picture[there] = opacity * np.array(to_rgb(colour)) + (1 - opacity) * picture[there]
        for k in np.flatnonzero(which & ~wide & (boxes[:, 2] > 0)):
            outline(axis, boxes[k], ids.shape, edgecolor=colour, linewidth=0.6)
            if several:
                text = class_name(int(of["classes"][i, k]), class_names)
                axis.text(boxes[k, 1] * ids.shape[1] - 0.5, boxes[k, 0] * ids.shape[0] - 1, text, fontsize=5,
                          color=colour)  # fmt: skip
    axis.imshow(picture, vmin=0, vmax=1)


def measured(split: str, class_names: Sequence[str], counts: panoptic.Counts) -> dict[str, str]:
    """What an evaluation draws of its counts: a table of the classes as text, {"SPLIT_segments": text}."""
    classes, lines = panoptic.per_class(counts), []
    for k in range(len(counts.iou)):
        cells = ("-" if np.isnan(x[k]) else f"{100 * x[k]:.1f} %" for x in classes.values())
        numbers = (str(int(x[k])) for x in (counts.matched, counts.extra, counts.missed))
        lines.append((class_name(k, class_names), *cells, *numbers))
    return {f"{split}_segments": "\n".join(columns(lines, head=("class", *classes, "right", "extra", "missed")))}
