"""Handwriting as movements of a pen: strings of letters and digits, with the symbol that is written at each time.

The name is `handwriting`, or with other settings `handwriting(length=3)`. A symbol is the strokes of a captcha's
(`captchas.py`), each string with a slant, a size and a speed of its own; a movement is one of a few pixels along a
stroke, or a jump to the next stroke with the pen up. At each time there are the way to the right and downwards in units
of 4 pixels and whether the pen is up; the label is the symbol that the movement belongs to, and a jump belongs to the
symbol that it begins. A letter often begins as another one does (F as E, P as R), so that what comes later is needed.
Strings are padded to one length with movements of zero and the label "nothing". All of it is computed in whole
numbers; example i of a split is a function of (split, i) and the settings alone.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.builders.captchas import GLYPHS, SYMBOLS
from cvdl_jax.data.scenes import Words

STREAMS = {"train": 66, "validation": 67, "test": 68}
NOTHING = "nothing"
UNIT = 64  # parts of the unit of a movement
_WIDE, _SPACE = 4, 2  # of a symbol, and between two, in steps of its grid
_PER_SYMBOL = 24  # times that are enough for any symbol at the lowest speed, its first jump included


@dataclasses.dataclass(eq=False, kw_only=True)
class HandwritingConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes."""

    length: int
    noise: int
    train: int
    validation: int
    test: int


def configure(
    length: int = 4, noise: int = 8, train: int = 4000, validation: int = 500, test: int = 1000
) -> HandwritingConfig:
    """The arguments of the data set's name.

    Args:
        length: symbols of a string.
        noise: of the end of each movement, uniform up to so many 64ths of the unit in both directions.
        train: strings of this split.
        validation: likewise.
        test: likewise.

    Returns:
        A builder config, named by the settings that differ from the defaults.

    Raises:
        ConfigError: for a number out of its range.
    """
    values = dict(locals())
    limits = {"length": (1, 20), "noise": (0, 64), **dict.fromkeys(STREAMS, SPLIT_LIMITS)}
    name = named("handwriting", configure, values, limits)
    return HandwritingConfig(name=name, description=f"Handwriting with {values}.", **values)


def times(length: int) -> int:
    """Movements of a string, padding included."""
    return _PER_SYMBOL * length


def points(symbol: str, words: Words, slant: int, size: int, speed: int) -> list[tuple[int, int, int]]:
    """Where the pen goes for one symbol.

    Args:
        symbol: of SYMBOLS.
        words: of the example.
        slant: to the right for each step upwards, in 64ths of a step of the grid.
        size: of a step of the grid, in parts of the unit.
        speed: length of a movement, in parts of the unit; each is up to a fourth longer or shorter.

    Returns:
        Points (x, y, 1 where the pen is up on the way there), in parts of the unit; x from the left of the grid.
    """
    way = []
    for stroke in GLYPHS[symbol].split(","):
        corners = [(int(p[0]), int(p[1])) for p in stroke.split()]
        places = [(size * x + size * slant * (6 - y) // 64, size * y) for x, y in corners]
        way.append((*places[0], 1))
        for (x0, y0), (x1, y1) in zip(places[:-1], places[1:], strict=True):
            distance = max(abs(x1 - x0), abs(y1 - y0))
            parts = max(1, distance // (speed * words.between(48, 80) // 64))
            way += [(x0 + (x1 - x0) * k // parts, y0 + (y1 - y0) * k // parts, 0) for k in range(1, parts + 1)]
    return way


def draw(words: Words, length: int, noise: int) -> tuple[np.ndarray, np.ndarray]:
    """One string: (float32 [times, 3], right, downwards and pen up; int64 [times], 0 or the symbol's place + 1)."""
    slant, size, speed = words.between(-16, 24), words.between(48, 72), words.between(96, 128)
    way, labels, left = [(0, 3 * size, 0)], [], 0
    for _ in range(length):
        label = words.below(len(SYMBOLS))
        part = [(left + x, y, up) for x, y, up in points(SYMBOLS[label], words, slant, size, speed)]
        way += [(x + words.between(-noise, noise), y + words.between(-noise, noise), up) for x, y, up in part]
        labels += [label + 1] * len(part)
        left += size * (_WIDE + _SPACE)
    moves = np.asarray(way, np.float32)
    moves[1:, :2] -= moves[:-1, :2].copy()
    sequence, padded = np.zeros((times(length), 3), np.float32), np.zeros(times(length), np.int64)
    sequence[: len(labels)], padded[: len(labels)] = moves[1:], labels
    return sequence / np.asarray([UNIT, UNIT, 1], np.float32), padded


class Handwriting(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `handwriting` data set: `sequence` and the `label` of each time."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        length = times(self.builder_config.length)
        label = tfds.features.ClassLabel(names=[NOTHING, *SYMBOLS])
        return tfds.core.DatasetInfo(
            builder=self,
            description="Movements of a pen that writes letters and digits.",
            features=tfds.features.FeaturesDict(
                {
                    "sequence": tfds.features.Tensor(shape=(length, 3), dtype=np.float32),
                    "label": tfds.features.Sequence(label, length=length),
                }
            ),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        for i in range(getattr(config, split)):
            sequence, labels = draw(Words(STREAMS[split], i), config.length, config.noise)
            yield i, {"sequence": sequence, "label": labels.tolist()}
