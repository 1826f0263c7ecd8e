"""Aerial pairs: a drawn piece of land seen twice, in other light, and which pixels show something else the second time.

The name is `aerial_pairs`, or with other settings `aerial_pairs(size=96, objects=20)`. Fields and roads are the same in
both views; of the houses and trees some are gone the second time, and others are new. Between the views brightness,
contrast and colour change everywhere, and each has noise of its own, so that a difference of pixels is no answer. A
pixel has changed (1) where the uppermost object that covers it is not the same in both. Whole numbers alone, as in
`data/scenes.py`; example i of a split is a function of (split, i) and the settings alone.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.builders.shapes import png
from cvdl_jax.data.scenes import ROTATIONS, Words, inside

STREAMS = {"train": 30, "validation": 31, "test": 32}
FIELDS = ((110, 130, 70), (140, 125, 85), (85, 115, 60), (150, 140, 110))
ROAD = (120, 120, 125)
# (shape, colour) of houses and trees
KINDS = (("square", (170, 85, 65)), ("bar", (200, 195, 190)), ("square", (105, 100, 110)), ("circle", (45, 80, 40)))
_JITTER, _NOISE = 14, 8


@dataclasses.dataclass(eq=False, kw_only=True)
class AerialPairsConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes."""

    size: int
    objects: int
    changes: int
    light: int
    train: int
    validation: int
    test: int


def configure(
    size: int = 64,
    objects: int = 12,
    changes: int = 4,
    light: int = 25,
    train: int = 1000,
    validation: int = 200,
    test: int = 400,
) -> AerialPairsConfig:
    """The arguments of the data set's name.

    Args:
        size: height and width of the views in pixels.
        objects: houses and trees of the first view, at most; at least half as many.
        changes: objects that go, and objects that come, at most each.
        light: percent by which brightness and contrast differ between the views, at most.
        train: pairs of this split.
        validation: likewise.
        test: likewise.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    limits = {
        "size": (16, 1024), "objects": (1, 200), "changes": (0, 50), "light": (0, 50),
        **dict.fromkeys(STREAMS, SPLIT_LIMITS),
    }  # fmt: skip
    name = named("aerial_pairs", configure, values, limits)
    return AerialPairsConfig(name=name, description=f"Pairs with {values}.", **values)


def draw(words: Words, size: int, objects: int, changes: int, light: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One pair.

    Args:
        words: of the example.
        size: of the views.
        objects: see `configure`, as the next two.
        changes: likewise.
        light: likewise.

    Returns:
        (the first view, the second one: uint8 [size, size, 3]; uint8 [size, size], 1 where an object came or went).
    """
    land = _land(words, size)
    there = [_object(words, size) for _ in range(words.between((objects + 1) // 2, objects))]
    gone = {words.below(len(there)) for _ in range(words.between(0, changes))}
    new = [_object(words, size) for _ in range(words.between(0, changes))]
    first = list(enumerate(there))
    second = [(i, thing) for i, thing in first if i not in gone] + list(enumerate(new, len(there)))
    views, tops = [], []
    for things in (first, second):
        view, top = land.copy(), np.full((size, size), -1)
        for i, (covered, paint) in things:
            view[covered], top[covered] = paint, i
        views.append(_seen(words, view, light if things is second else 0))
        tops.append(top)
    return views[0], views[1], (tops[0] != tops[1]).astype(np.uint8)


def _land(words: Words, size: int) -> np.ndarray:
    """Four fields, in colours that differ a little from pixel to pixel, and two roads: int64 [size, size, 3]."""
    y, x = np.mgrid[:size, :size]
    row, column = words.between(size // 4, 3 * size // 4), words.between(size // 4, 3 * size // 4)
    colours = np.asarray([FIELDS[words.below(len(FIELDS))] for _ in range(4)])
    land = colours[2 * (y >= row) + (x >= column)]
    grain = words.octets(size * size).reshape(size, size) % 17 - 8
    land = land + grain[..., None]
    width = max(size // 20, 1)
    land[abs(y - row) <= width] = ROAD
    land[abs(x - column) <= width] = ROAD
    return land


def _object(words: Words, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of a house or a tree, at least one, and its colour."""
    shape, colour = KINDS[words.below(len(KINDS))]
    radius = words.between(max(size // 10, 3), max(size // 5, 4))  # half pixels
    y, x = np.mgrid[:size, :size]
    cx, cy = words.between(radius, 2 * size - radius), words.between(radius, 2 * size - radius)
    rotation = ROTATIONS[words.below(len(ROTATIONS))]
    covered = inside(shape, 2 * x + 1 - cx, 2 * y + 1 - cy, radius, rotation)
    covered[min(cy // 2, size - 1), min(cx // 2, size - 1)] = True
    return covered, np.asarray([c + words.between(-_JITTER, _JITTER) for c in colour])


def _seen(words: Words, view: np.ndarray, light: int) -> np.ndarray:
    """The view in other light, with noise: uint8 [size, size, 3]."""
    contrast, tint = 100 + words.between(-light, light), [words.between(-light, light) for _ in range(3)]
    view = (view - 128) * contrast // 100 + 128 + np.asarray(tint) * 128 // 100
    noise = words.octets(view.size).reshape(view.shape) % (2 * _NOISE + 1) - _NOISE
    return np.clip(view + noise, 0, 255).astype(np.uint8)


class AerialPairs(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `aerial_pairs` data set: `image`, `image_after`, and `segmentation_mask` with 1 where something changed."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        view = tfds.features.Image(shape=(size, size, 3), encoding_format="png")
        mask = tfds.features.Image(shape=(size, size, 1), encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self,
            description="Drawn pieces of land that are seen twice, and what changed between the views.",
            features=tfds.features.FeaturesDict({"image": view, "image_after": view, "segmentation_mask": mask}),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        for i in range(getattr(config, split)):
            settings = (config.size, config.objects, config.changes, config.light)
            before, after, changed = draw(Words(STREAMS[split], i), *settings)
            yield i, {"image": png(before), "image_after": png(after), "segmentation_mask": png(changed)}
