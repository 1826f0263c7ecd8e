"""Classification losses, one value per example: `loss(logits [b, c], labels, ...) -> float32 [b]`.

`config.loss.name` is the name of one of these functions. Means belong to the training step, which divides by the
global weight. An integer label outside 0..c-1 gives NaN, which stops a run, never a plausible number.
"""

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.errors import ConfigError


def softmax_cross_entropy(logits: jax.Array, labels: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """Softmax cross-entropy, `L = - sum_j t_j log softmax(s)_j`; log c for equal scores.

    Args:
        logits: s, float [b, c].
        labels: int [b], or soft labels float [b, c] whose rows sum to one.
        label_smoothing: a in [0, 1); the target is `t = (1 - a) y + a / c`.

    Returns:
        float32 [b].

    Raises:
        ConfigError: for shapes or a smoothing that make no sense.

    Reference: Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7, for the smoothing.
    """
    logits = _check(logits, labels, "softmax_cross_entropy")
    if not 0 <= label_smoothing < 1:
        raise ConfigError(f"config.loss.label_smoothing={label_smoothing} must lie in [0, 1); 0 turns it off")
    logits = logits - jax.lax.stop_gradient(
        logits.max(1, keepdims=True)
    )  # else large scores cancel in Optax's difference
    if label_smoothing == 0 and labels.ndim == 1:
        return _reject(optax.softmax_cross_entropy_with_integer_labels(logits, labels), labels, logits.shape[1])
    targets = optax.smooth_labels(_soft(labels, logits.shape[1], logits.dtype), label_smoothing)
    return _reject(optax.softmax_cross_entropy(logits, targets), labels, logits.shape[1])


def multiclass_hinge(logits: jax.Array, labels: jax.Array, margin: float = 1.0) -> jax.Array:
    """Multiclass support vector machine, `L = sum_{j != y} max(0, s_j - s_y + m)`; m (c - 1) for equal scores.

    Args:
        logits: scores s, float [b, c].
        labels: y, int [b].
        margin: m > 0, by how much the right score must lead.

    Returns:
        float32 [b].

    Raises:
        ConfigError: for soft labels, or a margin that is not positive.

    Reference: Weston and Watkins 1999, "Support Vector Machines for Multi-Class Pattern Recognition", where the
        margin is 2. (Optax's `multiclass_hinge_loss` is the form of Crammer and Singer, the maximum over j.)
    """
    logits = _check(logits, labels, "multiclass_hinge")
    if labels.ndim == 2:
        raise ConfigError(
            "multiclass_hinge needs integer labels [b], got soft labels [b, c]; take mixup out of config.augment "
            "or set config.loss.name='softmax_cross_entropy'"
        )
    if margin <= 0:
        raise ConfigError(f"config.loss.margin={margin} must be positive; the usual one is 1.0")
    right = jnp.take_along_axis(logits, labels[:, None], axis=1)  # [b, 1]
    others = 1 - jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype)  # [b, c]
    return _reject((jax.nn.relu(logits - right + margin) * others).sum(1), labels, logits.shape[1])


def squared_error(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Squared error to the one-hot label, summed over classes: `L = sum_j (s_j - y_j)^2`.

    Args:
        logits: s, float [b, c].
        labels: int [b], or soft labels float [b, c].

    Returns:
        float32 [b].

    Raises:
        ConfigError: for shapes that make no sense.
    """
    logits = _check(logits, labels, "squared_error")
    targets = _soft(labels, logits.shape[1], logits.dtype)
    return _reject(optax.squared_error(logits, targets).sum(1), labels, logits.shape[1])


def _check(logits: jax.Array, labels: jax.Array, loss: str) -> jax.Array:
    """Logits in at least float32, if the two arguments fit together."""
    if logits.ndim != 2:
        raise ConfigError(f"{loss} takes logits [b, c], got shape {logits.shape}")
    integers = jnp.issubdtype(labels.dtype, jnp.integer)
    if labels.shape != (logits.shape if labels.ndim == 2 else logits.shape[:1]) or integers == (labels.ndim == 2):
        raise ConfigError(
            f"{loss} takes integer labels [{logits.shape[0]}] or soft float labels {list(logits.shape)} for logits of "
            f"shape {logits.shape}, got {labels.dtype} {list(labels.shape)}; does the number of classes agree?"
        )
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def _soft(labels: jax.Array, num_classes: int, dtype: jnp.dtype) -> jax.Array:
    """One-hot or soft labels [b, c]."""
    return jax.nn.one_hot(labels, num_classes, dtype=dtype) if labels.ndim == 1 else labels.astype(dtype)


def _reject(losses: jax.Array, labels: jax.Array, num_classes: int) -> jax.Array:
    """NaN where an integer label is no class."""
    if labels.ndim == 2:
        return losses
    return jnp.where((labels >= 0) & (labels < num_classes), losses, jnp.nan)
