"""Depth scenes: boxes and balls on textured ground, seen by a perspective camera, and how far every pixel is.

The name is `depth_scenes`, or with other settings `depth_scenes(size=96, objects=8)`. A camera stands 1.2 to 2 m above
the ground and looks down by one of three angles; its focal length is `FOCAL` times the side of the image, the same for
all images, without which no image would tell metres. Depth is the distance along the optical axis, the Z of
`Z = f B / d`, not the length of the ray: uint16, in units of `UNIT` metres, and 0 where nothing is seen within
`FARTHEST` metres (the sky, and ground that is too far). Checks and grain stand still on surfaces, which a distant light
shades, so that a second camera beside the first sees the same surfaces (`render`).

Arithmetic is + - * / and square roots of float64 one by one, which IEEE 754 rounds alike everywhere; angles are of
Pythagorean triples. Example i of a split is a function of (split, i) and the settings alone.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.builders.shapes import png
from cvdl_jax.data.scenes import Words

STREAMS = {"train": 140, "validation": 141, "test": 142}
FOCAL = 0.9  # over the side of the image
UNIT = 0.001  # metres of one unit of the stored depth
FARTHEST = 30.0  # metres
PITCHES = ((40, 9, 41), (24, 7, 25), (12, 5, 13))  # (cosine, sine, length): 13, 16 and 23 degrees down
TURNS = ((1, 0, 1), (12, 5, 13), (4, 3, 5), (3, 4, 5), (5, 12, 13))  # of a box about the vertical
LIGHTS = ((-2, -6, -3, 7), (2, -6, -3, 7), (-3, -6, -2, 7), (3, -6, -2, 7))  # directions to the light, and lengths
AMBIENT = 0.45
CHECK, GRAIN = 0.6, 0.12  # metres: sides of the checks and of the specks of a surface
SAMPLES = 3  # rays of a pixel in each direction; the middle one goes through its centre
_NOISE = 4


class Thing(NamedTuple):
    """A box or a ball on the ground; lengths in metres, x to the right, y down, z forward.

    Attributes:
        centre: [3].
        half: half the sides of a box, or the radius three times, [3].
        turn: (cosine, sine, length) of a box about the vertical; None of a ball.
        colour: red, green, blue in 0..255.
    """

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    turn: tuple[int, int, int] | None
    colour: tuple[int, int, int]


class Scene(NamedTuple):
    """What there is to see.

    Attributes:
        height: of the camera above the ground in metres.
        pitch: (cosine, sine, length) by which it looks down.
        light: (x, y, z, length) of the direction to the light.
        ground: its colour.
        things: boxes and balls.
    """

    height: float
    pitch: tuple[int, int, int]
    light: tuple[int, int, int, int]
    ground: tuple[int, int, int]
    things: tuple[Thing, ...]


@dataclasses.dataclass(eq=False, kw_only=True)
class DepthScenesConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes."""

    size: int
    objects: int
    train: int
    validation: int
    test: int


