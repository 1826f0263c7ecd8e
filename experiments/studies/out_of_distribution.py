"""Does a classifier know when it will fail? Its scores on examples of its own data and on those of other data sets.

Each score of `metrics/out_of_distribution.py` is to be larger on a split of the run than on other sets, whose images
are brought to the run's size and channels. The same scores as confidence decide which answers to reject: the
risk-coverage curve on the run's split. Without a run, a linear classifier of digits is measured.
"""

from typing import NamedTuple

import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted, Inside, Positive, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.engine import trained
from cvdl_jax.engine.external import file_name
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import out_of_distribution as ood
from cvdl_jax.metrics import selective
from cvdl_jax.metrics.stats.auc import delong

READS = ("study",)


class Study(NamedTuple):
    """The arguments of `config.study`."""

    workdir: str = ""  # of a trained classifier of images; "" for the linear one
    split: str = "test"  # of its data
    images: Counted = 2000  # of each set, so many; 0 for all
    outside: tuple[str, ...] = ("shapes",)  # names of other data sets
    outside_split: str = "all"
    data_dir: str = ""  # of the other data sets
    layer: str = "pre_logits"  # whose features have the Mahalanobis distance
    fitted: Size = 2000  # training examples for its mean and covariance
    temperature: Positive = 1.0  # of the energy
    risk: Inside = 0.01  # of accepted answers that may be wrong, for the coverage


def scores(study, subject, gaussians, images):
    """{name: familiarity [n]} of images, and their logits [n, c]."""
    logits = np.asarray(subject.logits_fn(images))
    numbers = {"max_softmax": ood.max_softmax(logits), "max_logit": ood.max_logit(logits)}
    numbers["energy"] = ood.energy(logits, study.temperature)
    numbers["mahalanobis"] = ood.mahalanobis(subject.features(images, study.layer), gaussians)
    return numbers, logits


def measure(study):
    """All metrics, and what the figure needs."""
    subject = trained.classifier(study.workdir)
    seen, classes = trained.examples(subject, "train", study.fitted)
    known, own = subject.data.num_classes, len(np.unique(classes))
    if own < known and len(classes) < subject.data.splits["train"].size:
        raise ConfigError(
            f"config.study.fitted={study.fitted}: the first training examples are of {own} of {known} classes, and the "
            "others would seem unfamiliar; take more"
        )
    gaussians = ood.fit_gaussians(subject.features(seen, study.layer), classes)
    images, label = trained.examples(subject, study.split, study.images)
    inside, logits = scores(study, subject, gaussians, images)
    wrong = logits.argmax(1) != label
    metrics = {"accuracy": 1 - wrong.mean(), "examples": len(label)}
    trained.record(subject, study.split, metrics["accuracy"])
    for name, values in inside.items():
        metrics |= {
            f"{name}/aurc": selective.aurc(values, wrong),
            f"{name}/excess_aurc": selective.excess_aurc(values, wrong),
            f"{name}/coverage": selective.coverage_at_risk(values, wrong, study.risk),
        }
    drawn = {}
    for other in study.outside:
        images = trained.outside(subject, other, study.outside_split, study.images, study.data_dir)
        numbers, key = scores(study, subject, gaussians, images)[0], file_name(other)
        for name, values in numbers.items():
            area = delong(np.arange(len(label) + len(values)) < len(label), np.append(inside[name], values))
            metrics |= {f"{key}/{name}/auroc": ood.auroc(inside[name], values)}
            metrics |= {f"{key}/{name}/auroc_low": area.low, f"{key}/{name}/auroc_high": area.high}
            metrics |= {f"{key}/{name}/fpr95": ood.fpr_at_tpr(inside[name], values)}
        drawn[key] = numbers
    return metrics, (inside, wrong, drawn)


def draw(measured):
    """ROC curves of the scores for each set, and the risk-coverage curves."""
    from cvdl_jax.analysis.figures import curves

    inside, wrong, drawn = measured
    axes_of = [(f"own or {key}", "accepted outside", "accepted inside") for key in drawn]
    figure, axes = curves.panels([*axes_of, ("reject option", "coverage", "risk")])
    for axis, numbers in zip(axes, drawn.values(), strict=False):
        for name, values in numbers.items():
            truth = np.arange(len(wrong) + len(values)) < len(wrong)
            curves.roc(axis, truth, np.append(inside[name], values), name)
    for name, values in inside.items():
        curve = selective.risk_coverage(values, wrong)
        axes[-1].plot(curve.coverage, curve.risk, label=name)
    axes[-1].legend(fontsize=7)
    return {"out_of_distribution": figure}


def make(config, info) -> Task:
    """The measurement of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    return studies.measured(config, lambda: measure(study), draw)
