"""Procedural portraits: people of a few numbers, whose heads are ellipsoids seen in any pose, expression and light.

A head's own coordinates are x to the right of who looks at it, y down and z towards them, in units of half its height.
A pixel is a ray along z; the nearest of a handful of ellipsoids (head, nose, ears, hair, hat, neck, shoulders) colours
it, and what is painted on a face (eyes, brows, mouth, moustache, glasses) is a function of the place on the head. So
every view of a person shows the same face. A pose is `R = Rz(roll) Ry(yaw) Rx(pitch)`, seen without perspective.

Every machine draws the same bytes: random numbers are raw words of Philox, and of floating-point operations there are
those alone that IEEE 754 rounds exactly, on arrays, element by element. Sines are rounded to 20 bits first.
"""

from typing import Any, Literal, NamedTuple

import numpy as np

from cvdl_jax.data.scenes import Words

SKINS = ((250, 214, 186), (235, 190, 155), (214, 160, 118), (176, 120, 80), (131, 86, 56), (92, 60, 42))
HAIRS = ((35, 28, 28), (74, 46, 30), (128, 82, 44), (222, 184, 98), (176, 70, 36), (150, 150, 155))
IRISES = ((70, 110, 170), (80, 130, 80), (92, 60, 36), (60, 64, 70))
CLOTHES = ((60, 80, 150), (150, 60, 60), (70, 120, 80), (120, 120, 125), (200, 180, 90))
HATS = ((170, 40, 50), (40, 90, 160), (50, 130, 80), (90, 70, 120))
EXPRESSIONS = ("neutral", "smile", "sad", "surprise")
# (how much the corners of the mouth are up, how far it is open, how far the brows are raised, the eyes are open)
MOODS = ((0.0, 0.0, 0.0, 1.0), (0.2, 0.03, 0.02, 0.85), (-0.16, 0.0, 0.05, 0.8), (0.0, 0.12, 0.1, 1.25))
ATTRIBUTES = ("glasses", "moustache", "hat", "smile", "long_hair", "light_hair", "dark_skin")
REGIONS = ("background", "face", "hair")
LANDMARKS = 70
NOISE = 4
_DARK, _WHITE, _GLASSES = (45, 20, 25), (245, 245, 245), (25, 25, 30)


class Person(NamedTuple):
    """What makes a face this person's: indices of colours, and lengths in hundredths of half the head's height."""

    skin: int
    hair: int
    iris: int
    long_hair: int
    moustache: int
    width: int  # of half the head
    fringe: int  # how far the hair comes down the forehead
    eye_x: int
    eye_y: int
    eye_width: int
    eye_height: int
    brow: int  # thickness
    nose: int  # width
    nose_y: int  # of its base
    mouth_y: int
    mouth: int  # half its width
    lips: int  # thickness


class View(NamedTuple):
    """How a person is seen: angles in degrees, lengths in thousandths of the image's side, what is worn, colours."""

    yaw: int
    pitch: int
    roll: int
    scale: int  # of half the head's height
    x: int  # of the head's centre
    y: int
    expression: int
    glasses: int
    hat: int  # 0 for none, else a colour + 1
    clothes: int
    light: int  # from where: -100 left ... 100 right
    above: tuple[int, int, int]  # colour of the background, at the top and
    below: tuple[int, int, int]  # at the bottom
    noise: int  # its stream of random words; negative for none


FRONT = View(0, 0, 0, 400, 500, 520, 0, 0, 0, 0, 0, (255,) * 3, (255,) * 3, -1)


def person(words: Words) -> Person:
    """A random person."""
    c, n = words.between, words.below
    return Person(
        n(len(SKINS)), n(len(HAIRS)), n(len(IRISES)), n(2), int(n(3) == 0), c(66, 84), c(0, 26), c(26, 36), c(-16, 0),
        c(11, 16), c(6, 10), c(3, 7), c(9, 17), c(24, 34), c(48, 58), c(20, 34), c(4, 8),
    )  # fmt: skip


