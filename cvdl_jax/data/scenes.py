"""Procedural scenes of simple shapes, computed in whole numbers, so that every machine draws the same bytes.

A scene is a dim gradient with specks (clutter), objects of random class, colour (all different while there are enough),
size, rotation and place, and noise of -8 ... 8 on every pixel. Lengths are in half pixels: the centre of pixel (x, y)
is at (2 x + 1, 2 y + 1), and a pixel belongs to a shape if its centre does (no anti-aliasing). Rotations are by angles
of Pythagorean triples, whose sines and cosines are fractions. Random numbers are raw words of Philox, which are the
same in every NumPy version (NEP 19).
"""

from typing import NamedTuple

import numpy as np

CLASSES = ("circle", "square", "triangle", "cross", "ring", "bar")
COLOURS = {
    "red": (220, 40, 40), "green": (40, 190, 60), "blue": (50, 80, 230), "yellow": (230, 220, 50),
    "magenta": (220, 60, 210), "cyan": (60, 210, 220), "white": (235, 235, 235),
}  # fmt: skip
# (cosine, sine, length)
ROTATIONS = ((1, 0, 1), (12, 5, 13), (15, 8, 17), (4, 3, 5), (3, 4, 5), (8, 15, 17), (5, 12, 13))
# What captions say of a shape, and of one shape beside another (`builders/captioned_scenes.py`).
SIZES = ("small", "large")
ALONE = "alone"
RELATIONS = (ALONE, "to the left of", "to the right of", "above", "below")
PLACES = (  # thirds of the image, from above and from the left
    ("at the top left", "at the top", "at the top right"),
    ("on the left", "in the middle", "on the right"),
    ("at the bottom left", "at the bottom", "at the bottom right"),
)
_TRIES = 20  # places tried for an object before it is left out
JITTER, NOISE = 16, 8


class Object(NamedTuple):
    """One object: its class, the name of its colour, and whether its size is in the larger half of the range."""

    label: int
    colour: str
    large: bool


class Scene(NamedTuple):
    """One scene.

    Attributes:
        image: uint8 [size, size, 3].
        instances: uint8 [size, size], 0 for the background, i + 1 for object i where it is visible.
        objects: in the order of drawing; none of them loses more than a quarter of its pixels to later ones.
    """

    image: np.ndarray
    instances: np.ndarray
    objects: tuple[Object, ...]

    def boxes(self) -> np.ndarray:
        """Tight boxes of the visible part of each object, in pixels: int64 [n, 4], [ymin, xmin, ymax, xmax]."""
        boxes = []
        for i in range(len(self.objects)):
            y, x = np.nonzero(self.instances == i + 1)
            boxes.append((y.min(), x.min(), y.max() + 1, x.max() + 1))
        return np.asarray(boxes, np.int64).reshape(-1, 4)

    def labels(self) -> np.ndarray:
        """Classes of the objects: int64 [n]."""
        return np.asarray([o.label for o in self.objects], np.int64)

    def areas(self) -> np.ndarray:
        """Visible pixels of each object: int64 [n]."""
        return np.bincount(self.instances.ravel(), minlength=len(self.objects) + 1)[1:]

    def segmentation(self) -> np.ndarray:
        """Class of every pixel plus one, 0 for the background: uint8 [size, size]."""
        return np.concatenate([[0], self.labels() + 1]).astype(np.uint8)[self.instances]

    def caption(self) -> str:
        """The objects by visible size: "a large red circle, a small blue ring and a small white bar"."""
        order = np.argsort(-self.areas(), kind="stable")
        parts = [
            f"a {'large' if o.large else 'small'} {o.colour} {CLASSES[o.label]}"
            for o in (self.objects[i] for i in order.tolist())
        ]
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


