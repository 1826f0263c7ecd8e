"""Re-sampling of the training split so that every class is seen equally often: `config.data.resample`.

    oversample    every class appears as often as the largest: its examples repeat, none more than once above another
    undersample   every class appears as often as the smallest: the rest of its examples is left out

An epoch is then longer or shorter. Only training examples are re-sampled; re-weighting (`config.class_weights`) costs
no repetition. Reference: He and Garcia 2009, "Learning from Imbalanced Data", section 3.1.1.
"""

from collections.abc import Callable

import numpy as np

from cvdl_jax.config.binding import check_name
from cvdl_jax.data import order
from cvdl_jax.data.sources import Source
from cvdl_jax.data.subset import Subset

KINDS = ("oversample", "undersample")


def places(kind: str, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """The places of the examples of a balanced epoch, ascending, some of them several times or not at all.

    Args:
        kind: "oversample" or "undersample".
        labels: int [n], the classes.
        seed: of the draw of what is repeated once more, or left out.

    Returns:
        int64 [classes that occur * examples of each].

    Raises:
        ConfigError: for an unknown kind, with the nearest one.
    """
    check_name(kind, KINDS, f"config.data.resample={kind!r} is not known")
    drawn = np.argsort(order.random_bits(seed, order.SPLIT, 0, 0, len(labels)), kind="stable").astype(np.int64)
    known, counts = np.unique(labels, return_counts=True)
    each = counts.max() if kind == "oversample" else counts.min()
    found = [np.resize(drawn[labels[drawn] == label], each) for label in known]  # whole rounds, then a part of one
    return np.sort(np.concatenate(found))


def resampled(kind: str, source: Source, labels: Callable[[], np.ndarray], seed: int = 0) -> Source:
    """A source whose classes are equally frequent; the source itself for "".

    Args:
        kind: "", "oversample" or "undersample".
        source: of training examples.
        labels: their classes, int [n]; asked for only if needed.
        seed: of the draw.
    """
    if not kind:
        return source
    return Subset(source, places(kind, labels(), seed), f"{source.split}, {kind}d")
