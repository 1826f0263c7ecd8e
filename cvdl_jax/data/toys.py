"""Generated toy data sets: blobs, circles, xor and spirals in the plane, and tones, which are signals in time.

Every function here with the arguments (normal, unit, label) is a data set. Its name may carry the other arguments:
`spirals(noise=0.1, num_classes=3)`. An example is `features` float32 [2], about -1..1, and `label` int32; a set with
the argument `samples` has that many features. The splits are fixed: train 1000, validation 500, test 500.
"""

import hashlib
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from cvdl_jax.config import binding
from cvdl_jax.config.binding import NotNegative, Size
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Source, parse_split, places
from cvdl_jax.errors import ConfigError

Array = np.ndarray
SIZES = {"train": 1000, "validation": 500, "test": 500}
_SEED = 0


def blobs(normal: Array, unit: Array, label: Array, num_classes: Size = 3, noise: NotNegative = 0.15) -> Array:
    """One Gaussian blob per class, the centres evenly on a circle of radius 0.7."""
    angle = 2 * np.pi * label / num_classes
    return 0.7 * np.stack([np.cos(angle), np.sin(angle)], -1) + noise * normal  # [n, 2]


def circles(normal: Array, unit: Array, label: Array, num_classes: Size = 2, noise: NotNegative = 0.05) -> Array:
    """Concentric circles, one per class, of radius 1 / num_classes ... 1."""
    angle, radius = 2 * np.pi * unit, (label + 1) / num_classes
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1) + noise * normal  # [n, 2]


def xor(normal: Array, unit: Array, label: Array, noise: NotNegative = 0.15) -> Array:
    """Four blobs at (+-1/2, +-1/2); the class is 1 where the signs of the coordinates differ."""
    first = np.where(unit < 0.5, -0.5, 0.5)
    return np.stack([first, np.where(label == 1, -first, first)], -1) + noise * normal  # [n, 2]


def spirals(normal: Array, unit: Array, label: Array, num_classes: Size = 2, noise: NotNegative = 0.02) -> Array:
    """Interleaved spirals of one and a half turns, one per class."""
    radius = 0.1 + 0.9 * unit
    angle = 3 * np.pi * unit + 2 * np.pi * label / num_classes
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1) + noise * normal  # [n, 2]


def tones(
    normal: Array,
    unit: Array,
    label: Array,
    num_classes: Size = 3,
    noise: NotNegative = 0.5,
    samples: Size = 128,
    of: Literal["waveform", "pitch"] = "waveform",
) -> Array:
    """Tones in noise, of uniform phase, 4 to 16 periods long. The class is the waveform: sine, sawtooth or square.

    With `of="pitch"` the class is the pitch, in equal steps over two octaves, and the waveform is random.
    """
    from cvdl_jax.data import audio  # late: it imports jax

    if not 1 <= num_classes <= (3 if of == "waveform" else 24) or samples < 64:
        raise ConfigError(
            f"config.data.name: tones(num_classes={num_classes}, samples={samples}, of={of!r}) must have 1 to 3 "
            "waveforms or 1 to 24 pitches, and at least 64 samples"
        )
    octaves, kind = (2 * unit, label) if of == "waveform" else (2 * label / num_classes, (3 * unit).astype(int))
    phase = np.arctan2(normal[:, 1], normal[:, 0]) / (2 * np.pi)  # periods, uniform
    turns = 2.0 ** (2 + octaves)[:, None] * np.arange(samples)[None] / samples + phase[:, None]  # [n, samples]
    return audio.waveform(kind[:, None], turns) + noise * normal[:, 2 : 2 + samples]


def generators() -> dict[str, Callable]:
    """All toy sets, also those of the user's file that adds to this one: {name: function}."""
    functions = binding.functions(sys.modules[__name__])
    return {name: f for name, f in functions.items() if "normal" in inspect.signature(f).parameters}


def _draw(n: int, d: int, split: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal float64 [n, d] and uniform float64 [n] from raw words, the same in every NumPy version (NEP 19)."""
    words = np.random.Philox(key=[_SEED, split]).random_raw((d + 1) * n).reshape(d + 1, n)
    u = ((words >> np.uint64(11)) + 0.5) * 2.0**-53  # [d + 1, n], in (0, 1)
    radius, angle = np.sqrt(-2 * np.log(u[: d // 2])), 2 * np.pi * u[d // 2 : d]  # Box and Muller 1958
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)]).T, u[d]


class ToySource(Source):
    """A split of a toy set.

    Raises:
        ConfigError: for an unknown argument.
        DataError: for an unknown split.
    """

    def __init__(self, name: str, split: str):
        ((make, arguments),) = binding.bind_calls(
            name, generators(), "config.data.name", normal=None, unit=None, label=None
        )
        defaults = {k: p.default for k, p in inspect.signature(make).parameters.items()}
        classes = arguments.get("num_classes", defaults.get("num_classes", 2))
        samples = arguments.get("samples", defaults.get("samples", 0))
        self.name, self.version, self.split, self.location = name, "", split, ""
        self.intervals = parse_split(split, SIZES, name)
        names = tuple(str(i) for i in range(classes))
        self.features = {
            "features": Feature("tensor", (samples or 2,), "float32"),
            "label": Feature("label", (), "int32", classes, names),
        }
        self._whole = {}
        for i, (whole, n) in enumerate(SIZES.items()):
            normal, unit = _draw(n, 2 + 2 * max(0, (samples + 1) // 2), i)
            label = np.arange(n) % classes  # balanced
            points = make(**{**arguments, "normal": normal, "unit": unit, "label": label})
            # Rounded to 2^-16, so that the last bits of a machine's sine do not matter.
            self._whole[whole] = (np.round(points * 2**16) / 2**16).astype(np.float32), label.astype(np.int32)

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Decoded examples at the given places; see `Source`."""
        where = places(self.intervals, indices)
        return [{"features": self._whole[s][0][i], "label": self._whole[s][1][i]} for s, i in where]

    def fingerprint(self) -> str:
        """A hash of all points and labels."""
        digest = hashlib.sha256()
        for points, labels in self._whole.values():
            digest.update(points.tobytes() + labels.tobytes())
        return digest.hexdigest()
