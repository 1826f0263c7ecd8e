"""Captchas: strings of letters and digits that are warped, crossed by lines, and noisy; drawn without any font.

The name is `captchas`, or with other settings `captchas(length=4, lines=0)`. A symbol is some strokes between points of
a grid of five by seven; each one is sheared, turned, scaled and moved by its own random numbers, a wave bends the whole
image, and a pixel is ink if its centre is near enough to a stroke (no anti-aliasing). All of it is computed in whole
numbers, so that every machine draws the same bytes. 0, 1, I and O are left out, as they look alike. Example i of a
split is a function of (split, i) and the settings alone.
"""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from cvdl_jax.data.builders._settings import SPLIT_LIMITS, Drawn, named
from cvdl_jax.data.builders.shapes import png
from cvdl_jax.data.scenes import Words

STREAMS = {"train": 20, "validation": 21, "test": 22}
# Strokes as points "xy", x to the right in 0..4 and y downwards in 0..6
GLYPHS = {
    "2": "01 10 30 41 42 06 46", "3": "00 40 23 33 44 45 36 16 05", "4": "36 30 04 44", "5": "40 00 02 32 43 45 36 06",
    "6": "40 20 02 05 16 36 45 44 33 04", "7": "00 40 16", "8": "13 02 01 10 30 41 42 33 13 04 05 16 36 45 44 33",
    "9": "06 26 44 41 30 10 01 02 13 42", "A": "06 20 46, 14 34", "B": "03 33 44 45 36 06 00 30 41 42 33",
    "C": "41 30 10 01 05 16 36 45", "D": "00 06 26 44 42 20 00", "E": "40 00 06 46, 03 33", "F": "40 00 06, 03 33",
    "G": "41 30 10 01 05 16 36 45 43 23", "H": "00 06, 40 46, 03 43", "J": "10 40, 30 35 26 16 05",
    "K": "00 06, 40 03 46", "L": "00 06 46", "M": "06 00 23 40 46", "N": "06 00 46 40", "P": "06 00 30 41 42 33 03",
    "Q": "10 30 41 45 36 16 05 01 10, 24 46", "R": "06 00 30 41 42 33 03, 23 46",
    "S": "41 30 10 01 02 13 33 44 45 36 16 05", "T": "00 40, 20 26", "U": "00 05 16 36 45 40", "V": "00 26 40",
    "W": "00 16 22 36 40", "X": "00 46, 40 06", "Y": "00 23 40, 23 26", "Z": "00 40 06 46",
}  # fmt: skip
SYMBOLS = tuple(GLYPHS)
HEIGHT, STEP, EDGE = 40, 24, 8  # pixels: of an image; from one symbol to the next; left and right of them
_UNIT = 16  # parts of a pixel in which lengths are counted
_TURNS = ((1, 0, 1), (60, 11, 61), (40, 9, 41), (24, 7, 25))  # cosine, sine and length: 0, 10, 13 and 16 degrees
_WAVE = 2  # pixels that the wave moves a column up or down, at most


@dataclasses.dataclass(eq=False, kw_only=True)
class CaptchasConfig(tfds.core.BuilderConfig):
    """The settings of a data set, which `configure` describes."""

    length: int
    lines: int
    noise: int
    train: int
    validation: int
    test: int


