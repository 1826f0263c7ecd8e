"""Which measure fits a problem? The usual answers, as a function; `docs/metrics.md` says them in words."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from cvdl_jax.errors import ConfigError, DataError

Task = Literal["classification", "detection", "instances", "segmentation", "regression"]
Output = Literal["classes", "scores", "probabilities"]
Costlier = Literal["neither", "false_positive", "false_negative"]
UNBALANCED = 4.0  # the largest class has at least so many times the examples of the smallest: 80 to 20


class Advice(NamedTuple):
    """A measure that fits.

    Attributes:
        metric: its name.
        where: its function, below cvdl_jax.metrics.
        why: in a sentence.
    """

    metric: str
    where: str
    why: str


_PRECISION = Advice("precision", "confusion.precision", "a false alarm is what costs; read it beside recall")
_RECALL = Advice("recall", "confusion.recall", "a miss is what costs; read it beside precision")
_OTHER_TASKS: dict[str, tuple[Advice, ...]] = {
    "detection": (
        Advice("COCO AP", "detection.coco_metrics", "mean over classes and IoU 0.5 to 0.95: how exact boxes are too"),
        Advice("VOC AP at IoU 0.5", "detection.voc_metrics", "mean over classes; whether objects are found"),
    ),
    "instances": (
        Advice("COCO mask AP", "detection.coco_metrics", "kind='masks': as for boxes, with the IoU of masks"),
    ),
    "segmentation": (
        Advice("mean IoU", "segmentation.segmentation_metrics", "each class counts the same; pixel accuracy is that of "
               "the largest classes"),
        Advice("mean Dice", "segmentation.segmentation_metrics", "the convention in medicine; 2 IoU / (1 + IoU)"),
    ),
    "regression": (
        Advice("MAE", "regression.mae", "in the unit of the target; outliers count by their size only"),
        Advice("RMSE", "regression.rmse", "in the unit of the target; large errors count more"),
        Advice("R2", "regression.r2", "against predicting the mean, without a unit"),
    ),
}  # fmt: skip


def majority_accuracy(shares: Sequence[float]) -> float:
    """The accuracy of always naming the largest class, which any accuracy must be read against.

    Args:
        shares: share or number of examples of each class.

    Raises:
        DataError: for fewer than two classes, negative shares, or none above 0.
    """
    x = np.asarray(shares, np.float64)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all() or (x < 0).any() or x.sum() == 0:
        raise DataError(f"shares={list(shares)} must be those of two classes or more, such as (0.95, 0.05)")
    return float(x.max() / x.sum())


def is_unbalanced(shares: Sequence[float]) -> bool:
    """Whether the largest class has `UNBALANCED` times the examples of the smallest, or more."""
    majority_accuracy(shares)  # refuses what are no shares
    return max(shares) >= UNBALANCED * min(shares)


def which_metric(
    task: Task = "classification",
    shares: Sequence[float] = (0.5, 0.5),
    output: Output = "classes",
    costlier: Costlier = "neither",
) -> tuple[Advice, ...]:
    """The measures that fit a problem, the first first.

    Args:
        task: kind of problem; the other arguments are about classification.
        shares: share or number of examples of each class: (negatives, positives) of a binary problem.
        output: what the model is used for: hard classes, a ranking by scores, or probabilities.
        costlier: which mistake costs more, in a binary problem.

    Raises:
        ConfigError: for a word that is not one of an argument's.
        DataError: as of `majority_accuracy`.
    """
    for name, value, kind in (("task", task, Task), ("output", output, Output), ("costlier", costlier, Costlier)):
        if value not in get_args(kind):
            raise ConfigError(f"{name}={value!r} of which_metric must be one of {', '.join(get_args(kind))}")
    if task in _OTHER_TASKS:
        return _OTHER_TASKS[task]
    binary, unbalanced = len(shares) == 2, is_unbalanced(shares)
    if costlier != "neither" and not binary:
        raise ConfigError(f"costlier={costlier!r} is about two classes, got shares of {len(shares)}")
    advice: list[Advice] = []
    if output == "probabilities":
        advice += [
            Advice("negative log-likelihood", "calibration.negative_log_likelihood", "a proper score of probabilities"),
            Advice("ECE", "calibration.expected_calibration_error", "whether 90 % confidence is right 9 times in 10"),
        ]  # fmt: skip
    if output != "classes":
        advice += _of_scores(binary, unbalanced)
    if costlier == "false_positive":
        advice += [_PRECISION, Advice("F0.5", "confusion.f_beta", "one number in which precision counts more")]
    elif costlier == "false_negative":
        advice += [_RECALL, Advice("F2", "confusion.f_beta", "one number in which recall counts more")]
    return (*advice, *_of_classes(binary, unbalanced, shares))


def _of_scores(binary: bool, unbalanced: bool) -> list[Advice]:
    """Measures of a ranking."""
    area = "ranking.roc_auc" if binary else "ranking.roc_auc_one_vs_one"
    ranking = [Advice("ROC AUC", area, "over all thresholds; 0.5 is chance at any prevalence")]
    where = "ranking.average_precision_of_scores" if binary else "ranking.mean_average_precision"
    precise = Advice("average precision", where, "over all thresholds, of the few positives; chance is the prevalence")
    return [precise, *ranking] if unbalanced else ranking


def _of_classes(binary: bool, unbalanced: bool, shares: Sequence[float]) -> list[Advice]:
    """Measures of hard decisions."""
    module = "confusion" if binary else "classification"
    if not unbalanced:
        return [Advice("accuracy", f"{module}.accuracy", "the classes are about equally large")]
    trivial = f"accuracy misleads: always the largest class has {100 * majority_accuracy(shares):.1f} %"
    return [
        Advice("balanced accuracy", f"{module}.balanced_accuracy", f"each class counts the same ({trivial})"),
        Advice("Matthews correlation", f"{module}.matthews", "high only if all four counts are good"),
        Advice("F1" if binary else "macro F1", "confusion.f1" if binary else "classification.averages",
               "precision and recall of the rare class" if binary else "precision and recall, each class the same"),
    ]  # fmt: skip
