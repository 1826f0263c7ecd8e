"""Losses of semantic segmentation: totals and weights of images, from logits and labels of their pixels.

`config.loss.name` is the name of one of these functions. The objective is `sum of totals / sum of weights` over the
global batch, so that a batch on several devices, or in several pieces, has the loss of the whole. Pixels with the label
255 have no influence on values and gradients. A label that is neither a class nor 255 gives NaN, which stops a run.
"""

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.config.binding import NotNegative, Positive
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.value_checks import or_nan

IGNORE = 255  # label of pixels that no one has labelled


def cross_entropy(
    logits: jax.Array, labels: jax.Array, weights: tuple[Positive, ...] = ()
) -> tuple[jax.Array, jax.Array]:
    """Pixel-wise cross-entropy, `- sum_p w_y(p) log softmax(s_p)_y(p)`; its mean divides by the sum of the weights.

    Args:
        logits: s, float [b, h, w, c].
        labels: y, int [b, h, w] or [b, h, w, 1].
        weights: one per class; () for ones. Median-frequency balancing gives class k the median of the classes'
            frequencies over its own (`metrics.segmentation.median_frequency_weights`).

    Returns:
        (totals, weights) of the images: float32 [b] each.

    Raises:
        ConfigError: for shapes that do not fit, or another number of weights than classes.

    Reference: Long et al. 2015, "Fully Convolutional Networks", section 3.4; Eigen and Fergus 2015 for the weights.
    """
    logits, labels = _checked(logits, labels)
    classes = logits.shape[-1]
    if weights and len(weights) != classes:
        raise ConfigError(f"config.loss.weights={weights} must be {classes} numbers, one for each class, or ()")
    real, good, label = _kinds(labels, classes)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)  # [b, h, w]
    w = jnp.asarray(weights, logits.dtype)[label] if weights else jnp.ones_like(losses)
    w = jnp.where(real, w, 0)
    return or_nan(good, jnp.where(real, w * losses, 0).sum((1, 2))), w.sum((1, 2))


def dice(logits: jax.Array, labels: jax.Array, smooth: Positive = 1.0) -> tuple[jax.Array, jax.Array]:
    """Soft Dice loss of each image, the mean over classes of `1 - (2 sum p y + smooth) / (sum p + sum y + smooth)`.

    Sums are over the pixels that are not ignored, p are the softmax probabilities and y is 1 for pixels of the class. A
    class that an image has not pulls its probabilities to 0 there, the more so the larger `smooth` is beside their sum.

    Args:
        logits: float [b, h, w, c].
        labels: int [b, h, w] or [b, h, w, 1].
        smooth: added above and below.

    Returns:
        (losses, weights) of the images: float32 [b] each; both 0 for an image whose pixels are all ignored.

    Raises:
        ConfigError: for shapes that do not fit.

    Reference: Milletari et al. 2016, "V-Net", section 3, with sums in the place of sums of squares.
    """
    logits, labels = _checked(logits, labels)
    real, good, label = _kinds(labels, logits.shape[-1])
    p = jnp.where(real[..., None], jax.nn.softmax(logits), 0)
    y = jnp.where(real[..., None], jax.nn.one_hot(label, logits.shape[-1], dtype=logits.dtype), 0)
    both, either = (p * y).sum((1, 2)), (p + y).sum((1, 2))  # [b, c]
    losses = (1 - (2 * both + smooth) / (either + smooth)).mean(-1)
    counted = real.any((1, 2)).astype(logits.dtype)
    return or_nan(good, losses * counted), counted


def cross_entropy_and_dice(
    logits: jax.Array,
    labels: jax.Array,
    weights: tuple[Positive, ...] = (),
    share: NotNegative = 1.0,
    smooth: Positive = 1.0,
) -> tuple[jax.Array, jax.Array]:
    """The mean cross-entropy of each image plus `share` times its Dice loss; every image counts the same.

    Args:
        logits: float [b, h, w, c].
        labels: int [b, h, w] or [b, h, w, 1].
        weights: of the classes in the cross-entropy, see there.
        share: of the Dice loss.
        smooth: of the Dice loss.

    Returns:
        (losses, weights) of the images: float32 [b] each; both 0 for an image whose pixels are all ignored.

    Raises:
        ConfigError: for shapes that do not fit, or another number of weights than classes.

    Reference: Isensee et al. 2021, "nnU-Net", methods.
    """
    total, weight = cross_entropy(logits, labels, weights)
    overlap, counted = dice(logits, labels, smooth)
    return total / jnp.where(weight > 0, weight, 1) + share * overlap, counted


def _checked(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits in float32 at least, and labels [b, h, w]."""
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    if labels.ndim == logits.ndim and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if logits.ndim != 4 or labels.shape != logits.shape[:3]:
        raise ConfigError(
            f"logits {list(logits.shape)} and labels {list(labels.shape)} must be [b, h, w, c] and [b, h, w]: the "
            "network must return the size of the masks"
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ConfigError(f"labels must be classes, whole numbers, got {labels.dtype}")
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), labels.astype(jnp.int32)


def _kinds(labels: jax.Array, classes: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Which pixels count [b, h, w], whether all labels of an image are known [b], and labels within the classes."""
    if classes > IGNORE:
        raise ConfigError(f"{classes} classes: the label {IGNORE} is one of them, and means pixels to ignore here")
    known = (labels >= 0) & (labels < classes)
    return known, (known | (labels == IGNORE)).all((1, 2)), jnp.where(known, labels, 0)
