"""Panoptic segmentation: the objects of one trained run and the stuff of another, put together and measured.

Every pixel gets an object of the run of experiment `instances`, or else the stuff that the run of experiment `segment`
sees there; free pixels whose class is that of things are void (`ops/panoptic.py`). In the place of a run that is not
named stand the labels, so that the share of either in the loss of quality can be told. `config.study.data` is a section
as `config.data` whose set has masks of objects and of classes. Metrics: panoptic quality, its two factors, and the same
of things and stuff alone.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.data import boxes
from cvdl_jax.engine import entries, recipe, runs
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.metrics import panoptic
from cvdl_jax.metrics.segmentation import IGNORE
from cvdl_jax.workdir import test_set_ledger

READS = ("study",)
NEEDED = ("image", "instance_mask", "segmentation_mask", "objects/label", boxes.MASK)
CHUNK = 50  # images that pass through a network at once
SHOWN = 16  # images of which the worst and the best are drawn


class Study(NamedTuple):
    """The arguments of `config.study`."""

    semantic: str = ""  # workdir of a run of experiment segment; "" for the labels
    instances: str = ""  # workdir of a run of experiment instances; "" for the labels
    data: Mapping = {}  # a section as `config.data`
    split: str = "test"
    stuff: tuple[str, ...] = ("background",)  # the classes without objects
    least_pixels: Counted = 0  # of the stuff of a class in an image; what has fewer is void
    checkpoint: str = "best"


class Classes(NamedTuple):
    """Names of the things and of the stuff, and for each label of a semantic map whether it is stuff, and which."""

    things: tuple[str, ...]
    stuff: tuple[str, ...]
    is_stuff: np.ndarray  # bool [256]
    number: np.ndarray  # int32 [256], in things and stuff together


def predicted(study, path, workdir, images):
    """What a run predicts of all images, as NumPy arrays, and what it was built of."""
    built, state, step = runs.load_evaluated(workdir, study.checkpoint)
    wanted = {"semantic": "segmentation", "instances": "ids"}[path]
    if built.task.predict is None or wanted not in jax.eval_shape(built.task.predict, state, dict(built.info.spec)):
        name = {"semantic": "segment", "instances": "instances"}[path]
        raise ConfigError(
            f"config.study.{path}={workdir!r} is a run of experiment {built.config.experiment!r}; name one of {name!r}"
        )
    if study.split in built.task.evals and built.task.evals[study.split].final:
        look = test_set_ledger.look(built.config, study.split, step, "auto")
        test_set_ledger.check(workdir, look, again=False)
    stored = next(iter(built.data.splits.values())).spec["image"]
    predict, parts = jax.jit(built.task.predict), []
    for i in range(0, len(images), CHUNK):
        rows = images[i : i + CHUNK]
        full = np.concatenate([rows, np.repeat(rows[:1], CHUNK - len(rows), 0)])  # one shape, one program
        made = predict(state, {"image": entries.as_trained("image", full, stored)})
        parts.append(jax.tree.map(np.asarray, made))
    return jax.tree.map(lambda *x: np.concatenate(x)[: len(images)], *parts), built


def classes_of(study, data):
    """The classes of the data set. Raises ConfigError where a label of the masks is neither things nor stuff."""
    things = data.splits[study.split].features["objects/label"].class_names
    names = data.class_names if data.class_names != things else ()
    if not names:
        raise ConfigError("config.study.data.classes must name the labels of the masks, such as ('background', ...)")
    for name in study.stuff:
        if name not in names or name in things:
            raise ConfigError(
                f"config.study.stuff: {name!r} is no label of the masks without objects; "
                f"{nearest(name, [x for x in names if x not in things])}"
            )
    neither = [name for name in names if name not in (*things, *study.stuff)]
    if neither:
        raise ConfigError(
            f"the labels {neither} of the masks are neither objects, {things}, nor config.study.stuff={study.stuff}"
        )
    is_stuff, number = np.zeros(256, bool), np.zeros(256, np.int32)  # of 255, to ignore, too
    for label, name in enumerate(names):
        if name in study.stuff:
            is_stuff[label], number[label] = True, len(things) + study.stuff.index(name)
    return Classes(things, tuple(study.stuff), is_stuff, number)


def measure(study):
    """All measures; what is drawn."""
    data, arrays = recipe.whole_splits(study.data, "config.study.data", (study.split,))
    rows = arrays[study.split]
    missing = [name for name in NEEDED if name not in rows]
    if missing:
        raise ConfigError(f"config.study.data delivers no {missing}; set its features={NEEDED[:4]} and max_boxes")
    classes = classes_of(study, data)
    labels, ids = rows["segmentation_mask"][..., 0], rows["instance_mask"][..., 0].astype(np.int32)
    true = boxes.truth_of(rows)
    merged = partial(panoptic.with_stuff_of_images, classes.is_stuff, classes.number)
    truth = merged({**true, "ids": ids}, labels) | {"void": labels == IGNORE}
    semantic, objects = labels, {"ids": ids, "classes": true["classes"], "mask": true["mask"]}
    if study.semantic:
        made, built = predicted(study, "semantic", study.semantic, rows["image"])
        same_names("semantic", built.info.class_names, data.class_names)
        semantic = made["segmentation"]
    if study.instances:
        objects, built = predicted(study, "instances", study.instances, rows["image"])
        same_names("instances", built.info.class_names, classes.things)
    made, names = merged(objects, semantic, study.least_pixels), (*classes.things, *classes.stuff)
    counts = panoptic.of_images(made, truth, len(names))
    metrics, t = panoptic.summary(counts, names), len(classes.things)
    for kind, part in (("things", slice(0, t)), ("stuff", slice(t, None))):
        some = panoptic.summary(panoptic.Counts(*(x[part] for x in counts)))
        metrics |= {f"{kind}_{name}": some[name] for name in ("pq", "sq", "rq")}
    metrics["void"] = float((made["ids"] == 0).mean())
    first = jax.tree.map(lambda x: x[:SHOWN], (rows["image"] / 255, made, truth))
    return metrics, (*first, names, counts, range(t, len(names)))


def same_names(path, theirs, ours):
    """Refuses a run whose numbers mean other classes."""
    if tuple(theirs) != tuple(ours):
        raise ConfigError(f"config.study.{path} knows the classes {tuple(theirs)}, config.study.data has {tuple(ours)}")


def draw(shown):
    """The worst and the best images, and the table of the classes."""
    from cvdl_jax.analysis.figures import instances as figures

    images, made, truth, names, counts, stuff = shown
    drawn = figures.overlays(images, made, truth, names, stuff=stuff)
    return {"panoptic": drawn, **figures.measured("study", names, counts)}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    return studies.measured(config, partial(measure, study), draw)
