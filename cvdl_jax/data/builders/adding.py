"""The adding problem: a sequence of random numbers, two of which are marked; the target is their sum.

The name is `adding`, or with other settings `adding(length=100)`. At each time a network sees a number, uniform in
0..1, and whether it is marked; one mark is in each half. The best constant answer is 1, with a squared error of 1/6; a
better one needs both marked numbers, which may be far back. Example i of a split is a function of (split, i) and the
settings alone.

Reference: Hochreiter and Schmidhuber 1997, "Long Short-Term Memory", experiment 4; in the form of Le et al. 2015, "A
Simple Way to Initialize Recurrent Networks of Rectified Linear Units", section 4.1.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.scenes import Words

STREAMS = {"train": 60, "validation": 61, "test": 62}
_PARTS = 1 << 16  # a number is a multiple of 1 / 65536, and so is a sum, exactly, in float32


@dataclasses.dataclass(eq=False, kw_only=True)
class AddingConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes."""

    length: int
    train: int
    validation: int
    test: int


def configure(length: int = 50, train: int = 20000, validation: int = 1000, test: int = 2000) -> AddingConfig:
    """The arguments of the data set's name.

    Args:
        length: numbers of a sequence.
        train: sequences of this split.
        validation: likewise.
        test: likewise.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    limits = {"length": (2, 10_000), **dict.fromkeys(STREAMS, SPLIT_LIMITS)}
    return AddingConfig(name=named("adding", configure, values, limits), description=f"Adding with {values}.", **values)


def draw(words: Words, length: int) -> tuple[np.ndarray, np.float32]:
    """One example: (float32 [length, 2], a number and 0 or 1 for its mark; the sum of the marked numbers)."""
    numbers = np.asarray([words.below(_PARTS) for _ in range(length)], np.float32) / _PARTS
    marks = np.zeros(length, np.float32)
    half = length // 2
    marks[[words.below(half), half + words.below(length - half)]] = 1
    return np.stack([numbers, marks], -1), (numbers * marks).sum(dtype=np.float32)


class Adding(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `adding` data set: `sequence` and `target`."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        shape = (self.builder_config.length, 2)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Sequences of numbers, two of them marked, and the sum of these.",
            features=tfds.features.FeaturesDict(
                {
                    "sequence": tfds.features.Tensor(shape=shape, dtype=np.float32),
                    "target": tfds.features.Scalar(np.float32),
                }
            ),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        for i in range(getattr(config, split)):
            sequence, target = draw(Words(STREAMS[split], i), config.length)
            yield i, {"sequence": sequence, "target": target}
