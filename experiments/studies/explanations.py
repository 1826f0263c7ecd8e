"""Explanations compared by number: what a class's probability loses without the pixels that a method names first, what
it gains with them alone, whether the largest pixel lies on the object, and whether the map depends on the weights.

With `config.study.workdir` maps of a trained classifier are measured, of images of a split of its data, and of random
numbers; where the data have masks of the classes, the pointing game asks about each class of the image. Without a run,
those of a network made by hand, which sees a bright square in one of four quadrants. Areas have 95 % Student intervals.

Reference: Petsiuk et al. 2018 (areas); Zhang et al. 2018 (pointing game); Adebayo et al. 2018 (randomised weights).
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.explain import faithfulness, known, layers
from cvdl_jax.analysis.explain.methods import METHODS
from cvdl_jax.analysis.logits import Logits
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size, bind_calls
from cvdl_jax.config.parsing import parse_calls
from cvdl_jax.core import formatting, studies
from cvdl_jax.core.task import Task
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import runs
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.optim.ema import averaged, restart_averages

READS = ("study",)
SHOWN = 5  # images in the figure


class Study(NamedTuple):
    """The arguments of `config.study`."""

    workdir: str = ""  # of a trained classifier of images; "" for the network made by hand
    split: str = "validation"  # of its data
    images: Size = 100  # so many of them
    methods: str = "saliency | ig"  # of `analysis/explain/methods.py`, with their arguments; or "random"
    alone: bool = False  # one method without the map of random numbers; its metrics then bear no name of a method
    steps: Size = 20  # of deletion and insertion
    randomised: Size = 20  # images whose maps are made of randomised weights, too


class Subject(NamedTuple):
    """What is explained: images, the class of each that is asked about, and the mask of that class, if there is one."""

    logits_fn: Logits
    x: Any
    target: Any  # [n]
    truth: Any
    params: Any
    with_params: Callable[[Any], Logits]
    images: int  # different ones


def made_by_hand(study, seed):
    """The network of which it is known what it sees, and images for it."""
    x, target, truth = known.images(study.images, seed)
    return Subject(known.logits_of(known.PARAMS), jnp.asarray(x), target, truth, known.PARAMS, known.logits_of, len(x))


def of_run(study):
    """Images of a split of a run, and the run's classifier."""
    built, state, _ = runs.load_evaluated(study.workdir, with_data=True)
    splits = built.data.splits if built.data is not None else {}
    if study.split not in splits or "image" not in built.info.spec:
        raise ConfigError(f"config.study.split={study.split!r}: {nearest(study.split, splits)}, of a run with images")
    split, state = splits[study.split], restart_averages(averaged(state))._replace(opt={})
    index, of = np.arange(min(study.images, split.size)), lambda p: runs.logits_of(built, state._replace(params=p))
    x = to_unit(jnp.asarray(split.batch(index)["image"]))
    logits_fn, truth, images = of(state.params), None, len(index)
    target = np.asarray(logits_fn(x)).argmax(-1)
    rows = split.source.read(index.tolist())
    if "segmentation_mask" in rows[0] and rows[0]["image"].shape[:2] == x.shape[1:3]:
        classes = np.stack([row["segmentation_mask"].reshape(x.shape[1:3]) for row in rows])  # 0 is background
        pairs = np.array([(i, c - 1) for i in index for c in np.unique(classes[i]) if c > 0])
        x, target, images = x[pairs[:, 0]], pairs[:, 1], len(np.unique(pairs[:, 0]))
        truth = classes[pairs[:, 0]] == (target + 1)[:, None, None]
    return Subject(logits_fn, x, target, truth, state.params, of, images)


def measured_of(study, subject, explain):
    """{measure: number} of a method, and its maps."""
    begin = time.perf_counter()
    maps = np.asarray(explain(subject.logits_fn, subject.x, subject.target))
    numbers = {"seconds": time.perf_counter() - begin}
    for name, curve in (("deletion", faithfulness.deletion), ("insertion", faithfulness.insertion)):
        areas = curve(subject.logits_fn, subject.x, maps, subject.target, steps=study.steps).area
        numbers[name] = areas.mean()
        if 1 < len(areas) == subject.images:
            numbers[f"{name}_low"], numbers[f"{name}_high"] = intervals.student_t(areas.tolist())
    numbers["gain"] = numbers["insertion"] - numbers["deletion"]
    if subject.truth is not None:
        numbers["pointing"] = faithfulness.pointing_game(maps, subject.truth).mean()
    n = min(study.randomised, len(maps))
    order = [name for name in reversed(layers.shapes(subject.logits_fn, subject.x[:1])) if name in subject.params]
    for name, some in (("last_layer", order[:1]), ("all_layers", order)):
        other = subject.with_params(faithfulness.randomised(subject.params, some))
        again = explain(other, subject.x[:n], subject.target[:n])
        numbers[f"like_{name}_randomised"] = faithfulness.rank_correlation(maps[:n], again).mean()
    return numbers, maps


def measure(study, seed):
    """All measures of all methods; what cannot explain this network is left out, and says why."""
    asked = study.methods if study.alone else f"{study.methods} | random"
    offered = METHODS | {"random": partial(faithfulness.random_maps, seed=seed)}
    bound = bind_calls(asked, offered, "config.study.methods", logits_fn=None, x=None)
    if study.alone and len(bound) != 1:
        raise ConfigError(f"config.study.alone measures one method, config.study.methods names {len(bound)}")
    subject, numbers, maps, reasons = of_run(study) if study.workdir else made_by_hand(study, seed), {}, {}, {}
    texts = [name + "".join(f"_{v}" for v in (*args, *more.values())) for name, args, more in parse_calls(asked)]
    if len(set(texts)) < len(texts):
        raise ConfigError(f"config.study.methods: the rows {texts} are not all different; measure them in two runs")
    for text, (fn, more) in zip(texts, bound, strict=True):
        more = {key: value for key, value in more.items() if key not in ("logits_fn", "x")}
        try:
            numbers[text], maps[text] = measured_of(study, subject, partial(fn, **more))
        except ConfigError as error:
            if study.alone:
                raise
            reasons[text] = str(error)
    metrics = {f"{text}/{name}": value for text, of in numbers.items() for name, value in of.items()}
    alone = {**numbers[texts[0]], "examples": subject.images} if study.alone else metrics
    return alone, (subject, numbers, maps, reasons)


def draw(measured):
    """The first images and their maps; and the numbers as a table."""
    from cvdl_jax.analysis.figures import explanations

    subject, numbers, maps, reasons = measured
    names = subject.logits_fn.class_names
    titles = [str(names[c] if names else c) for c in subject.target[:SHOWN]]
    of_images = [{text: m[i] for text, m in maps.items()} for i in range(len(titles))]
    columns = [name for name in next(iter(numbers.values())) if not name.endswith(("_low", "_high"))]
    rows = [[text, *(f"{of[name]:.3f}" for name in columns)] for text, of in numbers.items()]
    lines = [*formatting.columns(rows, head=["", *columns]), *(f"{text}: {why}" for text, why in reasons.items())]
    return {"maps": explanations.rows(np.asarray(subject.x[:SHOWN]), titles, of_images), "numbers": "\n".join(lines)}


def make(config, info) -> Task:
    """The measurement of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    return studies.measured(config, lambda: measure(study, info.seed), draw)
