"""Figures of semantic segmentation: masks over their images, the IoU of every class, the confusion matrix."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures.images import EXAMPLES, class_name, new_figure
from cvdl_jax.core.formatting import columns
from cvdl_jax.metrics import classification, segmentation
from cvdl_jax.ops.images import colour, palettes

OPACITY = 0.6  # of a mask over its image


def palette_of(name: str, classes: int) -> np.ndarray:
    """The colours of the classes, uint8 [c, 3]: "camvid" where there are at most 11, else those of PASCAL VOC."""
    return palettes.CAMVID[:classes] if name == "camvid" and classes <= 11 else palettes.voc(classes)


def overlays(
    images: Any, labels: Any, guesses: Any, palette: np.ndarray, class_names: Sequence[str] = (), examples: int = 3
) -> Any:
    """The worst and the best images: the image, its true mask and the predicted one over it, with a legend.

    Args:
        images: [n, h, w, c] in 0..1.
        labels: int [n, h, w]; pixels with 255 show the image.
        guesses: int [n, h, w].
        palette: uint8 [k, 3], a colour for each class.
        class_names: one per class, or () for numbers.
        examples: how many of each; they are ordered by their own mean IoU.

    Returns:
        A matplotlib Figure, labelled as one of examples.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    images, labels, guesses = (np.asarray(x) for x in (images, labels, guesses))
    scores = np.array([_score(y, p, len(palette)) for y, p in zip(labels, guesses, strict=True)])
    order = [i for i in np.argsort(scores, kind="stable") if not np.isnan(scores[i])]
    shown = order if len(order) <= 2 * examples else order[:examples] + order[-examples:]
    h, w = images.shape[1:3]
    figure = Figure(figsize=(3 * 2.4 + 1.6, max(len(shown), 1) * (2.4 * h / w + 0.25)), layout="constrained")
    axes = figure.subplots(max(len(shown), 1), 3, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, i in zip(axes, shown, strict=False):
        image = np.repeat(images[i], 3, -1) if images.shape[-1] == 1 else images[i, ..., :3]
        row[0].set_title(f"mean IoU {scores[i]:.2f}", fontsize=8)
        for axis, mask in zip(row, (None, labels[i], guesses[i]), strict=True):
            axis.imshow(image if mask is None else _blend(image, mask, palette), vmin=0, vmax=1)
    for axis, title in zip(axes[0, 1:], ("truth", "prediction"), strict=True):
        axis.set_title(title, fontsize=8)
    present = [k for k in range(len(palette)) if (labels[shown] == k).any() or (guesses[shown] == k).any()]
    patches = [Patch(color=palette[k] / 255, label=class_name(k, class_names)) for k in present]
    if patches:
        figure.legend(handles=patches, loc="outside right upper", fontsize=8)
    figure.set_label(EXAMPLES)
    return figure


def recoloured(images: Any, masks: Any, turns: float = 0.8, least: float = 0.4) -> Any:
    """The first four images, the soft masks of a class, and the images with another hue inside them.

    Args:
        images: [n, h, w, 3] in 0..1.
        masks: probabilities of the class, [n, h, w].
        turns: the hue as a part of a turn, 0 red, 1 / 3 green; see `ops.images.colour.recolour`.
        least: chroma that grey pixels get.

    Returns:
        A matplotlib Figure, labelled as one of examples.
    """
    images, masks = (np.asarray(x)[:4] for x in (images, masks))
    changed = colour.recolour(images, masks[..., None], turns, least)
    figure, axes = new_figure(len(images), 3, inches=1.8)
    for row, *shown in zip(axes, images, masks, changed, strict=True):
        for axis, picture in zip(row, shown, strict=True):
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
    for axis, title in zip(axes[0], ("image", "mask", "recoloured"), strict=True):
        axis.set_title(title, fontsize=8)
    figure.set_label(EXAMPLES)
    return figure


def _score(label: np.ndarray, guess: np.ndarray, classes: int) -> float:
    """Mean IoU of one image; NaN where every pixel is to ignore."""
    kept = label != segmentation.IGNORE
    m = np.bincount(label[kept] * classes + guess[kept], minlength=classes**2).reshape(classes, classes)
    return segmentation.segmentation_metrics(m)["mean_iou"] if kept.any() else float("nan")


def _blend(image: np.ndarray, mask: np.ndarray, palette: np.ndarray) -> np.ndarray:
    colours = palettes.colours_of(mask, palette) / 255
    part = OPACITY * (mask != segmentation.IGNORE)[..., None]
    return np.clip(part * colours + (1 - part) * image, 0, 1)


def measured(split: str, class_names: Sequence[str], rows: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What an evaluation draws of its counts: a table of the classes as text, and the confusion matrix.

    Args:
        split: its name, for the names of the figures.
        class_names: one per class, or () for numbers.
        rows: as `metrics.segmentation.summary` takes them.

    Returns:
        {"SPLIT_classes": text, "SPLIT_confusion": matplotlib Figure}.
    """
    m = np.asarray(rows["confusion"])
    measures = segmentation.per_class(m)
    share = m.sum(1) / m.sum()
    lines = []
    for k in np.argsort(-share, kind="stable"):
        cells = ("-" if np.isnan(x[k]) else f"{100 * x[k]:.1f} %" for x in measures.values())
        lines.append((class_name(k, class_names), f"{100 * share[k]:.2f} %", *cells))
    return {
        f"{split}_classes": "\n".join(columns(lines, head=("class", "pixels", *measures))),
        f"{split}_confusion": confusion(m, class_names),
    }


def confusion(counts: np.ndarray, class_names: Sequence[str] = ()) -> Any:
    """The confusion matrix int [c, c] as a picture: percent of the pixels of each true class (rows)."""
    from matplotlib.figure import Figure

    share, c = classification.normalised(counts, "true"), len(counts)
    side = max(3.0, 0.45 * c + 1.5)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axis = figure.subplots()
    axis.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1)  # the root shows what is rare
    names = [class_name(k, class_names) for k in range(c)]
    axis.set_xticks(range(c), names, rotation=90, fontsize=8)
    axis.set_yticks(range(c), names, fontsize=8)
    axis.set_xlabel("predicted", fontsize=8)
    axis.set_ylabel("true", fontsize=8)
    for i, j in np.argwhere(share >= 0.005) if c <= 25 else ():
        axis.text(j, i, f"{100 * share[i, j]:.0f}", fontsize=7, ha="center", va="center",
                  color="white" if share[i, j] > 0.4 else "black")  # fmt: skip
    return figure
