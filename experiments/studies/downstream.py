"""What features of networks are worth that were trained without labels: probes of runs of other experiments.

The features of each run of `config.study.runs` are computed once, in `make`, of its own training, validation and test
images: "trained", "untrained" (the same network with its first weights, of another seed) and "pixels". No step is
taken, and batches are {}. `extra`: {"features": {run: {kind: {split: [n, d]}}}, "labels": {run: {split: int [n]}}}.
Evaluations "validation" and "test": accuracies of linear scores, whose penalty the validation images choose, and of
nearest neighbours; see `metrics/probes.py`.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted, Positive, Size
from cvdl_jax.core.task import Eval, State, Task
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import recipe, runs
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import probes
from cvdl_jax.metrics.stats import intervals

READS = ("study",)
CHUNK = 256  # images whose features are computed at a time


class Study(NamedTuple):
    """The arguments of `config.study`."""

    runs: Mapping = {}  # {name: workdir}; none for the pixels of `data` alone
    data: Mapping = {}  # a section as `config.data`, where there are no runs
    checkpoint: str = "best"  # of the runs: best, latest or a step
    limit: Counted = 10_000  # only so many images of each split, evenly spread over it; 0 for all
    neighbours: Size = 20
    temperature: Positive = 0.07


def computed(function, images):
    """Features of all images [n, h, w, c], in chunks: float32 [n, d]."""
    parts = [np.asarray(function({"image": to_unit(jnp.asarray(images[i : i + CHUNK]))}))
             for i in range(0, len(images), CHUNK)]  # fmt: skip
    return np.concatenate([part.reshape(len(part), -1) for part in parts]).astype(np.float32)


def taken(splits, limit, path):
    """{split: {"image", "label"}} of the splits that a probe needs. Raises ConfigError where one is missing."""
    images = {}
    for name in ("train", "validation", "test"):
        if name not in splits or not {"image", "label"} <= splits[name].spec.keys():
            raise ConfigError(f"{path} has no labelled images of the split {name!r}, which the probes need")
        split = splits[name].for_evaluation()
        count = min(limit or split.size, split.size)
        images[name] = split.batch(np.arange(count) * split.size // count)
    return images


def pixels(batch):
    """The pixels themselves."""
    return batch["image"]


def of_run(study, name):
    """({kind: {split: features}}, {split: labels}, number of classes) of one run."""
    path = f"config.study.runs[{name!r}]"
    built, state, _ = runs.load_evaluated(study.runs[name], study.checkpoint, with_data=True)
    images = taken(built.data.splits, study.limit, path)
    first = {key: jnp.asarray(x[:1]) for key, x in images["train"].items()}
    other = built.task.init(jax.random.key(built.config.seed + 1), {**first, "image": to_unit(first["image"])})
    untrained = State(jnp.zeros((), jnp.int32), other["params"], {}, other.get("extra", {}))
    function = jax.jit(runs.features_of(built, state, path))
    kinds = {"trained": partial(function, jax.device_get(state)), "untrained": partial(function, untrained)}
    return features(kinds | {"pixels": pixels}, images, built.info.num_classes)


def features(kinds, images, num_classes):
    """The features of every kind and split, the labels, and the number of classes."""
    made = {kind: {split: computed(f, x["image"]) for split, x in images.items()} for kind, f in kinds.items()}
    return made, {split: np.asarray(x["label"], np.int32) for split, x in images.items()}, num_classes


def evaluation_step(study, classes, split, state, batch, key):
    """{"run/kind/probe": (accuracy, 1)} and the number of images."""
    sums, one = {}, jnp.ones(())
    for run, kinds in state.extra["features"].items():
        labels = state.extra["labels"][run]
        for kind, x in kinds.items():
            fit = (x["train"], labels["train"], x["validation"], labels["validation"], classes[run])
            scores = {"linear": probes.linear_scores(probes.ridge_probe(*fit), x[split])}
            near = (study.neighbours, study.temperature)
            scores["knn"] = probes.knn(x[split], x["train"], labels["train"], classes[run], *near)
            for probe, given in scores.items():
                hits = (given.argmax(1) == labels[split]).astype(x[split].dtype)
                sums[f"{run}_{kind}_{probe}_accuracy"] = (hits.mean(), one)
    return sums


def finalise(sizes, means, rows):
    """Accuracies with Wilson's intervals."""
    metrics = {}
    for name, value in means.items():
        run = max((run for run in sizes if name.startswith(f"{run}_")), key=len)
        metrics |= intervals.with_wilson({name: value}, sizes[run])
    return metrics


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    if info.total_steps:
        raise ConfigError(f"config.total_steps={info.total_steps}: this study takes no step; set config.total_steps=0")
    if bool(study.runs) == bool(study.data):
        raise ConfigError("config.study takes either runs, {name: workdir}, or data, a section for pixels; set one")
    if study.runs:
        made = {name: of_run(study, name) for name in study.runs}
    else:
        data, _ = recipe.whole_splits(study.data, "config.study.data", ("train", "validation", "test"), 1)
        images = taken(data.splits, study.limit, "config.study.data")
        made = {"data": features({"pixels": pixels}, images, data.num_classes)}
    classes = {name: count for name, (_, _, count) in made.items()}

    def init(key: jax.Array, batch: dict) -> dict:
        kept = {"features": {name: x for name, (x, _, _) in made.items()},
                "labels": {name: y for name, (_, y, _) in made.items()}}  # fmt: skip
        return {"params": {}, "extra": jax.tree.map(jnp.asarray, kept)}

    def evaluation(split):
        sizes = {name: len(labels[split]) for name, (_, labels, _) in made.items()}
        return Eval(partial(evaluation_step, study, classes, split), partial(finalise, sizes), data=1)

    return Task(init=init, train=None, evals=recipe.evaluations(evaluation))
