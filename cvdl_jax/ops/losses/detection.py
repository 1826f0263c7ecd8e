"""Classification losses of detectors, one value per anchor or region. `config.loss.name` is the name of one of them.

Labels are 0 for background, 1..k for the classes and -1 for anchors to ignore, whose loss is 0. The training step takes
the mean: it divides by the number of positive anchors of the global batch, an image without any counting as one.
"""

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.config.binding import NotNegative, Positive, Probability
from cvdl_jax.errors import ConfigError

WITH_BACKGROUND = ("hard_negatives", "cross_entropy")  # losses of a softmax in which class 0 is the background


def focal(
    logits: jax.Array, labels: jax.Array, gamma: NotNegative = 2.0, alpha: Probability | None = 0.25
) -> jax.Array:
    """Sigmoid focal loss, `sum_j - alpha_t (1 - p_t)^gamma log p_t` over the k classes; background is not one of them.

    Args:
        logits: float [..., k].
        labels: int [...].
        gamma: 0 gives cross-entropy.
        alpha: weight of the right class, 1 - alpha of the others; None for 1 and 1.

    Returns:
        float32 [...].

    Reference: Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 5.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    targets = jax.nn.one_hot(labels - 1, logits.shape[-1], dtype=logits.dtype)  # all zero for background
    per_class = optax.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma)  # [..., k]
    return jnp.where(labels >= 0, per_class.sum(-1), 0.0)


def hard_negatives(logits: jax.Array, labels: jax.Array, ratio: NotNegative = 3.0) -> jax.Array:
    """Softmax cross-entropy of the positives and of the hardest negatives, `ratio` times as many in each image.

    An image without positives keeps `ratio` negatives. The loss of all other negatives is 0.

    Args:
        logits: float [b, a, k + 1], background first.
        labels: int [b, a].
        ratio: negatives for each positive.

    Returns:
        float32 [b, a].

    Raises:
        ConfigError: if the ratio is not positive.

    Reference: Liu et al. 2016, "SSD: Single Shot MultiBox Detector", section 2.2, hard negative mining.
    """
    if ratio <= 0:
        raise ConfigError(f"config.loss.ratio={ratio} must be positive; the usual one is 3.0")
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))  # [b, a]
    hardness = jnp.where(labels == 0, jax.lax.stop_gradient(losses), -jnp.inf)
    rank = jnp.argsort(jnp.argsort(-hardness, axis=-1), axis=-1)  # [b, a], 0 is the hardest
    allowed = ratio * jnp.maximum((labels > 0).sum(-1, keepdims=True), 1)  # [b, 1]
    return jnp.where((labels > 0) | ((labels == 0) & (rank < allowed)), losses, 0.0)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax cross-entropy, for regions that are a sample with enough objects: a dense detector drowns in background.

    Args:
        logits: float [..., k + 1], background first.
        labels: int [...].

    Returns:
        float32 [...].

    Reference: Girshick 2015, "Fast R-CNN", equation 1, the first term.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
    return jnp.where(labels >= 0, losses, 0.0)


def hinge(logits: jax.Array, labels: jax.Array, margin: Positive = 1.0) -> jax.Array:
    """The hinge loss of one linear SVM for each class, `sum_j max(0, margin - y_j s_j)`, y_j 1 for the class, else -1.

    Background is not one of the classes: all y_j are -1 there. A negative beyond the margin costs nothing.

    Args:
        logits: s, float [..., k].
        labels: int [...].
        margin: of both sides.

    Returns:
        float32 [...].

    Reference: Dalal and Triggs 2005, "Histograms of Oriented Gradients for Human Detection", section 6.6.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    signs = 2 * jax.nn.one_hot(labels - 1, logits.shape[-1], dtype=logits.dtype) - 1
    return jnp.where(labels >= 0, jnp.maximum(margin - signs * logits, 0).sum(-1), 0.0)
