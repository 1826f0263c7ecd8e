"""What classification losses take: scores and labels that fit together. See `concrete.py` for when values are read."""

from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.value_checks import between, check_concrete, distribution, floats, or_nan


def check(logits: jax.Array, labels: jax.Array, loss: str) -> jax.Array:
    """The logits in at least float32, if the two arguments fit together.

    Args:
        logits: float [b, c].
        labels: int [b] or float [b, c].
        loss: name for messages.

    Returns:
        float32 [b, c].

    Raises:
        ConfigError: for shapes or dtypes that do not fit.
        ValueError: for NaN, where values are known.
    """
    for name, x in (("logits", logits), ("labels", labels)):
        if not hasattr(x, "dtype"):
            raise ConfigError(f"{loss} takes arrays, got {name} of type {type(x).__name__}; wrap it in jnp.asarray")
    if logits.ndim != 2:
        raise ConfigError(f"{loss} takes logits [b, c], got shape {logits.shape}")
    integers = jnp.issubdtype(labels.dtype, jnp.integer)
    if labels.shape != (logits.shape if labels.ndim == 2 else logits.shape[:1]) or integers == (labels.ndim == 2):
        raise ConfigError(
            f"{loss} takes integer labels [{logits.shape[0]}] or soft float labels {list(logits.shape)} for logits of "
            f"shape {logits.shape}, got {labels.dtype} {list(labels.shape)}; does the number of classes agree?"
        )
    check_concrete("labels", labels, lambda v: v == v, "a number, not NaN")
    return floats("logits", logits)


def refuse_soft(labels: jax.Array, loss: str) -> None:
    """Refuses labels [b, c] in a loss of one right class. Raises: ConfigError."""
    if labels.ndim == 2:
        raise ConfigError(
            f"{loss} needs integer labels [b], got soft labels [b, c]; take mixup out of config.augment "
            "or set config.loss.name='softmax_cross_entropy'"
        )


def one_hot(labels: jax.Array, num_classes: int, dtype: Any) -> jax.Array:
    """One-hot or soft labels. Args: int [b] or float [b, c]. Returns: [b, c]; a label that is no class is all 0."""
    return jax.nn.one_hot(labels, num_classes, dtype=dtype) if labels.ndim == 1 else jnp.asarray(labels, dtype)


def reject(losses: jax.Array, labels: jax.Array, num_classes: int) -> jax.Array:
    """NaN where an integer label is no class or a row of soft labels no distribution; an error where it is known.

    Args:
        losses: float [b].
        labels: int [b] or float [b, c].
        num_classes: c.

    Returns:
        float [b].

    Raises:
        ValueError: naming the label, where values are known.
    """
    good = between("labels", labels, 0, num_classes - 1) if labels.ndim == 1 else distribution("labels", labels)
    return or_nan(good, losses)


def binary(logits: jax.Array, labels: jax.Array, loss: str) -> tuple[jax.Array, jax.Array]:
    """The score of class 1 against class 0, and the label as a number.

    Args:
        logits: float [b, 2], whose score is the difference, or [b, 1].
        labels: int [b], or float of the logits' shape.
        loss: name for messages.

    Returns:
        (score float32 [b], 0 or 1 or a probability between float32 [b]); the latter is NaN for labels that are neither.

    Raises:
        ConfigError: for more than two classes, or shapes that do not fit.
        ValueError: for NaN or such a label, where values are known.
    """
    logits = check(logits, labels, loss)
    if logits.shape[1] > 2:
        raise ConfigError(
            f"config.loss.name={loss!r} is for two classes, got logits of {logits.shape[1]}; "
            "use 'softmax_cross_entropy', 'multiclass_hinge' or 'focal'"
        )
    y = jnp.asarray(labels if labels.ndim == 1 else labels[:, -1], logits.dtype)
    if labels.ndim == 2 and labels.shape[1] == 1:
        y = or_nan(between("labels", labels, 0.0, 1.0)[:, 0], y)
    else:
        y = reject(y, labels, 2)
    return logits[:, -1] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0], y
