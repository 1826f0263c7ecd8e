"""Face domains: the same kind of faces as people and as beings of another world, which is the same drawing recoloured.

The name is `face_domains`, or with other settings `face_domains(size=32, paired=1)`. `image` is a photo of
`data/portraits.py`, `image_after` one in the colours of the other world, one to one. In the training split the two of
an example have nothing to do with each other, other people in other poses, unless the set is paired; no face
is in both domains. In validation and test they are the same face, which is what a translation is measured against.
"""

import dataclasses

import tensorflow_datasets as tfds

from cvdl_jax.data import portraits
from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.builders.shapes import png
from cvdl_jax.data.scenes import Words

STREAMS = {"train": 80, "validation": 82, "test": 84}  # of faces; the next one of those of the other world


@dataclasses.dataclass(eq=False, kw_only=True)
class FaceDomainsConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes."""

    size: int
    paired: int
    turn: int
    train: int
    validation: int
    test: int


def configure(
    size: int = 64, paired: int = 0, turn: int = 35, train: int = 2000, validation: int = 200, test: int = 500
) -> FaceDomainsConfig:
    """The arguments of the data set's name.

    Args:
        size: height and width of the images in pixels.
        paired: 1 where the training split shows the same face twice, too; else 0.
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
    limits = {"size": (16, 512), "paired": (0, 1), "turn": (0, 60), **dict.fromkeys(STREAMS, SPLIT_LIMITS)}
    name = named("face_domains", configure, values, limits)
    return FaceDomainsConfig(name=name, description=f"Faces of two worlds with {values}.", **values)


def face(stream: int, index: int, turn: int) -> tuple[portraits.Person, portraits.View]:
    """A person and how they are seen; every example has someone else."""
    words = Words(stream, index)
    return portraits.person(words), portraits.view(words, turn)


class FaceDomains(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `face_domains` data set: `image` and `image_after`."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        image = tfds.features.Image(shape=(size, size, 3), encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self,
            description="Drawn faces of two worlds, unpaired to train and paired to measure.",
            features=tfds.features.FeaturesDict({"image": image, "image_after": image}),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        for i in range(getattr(config, split)):
            here = face(STREAMS[split], i, config.turn)
            there = here if config.paired or split != "train" else face(STREAMS[split] + 1, i, config.turn)
            yield (
                i,
                {
                    "image": png(portraits.draw(*here, config.size).image),
                    "image_after": png(portraits.draw(*there, config.size, "avatar").image),
                },
            )
