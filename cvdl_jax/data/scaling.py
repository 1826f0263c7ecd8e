"""Shift and scale of the inputs, fitted on the training split and applied to every split: `config.normalise.fit`.

    config.normalise = {"fit": "standardise"}

    channel_mean         x - mean_c                            of each channel (or feature)
    mean_image           x - mean_hwc                          of each pixel
    standardise          (x - mean_c) / std_c
    standardise_pixels   (x - mean_hwc) / std_hwc
    min_max              2 (x - min_c) / (max_c - min_c) - 1   in -1..1 on the training split

std is the biased standard deviation over examples and, for channels, pixels. Constant channels and pixels are only
shifted. All kinds are `(x - mean) / std` with some mean and std, which `pixels.normalise` applies.

Reference: LeCun et al. 1998, "Efficient BackProp", section 4.3.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from cvdl_jax.config.binding import check_name
from cvdl_jax.data.load import Data
from cvdl_jax.errors import ConfigError, DataError

KINDS = ("channel_mean", "mean_image", "standardise", "standardise_pixels", "min_max")
CHUNK = 1024  # examples that are read at once


class Statistics(NamedTuple):
    """Statistics of a set of examples, element by element.

    Attributes:
        count: examples (times pixels, where the statistics are those of channels).
        mean: float64 [...].
        deviations: sums of squared deviations from the mean, like `mean`.
        low: smallest values.
        high: largest values.
    """

    count: int
    mean: np.ndarray
    deviations: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Scaler(NamedTuple):
    """`(x - mean) / std`; broadcast over the leading axes of x.

    Attributes:
        mean: [c], [h, w, c] or [d].
        std: like `mean`; 1 where nothing is divided.
    """

    mean: np.ndarray
    std: np.ndarray

    def apply(self, x: np.ndarray) -> np.ndarray:
        """The scaled x."""
        return (x - self.mean) / self.std

    def undo(self, y: np.ndarray) -> np.ndarray:
        """The inverse of `apply`."""
        return y * self.std + self.mean


def statistics(chunks: Iterable[np.ndarray], per_channel: bool) -> Statistics:
    """Statistics in one pass, in float64; chunks are merged as in Chan et al. 1979, which avoids cancellation.

    Args:
        chunks: arrays [n, ..., c]; uint8 is divided by 255.
        per_channel: over all axes but the last, instead of the first alone.

    Raises:
        DataError: if there is no example, or one is not finite.
    """
    total = None
    for chunk in chunks:
        x = np.asarray(chunk, np.float64) / (255 if chunk.dtype == np.uint8 else 1)
        x = x.reshape(-1, x.shape[-1]) if per_channel else x
        if not len(x):
            continue
        if not np.isfinite(x).all():
            raise DataError(
                f"{(~np.isfinite(x)).sum()} input values are not finite; config.normalise.fit needs numbers"
            )
        mean = x.mean(0)
        new = Statistics(len(x), mean, np.square(x - mean).sum(0), x.min(0), x.max(0))
        total = new if total is None else merged(total, new)
    if total is None:
        raise DataError("config.normalise.fit: the training split has no examples")
    return total


def merged(a: Statistics, b: Statistics) -> Statistics:
    """The statistics of two sets together."""
    n, gap = a.count + b.count, b.mean - a.mean
    deviations = a.deviations + b.deviations + np.square(gap) * (a.count * b.count / n)
    return Statistics(n, a.mean + gap * (b.count / n), deviations, np.minimum(a.low, b.low), np.maximum(a.high, b.high))


def fit(kind: str, chunks: Iterable[np.ndarray]) -> Scaler:
    """The scaler of a kind.

    Args:
        kind: one of `KINDS`.
        chunks: training examples, [n, ..., c]; uint8 is divided by 255.

    Raises:
        ConfigError: for an unknown kind, with the nearest one.
        DataError: if there is no example, or one is not finite.
    """
    check_name(kind, KINDS, f"config.normalise.fit={kind!r} is not known")
    stats = statistics(chunks, per_channel=kind not in ("mean_image", "standardise_pixels"))
    one = np.ones_like(stats.mean)
    if kind == "min_max":
        half = (stats.high - stats.low) / 2
        return Scaler((stats.high + stats.low) / 2, np.where(half > 0, half, one))
    if kind in ("channel_mean", "mean_image"):
        return Scaler(stats.mean, one)
    varies = stats.high > stats.low
    return Scaler(stats.mean, np.where(varies, np.sqrt(stats.deviations / stats.count), one))


def resolved(config: ConfigDict, data: Data | None) -> ConfigDict:
    """The configuration with fitted numbers in `normalise` if it asks for a fit; otherwise itself.

    Args:
        config: of a run; it is not changed.
        data: only its training split is read.

    Raises:
        ConfigError: where there is no training split, or it has neither images nor features.
    """
    kind = config.normalise.get("fit", "")
    if not kind:
        return config
    if data is None or "train" not in data.splits:
        raise ConfigError("config.normalise.fit needs a training split; set config.data.train, or give mean and std")
    split = data.splits["train"]
    names = [name for name in ("image", "features") if name in split.features]
    if not names:
        raise ConfigError(
            f"config.normalise.fit scales 'image' or 'features'; {data.name} has {sorted(split.features)}"
        )
    scaler = fit(kind, _chunks(split, names[0]))
    fitted = config.copy_and_resolve_references()
    fitted.normalise = {"mean": _plain(scaler.mean), "std": _plain(scaler.std)}
    return fitted


def _chunks(split: Any, name: str) -> Iterable[np.ndarray]:
    """The training examples without random windows, as evaluations see them."""
    calm = split.for_evaluation()
    for first in range(0, split.size, CHUNK):
        yield calm.batch(np.arange(first, min(first + CHUNK, split.size)))[name]


def _plain(x: np.ndarray) -> tuple:
    """An array as nested tuples, which a configuration may hold."""
    return tuple(_plain(row) if row.ndim else float(row) for row in x)
