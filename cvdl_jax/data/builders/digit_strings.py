"""Strings of handwritten digits in one wide image, composed of the scans of another set, with gaps, overlaps and noise.

The name is `digit_strings`, or with other settings `digit_strings(digits=3, noise=50)`. The strings of a split are made
of that split's scans alone: "train" of the first 90 % of MNIST's training images, "validation" of the others, "test" of
its test images. Digits stand side by side at random distances, up to `overlap` pixels over each other and up to `gap`
pixels apart, up to 2 pixels too high or low, somewhere in the image; the brighter pixel is seen. Example i of a split
is a function of (split, i) and the settings alone, and the seed 0 of its random words is part of the set's version.
"""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data import load
from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.builders.shapes import png
from cvdl_jax.data.scenes import Words

# {split: (its stream of random words, its scans in each source)}
SPLITS = {
    "train": (10, {"mnist": "train[:90%]", "digits": "train"}),
    "validation": (11, {"mnist": "train[90%:]", "digits": "validation"}),
    "test": (12, {"mnist": "test", "digits": "test"}),
}
HEIGHT = 32  # of an image, and the width of what a reader sees of it at once
WIDEST, NEAREST = 20, 12  # pixels: of a scan without its empty border; of the centres of two neighbours, at least
HIGH = 2  # pixels that a digit may stand too high or low
INK = 64  # the grey from which on a pixel counts as part of a digit


@dataclasses.dataclass(eq=False, kw_only=True)
class DigitStringsConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes, and the folder of the set that it is made of."""

    source: str
    digits: int
    overlap: int
    gap: int
    noise: int
    train: int
    validation: int
    test: int
    folder: Path = Path()


def configure(
    source: Literal["mnist", "digits"] = "mnist",
    digits: int = 5,
    overlap: int = 2,
    gap: int = 10,
    noise: int = 30,
    train: int = 6000,
    validation: int = 1000,
    test: int = 2000,
) -> DigitStringsConfig:
    """The arguments of the data set's name.

    Args:
        source: the set of the scans, mnist or digits (8x8, enlarged to 20x20).
        digits: of a string.
        overlap: most pixels that two neighbours share.
        gap: most pixels between two neighbours.
        noise: standard deviation of the noise of a pixel, in grey levels of 255.
        train: strings of this split.
        validation: likewise.
        test: likewise.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    limits = {
        "digits": (1, 50), "overlap": (0, 10), "gap": (0, 100), "noise": (0, 255),
        **dict.fromkeys(SPLITS, SPLIT_LIMITS),
    }  # fmt: skip
    name = named("digit_strings", configure, values, limits)
    return DigitStringsConfig(name=name, description=f"Strings with {values}.", **values)


def width(config: DigitStringsConfig) -> int:
    """Of the images: room for the widest string, a multiple of 4."""
    return -(-((WIDEST + config.gap) * (config.digits - 1) + HEIGHT) // 4) * 4


def compose(words: Words, scans: np.ndarray, config: DigitStringsConfig) -> tuple[np.ndarray, np.ndarray]:
    """One image.

    Args:
        words: of the example.
        scans: uint8 [digits, 28, 28].
        config: of the set.

    Returns:
        (uint8 [32, width]; the column of each digit's centre, int [digits], from left to right, each far enough
        from the border for a window of 32 columns around it).
    """
    inked = [np.flatnonzero((scan >= INK).any(0)) for scan in scans]
    parts = [scan[:, c.min() : c.max() + 1] if len(c) else scan[:, 4:24] for scan, c in zip(scans, inked, strict=True)]
    half = [part.shape[1] // 2 for part in parts]
    centres = [0]
    for i in range(1, len(parts)):
        apart = words.between(-config.overlap, config.gap) + parts[i - 1].shape[1] - half[i - 1] + half[i]
        centres.append(centres[-1] + max(NEAREST, apart))
    columns, edge = width(config), HEIGHT // 2
    centres = np.asarray(centres) + edge + words.below(columns - 2 * edge - centres[-1] + 1)
    image = np.zeros((HEIGHT, columns), np.int64)
    for part, centre, left in zip(parts, centres.tolist(), half, strict=True):
        top = HEIGHT // 2 - part.shape[0] // 2 + words.between(-HIGH, HIGH)
        where = image[top : top + part.shape[0], centre - left : centre - left + part.shape[1]]
        np.maximum(where, part, out=where)
    # The sum of four uniform octets has the standard deviation 148 and is nearly normal.
    noise = words.octets(4 * image.size).reshape(4, *image.shape).sum(0) - 510
    return np.clip(image + noise * config.noise // 148, 0, 255).astype(np.uint8), centres


class DigitStrings(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `digit_strings` data set: `digits` from left to right, `centres` their columns."""

    VERSION = tfds.core.Version("1.0.0")
    splits = SPLITS

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        return tfds.core.DatasetInfo(
            builder=self,
            description="Strings of handwritten digits in one wide image.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(HEIGHT, width(config), 1), encoding_format="png"),
                    "digits": tfds.features.Sequence(tfds.features.ClassLabel(num_classes=10), length=config.digits),
                    "centres": tfds.features.Sequence(np.int64, length=config.digits),
                }
            ),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        stream, parts = SPLITS[split]
        whole = load.load(config.source, str(config.folder), train=parts[config.source], resident="always")
        arrays = whole.splits["train"].arrays
        scans, labels = np.asarray(arrays["image"])[..., 0], np.asarray(arrays["label"]).tolist()
        if config.source == "digits":
            enlarged = np.arange(WIDEST) * scans.shape[1] // WIDEST
            scans = np.pad(scans[:, enlarged][:, :, enlarged], [(0, 0), (4, 4), (4, 4)])
        for i in range(getattr(config, split)):
            words = Words(stream, i)
            chosen = [words.below(len(scans)) for _ in range(config.digits)]
            image, centres = compose(words, scans[chosen], config)
            yield i, {"image": png(image), "digits": [labels[k] for k in chosen], "centres": centres.tolist()}
