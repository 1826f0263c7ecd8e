"""Figures for reports, drawn with matplotlib off screen."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Animation(NamedTuple):
    """Frames that follow one another, over and over: a figure that is saved as an animated PNG.

    Attributes:
        frames: [n, h, w, c] in 0..1, of 1 or 3 channels.
        seconds: of one frame.
        enlarged: screen pixels for a pixel's side.
    """

    frames: Any
    seconds: float = 0.125
    enlarged: int = 4

    def png(self) -> bytes:
        """The file."""
        import io

        from PIL import Image

        frames = np.round(255 * np.clip(np.asarray(self.frames), 0, 1)).astype(np.uint8)
        frames = frames.repeat(self.enlarged, 1).repeat(self.enlarged, 2)
        first, *rest = (Image.fromarray(x.squeeze(-1) if x.shape[-1] == 1 else x) for x in frames)
        out = io.BytesIO()
        first.save(out, "png", save_all=True, append_images=rest, duration=round(1000 * self.seconds), loop=0)
        return out.getvalue()


def new_figure(rows: int, columns: int, inches: float = 1.2, aspect: float = 1.0) -> tuple[Any, Any]:
    """A figure with a grid of axes without ticks, made without a display.

    Args:
        rows: of the grid.
        columns: of the grid.
        inches: width of one cell.
        aspect: its height over its width, without the room for a title.

    Returns:
        (figure, axes [rows, columns]).
    """
    from matplotlib.figure import Figure  # the object interface: no window system, no global state

    figure = Figure(figsize=(columns * inches, rows * (inches * aspect + 0.25)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_frame_on(False)
    return figure, axes


EXAMPLES = "examples"  # label of a figure that shows examples of a data set, so that its caption can say of which split
CROWD = 8  # objects of an image; with more, names and scores of small images would hide each other
DARK = {"black": "#e4e8ee", "white": "#181d23"}  # --ink and --card of the pages' dark theme


def darken(figure: Any) -> None:
    """Makes a figure fit a dark page, in place: black and white change places, what lies over an image stays."""
    from matplotlib.colors import to_rgba

    over = {child for axis in figure.axes if axis.images for child in (*axis.patches, *axis.lines, *axis.texts)}
    new = {to_rgba(old): to_rgba(colour) for old, colour in DARK.items()}
    for artist in figure.findobj(lambda artist: artist not in over):
        for kind in ("color", "facecolor", "edgecolor"):
            get, change = (getattr(artist, f"{verb}_{kind}", None) for verb in ("get", "set"))
            colours = get() if get is not None and change is not None else None
            if colours is None or (isinstance(colours, str) and colours in ("none", "auto")):
                continue
            one = isinstance(colours, str) or np.ndim(colours) == 1
            rgba = [to_rgba(c) for c in ([colours] if one else colours)]
            changed = [(*new[(*c[:3], 1.0)][:3], c[3]) if (*c[:3], 1.0) in new else c for c in rgba]
            if changed != rgba:
                change(changed[0] if one else changed)
    for axis in figure.axes:
        for ticks in (axis.xaxis, axis.yaxis):
            ticks.set_tick_params(which="both", colors=DARK["black"])


def class_name(c: int, class_names: Sequence[str]) -> str:
    """The name of a class, its number where there are no names."""
    return str(class_names[c]) if class_names else str(c)


def class_colours(n: int) -> list[Any]:
    """A colour for each of n classes."""
    from matplotlib import colormaps

    return list(map(colormaps["tab10"] if n <= 10 else colormaps["hsv"].resampled(n + 1), range(n)))


def titled_tiles(images: Any, titles: Sequence[tuple[str, str]], columns: int, inches: float) -> Any:
    """Images in a grid, each under its title; one pair of axes for all, for a pair for each takes seconds to draw.

    Args:
        images: [n, h, w, c] in 0..1.
        titles: n (text, colour).
        columns: of the grid.
        inches: side of the square that each image lies in.

    Returns:
        A matplotlib Figure, labelled as one of examples.
    """
    from matplotlib.figure import Figure

    images = np.asarray(images)
    n, h, w, c = images.shape
    lines = max((text.count("\n") for text, _ in titles), default=0) + 1
    rows, over = -(-n // columns), (0.1 + 0.14 * lines) / inches  # the height of titles, in sides
    half_h, half_w = (0.46 * side / max(h, w) for side in (h, w))
    step = 2 * half_h + 0.08 + over
    figure = Figure(figsize=(columns * inches, rows * step * inches))
    shown, said = (figure.add_axes((0, 0, 1, 1)) for _ in range(2))
    for i, (image, (text, colour)) in enumerate(zip(images, titles, strict=True)):
        x, y = i % columns + 0.5, (rows - i // columns) * step - over - half_h  # of its centre
        place = (x - half_w, x + half_w, y - half_h, y + half_h)
        shown.imshow(image.squeeze(-1) if c == 1 else image, cmap="gray", vmin=0, vmax=1, extent=place)
        text = text.replace("$", r"\$")  # a dollar sign would begin a formula
        said.text(x, y + half_h + 0.03, text, fontsize=8, color=colour, ha="center", va="bottom")
    for axis in (shown, said):
        axis.set(xlim=(0, columns), ylim=(0, rows * step), aspect="auto")
        axis.set_axis_off()
    figure.set_label(EXAMPLES)
    return figure


def image_grid(images: Any, labels: Any, guesses: Any, class_names: Sequence[str] = (), columns: int = 8) -> Any:
    """Images with their predicted class; wrong ones say the true class too, in red.

    Args:
        images: [n, h, w, c] in 0..1.
        labels: int [n].
        guesses: int [n].
        class_names: one per class, or () for numbers.
        columns: of the grid.

    Returns:
        A matplotlib Figure.
    """
    titles = []
    for label, guess in zip(np.asarray(labels), np.asarray(guesses), strict=True):
        called, true = class_name(guess, class_names), class_name(label, class_names)
        titles.append((called, "black") if label == guess else (f"{called}, not {true}", "tab:red"))
    return titled_tiles(images, titles, columns, 1.2)


def rankings(
    probabilities: Any, labels: Any, class_names: Sequence[str], most: int = 3
) -> tuple[str, list[tuple[str, str]]]:
    """The most probable classes of each image, best first, as a table and as titles.

    Args:
        probabilities: [n, c].
        labels: int [n], the true classes.
        class_names: one per class.
        most: classes of an image that are named.

    Returns:
        (the table, a line for each class that is named; titles for `titled_tiles`, red where the best one is wrong).
    """
    lines, titles = [], []
    for i, (p, label) in enumerate(zip(np.asarray(probabilities), np.asarray(labels), strict=True)):
        order = np.argsort(-p, kind="stable")
        lines += [f"image {i}: {class_names[label]}, number {int(np.flatnonzero(order == label)[0]) + 1} of {len(p)}"]
        ranked = [f"{100 * p[c]:5.1f} %  {class_names[c]}" for c in order[:most]]
        lines += [f"    {line}" for line in ranked]
        titles.append(("\n".join(ranked), "black" if order[0] == label else "tab:red"))
    return "\n".join(lines), titles


def label_grid(images: Any, labels: Any, guesses: Any, class_names: Sequence[str] = (), columns: int = 6) -> Any:
    """Images with the classes that were found in them, one a line; what is missing or too much says so, in red.

    Args:
        images: [n, h, w, c] in 0..1.
        labels: 0 or 1 [n, k].
        guesses: 0, 1 or bool [n, k].
        class_names: one per class, or () for numbers.
        columns: of the grid.

    Returns:
        A matplotlib Figure.
    """
    titles = []
    for label, guess in zip(np.asarray(labels) > 0.5, np.asarray(guesses) > 0.5, strict=True):
        parts = [(class_name(c, class_names), label[c], guess[c]) for c in np.flatnonzero(label | guess)]
        lines = [name if true and said else f"{name} missed" if true else f"no {name}" for name, true, said in parts]
        titles.append(("\n".join(lines) or "none", "black" if (label == guess).all() else "tab:red"))
    return titled_tiles(images, titles, columns, 1.7)


def mosaic(images: Any, columns: int = 8) -> Any:
    """Images without titles, edge to edge.

    Args:
        images: [n, h, w, c] in 0..1; places that are left in the last row are white.
        columns: of the grid.

    Returns:
        A matplotlib Figure.
    """
    images = np.asarray(images)
    n, h, w, c = images.shape
    rows = -(-n // columns)
    cells = np.concatenate([images, np.ones((rows * columns - n, h, w, c), images.dtype)])
    whole = cells.reshape(rows, columns, h, w, c).swapaxes(1, 2).reshape(rows * h, columns * w, c)
    figure, axes = new_figure(1, 1, inches=6)
    axes[0, 0].imshow(whole.squeeze(-1) if c == 1 else whole, cmap="gray", vmin=0, vmax=1)
    return figure


def text_pages(pages: Mapping[str, str], width: int = 60) -> Any:
    """Texts side by side, each under its title, lines longer than the page broken.

    Args:
        pages: {title: text}.
        width: characters of a line.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.figure import Figure

    broken = {t: [line[i : i + width] for line in text.split("\n") for i in range(0, len(line) or 1, width)]
              for t, text in pages.items()}  # fmt: skip
    lines = max(map(len, broken.values()))
    figure = Figure(figsize=(0.075 * width * len(pages), 0.16 * lines + 0.5), layout="constrained")
    for axis, (title, page) in zip(figure.subplots(1, len(pages), squeeze=False).flat, broken.items(), strict=True):
        axis.set_axis_off()
        axis.set_title(title, fontsize=9)
        text = "\n".join(page).replace("$", r"\$")  # a dollar sign would begin a formula
        axis.text(0, 1, text, fontsize=8, family="monospace", verticalalignment="top", transform=axis.transAxes)
    return figure


