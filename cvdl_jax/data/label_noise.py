"""Wrong labels in a known share of the training examples, to see what they cost.

Which labels are wrong, and what they become, is drawn for each example from the seed and the example's number; of n
examples `round(share n)` are wrong, exactly, and the wrong ones of a smaller share are among those of a larger.
"""

from typing import Any, Literal, NamedTuple

import numpy as np

from cvdl_jax.config.binding import Probability
from cvdl_jax.errors import ConfigError, DataError

Kind = Literal["symmetric", "asymmetric"]


class NoisyLabels(NamedTuple):
    """Labels of which some are wrong.

    Attributes:
        label: int32 [n].
        wrong: bool [n], those that were changed.
    """

    label: np.ndarray
    wrong: np.ndarray


def corrupted(
    labels: Any, share: Probability, num_classes: int, kind: Kind = "symmetric", seed: int = 0
) -> NoisyLabels:
    """Labels with a share of wrong ones.

    Args:
        labels: true classes, int [n].
        share: of the examples whose label is replaced by another.
        num_classes: c, at least 2.
        kind: "symmetric" for any other class, all alike; "asymmetric" for the next one, class c - 1 becoming 0, as
            where annotators take one kind of thing for another.
        seed: of the draws.

    Raises:
        ConfigError: for a share that is none, fewer than two classes, or an unknown kind.
        DataError: for labels that are no classes.

    Reference: Patrini et al. 2017, "Making Deep Neural Networks Robust to Label Noise", section 5; Sun et al. 2017,
        "Revisiting Unreasonable Effectiveness of Data in Deep Learning Era", section 4.1, for the noise of JFT-300M.
    """
    labels = np.asarray(labels)
    if not 0 <= share <= 1 or num_classes < 2:
        raise ConfigError(f"share={share} must be in 0..1 and num_classes={num_classes} at least 2")
    if kind not in ("symmetric", "asymmetric"):
        raise ConfigError(f"kind={kind!r} must be 'symmetric' or 'asymmetric'")
    if labels.ndim != 1 or (len(labels) and not (labels.min() >= 0 and labels.max() < num_classes)):
        raise DataError(f"labels must be classes 0 ... {num_classes - 1} of n examples, got {list(labels.shape)}")
    draws = [np.random.default_rng((seed, i)) for i in range(len(labels))]
    order = np.argsort([draw.random() for draw in draws], kind="stable")
    moves = np.array([draw.integers(1, num_classes) for draw in draws], int) if kind == "symmetric" else 1
    wrong = np.zeros(len(labels), bool)
    wrong[order[: round(share * len(labels))]] = True
    return NoisyLabels(np.where(wrong, (labels + moves) % num_classes, labels).astype(np.int32), wrong)
