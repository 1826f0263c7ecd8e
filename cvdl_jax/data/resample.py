"""Re-sampling of the training split so that every class is seen equally often: `config.data.resample`.

    oversample    every class appears as often as the largest: its examples repeat, as evenly as possible
    undersample   every class appears as often as the smallest: its other examples are left out

An epoch is then longer or shorter. Evaluations are not re-sampled. Re-weighting (`config.class_weights`) reaches the
same balance without repetition. Reference: He and Garcia 2009, "Learning from Imbalanced Data", section 3.1.1.
"""

from collections.abc import Callable

import numpy as np

from cvdl_jax.config.binding import check_name
from cvdl_jax.data import order
from cvdl_jax.data.sources import Source
from cvdl_jax.data.subset import Subset

KINDS = ("oversample", "undersample")


def places(kind: str, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """The places of the examples of a balanced epoch, ascending; some come several times, others not at all.

    Args:
        kind: "oversample" or "undersample".
        labels: int [n], the classes.
        seed: of the draw of the examples that are repeated once more, or left out.

    Returns:
        int64 [classes that occur * examples of each].

    Raises:
        ConfigError: for an unknown kind, with the nearest one.
    """
    check_name(kind, KINDS, f"config.data.resample={kind!r} is not known")
    drawn = np.argsort(order.random_bits(seed, order.SPLIT, 0, 0, len(labels)), kind="stable").astype(np.int64)
    known, counts = np.unique(labels, return_counts=True)
    per_class = counts.max() if kind == "oversample" else counts.min()
    # np.resize repeats: all examples of a class several times, then a part of them
    rounds = [np.resize(drawn[labels[drawn] == label], per_class) for label in known]
    return np.sort(np.concatenate(rounds))


def resampled(kind: str, source: Source, labels: Callable[[], np.ndarray], seed: int = 0) -> Source:
    """A source whose classes are equally frequent; the source itself for "".

    Args:
        kind: "", "oversample" or "undersample".
        source: of training examples.
        labels: returns their classes, int [n]; called only if needed.
        seed: of the draw.
    """
    if not kind:
        return source
    return Subset(source, places(kind, labels(), seed), f"{source.split}, {kind}d")
