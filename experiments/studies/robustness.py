"""What a classifier does not mind: its accuracy on a split whose images are occluded, lit, cluttered, turned, deformed,
seen from elsewhere, shrunk and enlarged, against how much. A linear classifier of digits is measured without a run.
"""

from typing import NamedTuple

import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.engine import trained
from cvdl_jax.metrics.stats.intervals import wilson
from cvdl_jax.ops.images import probes

READS = ("study",)
SHOWN = 3  # images of the figure


class Study(NamedTuple):
    """The arguments of `config.study`."""

    workdir: str = ""  # of a trained classifier of images; "" for the linear one
    split: str = "test"
    images: Counted = 1000  # so many of them; 0 for all
    kinds: tuple[str, ...] = tuple(probes.KINDS)


def share(hits):
    """(accuracy, ends of its 95 % Wilson interval) of hits bool [n]."""
    return hits.mean(), *wilson(int(hits.sum()), len(hits))


def measure(study, seed):
    """Accuracies at every level of every probe, of each class in the worst, and images for the figures."""
    subject = trained.classifier(study.workdir)
    images, label = trained.examples(subject, study.split, study.images)
    answers = lambda x: np.asarray(subject.logits_fn(x)).argmax(1)  # noqa: E731
    own = answers(images)
    clean = share(own == label)
    trained.record(subject, study.split, clean[0])
    metrics, curves = {"accuracy": clean[0], "accuracy_low": clean[1], "accuracy_high": clean[2]}, {}
    recalls = [(own == label)[label == c].mean() for c in np.unique(label)]
    metrics |= {"worst_class": min(recalls), "best_class": max(recalls)}  # variation between and within the classes
    shown = [images[:SHOWN]]
    for kind in study.kinds:
        curves[kind] = []
        for level in probes.KINDS[kind][1]:
            changed = probes.probe(images, kind, level, seed)
            guess = answers(changed)
            curves[kind].append((level, *share(guess == label)))
            metrics |= {f"{kind}_{level:g}/consistency": (guess == own).mean()}
        for level, value, low, high in curves[kind]:
            name = f"{kind}_{level:g}/accuracy"
            metrics |= {name: value, f"{name}_low": low, f"{name}_high": high}
        metrics[f"{kind}/mean_accuracy"] = np.mean([value for _, value, _, _ in curves[kind]])
        shown.append(changed[:SHOWN])
    return metrics, (clean, curves, shown)


def draw(measured):
    """Accuracy against the level of each probe with its intervals, and the first images at the highest levels."""
    from cvdl_jax.analysis.figures import curves as plots
    from cvdl_jax.analysis.figures import images

    clean, curves, shown = measured
    figure, axes = plots.panels([(kind, "level", "accuracy") for kind in curves], 2.2)
    for axis, (kind, points) in zip(axes, curves.items(), strict=True):
        neutral = 1.0 if kind in ("size", "scale") else 0.0
        level, value, low, high = np.array([(neutral, *clean), *points]).T
        axis.fill_between(level, low, high, alpha=0.3)
        axis.plot(level, value, "o-", markersize=3)
        axis.set_ylim(0, 1.02)
    return {"robustness": figure, "probes": images.mosaic(np.concatenate(shown), columns=len(shown[0]))}


def make(config, info) -> Task:
    """The measurement of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    return studies.measured(config, lambda: measure(study, info.seed), draw)
