"""Digits somewhere in a larger image, among pieces of other digits: what a network must find before it can read it.

The name is `translated_digits`, or with other settings `translated_digits(size=60, clutter=8)`. A scan of
scikit-learn's digits, enlarged to 16x16, stands at a random place, whole; `clutter` pieces of 6x6 pixels of other scans
stand anywhere else or under it. The brighter pixel is seen. "train", "validation" and "test" are made of scans of the
splits of `digits`. `place` is the row and column of the scan's centre, in -1 ... 1 over the image. Example i of a split
is a function of (split, i) and the settings alone.

Reference: Mnih et al. 2014, "Recurrent Models of Visual Attention", sections 4.1 and 4.2, whose images are 60x60.
"""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data import load
from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.builders.shapes import png
from cvdl_jax.data.scenes import Words

STREAMS = {"train": 73, "validation": 74, "test": 75}
SIDE, PIECE = 16, 6  # pixels of a scan, and of a piece of one


@dataclasses.dataclass(eq=False, kw_only=True)
class TranslatedDigitsConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes, and the folder of the set that it is made of."""

    size: int
    clutter: int
    train: int
    validation: int
    test: int
    folder: Path = Path()


def configure(
    size: int = 40, clutter: int = 4, train: int = 6000, validation: int = 1000, test: int = 2000
) -> TranslatedDigitsConfig:
    """The arguments of the data set's name.

    Args:
        size: height and width of the images in pixels.
        clutter: pieces of other digits.
        train: images of this split.
        validation: likewise.
        test: likewise.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    limits = {"size": (SIDE, 512), "clutter": (0, 100), **dict.fromkeys(STREAMS, SPLIT_LIMITS)}
    name = named("translated_digits", configure, values, limits)
    return TranslatedDigitsConfig(name=name, description=f"Translated digits with {values}.", **values)


def draw(words: Words, scans: np.ndarray, size: int, clutter: int) -> tuple[np.ndarray, int, tuple[float, float]]:
    """One image.

    Args:
        words: of the example.
        scans: uint8 [n, 16, 16].
        size: of the image.
        clutter: pieces of other digits.

    Returns:
        (uint8 [size, size], which scan, its centre's row and column in -1 ... 1).
    """
    chosen, image = words.below(len(scans)), np.zeros((size, size), np.uint8)
    for _ in range(clutter):
        other, at = scans[words.below(len(scans))], (words.below(SIDE - PIECE + 1), words.below(SIDE - PIECE + 1))
        _place(image, other[at[0] : at[0] + PIECE, at[1] : at[1] + PIECE], words)
    row, column = _place(image, scans[chosen], words)
    return image, chosen, tuple((2 * x + SIDE) / size - 1 for x in (row, column))


def _place(image: np.ndarray, part: np.ndarray, words: Words) -> tuple[int, int]:
    """Puts a part somewhere into the image; its first row and column."""
    row, column = (words.below(whole - side + 1) for whole, side in zip(image.shape, part.shape, strict=True))
    where = image[row : row + part.shape[0], column : column + part.shape[1]]
    np.maximum(where, part, out=where)
    return row, column


class TranslatedDigits(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `translated_digits` data set: `image`, `label` and `place`."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        return tfds.core.DatasetInfo(
            builder=self,
            description="Handwritten digits somewhere among pieces of others.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                    "place": tfds.features.Tensor(shape=(2,), dtype=np.float32),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        whole = load.load("digits", str(config.folder), train=split, resident="always").splits["train"].arrays
        scans, labels = np.asarray(whole["image"])[..., 0], np.asarray(whole["label"]).tolist()
        scans = scans.repeat(2, 1).repeat(2, 2)
        for i in range(getattr(config, split)):
            image, chosen, place = draw(Words(STREAMS[split], i), scans, config.size, config.clutter)
            yield i, {"image": png(image), "label": labels[chosen], "place": np.asarray(place, np.float32)}
