"""Errors of trained classifiers on corrupted images: fifteen corruptions in five severities, and their mean (mCE).

The first classifier of `config.study.workdirs` is the reference, by whose errors those of the others are divided. A
linear classifier of digits is measured for "", so that the study runs by itself.
"""

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.engine import trained
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.classification import correct
from cvdl_jax.metrics.corruptions import corruption_errors, relative_corruption_errors
from cvdl_jax.metrics.stats.intervals import student_t
from cvdl_jax.ops.images import corruptions

READS = ("study",)
SHOWN = 3  # images of the figure


class Study(NamedTuple):
    """The arguments of `config.study`."""

    workdirs: tuple[str, ...] = ("",)  # of trained classifiers of images, the reference first
    split: str = "test"
    images: Counted = 1000  # so many of them; 0 for all
    kinds: tuple[str, ...] = tuple(corruptions.KINDS)
    severities: tuple[int, ...] = corruptions.SEVERITIES


def wrong_of(study, subject, images, label, seed):
    """Errors without corruption bool [n] and with each bool [kinds, severities, n], and some images."""
    lost = lambda x: np.asarray(correct(subject.logits_fn(x), jnp.asarray(label))) == 0  # noqa: E731
    clean = lost(images)
    trained.record(subject, study.split, 1 - clean.mean())
    wrong, shown = [], []
    for kind in study.kinds:
        changed = [corruptions.corrupt(images, kind, severity, seed) for severity in study.severities]
        wrong.append([lost(x) for x in changed])
        shown.append(changed[-1][:SHOWN])
    return clean, np.asarray(wrong), [images[:SHOWN], *shown]


def measure(study, seed):
    """All metrics; errors and images for the figures."""
    names = [Path(workdir).name or "linear" for workdir in study.workdirs]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"config.study.workdirs={study.workdirs} must be folders of different names, at least one")
    metrics, rates, first, true = {}, {}, None, None
    for name, workdir in zip(names, study.workdirs, strict=True):
        subject = trained.classifier(workdir)
        images, label = trained.examples(subject, study.split, study.images)
        true = label if true is None else true
        if not np.array_equal(label, true):
            raise ConfigError(
                f"config.study.workdirs: {name} and {names[0]} have other images in their split {study.split!r}, and "
                "errors are divided by those on the same images; name runs of one data set"
            )
        clean, wrong, shown = wrong_of(study, subject, images, label, seed)
        rates[name] = clean.mean(), wrong.mean(2)
        of_examples = wrong.mean((0, 1))  # [n]: examples are drawn, corruptions are not
        low, high = student_t(of_examples)
        metrics |= {f"{name}/clean_error": clean.mean(), f"{name}/mean_error": of_examples.mean()}
        metrics |= {f"{name}/mean_error_low": low, f"{name}/mean_error_high": high}
        metrics |= {f"{name}/{kind}": of.mean() for kind, of in zip(study.kinds, rates[name][1], strict=True)}
        first = first or shown
    reference = rates[names[0]]
    for name in names[1:]:
        own, errors = rates[name]
        metrics[f"{name}/mce"] = corruption_errors(errors, reference[1]).mean()
        try:
            metrics[f"{name}/relative_mce"] = relative_corruption_errors(errors, own, reference[1], reference[0]).mean()
        except DataError as error:
            print(f"{name}: no relative mCE: {error}", flush=True)
    return metrics, (study, rates, first)


def draw(measured):
    """Errors against severity, and the first images under every corruption."""
    from cvdl_jax.analysis.figures import curves, images

    study, rates, shown = measured
    figure, axes = curves.panels([(name, "severity", "error") for name in rates])
    for axis, (clean, errors) in zip(axes, rates.values(), strict=True):
        axis.axhline(clean, color="k", linestyle=":", linewidth=0.8)
        for kind, of in zip(study.kinds, errors, strict=True):
            axis.plot(study.severities, of, label=kind)
        axis.legend(fontsize=5)
    x = np.concatenate(shown)
    return {"corruptions": figure, "corrupted": images.mosaic(x, columns=len(shown[0]))}


def make(config, info) -> Task:
    """The measurement of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    return studies.measured(config, lambda: measure(study, info.seed), draw)
