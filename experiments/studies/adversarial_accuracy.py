"""How many images a trained classifier still gets right under attack, measured on its run: a row of a table.

The numbers of `--mode attack`, as an analysis with a folder of its own: each attack is tried on every image that is
classified rightly, and "robust_accuracy" counts the images that none of them fools. Accuracies have 95 % Wilson
intervals. A linear classifier of digits is attacked without a run.

Reference: Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks", section 5.
"""

from typing import NamedTuple

import jax

from cvdl_jax.analysis.attacks import robustness
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.engine import trained

READS = ("study",)
SHOWN = 6  # changed images of each attack in the figure


class Study(NamedTuple):
    """The arguments of `config.study`."""

    workdir: str = ""  # of a trained classifier of images; "" for the linear one
    split: str = "test"  # of its data
    images: Counted = 1000  # so many of them; 0 for all
    attacks: str = "pgd(eps=0.3) | autoattack(eps=0.3)"  # as after --method of --mode attack


def measure(study, methods, seed):
    """Accuracies without an attack, under each, and under all; the report and the first images that each fooled."""
    subject = trained.classifier(study.workdir)
    images, label = trained.examples(subject, study.split, study.images)
    logits_fn = subject.logits_fn
    how = {"batch": logits_fn.batch_size, "examples": SHOWN}
    report = robustness.measure(logits_fn, images, label, methods, jax.random.key(seed), **how)
    metrics = report.metrics() | {"examples": len(label)}
    trained.record(subject, study.split, metrics["clean_accuracy"])
    shown = {one.name: one.shown(logits_fn, images, label) for one in report.outcomes}
    return metrics, (report, shown, logits_fn.class_names)


def draw(measured):
    """The accuracies as a table; images as they are, changed, and the differences."""
    from cvdl_jax.analysis.figures import attacks

    report, shown, names = measured
    figure = attacks.changed(shown, names)
    return {"robust_accuracy": report.table()} | ({} if figure is None else {"adversarial": figure})


def make(config, info) -> Task:
    """The measurement of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    methods = robustness.methods(study.attacks, "config.study.attacks")
    return studies.measured(config, lambda: measure(study, methods, info.seed), draw)
