"""Faces: drawn portraits with all that is known of them; `data/portraits.py` draws them.

The name is `faces`, or with other settings `faces(size=32, train=500)`. Each person is seen several times, one example
after the other, in other poses, expressions, clothes and light, with and without glasses and hat. No person is in two
splits: `identity` counts them through all splits. Example i of a split is a function of (split, i) and the settings.

`landmarks` are 70 points (x, y, z) in pixels of the image, z towards who looks (`portraits.landmarks` says which);
`angles` pitch, yaw and roll in degrees; `attributes` those of `portraits.ATTRIBUTES` that are there, several or none
(`config.data.label_set`); `image_emoji` the same person, expression, glasses and hat as a flat drawing from the front.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data import portraits
from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.builders.shapes import png
from cvdl_jax.data.scenes import Words

STREAMS = {"train": 70, "validation": 72, "test": 74}  # of people; the next one of each of their views


@dataclasses.dataclass(eq=False, kw_only=True)
class FacesConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes."""

    size: int
    views: int
    turn: int
    train: int
    validation: int
    test: int


def configure(
    size: int = 64, views: int = 10, turn: int = 35, train: int = 3000, validation: int = 300, test: int = 500
) -> FacesConfig:
    """The arguments of the data set's name.

    Args:
        size: height and width of the images in pixels.
        views: examples of one person; the last one of a split may have fewer.
        turn: largest yaw in degrees; pitch goes to half of it, roll to a third.
        train: examples of this split.
        validation: likewise.
        test: likewise.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    limits = {"size": (16, 512), "views": (1, 1000), "turn": (0, 60), **dict.fromkeys(STREAMS, SPLIT_LIMITS)}
    name = named("faces", configure, values, limits)
    return FacesConfig(name=name, description=f"Faces with {values}.", **values)


def someone(split: str, number: int) -> portraits.Person:
    """The person of a number in a split."""
    return portraits.person(Words(STREAMS[split], number))


class Faces(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `faces` data set."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        image = tfds.features.Image(shape=(size, size, 3), encoding_format="png")
        names = {"expression": portraits.EXPRESSIONS, "attributes": portraits.ATTRIBUTES}
        label = {name: tfds.features.ClassLabel(names=words) for name, words in names.items()}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Drawn faces with 3-D landmarks, poses, expressions, attributes, regions and emoji.",
            features=tfds.features.FeaturesDict(
                {
                    "image": image,
                    "image_emoji": image,
                    "segmentation_mask": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
                    "identity": tfds.features.Scalar(np.int64),
                    "landmarks": tfds.features.Tensor(shape=(portraits.LANDMARKS, 3), dtype=np.float32),
                    "angles": tfds.features.Tensor(shape=(3,), dtype=np.float32),
                    "expression": label["expression"],
                    "attributes": tfds.features.Sequence(label["attributes"]),
                }
            ),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config, before = self.builder_config, 0
        for other in STREAMS:  # people of the splits that come first
            if other == split:
                break
            before += -(-getattr(config, other) // config.views)
        for i in range(getattr(config, split)):
            number = i // config.views
            who, seen = someone(split, number), portraits.view(Words(STREAMS[split] + 1, i), config.turn)
            drawing = portraits.draw(who, seen, config.size)
            yield (
                i,
                {
                    "image": png(drawing.image),
                    "image_emoji": png(portraits.draw(who, seen, config.size, "emoji").image),
                    "segmentation_mask": png(drawing.regions),
                    "identity": before + number,
                    "landmarks": portraits.landmarks(who, seen, config.size).astype(np.float32),
                    "angles": np.float32([seen.pitch, seen.yaw, seen.roll]),
                    "expression": seen.expression,
                    "attributes": np.flatnonzero(portraits.attributes(who, seen)).tolist(),
                },
            )
