"""The same scene labelled for six tasks: classification, localisation, detection, and three kinds of segmentation.

The labels of a data set are compared with those that follow from its instance masks alone (`data/six_tasks.py`), and
some scenes are drawn with all of them.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.data.catalogue import open_source
from cvdl_jax.data.six_tasks import disagreements, six_tasks
from cvdl_jax.errors import ConfigError

READS = ("study",)
NEEDED = ("image", "instance_mask", "objects/label")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    name: str = "shapes"  # of the data set
    split: str = "test"
    scenes: Size = 500  # that are compared
    drawn: Size = 4


def everything(study: Study):
    """Counts, and the scenes to draw."""
    source = open_source(study.name, study.split)
    for name in NEEDED:
        if name not in source.features:
            raise ConfigError(
                f"config.study.name={study.name!r} has no {name!r}, which the six tasks are made of; it has "
                f"{tuple(source.features)}; the set shapes has it"
            )
    rows = source.read(range(min(study.scenes, len(source))))
    wrong = [disagreements(row) for row in rows]
    tasks = [six_tasks(row["instance_mask"][..., 0], row["objects/label"]) for row in rows]
    metrics = {
        "scenes": len(rows),
        "scenes_that_disagree": sum(map(bool, wrong)),
        "objects": sum(len(t.labels) for t in tasks),
        "classes_of_a_scene": np.mean([len(set(t.labels.tolist())) for t in tasks]),
        "background": np.mean([(t.semantic == 0).mean() for t in tasks]),
    }
    few = study.drawn
    names = source.features["objects/label"].class_names
    return metrics, ([row["image"] / 255 for row in rows[:few]], tasks[:few], names)


def draw(shown):
    """The scenes with all labels."""
    from cvdl_jax.analysis.figures.six_tasks import six_tasks as figure

    return {"six_tasks": figure(*shown)}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    return studies.measured(config, partial(everything, study), draw)
