"""Weights of classes that are not equally frequent: `config.class_weights`.

    config.class_weights = "balanced"             # n / (k n_c), so that the mean weight of a training example is 1
    config.class_weights = (1.0, 5.0)             # one for each class

The training loss is `sum_i w_i L_i / sum_i w_i`, where w_i is the weight of the class of example i. Evaluations are not
weighted.

Reference: King and Zeng 2001, "Logistic Regression in Rare Events Data", section 4.2.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from cvdl_jax.data import load as data_load
from cvdl_jax.errors import ConfigError

PATH = "config.class_weights"


def balanced(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """`n / (k n_c)` for each of k classes.

    Args:
        labels: int [n].
        num_classes: k.

    Returns:
        float64 [k].

    Raises:
        ConfigError: for a class without examples, which no weight can balance.
    """
    counts = np.bincount(np.asarray(labels).ravel(), minlength=num_classes)
    if not counts.all():
        missing = int(np.argmin(counts))
        raise ConfigError(f"{PATH}='balanced': class {missing} has no training examples; give one number per class")
    return len(labels) / (num_classes * counts)


def resolved(config: ConfigDict, data: Any) -> ConfigDict:
    """The configuration with numbers in place of "balanced"; otherwise itself.

    Args:
        config: of a run; it is not changed.
        data: only the labels of its training split are read.
    """
    if config.class_weights != "balanced":
        return config
    if data is None or "train" not in data.splits or data.num_classes is None:
        raise ConfigError(f"{PATH}='balanced' needs a training split with class labels; give one number per class")
    split = data.splits["train"]
    labels = split.arrays["label"] if split.arrays else data_load.labels(split.source)
    numeric = config.copy_and_resolve_references()
    numeric.class_weights = tuple(balanced(labels, data.num_classes).tolist())
    return numeric


def of_examples(weights: Sequence[float], labels: jax.Array, num_classes: int) -> jax.Array:
    """The weight of each example; for soft labels, the mean of the weights of its classes.

    Args:
        weights: one per class, positive; () for ones.
        labels: int [b] or float [b, num_classes].
        num_classes: of the data.

    Returns:
        float32 [b].

    Raises:
        ConfigError: unless there is one positive, finite weight for each class.
    """
    if not len(weights):
        return jnp.ones(labels.shape[0], jnp.float32)
    if len(weights) != num_classes or not all(0 < w < float("inf") for w in weights):
        raise ConfigError(f"{PATH}={tuple(weights)} must be {num_classes} positive numbers, or 'balanced'")
    table = jnp.asarray(weights, jnp.float32)
    return table[labels] if labels.ndim == 1 else labels @ table
