"""Clips of a moving digit: the class is the motion, which no single frame shows.

The name is `moving_digits`, or with other settings `moving_digits(frames=5)`. A scan of scikit-learn's digits, enlarged
to 16x16, stands anywhere in the first frame; from one frame to the next it stays, or moves to the left, to the right,
up or down by `step` pixels. What leaves the frame on one side enters it on the other, so that the digit is as often at
every place in every frame, whatever its motion. `digit` is the class of the scan. "train", "validation" and "test" are
made of scans of the splits of `digits`. Example i of a split is a function of (split, i) and the settings alone.

Reference: the idea is that of Srivastava et al. 2015, "Unsupervised Learning of Video Representations using LSTMs",
section 4.1.
"""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data import load
from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.scenes import Words

STREAMS = {"train": 70, "validation": 71, "test": 72}
MOTIONS = {"still": (0, 0), "left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}  # rows, columns
_ENLARGED = 2  # times, the scans of 8x8


@dataclasses.dataclass(eq=False, kw_only=True)
class MovingDigitsConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes, and the folder of the set that it is made of."""

    frames: int
    size: int
    step: int
    noise: int
    train: int
    validation: int
    test: int
    folder: Path = Path()


def configure(
    frames: int = 8,
    size: int = 24,
    step: int = 2,
    noise: int = 20,
    train: int = 3000,
    validation: int = 500,
    test: int = 1000,
) -> MovingDigitsConfig:
    """The arguments of the data set's name.

    Args:
        frames: of a clip.
        size: height and width of a frame in pixels.
        step: pixels from one frame to the next.
        noise: standard deviation of the noise of a pixel, in grey levels of 255; each frame has its own.
        train: clips of this split.
        validation: likewise.
        test: likewise.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    limits = {
        "frames": (2, 100), "size": (16, 256), "step": (1, 8), "noise": (0, 255),
        **dict.fromkeys(STREAMS, SPLIT_LIMITS),
    }  # fmt: skip
    name = named("moving_digits", configure, values, limits)
    return MovingDigitsConfig(name=name, description=f"Moving digits with {values}.", **values)


def draw(words: Words, scan: np.ndarray, config: MovingDigitsConfig) -> tuple[np.ndarray, int]:
    """One clip.

    Args:
        words: of the example.
        scan: uint8 [16, 16].
        config: of the set.

    Returns:
        (uint8 [frames, size, size, 1], the motion's place in MOTIONS).
    """
    label = words.below(len(MOTIONS))
    down, right = (config.step * part for part in list(MOTIONS.values())[label])
    row, column = words.below(config.size), words.below(config.size)
    canvas = np.zeros((config.size, config.size), np.int64)
    canvas[: scan.shape[0], : scan.shape[1]] = scan
    clip = np.stack([np.roll(canvas, (row + down * t, column + right * t), (0, 1)) for t in range(config.frames)])
    grains = words.octets(4 * clip.size).reshape(4, *clip.shape).sum(0) - 510  # of the standard deviation 148
    return np.clip(clip + grains * config.noise // 148, 0, 255).astype(np.uint8)[..., None], label


class MovingDigits(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `moving_digits` data set: `frames`, the motion as `label`, and `digit`."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        shape = (config.frames, config.size, config.size, 1)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Clips of a handwritten digit that moves.",
            features=tfds.features.FeaturesDict(
                {
                    "frames": tfds.features.Tensor(shape=shape, dtype=np.uint8),
                    "label": tfds.features.ClassLabel(names=list(MOTIONS)),
                    "digit": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        whole = load.load("digits", str(config.folder), train=split, resident="always").splits["train"].arrays
        scans, digits = np.asarray(whole["image"])[..., 0], np.asarray(whole["label"]).tolist()
        scans = scans.repeat(_ENLARGED, 1).repeat(_ENLARGED, 2)
        for i in range(getattr(config, split)):
            words = Words(STREAMS[split], i)
            chosen = words.below(len(scans))
            frames, label = draw(words, scans[chosen], config)
            yield i, {"frames": frames, "label": label, "digit": digits[chosen]}
