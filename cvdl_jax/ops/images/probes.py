"""What a recogniser should not mind: an image occluded, lit, cluttered, turned, deformed, seen from elsewhere, resized.

A probe takes images and a level; 0 changes nothing, but for `size` and `scale`, whose neutral level is 1. What is drawn
for an example comes from the seed, the probe, the level and the example's number alone, so that it is the same whatever
is measured beside it.

    occlusion     a grey square whose side is the level times the image's, anywhere inside
    illumination  brightness falls to 1 - level from one side of the image to the other, in any direction
    clutter       so many squares, a quarter of the side, cut out of other examples and put anywhere
    size          the image shrunk to this factor, its border repeated around it
    scale         the image enlarged by this factor, what leaves it cut off
    rotation      turned by so many degrees, clockwise or not
    deformation   pixels move by so much of the side, root mean square, neighbours together
    viewpoint     seen from one side: the edge of that side shows only 1 - 2 level of its length
"""

from collections.abc import Callable, Sequence

import numpy as np

from cvdl_jax.config.binding import check_name
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images.host_warps import affine, grid, perspective, sampled, zoomed

Randoms = Sequence[np.random.Generator]
SMOOTH = 0.12  # of a field of deformation, in sides of the image


def probe(images: np.ndarray, name: str, level: float, seed: int = 0) -> np.ndarray:
    """Images under one condition.

    Args:
        images: float [b, h, w, c] in 0..1; row i is example i.
        name: of KINDS.
        level: see the module.
        seed: of all that is drawn.

    Returns:
        float32 [b, h, w, c] in 0..1.

    Raises:
        ConfigError: for an unknown name, or a level out of its range.
    """
    check_name(name, KINDS, f"there is no probe {name!r}")
    apply, _, (low, high) = KINDS[name]
    if not low <= level <= high:
        raise ConfigError(f"the level {level!r} of the probe {name!r} must be between {low:g} and {high:g}")
    kind = list(KINDS).index(name)
    randoms = [np.random.default_rng((seed, kind, round(level * 1e6), i)) for i in range(len(images))]
    return np.clip(apply(np.asarray(images, np.float64), level, randoms), 0, 1).astype(np.float32)


def _squares(randoms: Randoms, h: int, w: int, side: int) -> np.ndarray:
    """The first row and column of a square inside each image: int [b, 2]."""
    return np.stack([r.integers(0, (h - side + 1, w - side + 1)) for r in randoms])


def _occlusion(x: np.ndarray, level: float, randoms: Randoms) -> np.ndarray:
    h, w = x.shape[1:3]
    side, out = round(level * min(h, w)), x.copy()
    for i, (row, column) in enumerate(_squares(randoms, h, w, side)):
        out[i, row : row + side, column : column + side] = 0.5
    return out


def _illumination(x: np.ndarray, level: float, randoms: Randoms) -> np.ndarray:
    b, h, w, _ = x.shape
    angle = np.array([r.uniform(0, 2 * np.pi) for r in randoms])[:, None, None]
    rows, columns = grid(b, h, w)
    along = np.sin(angle) * (rows - (h - 1) / 2) + np.cos(angle) * (columns - (w - 1) / 2)
    low, high = along.min((1, 2), keepdims=True), along.max((1, 2), keepdims=True)
    return x * (1 - level * (along - low) / np.maximum(high - low, 1e-9))[..., None]


def _clutter(x: np.ndarray, level: float, randoms: Randoms) -> np.ndarray:
    b, h, w, _ = x.shape
    side, out = max(min(h, w) // 4, 1), x.copy()
    for _ in range(int(level)):
        sources, targets = _squares(randoms, h, w, side), _squares(randoms, h, w, side)
        others = [(i + r.integers(1, b)) % b if b > 1 else i for i, r in enumerate(randoms)]
        for i, ((row, column), (top, left)) in enumerate(zip(sources, targets, strict=True)):
            piece = x[others[i], row : row + side, column : column + side]
            out[i, top : top + side, left : left + side] = piece
    return out


def _zoom(x: np.ndarray, level: float, randoms: Randoms) -> np.ndarray:
    return zoomed(x, level)


def _rotation(x: np.ndarray, level: float, randoms: Randoms) -> np.ndarray:
    angle = np.deg2rad(level) * np.array([r.choice((-1, 1)) for r in randoms])
    c, s = np.cos(angle), np.sin(angle)
    zero = np.zeros_like(c)
    return affine(x, np.stack([np.stack([c, s, zero], -1), np.stack([-s, c, zero], -1)], 1))


def _deformation(x: np.ndarray, level: float, randoms: Randoms) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    b, h, w, _ = x.shape
    side = min(h, w)
    fields = np.stack([r.normal(size=(2, h, w)) for r in randoms])
    fields = gaussian_filter(fields, (0, 0, SMOOTH * side, SMOOTH * side), mode="nearest")
    strength = np.sqrt((fields**2).sum(1).mean((1, 2)))[:, None, None]  # root mean square length of a move
    rows, columns = grid(b, h, w)
    dy, dx = (level * side * fields[:, i] / strength for i in (0, 1))
    return sampled(x, rows + dy, columns + dx)


def _viewpoint(x: np.ndarray, level: float, randoms: Randoms) -> np.ndarray:
    b, h, w, _ = x.shape
    corners = np.tile(np.array([[0, 0], [0, w - 1], [h - 1, w - 1], [h - 1, 0]], np.float64), (b, 1, 1))
    for i, r in enumerate(randoms):
        side = r.integers(4)  # top, right, bottom, left: its two corners come nearer to each other
        one, other = corners[i, side].copy(), corners[i, (side + 1) % 4].copy()
        corners[i, side], corners[i, (side + 1) % 4] = one + level * (other - one), other + level * (one - other)
    return perspective(x, corners)


# The function of each probe, the levels of a study, and the range of its level
KINDS: dict[str, tuple[Callable, tuple[float, ...], tuple[float, float]]] = {
    "occlusion": (_occlusion, (0.15, 0.3, 0.45, 0.6), (0, 1)),
    "illumination": (_illumination, (0.25, 0.5, 0.75, 0.9), (0, 1)),
    "clutter": (_clutter, (1, 2, 4, 8), (0, 100)),
    "size": (_zoom, (0.9, 0.75, 0.6, 0.45), (0.05, 1)),
    "scale": (_zoom, (1.15, 1.3, 1.5, 1.8), (1, 20)),
    "rotation": (_rotation, (10, 20, 40, 80), (0, 180)),
    "deformation": (_deformation, (0.02, 0.04, 0.06, 0.1), (0, 1)),
    "viewpoint": (_viewpoint, (0.05, 0.1, 0.2, 0.3), (0, 0.45)),
}
