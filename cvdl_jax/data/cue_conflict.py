"""Drawn images in which the shape and the texture of an object are chosen apart: which of them does a network go by?

Shape i of `scenes.CLASSES` belongs with texture i of TEXTURES. An image has one object on a grey background with noise;
its texture turns with it. Lengths are in half pixels, as in `scenes.py`, whose random numbers and shapes these are.
"""

from collections.abc import Callable, Mapping

import numpy as np

from cvdl_jax.data import scenes

DARK, LIGHT, GREY = 60, 200, 128  # of a texture, and of the background
ONE = scenes.ROTATIONS[:1]  # upright
LARGE, SMALL = (22, 28), (11, 14)  # radii of objects, least and most


def _stripes(period: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda u, v: np.floor(2 * u / period) % 2 == 0


def _checks(period: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda u, v: (np.floor(2 * u / period) + np.floor(2 * v / period)) % 2 == 0


def _grid(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (u % 12 < 4) | (v % 12 < 4)


def _dots(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (u % 10 - 5) ** 2 + (v % 10 - 5) ** 2 <= 9


# {name: (u, v) -> whether a point is light}, in half pixels along the object's own axes.
TEXTURES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "narrow stripes": _stripes(6),
    "wide stripes": _stripes(14),
    "small checks": _checks(8),
    "large checks": _checks(16),
    "dots": _dots,
    "grid": _grid,
}


def draw(
    words: scenes.Words,
    shape: int | None,
    texture: int | None,
    size: int,
    radii: tuple[int, int] = LARGE,
    rotations: tuple[tuple[int, int, int], ...] = ONE,
) -> np.ndarray:
    """One image.

    Args:
        words: random numbers.
        shape: of the object, a place in `scenes.CLASSES`; None for one that fills the image.
        texture: a place in TEXTURES; None for an even dark or light.
        size: height and width in pixels.
        radii: least and most, in half pixels; larger than the image has room for are not drawn.
        rotations: of which one is drawn.

    Returns:
        uint8 [size, size, 1].
    """
    radius = words.between(*radii)
    rotation = rotations[words.below(len(rotations))]
    slack = max(size - radius, 0)  # of the centre to both sides
    cx, cy = (size + words.between(-slack, slack) for _ in range(2))
    y, x = np.mgrid[:size, :size]
    dx, dy = 2 * x + 1 - cx, 2 * y + 1 - cy
    c, s, n = rotation
    u, v = ((c * dx + s * dy) / n + words.below(64), (c * dy - s * dx) / n + words.below(64))
    light = TEXTURES[list(TEXTURES)[texture]](u, v) if texture is not None else np.full(u.shape, words.below(2) == 1)
    there = True if shape is None else scenes.inside(scenes.CLASSES[shape], dx, dy, radius, rotation)
    image = np.where(there, np.where(light, LIGHT, DARK), GREY)
    noise = words.octets(size * size).reshape(size, size) % (2 * scenes.NOISE + 1) - scenes.NOISE
    return np.clip(image + noise, 0, 255).astype(np.uint8)[..., None]


def images(stream: int, count: int, size: int, cue: str) -> dict[str, np.ndarray]:
    """Images of one kind, in turn of all its classes.

    Args:
        stream: image i is a function of (stream, i, cue) alone.
        count: how many.
        size: height and width in pixels.
        cue: "both": shape i with texture i, upright and large, as a network is trained; "turned" and "small": the same
            by an angle, at half the size; "shape": without a texture; "texture": without a shape; "conflict": shape i
            with texture j, all i != j equally often; "any_texture", "any_angle", "any_size": as "both", but of a random
            texture, angle or size.

    Returns:
        {"image": uint8 [count, size, size, 1], "shape": int32 [count], "texture": int32 [count]}; -1 where an image has
        none that counts.
    """
    n, made = len(scenes.CLASSES), []
    shapes, textures = np.arange(count) % n, np.arange(count) % n
    if cue == "conflict":
        textures = (shapes + 1 + np.arange(count) // n % (n - 1)) % n
    for i in range(count):
        words = scenes.Words(stream, i)
        shape, texture, how = int(shapes[i]), int(textures[i]), {}
        if cue == "any_texture":
            texture = textures[i] = words.below(n)
        if cue in ("turned", "any_angle"):
            how["rotations"] = scenes.ROTATIONS[1:] if cue == "turned" else scenes.ROTATIONS
        if cue in ("small", "any_size"):
            how["radii"] = SMALL if cue == "small" else (SMALL[0], LARGE[1])
        shape, texture = (None if cue == "texture" else shape), (None if cue == "shape" else texture)
        made.append(draw(words, shape, texture, size, **how))
    absent = np.full(count, -1)
    shapes, textures = (absent if cue == "texture" else shapes), (absent if cue == "shape" else textures)
    return {"image": np.stack(made), "shape": shapes.astype(np.int32), "texture": textures.astype(np.int32)}