class Words:
    """A sequence of random whole numbers, a function of (stream, index).

    Args:
        stream: for example a split's number.
        index: of the scene in it.
    """

    def __init__(self, stream: int, index: int):
        self._bits = np.random.Philox(key=np.asarray([stream, index], np.uint64))

    def below(self, n: int) -> int:
        """0 ... n - 1, as the upper half of a word times n."""
        return (int(self._bits.random_raw()) >> 32) * n >> 32

    def between(self, low: int, high: int) -> int:
        """A number from low to high, both included."""
        return low + self.below(high - low + 1)

    def octets(self, n: int) -> np.ndarray:
        """int64 [n] in 0 ... 255."""
        words = np.asarray(self._bits.random_raw(-(-n // 8)), dtype="<u8")
        return words.view(np.uint8)[:n].astype(np.int64)


def inside(name: str, dx: np.ndarray, dy: np.ndarray, radius: int, rotation: tuple[int, int, int]) -> np.ndarray:
    """Which points belong to a shape.

    Args:
        name: of CLASSES.
        dx: int64 [...], offsets from the centre to the right, in half pixels.
        dy: likewise downwards.
        radius: of the circle around the shape, in half pixels.
        rotation: (c, s, n) with c^2 + s^2 = n^2, clockwise by the angle of cosine c / n.

    Returns:
        bool [...].
    """
    c, s, n = rotation
    u, v, r = c * dx + s * dy, c * dy - s * dx, n * radius  # the shape's own axes, all times n
    if name in ("circle", "ring"):
        square = dx * dx + dy * dy
        full = square <= radius * radius
        return full if name == "circle" else full & (4 * square >= radius * radius)
    if name == "square":  # half a side is 17 / 24 of the radius, just more than 1 / sqrt(2)
        return 24 * np.maximum(abs(u), abs(v)) <= 17 * r
    if name == "triangle":  # equilateral, one corner up; 866 / 1000 is the height of its side
        return (2 * v <= r) & (866 * abs(u) - 500 * v <= 500 * r)
    if name == "cross":
        return (np.maximum(abs(u), abs(v)) <= r) & (3 * np.minimum(abs(u), abs(v)) <= r)
    if name == "bar":
        return (abs(u) <= r) & (3 * abs(v) <= r)
    raise ValueError(f"there is no shape {name!r}")


def draw(stream: int, index: int, size: int = 64, objects: int = 5, classes: int = 6, clutter: int = 6) -> Scene:
    """Draws a scene.

    Args:
        stream: for example a split's number.
        index: of the scene; random numbers depend on (stream, index).
        size: height and width in pixels.
        objects: at most so many, at least one.
        classes: the first so many of CLASSES.
        clutter: number of specks.

    Returns:
        A Scene.
    """
    words = Words(stream, index)
    y, x = np.mgrid[:size, :size]  # [size, size]
    image = background(words, x, y, size, clutter)
    instances = np.zeros((size, size), np.uint8)
    drawn: list[Object] = []
    low, high = max(size // 6, 6), max(2 * size // 5, 6)  # diameters of a sixth to two fifths of the image
    full: list[int] = []  # pixels of each object, hidden ones included
    for _ in range(words.between(1, objects)):
        label, radius = words.below(classes), words.between(low, high)
        fresh = [c for c in COLOURS if c not in {o.colour for o in drawn}] or list(COLOURS)
        colour, rotation = fresh[words.below(len(fresh))], turned(words)
        paint = [value + words.between(-JITTER, JITTER) for value in COLOURS[colour]]
        for _ in range(_TRIES):
            cx, cy = words.between(radius, 2 * size - radius), words.between(radius, 2 * size - radius)
            covered = inside(CLASSES[label], 2 * x + 1 - cx, 2 * y + 1 - cy, radius, rotation)
            left = np.bincount(instances[~covered], minlength=len(full) + 1)[1:]
            if covered.any() and all(4 * n >= 3 * m for n, m in zip(left.tolist(), full, strict=True)):
                full.append(int(covered.sum()))
                drawn.append(Object(label, colour, 2 * radius > low + high))
                image[covered] = paint
                instances[covered] = len(drawn)
                break
    noise = words.octets(3 * size * size).reshape(size, size, 3) % (2 * NOISE + 1) - NOISE
    return Scene(np.clip(image + noise, 0, 255).astype(np.uint8), instances, tuple(drawn))


def turned(words: Words) -> tuple[int, int, int]:
    """A rotation of the table, plus 0 to 3 quarter turns."""
    c, s, n = ROTATIONS[words.below(len(ROTATIONS))]
    for _ in range(words.below(4)):
        c, s = -s, c
    return c, s, n


def background(words: Words, x: np.ndarray, y: np.ndarray, size: int, clutter: int) -> np.ndarray:
    """A dim gradient with specks of one to three pixels' width: int64 [size, size, 3]."""
    base = [words.between(50, 130) for _ in range(3)]
    slope = [(words.between(-30, 30), words.between(-30, 30)) for _ in range(3)]
    image = np.stack([b + (gx * x + gy * y) // size for b, (gx, gy) in zip(base, slope, strict=True)], -1)
    for _ in range(clutter):
        h, w = words.between(1, 3), words.between(1, 3)
        top, left = words.below(size - h + 1), words.below(size - w + 1)
        image[top : top + h, left : left + w] = list(COLOURS.values())[words.below(len(COLOURS))]
    return image
