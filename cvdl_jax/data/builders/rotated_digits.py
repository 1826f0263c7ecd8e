"""Rotated digits: which digit it is, and by which angle it was turned.

The name is `rotated_digits`, or with other settings `rotated_digits(turn=180)`. Each scan of scikit-learn's digits is
turned, counterclockwise by whole degrees between -turn and turn, and enlarged: `copies` times for training, once for an
evaluation, so that its examples are independent. "train", "validation" and "test" are made of the scans of these splits
of `digits`. People write at angles of their own, so the angle is that by
which a scan was turned, not that of its strokes. Beyond 90 degrees a six may be a nine. Every number is whole or
rounded to 16 bits, so that every machine draws the same bytes.
"""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data import load
from cvdl_jax.data.builders._settings import Drawn, named
from cvdl_jax.data.builders.shapes import png
from cvdl_jax.data.scenes import Words

STREAMS = {"train": 85, "validation": 86, "test": 87}
SCAN, ACROSS = 8, 11  # side of a scan, and how many of its pixels an image is wide: 8 sqrt(2) = 11.3
_ONE = 2**16


@dataclasses.dataclass(eq=False, kw_only=True)
class RotatedDigitsConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes, and the folder of the set that it is made of."""

    size: int
    turn: int
    copies: int
    folder: Path = Path()


def configure(size: int = 16, turn: int = 60, copies: int = 4) -> RotatedDigitsConfig:
    """The arguments of the data set's name.

    Args:
        size: height and width of the images in pixels.
        turn: largest angle in degrees.
        copies: images made of each scan of the training split.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    name = named("rotated_digits", configure, values, {"size": (8, 512), "turn": (1, 180), "copies": (1, 1000)})
    return RotatedDigitsConfig(name=name, description=f"Rotated digits with {values}.", **values)


def rotated(scan: np.ndarray, degrees: int, size: int) -> np.ndarray:
    """A scan turned counterclockwise about its middle and enlarged, by bilinear interpolation; outside it is black.

    Args:
        scan: uint8 [8, 8].
        degrees: the angle.
        size: of the image.

    Returns:
        uint8 [size, size].
    """
    c, s = (int(np.rint(f(np.radians(degrees)) * _ONE)) for f in (np.cos, np.sin))
    at = 2 * np.arange(size, dtype=np.int64) + 1 - size  # from the middle, in half pixels of the image
    u, v = at[None, :], at[:, None]
    # The place in the scan, in 1 / 65536 of its pixels from the centre of the first one.
    x, y = ((k * ACROSS) // (2 * size) + (SCAN - 1) * _ONE // 2 for k in (c * u - s * v, s * u + c * v))
    padded = np.pad(scan.astype(np.int64), 1)
    column, row = (np.clip(k // _ONE + 1, 0, SCAN) for k in (x, y))
    right, below = (np.clip(k - (i - 1) * _ONE, 0, _ONE) >> 8 for k, i in ((x, column), (y, row)))  # in 1 / 256
    upper = padded[row, column] * (256 - right) + padded[row, column + 1] * right
    lower = padded[row + 1, column] * (256 - right) + padded[row + 1, column + 1] * right
    return ((upper * (256 - below) + lower * below + _ONE // 2) // _ONE).astype(np.uint8)


class RotatedDigits(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `rotated_digits` data set: `image`, `label` and `angle` in degrees."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        return tfds.core.DatasetInfo(
            builder=self,
            description="Handwritten digits turned by an angle.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                    "angle": tfds.features.Scalar(np.float32),
                }
            ),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        whole = load.load("digits", str(config.folder), train=split, resident="always").splits["train"].arrays
        scans, labels = np.asarray(whole["image"])[..., 0], np.asarray(whole["label"]).tolist()
        copies = config.copies if split == "train" else 1
        for i in range(len(scans) * copies):
            which = i // copies
            degrees = Words(STREAMS[split], i).between(-config.turn, config.turn)
            image = rotated(scans[which], degrees, config.size)
            yield i, {"image": png(image), "label": labels[which], "angle": np.float32(degrees)}
