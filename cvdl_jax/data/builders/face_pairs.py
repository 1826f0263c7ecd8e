"""Face pairs: what swapping faces is learned from and measured by: two views of one person, and someone else.

The name is `face_pairs`, or with other settings `face_pairs(size=32, train=500)`. Of each example there are `image`,
the source; `image_target`, the same person seen otherwise; `image_other`, another person; and `image_swapped`, which
no method sees: the other person's picture with the features of the source's face, drawn in the other's outline, skin,
hair, pose, expression and light. The first three have their landmarks, angles and regions, as in `faces`. No person is
in two splits. Example i of a split is a function of (split, i) and the settings alone.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data import portraits
from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.builders.shapes import png
from cvdl_jax.data.scenes import Words

STREAMS = {"train": 90, "validation": 92, "test": 94}  # of both people; the next one of their views
OUTLINE = ("skin", "hair", "long_hair", "width", "fringe")  # of a person, what a swap leaves
VIEWS = ("", "_target", "_other")


@dataclasses.dataclass(eq=False, kw_only=True)
class FacePairsConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes."""

    size: int
    turn: int
    train: int
    validation: int
    test: int


def configure(
    size: int = 64, turn: int = 30, train: int = 1500, validation: int = 150, test: int = 300
) -> FacePairsConfig:
    """The arguments of the data set's name.

    Args:
        size: height and width of the images in pixels.
        turn: largest yaw in degrees.
        train: examples of this split.
        validation: likewise.
        test: likewise.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    limits = {"size": (16, 512), "turn": (0, 60), **dict.fromkeys(STREAMS, SPLIT_LIMITS)}
    name = named("face_pairs", configure, values, limits)
    return FacePairsConfig(name=name, description=f"Pairs of faces with {values}.", **values)


def people(split: str, index: int, turn: int) -> tuple[tuple[portraits.Person, portraits.View], ...]:
    """The source, the same person otherwise, someone else, and the swap: each a person and a view, without glasses."""
    who, seen = Words(STREAMS[split], index), Words(STREAMS[split] + 1, index)
    source, other = portraits.person(who), portraits.person(who)
    views = [portraits.view(seen, turn)._replace(glasses=0, hat=0) for _ in range(3)]
    swapped = source._replace(**{name: getattr(other, name) for name in OUTLINE})
    return (source, views[0]), (source, views[1]), (other, views[2]), (swapped, views[2])


class FacePairs(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `face_pairs` data set."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        image = tfds.features.Image(shape=(size, size, 3), encoding_format="png")
        entries = {"image_swapped": image}
        for view in VIEWS:
            entries[f"image{view}"] = image
            entries[f"regions{view}_mask"] = tfds.features.Image(shape=(size, size, 1), encoding_format="png")
            entries[f"landmarks{view}"] = tfds.features.Tensor(shape=(portraits.LANDMARKS, 3), dtype=np.float32)
            entries[f"angles{view}"] = tfds.features.Tensor(shape=(3,), dtype=np.float32)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Two views of a drawn face, another person, and that one with the first one's face.",
            features=tfds.features.FeaturesDict(entries),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        for i in range(getattr(config, split)):
            *shown, swapped = people(split, i, config.turn)
            example = {"image_swapped": png(portraits.draw(*swapped, config.size).image)}
            for name, (who, seen) in zip(VIEWS, shown, strict=True):
                drawing = portraits.draw(who, seen, config.size)
                example[f"image{name}"], example[f"regions{name}_mask"] = png(drawing.image), png(drawing.regions)
                example[f"landmarks{name}"] = portraits.landmarks(who, seen, config.size).astype(np.float32)
                example[f"angles{name}"] = np.float32([seen.pitch, seen.yaw, seen.roll])
            yield i, example
