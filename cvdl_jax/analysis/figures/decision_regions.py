"""What a classifier has learned, to look at: its regions of the plane, and the templates of a linear one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures import images

GRID = 200  # points along each side


def plane(points: Any, size: int = GRID, margin: float = 0.1) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """A grid over the square around some points.

    Args:
        points: [n, 2].
        size: of each side, in grid points.
        margin: beyond the outermost point, as a share of the square.

    Returns:
        float32 [size, size, 2], rows from the smallest second coordinate up; (left, right, bottom, top).
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"points must be [n, 2], n at least 1, got {list(points.shape)}")
    centre = (points.max(0) + points.min(0)) / 2
    half = (1 + margin) * max((points.max(0) - points.min(0)).max() / 2, 1e-6)
    x, y = (np.linspace(c - half, c + half, size) for c in centre)
    grid = np.stack(np.meshgrid(x, y), -1).astype(np.float32)
    return grid, (float(x[0]), float(x[-1]), float(y[0]), float(y[-1]))


def classify(scores_fn: Callable, grid: np.ndarray) -> np.ndarray:
    """The class of every grid point.

    Args:
        scores_fn: float32 [n, 2] -> scores [n, c], or [n], positive for class 1 and else class 0.
        grid: [h, w, 2].

    Returns:
        int [h, w].
    """
    scores = np.asarray(scores_fn(grid.reshape(-1, 2)))
    classes = scores.argmax(-1) if scores.ndim == 2 else (scores > 0).astype(int)
    return classes.reshape(grid.shape[:2])


def regions(scores_fn: Callable, points: Any, labels: Any, class_names: Sequence[str] = ()) -> Any:
    """The regions in which a classifier answers each class, with labelled points on them.

    Args:
        scores_fn: see `classify`.
        points: [n, 2].
        labels: int [n].
        class_names: one per class, or () for numbers.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.colors import BoundaryNorm, ListedColormap

    points, labels = np.asarray(points), np.asarray(labels)
    grid, extent = plane(points)
    answers = classify(scores_fn, grid)
    classes = int(max(answers.max(), labels.max())) + 1
    colours = ListedColormap(images.class_colours(classes))
    norm = BoundaryNorm(np.arange(classes + 1) - 0.5, classes)
    figure, axes = images.new_figure(1, 1, inches=5)
    axes[0, 0].imshow(answers, colours, norm, origin="lower", extent=extent, alpha=0.35, interpolation="nearest")
    for i in np.unique(labels):
        name = images.class_name(i, class_names)
        shown = points[labels == i]
        axes[0, 0].scatter(*shown.T, s=14, color=colours(int(i)), edgecolor="black", linewidth=0.4, label=name)
    if classes <= 20:
        figure.legend(loc="outside right upper", fontsize=8)
    figure.set_label(images.EXAMPLES)
    return figure


def templates(w: Any, shape: Sequence[int]) -> np.ndarray:
    """The weights of each class as an image: in the layout `x W`, column k of W is the prototype of class k.

    A linear score is the inner product of the image and the template, plus the bias.

    Args:
        w: W, [h w c, k].
        shape: of the images, (h, w, c).

    Returns:
        [k, h, w, c].

    Raises:
        ValueError: for sizes that do not fit.

    Errata of the course: ER28 (rows are the templates in the layout `W x`).
    """
    w = np.asarray(w)
    if w.ndim != 2 or len(shape) != 3 or len(w) != np.prod(shape):
        raise ValueError(f"w of shape {list(w.shape)} does not fit images of shape (h, w, c)={tuple(shape)}")
    return w.T.reshape(-1, *shape)


def template_grid(w: Any, shape: Sequence[int], class_names: Sequence[str] = (), columns: int = 5) -> Any:
    """The template of each class; grey ones from blue, below 0, to red, colour ones scaled to 0..1 each.

    Args:
        w: [h w c, k].
        shape: of the images, (h, w, c).
        class_names: one per class, or () for numbers.
        columns: of the figure.

    Returns:
        A matplotlib Figure.
    """
    shown = templates(w, shape)
    figure, axes = images.new_figure(-(-len(shown) // columns), min(columns, len(shown)))
    largest = float(np.abs(shown).max()) or 1.0  # one scale: the templates compete
    for i, (axis, template) in enumerate(zip(axes.flat, shown, strict=False)):
        if shape[-1] == 3:
            low, high = template.min(), template.max()
            axis.imshow((template - low) / ((high - low) or 1.0))
        else:
            axis.imshow(template.mean(-1), cmap="RdBu_r", vmin=-largest, vmax=largest)
        axis.set_title(images.class_name(i, class_names), fontsize=8)
    return figure


def weights_of(params: Mapping[str, Any]) -> np.ndarray | None:
    """W [d, k] of a model that is a single dense layer, such as `linear`; None for any other."""
    kernel = params["head"].get("kernel") if set(params) == {"head"} else None
    return np.asarray(kernel) if kernel is not None and kernel.ndim == 2 else None
