"""Semantic segmentation: pixels counted on the device into confusion matrices, measures of those on the host.

    step:      counted(classes(logits), batch["segmentation_mask"], num_classes, batch["mask"])
    finalize:  summary(rows, class_names)

The matrix of a set is added over images, batches and devices in whole numbers, and so is its IoU that of added counts,
not a mean over images. Of every image its counts of the classes are kept, with which sets are resampled image by image.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.core.task import Added
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics import classification, confusion
from cvdl_jax.metrics.confusion import Counts, ratio
from cvdl_jax.metrics.stats import resampling

IGNORE = 255  # label of pixels that no one has labelled


def classes(logits: jax.Array) -> jax.Array:
    """The class of every pixel, int32 [b, h, w], of logits [b, h, w, c]; -1 where one of them is no number."""
    return jnp.where(jnp.isnan(logits).any(-1), -1, logits.argmax(-1)).astype(jnp.int32)


def stored(table: np.ndarray, classes: jax.Array) -> jax.Array:
    """The labels that masks of the data set have for classes: uint8, of the shape of the classes.

    Args:
        table: the class of every label, int [256], IGNORE for those without one.
        classes: int [...].
    """
    labels = [np.flatnonzero(table == k)[0] for k in range(table[table != IGNORE].max() + 1)]
    return jnp.asarray(labels, jnp.uint8)[classes]


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


def counted(predictions: jax.Array, labels: jax.Array, num_classes: int, mask: jax.Array) -> dict[str, Any]:
    """What an evaluation step gives of a batch; `summary` makes metrics of it.

    Args:
        predictions: classes, int [b, h, w].
        labels: int [b, h, w] or [b, h, w, 1]; 255 is not counted.
        num_classes: c.
        mask: [b], 0 for rows of padding.

    Returns:
        confusion: `Added` int32 [c, c] of the real images. pixels: int32 [b, 3, c], the right pixels of every class,
        the true and the predicted ones; -1 throughout an image with a label or prediction that is no class.

    Raises:
        ConfigError: as of `pixel_confusions`.
    """
    m = pixel_confusions(predictions, labels, num_classes)  # [b, c, c]
    known = (m >= 0).all((1, 2))
    pixels = jnp.stack([jnp.diagonal(m, axis1=1, axis2=2), m.sum(2), m.sum(1)], 1)  # [b, 3, c]
    real = (mask > 0) & known
    total = jnp.where(real[:, None, None], m, 0).sum(0)
    return {"confusion": Added(total), "pixels": jnp.where(known[:, None, None], pixels, -1)}


def summary(rows: dict[str, np.ndarray], class_names: Sequence[str] = (), resamples: int = 1000) -> dict[str, float]:
    """The metrics of a split from what `counted` gave of its images.

    Args:
        rows: confusion int64 [c, c], pixels int32 [n, 3, c].
        class_names: one per class, or () for numbers.
        resamples: of the bootstrap over images, which gives the intervals of `mean_iou` and `pixel_accuracy`; of a
            single image there is none.

    Returns:
        `segmentation_metrics`, its intervals "mean_iou_low" ..., "iou/NAME" and "dice/NAME", the F1 of its pixels, of
        each class (NaN for one that neither truth nor predictions have), and "examples", the number of images.

    Raises:
        DataError: for no image, an image with a label or a prediction that is no class, naming its place, or no pixel.
    """
    pixels = np.asarray(rows["pixels"])
    foreign = np.flatnonzero((pixels < 0).any((1, 2)))
    if len(foreign):
        raise DataError(
            f"image {foreign[0]} of the split ({len(foreign)} of {len(pixels)} images) has a label that is neither one "
            f"of the {pixels.shape[-1]} classes nor {IGNORE}, or scores that are no numbers; name all labels of the "
            "masks in config.data.classes, or look for an overflow in the model"
        )
    m = checked(rows["confusion"])
    metrics = segmentation_metrics(m)
    for name in ("mean_iou", "pixel_accuracy") if len(pixels) > 1 and resamples else ():
        ends = resampling.interval(
            lambda sample, name=name: _of_totals(sample.sum(0, dtype=np.int64))[name], pixels, method="percentile",
            resamples=resamples,
        )  # fmt: skip
        metrics |= {f"{name}_low": ends.low, f"{name}_high": ends.high}
    names = class_names if len(class_names) == len(m) else range(len(m))
    for measure in ("iou", "dice"):
        metrics |= {f"{measure}/{k}": float(x) for k, x in zip(names, per_class(m)[measure], strict=True)}
    return {**metrics, "examples": len(pixels)}


def _of_totals(totals: np.ndarray) -> dict[str, float]:
    """Two metrics of right, true and predicted pixels of the classes, [3, c]; 0 of images without a counted pixel."""
    right, true, predicted = totals.astype(np.float64)
    iou = confusion.jaccard(Counts(right, predicted - right, true - right, 0))
    means = {"mean_iou": confusion.mean_of_known(iou), "pixel_accuracy": float(ratio(right.sum(), true.sum()))}
    return means if true.sum() else dict.fromkeys(means, 0.0)


def median_frequency_weights(masks: Any, num_classes: int) -> np.ndarray:
    """A weight for each class, `median of f / f_k`; f_k is its share of the pixels of the images in which it occurs.

    Args:
        masks: int [n, h, w] or [n, h, w, 1], labels of the training images; 255 is not counted.
        num_classes: c.

    Returns:
        float64 [c].

    Raises:
        DataError: for a class without pixels, which no weight can balance, or a label that is no class.

    Reference: Eigen and Fergus 2015, section 6.3.2; Badrinarayanan et al. 2017, "SegNet", section 3.1.
    """
    masks = np.asarray(masks).reshape(len(masks), -1)
    foreign = masks[(masks >= num_classes) & (masks != IGNORE)]
    if foreign.size:
        raise DataError(f"a mask has the label {foreign[0]}, which is none of {num_classes} classes")
    counts = np.stack([np.bincount(row[row != IGNORE], minlength=num_classes) for row in masks])  # [n, c]
    where_it_is = ((counts > 0) * counts.sum(1, keepdims=True)).sum(0)
    if not where_it_is.all():
        raise DataError(f"class {int(np.argmin(where_it_is))} has no pixel in {len(masks)} masks; leave it out")
    frequency = counts.sum(0) / where_it_is
    return np.median(frequency) / frequency


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
