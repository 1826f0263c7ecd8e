"""Does a classifier serve all groups alike? Its accuracy in each group of a split, the worst, and the gaps.

Groups are an entry of the data set (`data/subgroups.py`) that the run need not have trained on; or, where none is
named, the tercile of the image's mean brightness. A linear classifier of digits is measured without a run. The report
of a run compares its classes, and the groups of `config.subgroups`, by itself.
"""

from typing import NamedTuple

import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.data import subgroups as entries
from cvdl_jax.engine import trained
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import subgroups

READS = ("study",)
BRIGHTNESS = ("dark", "middle", "bright")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    workdir: str = ""  # of a trained classifier of images; "" for the linear one
    split: str = "test"
    images: Counted = 0  # so many of them; 0 for all
    group: str = ""  # entry of the data set; "" for the brightness
    positive: int = -1  # the class that counts as positive, for demographic parity and equal opportunity; -1 for none


def groups_of(study, subject, images):
    """The name of the group of each image, str [n]."""
    if not study.group:
        brightness = images.mean((1, 2, 3))
        return np.asarray(BRIGHTNESS)[np.searchsorted(np.quantile(brightness, (1 / 3, 2 / 3)), brightness)]
    source = subject.data.splits[study.split].source
    return entries.names_of(source, study.group, len(images), "config.study.group")


def measure(study, seed):
    """({metric: number}, the gaps)."""
    subject = trained.classifier(study.workdir)
    images, label = trained.examples(subject, study.split, study.images)
    guess = np.asarray(subject.logits_fn(images)).argmax(1)
    trained.record(subject, study.split, (guess == label).mean())
    if study.positive >= subject.data.num_classes:
        raise ConfigError(f"config.study.positive={study.positive} is not one of {subject.data.num_classes} classes")
    positive = study.positive if study.positive >= 0 else None
    gaps = subgroups.audit(label, guess, groups_of(study, subject, images), positive, seed)
    metrics = {"accuracy": (guess == label).mean()}
    for name, gap in gaps.items():
        metrics |= {f"{name}_gap": gap.value, f"{name}_gap_low": gap.low, f"{name}_gap_high": gap.high}
        metrics |= {f"{name}_p": gap.p}
    worst = gaps["accuracy"].rates[gaps["accuracy"].worst]
    metrics |= {"worst_group": worst.value, "worst_group_low": worst.low, "worst_group_high": worst.high}
    for name, rate in gaps["accuracy"].rates.items():
        key = f"{name}/accuracy"
        metrics |= {key: rate.value, f"{key}_low": rate.low, f"{key}_high": rate.high}
    return metrics, gaps


def draw(gaps):
    """The rates of every group with their intervals, and a table."""
    from cvdl_jax.analysis.figures.curves import panels

    figure, axes = panels([(name, "rate", "") for name in gaps])
    lines = []
    for axis, (name, gap) in zip(axes, gaps.items(), strict=True):
        for i, (group, rate) in enumerate(gap.rates.items()):
            axis.plot([rate.low, rate.high], [i, i], "k-", linewidth=1)
            axis.plot(rate.value, i, "o", markersize=4)
            lines.append(f"{name}  {group}  {rate.value:.4f} [{rate.low:.4f}, {rate.high:.4f}]  n={rate.n}")
        axis.set_yticks(range(len(gap.rates)), list(gap.rates), fontsize=7)
        lines.append(f"{name}  gap {gap.value:.4f} [{gap.low:.4f}, {gap.high:.4f}], p={gap.p:.3g}, worst {gap.worst}")
    return {"subgroups": figure, "rates": "\n".join(lines)}


def make(config, info) -> Task:
    """The measurement of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    return studies.measured(config, lambda: measure(study, info.seed), draw)