def configure(
    length: int = 5, lines: int = 3, noise: int = 20, train: int = 8000, validation: int = 1000, test: int = 2000
) -> CaptchasConfig:
    """The arguments of the data set's name.

    Args:
        length: symbols of a string.
        lines: that cross the image.
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
    limits = {"length": (1, 20), "lines": (0, 100), "noise": (0, 255), **dict.fromkeys(STREAMS, SPLIT_LIMITS)}
    name = named("captchas", configure, values, limits)
    return CaptchasConfig(name=name, description=f"Captchas with {values}.", **values)


def strokes(symbol: str) -> np.ndarray:
    """The strokes of a symbol: int64 [n, 2 ends, 2], x and y about the middle of its grid."""
    lines = [[(int(p[0]) - 2, int(p[1]) - 3) for p in line.split()] for line in GLYPHS[symbol].split(",")]
    return np.asarray([pair for line in lines for pair in zip(line[:-1], line[1:], strict=True)], np.int64)


def near(x: np.ndarray, y: np.ndarray, start: np.ndarray, end: np.ndarray, radius: int) -> np.ndarray:
    """Which points lie within a distance of the segment between two points.

    Args:
        x: int64 [...].
        y: int64 [...].
        start: int64 [2], x and y.
        end: likewise.
        radius: the distance.

    Returns:
        bool [...].
    """
    (dx, dy), px, py = (end - start).tolist(), x - start[0], y - start[1]
    square, along, across = dx * dx + dy * dy, px * dx + py * dy, px * dy - py * dx
    from_start, from_end = px**2 + py**2, (x - end[0]) ** 2 + (y - end[1]) ** 2
    inner = across**2 <= radius**2 * square  # of points beside the segment
    return np.where(along <= 0, from_start <= radius**2, np.where(along >= square, from_end <= radius**2, inner))


def draw(words: Words, length: int, lines: int, noise: int) -> tuple[np.ndarray, list[int]]:
    """One captcha.

    Args:
        words: of the example.
        length: symbols.
        lines: that cross the image.
        noise: standard deviation, in grey levels.

    Returns:
        (uint8 [40, 24 length + 16], the symbols as places in SYMBOLS).
    """
    width = STEP * length + 2 * EDGE
    labels = [words.below(len(SYMBOLS)) for _ in range(length)]
    y, x = (_UNIT * axis + _UNIT // 2 for axis in np.mgrid[:HEIGHT, :width])  # centres of pixels
    y = y + _wave(words, x)
    ink = np.zeros((HEIGHT, width), bool)
    for place, label in enumerate(labels):
        left = STEP * place
        part = np.s_[:, left : left + STEP + 2 * EDGE]  # no symbol reaches beyond
        centre = (
            _UNIT * (left + EDGE + STEP // 2) + words.between(-32, 32),
            _UNIT * HEIGHT // 2 + words.between(-48, 48),
        )
        ink[part] |= _symbol(words, SYMBOLS[label], x[part] - centre[0], y[part] - centre[1])
    for _ in range(lines):
        ends = np.asarray([(0, words.below(_UNIT * HEIGHT)), (_UNIT * width, words.below(_UNIT * HEIGHT))])
        ink |= near(x, y, *ends, words.between(7, 11))
    paper, dark = words.between(170, 240), words.between(20, 100)
    grains = words.octets(4 * ink.size).reshape(4, *ink.shape).sum(0) - 510  # of the standard deviation 148
    return np.clip(np.where(ink, dark, paper) + grains * noise // 148, 0, 255).astype(np.uint8), labels


def _wave(words: Words, x: np.ndarray) -> np.ndarray:
    """How far a column is moved, in units: a triangular wave of random height, length and phase."""
    height, half = words.between(0, _UNIT * _WAVE), _UNIT * words.between(15, 40)
    phase = (x + words.below(2 * half)) % (2 * half)
    return height * (2 * abs(phase - half) - half) // half


def _symbol(words: Words, symbol: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The ink of one symbol at points relative to its centre: bool [...]."""
    c, s, n = _TURNS[words.below(len(_TURNS))]
    s = -s if words.below(2) else s
    wide, high, shear, radius = (
        words.between(56, 72),
        words.between(52, 64),
        words.between(-4, 4),
        words.between(16, 24),
    )
    grid = strokes(symbol)
    v = high * grid[..., 1]
    u = wide * grid[..., 0] + shear * v // 16
    points = np.stack([(c * u - s * v) // n, (s * u + c * v) // n], -1)  # [n, 2, 2]
    ink = np.zeros(x.shape, bool)
    for start, end in points:
        ink |= near(x, y, start, end, radius)
    return ink


class Captchas(Drawn, tfds.core.GeneratorBasedBuilder):
    """The `captchas` data set: `symbols` from left to right."""

    VERSION = tfds.core.Version("1.0.0")
    splits = STREAMS

    def _info(self) -> tfds.core.DatasetInfo:
        length = self.builder_config.length
        shape = (HEIGHT, STEP * length + 2 * EDGE, 1)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Strings of letters and digits, warped, crossed by lines, and noisy.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=shape, encoding_format="png"),
                    "symbols": tfds.features.Sequence(tfds.features.ClassLabel(names=SYMBOLS), length=length),
                }
            ),
            disable_shuffling=True,
        )

    def _examples(self, split: str):
        config = self.builder_config
        for i in range(getattr(config, split)):
            image, labels = draw(Words(STREAMS[split], i), config.length, config.lines, config.noise)
            yield i, {"image": png(image), "symbols": labels}
