"""The copying problem: symbols are shown, then a long time nothing, then they have to be said in their order.

The name is `copying`, or with other settings `copying(lag=100)`. A network reads `count` symbols, `lag - 1` blanks, the
sign to begin, and `count` blanks, during which its labels are the symbols; before that its label is the blank at every
time. Without a memory of the symbols the best it can do is to guess 1 of `symbols`. Class 0 is the blank, class 1 the
sign; what is read is numbered as the labels are. Example i of a split is a function of (split, i) and the settings
alone.

Reference: Hochreiter and Schmidhuber 1997, "Long Short-Term Memory"; in the form of Arjovsky et al. 2016, "Unitary
Evolution Recurrent Neural Networks", section 4.1.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.scenes import Words

STREAMS = {"train": 63, "validation": 64, "test": 65}
BLANK, BEGIN = 0, 1


@dataclasses.dataclass(eq=False, kw_only=True)
class CopyingConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes."""

    lag: int
    count: int
    symbols: int
    train: int
    validation: int
    test: int


def configure(
    lag: int = 30, count: int = 3, symbols: int = 8, train: int = 20000, validation: int = 1000, test: int = 2000
) -> CopyingConfig:
    """The arguments of the data set's name.

    Args:
        lag: steps from the last symbol to the sign to begin.
        count: symbols to remember.
        symbols: how many there are to draw from.
        train: sequences of this split.
        validation: likewise.
        test: likewise.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    limits = {"lag": (1, 10_000), "count": (1, 1000), "symbols": (2, 1000), **dict.fromkeys(STREAMS, SPLIT_LIMITS)}
    name = named("copying", configure, values, limits)
    return CopyingConfig(name=name, description=f"Copying with {values}.", **values)


def class_names(symbols: int) -> list[str]:
    """Of the blank, the sign to begin, and the symbols."""
    return ["blank", "begin", *(f"symbol{i}" for i in range(symbols))]


def draw(words: Words, lag: int, count: int, symbols: int) -> tuple[np.ndarray, np.ndarray]:
    """One example: what is read, and the label of each time, int32 [lag + 2 count] both."""
    drawn = np.asarray([2 + words.below(symbols) for _ in range(count)], np.int32)
    sequence = np.full(lag + 2 * count, BLANK, np.int32)
    sequence[:count], sequence[count + lag - 1] = drawn, BEGIN
    labels = np.full(lag + 2 * count, BLANK, np.int32)
    labels[count + lag :] = drawn
    return sequence, labels


class Copying(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `copying` data set: `sequence` and the `label` of each time."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        length = config.lag + 2 * config.count
        label = tfds.features.ClassLabel(names=class_names(config.symbols))
        return tfds.core.DatasetInfo(
            builder=self,
            description="Symbols to say again after a while.",
            features=tfds.features.FeaturesDict(
                {
                    "sequence": tfds.features.Tensor(shape=(length,), dtype=np.int32),
                    "label": tfds.features.Sequence(label, length=length),
                }
            ),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        for i in range(getattr(config, split)):
            sequence, labels = draw(Words(STREAMS[split], i), config.lag, config.count, config.symbols)
            yield i, {"sequence": sequence, "label": labels.tolist()}