def view(words: Words, turn: int = 35) -> View:
    """A random view; `turn` is the largest yaw in degrees."""
    c, n = words.between, words.below
    angles = c(-turn, turn), c(-turn // 2, turn // 2), c(-turn // 3, turn // 3)
    ends = tuple(tuple(c(90, 235) for _ in range(3)) for _ in range(2))
    return View(
        *angles, c(340, 400), c(470, 530), c(490, 540), n(len(EXPRESSIONS)), int(n(3) == 0),
        n(len(HATS)) + 1 if n(4) == 0 else 0, n(len(CLOTHES)), c(-80, 80), *ends, n(2**31),
    )  # fmt: skip


def attributes(who: Person, seen: View) -> tuple[int, ...]:
    """0 or 1 for each of ATTRIBUTES."""
    worn = seen.glasses, who.moustache, int(seen.hat > 0), int(EXPRESSIONS[seen.expression] == "smile")
    return (*worn, who.long_hair, int(who.hair in (3, 5)), int(who.skin > 3))


def rotation(seen: View) -> np.ndarray:
    """R float64 [3, 3], from the head's coordinates to those of the image."""
    cosines, sines = (
        np.rint(f(np.radians([seen.pitch, seen.yaw, seen.roll])) * 2**20) / 2**20 for f in (np.cos, np.sin)
    )
    (cx, cy, cz), (sx, sy, sz) = cosines, sines
    return np.asarray(
        [
            [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
            [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
            [-sy, cy * sx, cy * cx],
        ]
    )


# Landmarks ------------------------------------------------------------------------------------------------------------


def landmarks(who: Person, seen: View, size: int) -> np.ndarray:
    """70 points of a face in pixels of the image, of which z points to who looks.

    0-16 jaw from the left of the image to its right, 17-26 brows, 27-35 nose, 36-47 eyes, 48-67 mouth, 68-69 irises.

    Args:
        who: the person.
        seen: the view.
        size: of the image.

    Returns:
        float64 [70, 3], x, y and z; the centre of the first pixel is at (0.5, 0.5).
    """
    points, r = face_points(who, seen.expression), rotation(seen)
    turned = [points[:, 0] * r[i, 0] + points[:, 1] * r[i, 1] + points[:, 2] * r[i, 2] for i in range(3)]
    centre = np.asarray([seen.x, seen.y, 0]) * size / 1000
    return np.stack(turned, -1) * (seen.scale * size / 1000) + centre


def face_points(who: Person, expression: int) -> np.ndarray:
    """The landmarks in the head's coordinates, float64 [70, 3]."""
    f, (_, opened, raised, lids) = _Face(who, MOODS[expression]), MOODS[expression]
    steps = np.rint(np.stack([np.sin(a := np.radians(np.linspace(-100, 100, 17))), np.cos(a)]) * 2**20) / 2**20
    jaw = [(0.97 * f.width * x, 0.97 * y) for x, y in steps.T]
    along = (-1.0, -0.5, 0.0, 0.5, 1.0)
    brows = [(side * f.eye_x + t * f.brow_width, f.brow_y - raised * 0.5) for side in (-1, 1) for t in along]
    nose = [(0.0, f.eye_y + t * (f.nose_y - f.eye_y)) for t in (0.0, 0.3, 0.6, 0.85)]
    nose += [(t * f.nose, f.nose_y) for t in along]
    lid = ((-1.0, 0.0), (-0.5, -0.85), (0.5, -0.85), (1.0, 0.0), (0.5, 0.85), (-0.5, 0.85))
    eyes = [(s * f.eye_x + u * f.eye_width, f.eye_y + v * f.eye_height * lids) for s in (-1, 1) for u, v in lid]
    mouth = []
    for thick, places in ((f.lips + opened, (-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3)), (opened, (-0.8, -0.4, 0, 0.4))):
        for sign in (-1, 1):  # the upper lip from left to right, the lower one from right to left
            for t in places:
                x = -sign * t * f.mouth
                mouth.append((x, float(f.lip_line(x)) + sign * thick * (1 - t * t)))
    irises = [(side * f.eye_x, f.eye_y) for side in (-1, 1)]
    flat = np.asarray(jaw + brows + nose + eyes + mouth + irises)
    depth = f.depth * np.sqrt(np.maximum(1 - (flat[:, 0] / f.width) ** 2 - flat[:, 1] ** 2, 0))
    depth[27:36] += 0.17 * np.asarray([0, 0.3, 0.7, 1, 0.3, 0.7, 1, 0.7, 0.3])  # the nose stands out
    return np.concatenate([flat, depth[:, None]], -1)


# Drawing --------------------------------------------------------------------------------------------------------------


class _Face:
    """A person's lengths in the units of the head, and the curves of an expression."""

    depth = 0.88

    def __init__(self, who: Person, mood: tuple[float, ...]):
        for name, value in who._asdict().items():
            setattr(self, name, value / 100)
        self.smile, self.opened, self.raised, self.lids = mood
        self.brow_width, self.brow_y = 1.15 * self.eye_width, self.eye_y - 0.19 - 0.5 * self.raised

    def lip_line(self, x: Any) -> Any:
        """Where the lips meet, y of x: its corners are up in a smile."""
        return self.mouth_y + self.smile * (0.5 - (x / self.mouth) ** 2)


class Drawing(NamedTuple):
    """A portrait: image uint8 [size, size, 3], and for every pixel one of REGIONS, uint8 [size, size]."""

    image: np.ndarray
    regions: np.ndarray


def draw(who: Person, seen: View, size: int, style: Literal["photo", "emoji", "avatar"] = "photo") -> Drawing:
    """Draws a portrait with four rays a pixel.

    Args:
        who: the person.
        seen: the view.
        size: height and width in pixels.
        style: "photo"; "emoji", flat colours from the front without a body, on white, whatever the pose; or "avatar",
            the photo in the colours of another world, which is one to one.

    Returns:
        The image and its regions, a region that of the first of a pixel's rays.
    """
    flat = style == "emoji"
    if flat:
        seen = FRONT._replace(expression=seen.expression, glasses=seen.glasses, hat=seen.hat)
    n, scale = 2 * size, seen.scale * size / 1000
    at = (np.arange(n) + 0.5) / 2
    u, v = np.broadcast_arrays((at[None] - seen.x * size / 1000) / scale, (at[:, None] - seen.y * size / 1000) / scale)
    rows = (np.arange(n) / n)[:, None, None]
    canvas = _Canvas(
        u, v, np.asarray(seen.above) * (1 - rows) + np.asarray(seen.below) * rows, 0 if flat else seen.light
    )
    canvas.flat = flat
    _head(canvas, who, seen, flat)
    image = canvas.colour.reshape(size, 2, size, 2, 3)
    image = (image[:, 0, :, 0] + image[:, 0, :, 1] + image[:, 1, :, 0] + image[:, 1, :, 1]) / 4
    if style == "avatar":  # skin turns blue, dark hair light, and the sky to dusk
        image = np.stack([255 - image[..., 1], image[..., 2], image[..., 0]], -1)
    image = np.rint(image).astype(np.int64)
    if seen.noise >= 0:
        image += Words(2**32, seen.noise).octets(image.size).reshape(image.shape) % (2 * NOISE + 1) - NOISE
    return Drawing(np.clip(image, 0, 255).astype(np.uint8), canvas.region[::2, ::2].astype(np.uint8))


class _Canvas:
    """What rays have met so far: colours [n, n, 3], depths and regions [n, n]."""

    flat = False

    def __init__(self, u: np.ndarray, v: np.ndarray, background: np.ndarray, light: int):
        self.u, self.v, self.light = u, v, light / 100
        self.colour = np.broadcast_to(background, (*u.shape, 3)).copy()
        self.near, self.region = np.full(u.shape, -np.inf), np.zeros(u.shape, np.int64)

    def ellipsoid(
        self, r: np.ndarray, middle: tuple, axes: tuple, colour: tuple, region: int, keep: Any = None, paint: Any = None
    ) -> None:
        """Draws one where it is nearest.

        Args:
            r: rotation of its coordinates, [3, 3].
            middle: of it, in these coordinates.
            axes: half of each, likewise.
            colour: of it.
            region: of it.
            keep: `(x, y, z) -> bool`, which of its points there are; None for all.
            paint: `(x, y, z, colours) -> colours`, what is painted on it.
        """
        part = self._window(r, middle, axes)
        u, v, near = self.u[part], self.v[part], self.near[part]
        start = [u * r[0, i] + v * r[1, i] for i in range(3)]  # the ray is start + t r[2]
        p = [(s - m) / a for s, m, a in zip(start, middle, axes, strict=True)]
        d = [r[2, i] / axes[i] for i in range(3)]
        square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
        half = p[0] * d[0] + p[1] * d[1] + p[2] * d[2]
        rest = half * half - square * (p[0] * p[0] + p[1] * p[1] + p[2] * p[2] - 1)
        t = (np.sqrt(np.maximum(rest, 0)) - half) / square
        where = [s + t * r[2, i] for i, s in enumerate(start)]
        hit = (rest >= 0) & (t > near)
        if keep is not None:
            hit &= keep(*where)
        colours = np.broadcast_to(np.asarray(colour, np.float64), (*u.shape, 3)).copy()
        if paint is not None:
            colours = paint(*where, colours)
        self.colour[part][hit] = (colours if self.flat else colours * self._shade(r, p, d, t, axes)[..., None])[hit]
        near[hit], self.region[part][hit] = t[hit], region

    def _window(self, r: np.ndarray, middle: tuple, axes: tuple) -> tuple[slice, slice]:
        """The rows and columns of the rays that may meet an ellipsoid, and a few more."""
        edges = []
        for i, along in ((1, self.v[:, 0]), (0, self.u[0])):
            at = sum(r[i, k] * middle[k] for k in range(3))
            reach = sum(abs(r[i, k]) * axes[k] for k in range(3))
            edges.append(slice(*np.searchsorted(along, (at - reach, at + reach)).tolist()))
        return edges[0], edges[1]

    def _shade(self, r: np.ndarray, p: list, d: list, t: np.ndarray, axes: tuple) -> np.ndarray:
        """How bright each point is: 0.5 and half the cosine of its normal and the light."""
        n = [(p[i] + t * d[i]) / axes[i] for i in range(3)]
        length = np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2])
        x, y, z = (n[0] * r[i, 0] + n[1] * r[i, 1] + n[2] * r[i, 2] for i in range(3))
        along = (x * self.light - 0.4 * y + z) / np.sqrt(self.light**2 + 1.16) / length
        return 0.5 + 0.5 * np.maximum(along, 0)


def _head(canvas: _Canvas, who: Person, seen: View, flat: bool) -> None:
    """Everything there is of a person, from behind or not: what is nearest is seen."""
    f, r = _Face(who, MOODS[seen.expression]), rotation(seen)
    skin, hair, w = SKINS[who.skin], HAIRS[who.hair], f.width
    upright = np.eye(3)
    if not flat:
        canvas.ellipsoid(upright, (0, 1.85, -0.3), (1.3, 0.85, 0.6), CLOTHES[seen.clothes], 0)
        canvas.ellipsoid(upright, (0, 0.95, -0.25), (0.42, 0.6, 0.38), skin, 0)
    if who.long_hair:
        canvas.ellipsoid(r, (0, 0.35, -0.2), (w + 0.2, 1.0, 0.6), hair, 2, lambda x, y, z: z < 0.15)
    for side in (-1, 1):
        canvas.ellipsoid(r, (side * w, 0.02, -0.05), (0.1, 0.19, 0.12), skin, 1)
    canvas.ellipsoid(
        r, (0, 0, 0), (w, 1, f.depth), skin, 1, None, lambda x, y, z, c: _painted(f, who, seen, x, y, z, c)
    )
    nose = (0, f.nose_y - 0.14, f.depth * 0.93), (f.nose * 0.9, 0.17, 0.2)
    canvas.ellipsoid(r, *nose, tuple(0.88 * s for s in skin) if flat else skin, 1)
    canvas.ellipsoid(
        r, (0, -0.03, -0.03), (w + 0.1, 1.08, f.depth + 0.08), hair, 2,
        lambda x, y, z: y + 1.15 * z < 0.42 - 0.26 + f.fringe - 0.13,
    )  # fmt: skip
    if seen.hat:
        cloth = HATS[seen.hat - 1]
        canvas.ellipsoid(r, (0, -0.1, 0), (w + 0.15, 1.1, f.depth + 0.14), cloth, 0, lambda x, y, z: y < -0.52)
        canvas.ellipsoid(r, (0, -0.52, 0.45), (w * 0.95, 0.07, 0.85), cloth, 0)


def _painted(f: _Face, who: Person, seen: View, x: Any, y: Any, z: Any, colours: np.ndarray) -> np.ndarray:
    """What is painted on the front of a head."""
    front, aside = z > 0, abs(x) - f.eye_x
    hair, skin = np.asarray(HAIRS[who.hair]), np.asarray(SKINS[who.skin])

    def put(where: np.ndarray, colour: Any) -> None:
        colours[where & front] = colour

    across, up = aside / f.eye_width, (y - f.eye_y) / (f.eye_height * f.lids)
    eye = across * across + up * up <= 1
    put(across * across / 1.5 + up * up / 1.9 <= 1, 0.7 * skin)
    put(eye, _WHITE)
    far = aside * aside + (y - f.eye_y) ** 2
    put(eye & (far <= (0.62 * f.eye_width) ** 2), IRISES[who.iris])
    put(eye & (far <= (0.3 * f.eye_width) ** 2), (15, 15, 15))
    slope = 0.25 * f.smile * aside  # the brows of someone sad rise towards the middle
    put((abs(y - f.brow_y + f.raised / 2 + slope) <= f.brow / 2 + 0.01) & (abs(aside) <= f.brow_width), 0.75 * hair)
    ends = np.maximum(1 - (x / f.mouth) ** 2, 0)
    from_line, wide = abs(y - f.lip_line(x)), abs(x) <= f.mouth
    lips = 0.55 * skin + 0.45 * np.asarray((190, 40, 60))
    put(wide & (from_line <= f.opened * ends + f.lips * (0.35 + 0.65 * ends)), lips)
    put(wide & (from_line <= f.opened * ends + 0.012), _DARK)
    if who.moustache:
        under = (f.nose_y + f.mouth_y) / 2 + 0.35 * x * x + 0.01
        put((abs(y - under) <= 0.075) & (abs(x) <= 0.9 * f.mouth + 0.04), 0.85 * hair)
    if seen.glasses:
        ring = (aside / 0.21) ** 2 + ((y - f.eye_y) / 0.19) ** 2
        put((ring <= 1) & (ring >= 0.62), _GLASSES)
        put((abs(y - f.eye_y + 0.02) <= 0.028) & ((aside < -0.2) | (aside > 0.2)), _GLASSES)
    return colours