def box_grid(
    images: Any,
    predicted: Mapping[str, Any],
    truth: Mapping[str, Any],
    class_names: Sequence[str] = (),
    threshold: float = 0.3,
) -> Any:
    """Images with true boxes (white, dashed) and predicted ones (a colour for each class, with its name and score).

    Of images with many objects there are fewer, and they are larger.

    Args:
        images: [n, h, w, c] in 0..1.
        predicted: boxes [n, d, 4] in 0..1, classes int [n, d], scores [n, d], mask [n, d].
        truth: boxes [n, t, 4], mask [n, t].
        class_names: one per class, or () for numbers.
        threshold: predictions with a lower score are left out.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib import colormaps

    predicted, truth = ({k: np.asarray(v) for k, v in arrays.items()} for arrays in (predicted, truth))
    crowded = truth["mask"].sum(1).max(initial=0) > CROWD
    columns, inches, most = (4, 4.0, 12) if crowded else (8, 2.0, len(images))
    images = np.asarray(images)[:most]
    n, h, w, _ = images.shape
    figure, axes = new_figure(-(-n // columns), columns, inches, h / w)

    for i, axis in enumerate(axes.flat[:n]):
        axis.imshow(images[i].squeeze(-1) if images.shape[-1] == 1 else images[i], cmap="gray", vmin=0, vmax=1)
        for k in np.flatnonzero(truth["mask"][i] > 0):
            outline(axis, truth["boxes"][i, k], (h, w), edgecolor="white", linestyle="--", linewidth=1)
        for k in np.flatnonzero((predicted["mask"][i] > 0) & (predicted["scores"][i] >= threshold)):
            box, c = predicted["boxes"][i, k], int(predicted["classes"][i, k])
            colour = colormaps["tab10"](c % 10)
            outline(axis, box, (h, w), edgecolor=colour, linewidth=1.2)
            text = f"{class_name(c, class_names)} {predicted['scores'][i, k]:.2f}"
            axis.text(box[1] * w - 0.5, box[0] * h - 1, text, fontsize=5, color=colour)
    figure.set_label(EXAMPLES)
    return figure


def outline(axis: Any, box: Any, size: tuple[int, int], **style: Any) -> None:
    """Draws a box [ymin, xmin, ymax, xmax] in 0..1 over an image of (h, w) pixels; style as of a matplotlib patch."""
    from matplotlib.patches import Rectangle

    ymin, xmin, ymax, xmax = np.asarray(box) * [*size, *size] - 0.5  # the centre of a pixel is a whole number
    axis.add_patch(Rectangle((xmin, ymin), xmax - xmin, ymax - ymin, fill=False, **style))


def scatter(points: Any, labels: Any, class_names: Sequence[str] = ()) -> Any:
    """Points of the plane, a colour for each class.

    Args:
        points: [n, 2].
        labels: int [n].
        class_names: one per class, or () for numbers.

    Returns:
        A matplotlib Figure.
    """
    points, labels = np.asarray(points), np.asarray(labels)
    figure, axes = new_figure(1, 1, inches=6)
    classes = np.unique(labels)
    for c, colour in zip(classes, class_colours(len(classes)), strict=True):
        axes[0, 0].scatter(*points[labels == c].T, s=6, color=colour, label=class_name(c, class_names))
    axes[0, 0].set_aspect("equal", "datalim")
    if len(classes) <= 20:
        figure.legend(loc="outside right upper", fontsize=8, markerscale=2)
    return figure
