"""Captioned scenes: one or two coloured shapes with several captions; some combinations are in the split unseen alone.

The name is `captioned_scenes`, or with other settings `captioned_scenes(size=32, objects=1)`. A scene has a shape, or
two beside or above each other, which do not touch; it is drawn as in `data/scenes.py`, in whole numbers. A combination
is a colour with a shape, "red circle". Every shape lacks one colour in the splits train, validation and test, and every
colour that is lacking is seen with the other shapes: these combinations are `HELD_OUT`. Each scene of the split unseen
is one of them, alone; who recognises it has understood the words "red" and "circle" and not learnt images by heart.
Example i of a split is a function of (split, i) and the settings alone.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.builders.shapes import png
from cvdl_jax.data.scenes import (
    ALONE,
    CLASSES,
    COLOURS,
    JITTER,
    NOISE,
    PLACES,
    RELATIONS,
    SIZES,
    Words,
    background,
    inside,
    turned,
)  # fmt: skip

STREAMS = {"train": 30, "validation": 31, "test": 32, "unseen": 33}
COMBINATIONS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in CLASSES)
HELD_OUT = tuple(f"{tuple(COLOURS)[(2 * i + 1) % len(COLOURS)]} {shape}" for i, shape in enumerate(CLASSES))
_OPPOSITE = dict(zip(RELATIONS[1:], ("to the right of", "to the left of", "below", "above"), strict=True))


@dataclasses.dataclass(eq=False, kw_only=True)
class CaptionedScenesConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes."""

    size: int
    objects: int
    clutter: int
    train: int
    validation: int
    test: int
    unseen: int


def configure(
    size: int = 64,
    objects: int = 2,
    clutter: int = 0,
    train: int = 4000,
    validation: int = 500,
    test: int = 500,
    unseen: int = 500,
) -> CaptionedScenesConfig:
    """The arguments of the data set's name.

    Args:
        size: height and width of the images in pixels.
        objects: 1 for a shape alone, or 2 for as many scenes with two.
        clutter: specks in the background.
        train: scenes of this split.
        validation: likewise.
        test: likewise.
        unseen: likewise; their combinations are in no other split.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    limits = {"size": (24, 512), "objects": (1, 2), "clutter": (0, 1000), **dict.fromkeys(STREAMS, SPLIT_LIMITS)}
    name = named("captioned_scenes", configure, values, limits)
    return CaptionedScenesConfig(name=name, description=f"Captioned scenes with {values}.", **values)


class Shape(NamedTuple):
    """One shape: its combination, its place in SIZES, and its centre x and y and radius in half pixels."""

    combination: str
    large: int
    x: int
    y: int
    radius: int


class CaptionedScene(NamedTuple):
    """One scene: image uint8 [size, size, 3], one or two shapes, how the first stands to the second, and captions."""

    image: np.ndarray
    shapes: tuple[Shape, ...]
    relation: str

    def captions(self) -> list[str]:
        """What may be said of it: three captions of a shape alone, four of two."""
        size = self.image.shape[0]
        full = [f"a {SIZES[shape.large]} {shape.combination}" for shape in self.shapes]
        short = [f"a {shape.combination}" for shape in self.shapes]
        if len(self.shapes) == 1:
            shape = self.shapes[0]
            colour, form = shape.combination.split()
            place = PLACES[3 * shape.y // (2 * size)][3 * shape.x // (2 * size)]
            return [full[0], f"{short[0]} {place}", f"a {SIZES[shape.large]} {form} that is {colour}"]
        return [
            f"{full[0]} {self.relation} {full[1]}",
            f"{full[1]} {_OPPOSITE[self.relation]} {full[0]}",
            f"{short[0]} and {short[1]}",
            f"{short[1]} and {short[0]}",
        ]


def draw(split: str, index: int, size: int = 64, objects: int = 2, clutter: int = 0) -> CaptionedScene:
    """Draws a scene.

    Args:
        split: of STREAMS; unseen has the combinations of HELD_OUT, one alone, the others have the rest.
        index: of the scene in the split.
        size: height and width in pixels.
        objects: shapes of a scene at most, 1 or 2.
        clutter: specks in the background.
    """
    words = Words(STREAMS[split], index)
    unseen = split == "unseen"
    names = HELD_OUT if unseen else tuple(name for name in COMBINATIONS if name not in HELD_OUT)
    first = words.below(len(names))
    chosen = [names[first]]
    if objects == 2 and not unseen and words.below(2):
        chosen.append(names[(first + 1 + words.below(len(names) - 1)) % len(names)])  # another combination
    shapes, relation = _placed(words, chosen, size)
    y, x = np.mgrid[:size, :size]  # [size, size]
    image = background(words, x, y, size, clutter)
    for shape in shapes:
        colour, form = shape.combination.split()
        covered = inside(form, 2 * x + 1 - shape.x, 2 * y + 1 - shape.y, shape.radius, turned(words))
        image[covered] = [value + words.between(-JITTER, JITTER) for value in COLOURS[colour]]
    noise = words.octets(3 * size * size).reshape(size, size, 3) % (2 * NOISE + 1) - NOISE
    return CaptionedScene(np.clip(image + noise, 0, 255).astype(np.uint8), shapes, relation)


def _placed(words: Words, names: list[str], size: int) -> tuple[tuple[Shape, ...], str]:
    """Shapes of random sizes and places, of two the first in a random relation to the second."""
    large = [words.below(2) for _ in names]
    radii = [words.between(*((3 * size // 10, 2 * size // 5) if big else (size // 6, size // 5))) for big in large]
    low, high = radii[0], 2 * size - radii[0]
    if len(names) == 1:
        return (Shape(names[0], large[0], words.between(low, high), words.between(low, high), radii[0]),), ALONE
    relation = RELATIONS[1 + words.below(4)]
    before = relation in ("to the left of", "above")
    near, far = radii if before else radii[::-1]  # the one that is further to the left, or above, and the other
    a = words.between(near, 2 * size - near - 2 * far)
    b = words.between(a + near + far, 2 * size - far)
    along = (a, b) if before else (b, a)
    across = words.between(low, high)
    aside = across + words.between((a - b) // 2, (b - a) // 2)
    aside = min(max(aside, radii[1]), 2 * size - radii[1])
    centres = [(along[0], across), (along[1], aside)]
    if relation in ("above", "below"):
        centres = [(x, y) for y, x in centres]
    return tuple(Shape(*one) for one in zip(names, large, *zip(*centres, strict=True), radii, strict=True)), relation


class CaptionedScenes(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `captioned_scenes` data set; `label`, `colour`, `shape` and `size` are those of the first shape."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        return tfds.core.DatasetInfo(
            builder=self,
            description="Drawn scenes of one or two coloured shapes with several captions.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                    "label": tfds.features.ClassLabel(names=COMBINATIONS),
                    "colour": tfds.features.ClassLabel(names=tuple(COLOURS)),
                    "shape": tfds.features.ClassLabel(names=CLASSES),
                    "size": tfds.features.ClassLabel(names=SIZES),
                    "relation": tfds.features.ClassLabel(names=RELATIONS),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        for i in range(getattr(config, split)):
            scene = draw(split, i, config.size, config.objects, config.clutter)
            colour, shape = scene.shapes[0].combination.split()
            yield (
                i,
                {
                    "image": png(scene.image),
                    "captions": scene.captions(),
                    "label": scene.shapes[0].combination,
                    "colour": colour,
                    "shape": shape,
                    "size": SIZES[scene.shapes[0].large],
                    "relation": scene.relation,
                },
            )
