"""Drawn scenes with faces among clutter, for detectors that slide a window.

Faces are those of `data/portraits.py` from the front, without a hat, cut out along their heads and hair, on rectangles,
ellipses, stripes and noise. A scene is a function of its number. Grey levels in 0..1.
"""

from typing import NamedTuple

import numpy as np

from cvdl_jax.data import portraits
from cvdl_jax.data.scenes import Words

BELOW, SIDE = 0.12, 0.72  # the square of a face: from above the brows to the chin, and its centre below the head's
GREY = np.asarray([0.299, 0.587, 0.114])


class Scene(NamedTuple):
    """A scene.

    Attributes:
        image: float64 [size, size] in 0..1.
        boxes: float64 [k, 4], a square around each face, from brows to chin: top, left, bottom, right in pixels.
    """

    image: np.ndarray
    boxes: np.ndarray


def clutter(rng: np.random.Generator, size: int, shapes: int) -> np.ndarray:
    """Rectangles, ellipses and stripes of random brightness on a slope, with noise: float64 [size, size]."""
    y, x = np.mgrid[:size, :size] / size
    image = rng.uniform(0.2, 0.8) + rng.uniform(-0.3, 0.3) * y + rng.uniform(-0.3, 0.3) * x
    for _ in range(shapes):
        angle, (v, u) = rng.uniform(0, np.pi), rng.uniform(-0.1, 1.1, 2)
        a = (np.cos(angle) * (x - u) + np.sin(angle) * (y - v)) / rng.uniform(0.03, 0.3)
        b = (np.cos(angle) * (y - v) - np.sin(angle) * (x - u)) / rng.uniform(0.03, 0.3)
        kind = rng.integers(3)
        inside = np.maximum(abs(a), abs(b)) < 1 if kind == 0 else a * a + b * b < 1
        shade = rng.uniform(0, 1) + (0.3 * np.sign(np.sin(a * rng.uniform(3, 12))) if kind == 2 else 0)
        image = np.where(inside, shade, image)
    return np.clip(image + rng.normal(0, 0.02, image.shape), 0, 1)


def head(number: int, size: int, turn: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey levels [size, size], where the head is (bool [size, size]), and the square around its face [4].

    Args:
        number: of the person and the view.
        size: of the drawing, of which the square around a face is about a half.
        turn: largest yaw in degrees.
    """
    who, seen = portraits.person(Words(701, number)), portraits.view(Words(702, number), turn)
    drawing = portraits.draw(who, seen._replace(hat=0), size)
    half = seen.scale * size / 1000  # of the head's height
    centre = np.asarray([seen.y, seen.x]) * size / 1000 + [BELOW * half, 0]
    half = half * SIDE
    return drawing.image @ GREY / 255, drawing.regions > 0, np.concatenate([centre - half, centre + half])


def scene(number: int, size: int, faces: int = 0, smallest: int = 20, largest: int = 45, shapes: int = 14) -> Scene:
    """A scene with faces that do not overlap; one that finds no place is left out.

    Args:
        number: of the scene; another one has other people.
        size: height and width in pixels.
        faces: how many.
        smallest: side of a face's square in pixels.
        largest: likewise.
        shapes: of the clutter.
    """
    rng = np.random.default_rng([703, number])
    image, boxes = clutter(rng, size, shapes), np.zeros((0, 4))
    for i in range(faces):
        drawn = int(rng.uniform(smallest, largest) / (0.74 * SIDE))
        if drawn >= size:
            continue
        face, mask, box = head(number * 16 + i, drawn)
        top, left = rng.integers(0, size - drawn + 1, 2)
        square = box + [top, left, top, left]
        if ((square[None, :2] < boxes[:, 2:]) & (boxes[:, :2] < square[None, 2:])).all(1).any():
            continue
        part = image[top : top + drawn, left : left + drawn]
        part[mask] = face[mask]
        boxes = np.concatenate([boxes, square[None]])
    return Scene(image, boxes)


def cut_out(image: np.ndarray, box: np.ndarray, window: int) -> np.ndarray:
    """The part of an image in a box, resized to a window: float64 [window, window]."""
    from PIL import Image

    top, left, bottom, right = (float(v) for v in box)
    picture = Image.fromarray(np.asarray(image, np.float32))
    part = picture.resize((window, window), Image.Resampling.BOX, box=(left, top, right, bottom))
    return np.asarray(part, np.float64)


def face_windows(start: int, count: int, window: int) -> np.ndarray:
    """Faces on clutter, one each, moved and scaled a little: float64 [count, window, window]."""
    windows = np.zeros((count, window, window))
    for i in range(count):
        rng = np.random.default_rng([704, start + i])
        size = int(rng.integers(40, 64))
        face, mask, box = head(16 * (start + i), size)
        image = np.where(mask, face, clutter(rng, size, 6))
        side = box[2] - box[0]
        centre = (box[:2] + box[2:]) / 2 + rng.uniform(-0.04, 0.04, 2) * side
        half = side / 2 * rng.uniform(0.95, 1.08)
        square = np.clip(np.concatenate([centre - half, centre + half]), 0, size)
        windows[i] = cut_out(image, square, window)
    return windows


def other_windows(start: int, count: int, window: int, size: int = 96) -> np.ndarray:
    """Windows without a face, a quarter with parts of one: float64 [count, window, window]."""
    windows, made, number = np.zeros((count, window, window)), 0, start
    while made < count:
        rng = np.random.default_rng([705, number])
        view = scene(number, size, faces=int(number % 4 == 0))
        number += 1
        for _ in range(16):
            side = rng.uniform(window, size)
            top, left = rng.uniform(0, size - side, 2)
            box = np.asarray([top, left, top + side, left + side])
            if made < count and not (len(view.boxes) and overlaps(box[None], view.boxes).max() > 0.3):
                windows[made] = cut_out(view.image, box, window)
                made += 1
    return windows


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union [n, m] of boxes [n, 4] and [m, 4]."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.maximum(sides, 0).prod(-1)
    area = [(x[:, 2:] - x[:, :2]).prod(-1) for x in (a, b)]
    return shared / np.maximum(area[0][:, None] + area[1][None] - shared, 1e-12)
