"""Semantic segmentation: pixels counted on the device into confusion matrices, measures of those on the host.

    step:      {"confusion": pixel_confusions(logits.argmax(-1), batch["segmentation"], num_classes)}
    finalize:  segmentation_metrics(rows["confusion"])

Counted for each image, so that padded images drop out, sets can be resampled image by image, and whole numbers stay
exact; the IoU of a set is that of its added counts, not a mean over images.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics import classification, confusion
from cvdl_jax.metrics.confusion import ratio

IGNORE = 255  # label of pixels that no one has labelled


def pixel_confusions(predictions: jax.Array, labels: jax.Array, num_classes: int, ignore: int = IGNORE) -> jax.Array:
    """How many pixels of class i (row) each image has that are called class j (column).

    Args:
        predictions: classes, int [b, h, w].
        labels: int [b, h, w] or [b, h, w, 1].
        num_classes: c.
        ignore: pixels with this label are not counted.

    Returns:
        int32 [b, c, c]; -1 throughout an image with a label or prediction that is no class, which
        `segmentation_metrics` refuses (inside jit nothing can be raised).

    Raises:
        ConfigError: for shapes that do not fit, dtypes that are no classes, or an ignored label that is a class.
    """
    if labels.ndim == predictions.ndim + 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if predictions.shape != labels.shape or predictions.ndim < 2:
        raise ConfigError(f"predictions {list(predictions.shape)} and labels {list(labels.shape)} must be [b, h, w]")
    if not all(jnp.issubdtype(x.dtype, jnp.integer) for x in (predictions, labels)):
        raise ConfigError(f"predictions {predictions.dtype} and labels {labels.dtype} must be classes; take argmax(-1)")
    if 0 <= ignore < num_classes:
        raise ConfigError(f"ignore={ignore} is one of the {num_classes} classes; choose another number, such as 255")
    guess, label = (x.astype(jnp.int32).reshape(len(x), -1) for x in (predictions, labels))  # [b, h w]
    counted = label != ignore
    known = (label >= 0) & (label < num_classes) & (guess >= 0) & (guess < num_classes)
    places = num_classes * num_classes
    flat = jnp.where(counted & known, label * num_classes + guess, places)  # what is left out has a place at the end
    counts = jax.vmap(lambda x: jnp.bincount(x, length=places + 1))(flat)[:, :-1]
    wrong = (counted & ~known).any(1, keepdims=True)
    return jnp.where(wrong, -1, counts).reshape(-1, num_classes, num_classes).astype(jnp.int32)


def checked(confusions: Any) -> np.ndarray:
    """Counted pixels as float64 [c, c], added over images.

    Args:
        confusions: int [c, c], or [n, c, c] of n images, as they are checked before they are added.

    Raises:
        DataError: if a label or prediction was no class, or every pixel was ignored.
    """
    confusions = np.asarray(confusions)
    if (confusions < 0).any():
        raise DataError("a pixel's label or prediction is neither a class nor the ignored label; compare the number "
                        "of classes with the labels of the data set")  # fmt: skip
    if not confusions.any():
        raise DataError("no pixel was counted: every label is the ignored one")
    return classification.checked(confusions.sum(0, dtype=np.int64) if confusions.ndim == 3 else confusions)


def per_class(confusions: Any) -> dict[str, np.ndarray]:
    """Measures of each class, from counted pixels.

    Args:
        confusions: int [c, c], or [n, c, c] of n images.

    Returns:
        accuracy: TP / (TP + FN), NaN for a class that the truth has not; iou: TP / (TP + FP + FN) and dice: 2 TP /
        (2 TP + FP + FN) = 2 IoU / (1 + IoU), NaN for a class that neither truth nor predictions have; float64 [c].

    Raises:
        DataError: as of `checked`.
    """
    counts = classification.one_vs_rest(checked(confusions))
    return {"accuracy": confusion.recall(counts), "iou": confusion.jaccard(counts), "dice": confusion.f1(counts)}


def segmentation_metrics(confusions: Any) -> dict[str, float]:
    """The measures of a set, from its counted pixels.

    Means are over the classes that have a value (see `per_class`): a class absent from truth and predictions is left
    out, one that is only predicted counts with IoU and Dice 0.

    Args:
        confusions: int [c, c], or [n, c, c] of n images.

    Returns:
        pixel_accuracy: share of right pixels; mean_pixel_accuracy: mean over classes; mean_iou;
        frequency_weighted_iou: mean of the IoU weighted by the true pixels of each class; mean_dice.

    Raises:
        DataError: as of `checked`.

    Reference: Long et al. 2015, "Fully Convolutional Networks for Semantic Segmentation", section 5; Dice 1945.
    """
    m = checked(confusions)
    classes = per_class(m)
    pixels = m.sum(1)
    return {
        "pixel_accuracy": classification.accuracy(m),
        "mean_pixel_accuracy": confusion.mean_of_known(classes["accuracy"]),
        "mean_iou": confusion.mean_of_known(classes["iou"]),
        "frequency_weighted_iou": float(ratio(np.nansum(pixels * classes["iou"]), pixels.sum())),
        "mean_dice": confusion.mean_of_known(classes["dice"]),
    }
