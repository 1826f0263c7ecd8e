"""Checks of the logits and labels of classification losses. `ops/value_checks.py` says when values can be checked."""

from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.value_checks import between, check_concrete, distribution, floats, or_nan


def check(logits: jax.Array, labels: jax.Array, loss: str) -> jax.Array:
    """Checks that logits and labels fit together, and returns the logits in at least float32.

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
    """Refuses soft labels [b, c] for a loss that needs one right class. Raises: ConfigError."""
    if labels.ndim == 2:
        raise ConfigError(
            f"{loss} needs integer labels [b], got soft labels [b, c]; take mixup out of config.augment "
            "or set config.loss.name='softmax_cross_entropy'"
        )


def one_hot(labels: jax.Array, num_classes: int, dtype: Any) -> jax.Array:
    """Targets [b, c] from labels int [b] or float [b, c]; the row of a label outside 0..c-1 is all 0."""
    return jax.nn.one_hot(labels, num_classes, dtype=dtype) if labels.ndim == 1 else jnp.asarray(labels, dtype)


def reject(losses: jax.Array, labels: jax.Array, num_classes: int) -> jax.Array:
    """The losses, but NaN where an integer label is no class or a row of soft labels is no distribution.

    Args:
        losses: float [b].
        labels: int [b] or float [b, c].
        num_classes: c.

    Returns:
        float [b].

    Raises:
        ValueError: instead of NaN, naming the label, where values are known.
    """
    good = between("labels", labels, 0, num_classes - 1) if labels.ndim == 1 else distribution("labels", labels)
    return or_nan(good, losses)


def binary(logits: jax.Array, labels: jax.Array, loss: str) -> tuple[jax.Array, jax.Array]:
    """The score of class 1 against class 0, and the label as a float.

    Args:
        logits: float [b, 2], whose score is the difference, or [b, 1].
        labels: int [b], or float of the logits' shape.
        loss: name for messages.

    Returns:
        (scores float32 [b], labels float32 [b] in 0..1); a label is NaN where the given one is no class and no
        probability.

    Raises:
        ConfigError: for more than two classes, or shapes that do not fit.
        ValueError: for NaN, or instead of a NaN label, where values are known.
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