def configure(
    size: int = 64, objects: int = 5, train: int = 1000, validation: int = 200, test: int = 400
) -> DepthScenesConfig:
    """The arguments of the data set's name.

    Args:
        size: height and width of the images in pixels.
        objects: boxes and balls of an image, at most; at least one.
        train: images of this split.
        validation: likewise.
        test: likewise.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    limits = {"size": (16, 1024), "objects": (1, 50), **dict.fromkeys(STREAMS, SPLIT_LIMITS)}
    name = named("depth_scenes", configure, values, limits)
    return DepthScenesConfig(name=name, description=f"Scenes with {values}.", **values)


def imagine(words: Words, objects: int = 5) -> Scene:
    """A scene.

    Args:
        words: of the example.
        objects: at most; at least one.

    Returns:
        The scene; its things may overlap.
    """

    def colour():
        return tuple(words.between(60, 230) for _ in range(3))

    def one_of(choices):
        return choices[words.below(len(choices))]

    height, pitch, light = words.between(120, 200) / 100, one_of(PITCHES), one_of(LIGHTS)
    ground, things = colour(), []
    for _ in range(words.between(1, objects)):
        z = words.between(150, 800) / 100
        x, ball = words.between(-45, 45) / 100 * z, words.below(3) == 0
        half = (words.between(20, 70) / 100,) * 3 if ball else tuple(words.between(20, 80) / 100 for _ in range(3))
        turn = None if ball else one_of(TURNS)
        things.append(Thing((x, height - half[1], z), half, turn, colour()))
    return Scene(height, pitch, light, ground, tuple(things))


def render(scene: Scene, size: int, right: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """What a camera sees.

    Args:
        scene: from `imagine`.
        size: height and width in pixels.
        right: metres by which the camera stands to the right, for the second view of a stereo pair.

    Returns:
        (colours float64 [size, size, 3] in 0..255; depth float64 [size, size] in metres, inf for the sky).
    """
    places = (np.arange(SAMPLES * size) + 0.5) / SAMPLES - size / 2
    v, u = np.meshgrid(places / (FOCAL * size), places / (FOCAL * size), indexing="ij")
    c, s, n = scene.pitch
    way = np.stack([u, (c * v + s) / n, (c - s * v) / n])  # [3, h, w], 1 along the optical axis
    start = np.asarray([right, 0.0, 0.0]).reshape(3, 1, 1)
    depth = np.full(u.shape, np.inf)
    shown = np.stack(
        np.broadcast_arrays(*(a + b * (v * FOCAL + 0.5) for a, b in ((150, 60), (180, 50), (225, 25)))), -1
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        down = np.where(way[1] > 0, scene.height / way[1], np.inf)
        at = start + np.where(np.isfinite(down), down, 0) * way
        _paint(scene, shown, depth, down, at, np.stack([0 * u, 0 * u - 1, 0 * u]), scene.ground)
        for thing in scene.things:
            _paint(scene, shown, depth, *_meet(thing, start, way), thing.colour)
    tiles = shown.reshape(size, SAMPLES, size, SAMPLES, 3)
    total = tiles[:, 0, :, 0] * 0
    for i in range(SAMPLES * SAMPLES):
        total = total + tiles[:, i // SAMPLES, :, i % SAMPLES]
    return total / SAMPLES**2, depth[SAMPLES // 2 :: SAMPLES, SAMPLES // 2 :: SAMPLES]


def _meet(thing: Thing, start: np.ndarray, way: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where rays meet a thing: (distance [h, w], inf without; the point on it and the normal there, [3, h, w])."""
    o = start - np.asarray(thing.centre).reshape(3, 1, 1)
    c, s, n = thing.turn or (1, 0, 1)

    def turned(x, sign):
        return np.stack([(c * x[0] + sign * s * x[2]) / n, x[1], (c * x[2] - sign * s * x[0]) / n])

    o, d = turned(o, 1), turned(way, 1)
    if thing.turn is None:
        r = thing.half[0]
        a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
        b = d[0] * o[0] + d[1] * o[1] + d[2] * o[2]
        inside = b * b - a * (o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - r * r)
        t = np.where(inside > 0, (-b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)
        t = np.where(t > 0, t, np.inf)
        at = o + np.where(np.isfinite(t), t, 0) * d
        return t, at, at / r
    half = np.asarray(thing.half).reshape(3, 1, 1)
    d = np.where(abs(d) < 1e-12, 1e-12, d)
    ends = np.stack([(-half - o) / d, (half - o) / d])
    enter, leave = ends.min(0), ends.max(0).min(0)
    t = enter.max(0)
    t = np.where((t < leave) & (t > 0), t, np.inf)
    face = enter.argmax(0) == np.arange(3).reshape(3, 1, 1)
    at = o + np.where(np.isfinite(t), t, 0) * d
    return t, at, turned(np.where(face, -np.sign(d), 0.0), -1)


def _paint(scene, shown, depth, t, at, normal, colour) -> None:
    """Paints one surface where it is the nearest, in place: checks and grain in its own coordinates, in the light."""
    closer = t < depth
    at, normal = at[:, closer], normal[:, closer]
    inward = at - 1e-6 * normal  # a face that lies on a border of checks belongs to one of them
    cell, speck = np.floor(inward / CHECK).astype(np.int64), np.floor(inward / GRAIN).astype(np.int64)
    check = cell.sum(0) % 2
    grain = (speck[0] * 73856093 ^ speck[1] * 19349663 ^ speck[2] * 83492791) >> 3 & 63
    x, y, z, length = scene.light
    facing = np.maximum((normal[0] * x + normal[1] * y + normal[2] * z) / length, 0)
    tone = (AMBIENT + (1 - AMBIENT) * facing) * (0.7 + 0.3 * check) * (0.75 + grain / 128)
    shown[closer] = tone[:, None] * np.asarray(colour, np.float64)
    depth[closer] = t[closer]


def draw(words: Words, size: int, objects: int) -> tuple[np.ndarray, np.ndarray]:
    """One example.

    Args:
        words: of the example.
        size: see `configure`, as the next one.
        objects: likewise.

    Returns:
        (uint8 [size, size, 3]; depth in units of UNIT metres, uint16 [size, size], 0 where it is not known).
    """
    colours, depth = render(imagine(words, objects), size)
    noise = words.octets(colours.size).reshape(colours.shape) % (2 * _NOISE + 1) - _NOISE
    image = np.clip(np.floor(colours + 0.5) + noise, 0, 255).astype(np.uint8)
    return image, stored(depth)


def stored(depth: np.ndarray) -> np.ndarray:
    """Metres as they are stored: uint16 in units of UNIT, 0 for what is farther than FARTHEST."""
    return np.floor(np.where(depth <= FARTHEST, depth, 0) / UNIT + 0.5).astype(np.uint16)


class DepthScenes(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `depth_scenes` data set: `image`, and `depth` in millimetres along the optical axis, 0 where unknown."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        image = tfds.features.Image(shape=(size, size, 3), encoding_format="png")
        depth = tfds.features.Image(shape=(size, size, 1), dtype=np.uint16, encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self,
            description="Drawn boxes and balls on the ground, and how far every pixel is.",
            features=tfds.features.FeaturesDict({"image": image, "depth": depth}),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        for i in range(getattr(config, split)):
            image, depth = draw(Words(STREAMS[split], i), config.size, config.objects)
            yield i, {"image": png(image), "depth": png(depth)}
