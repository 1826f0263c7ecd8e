"""Reading strings of digits: a classifier of single digits, swept over the string, and the best string of a grammar.

It learns from windows of 32 columns, cut from the strings of a batch at random: many of them around a digit, the others
anywhere. A window whose centre is within `near` columns of a digit's centre belongs to its class, one that is `far` or
more from all to the last class, "no digit"; those between are not trained on. Swept over a string, the dense layers as
convolutions, it gives scores every 4 columns, which are read in three ways: the best class at each position, equal
neighbours as one ("greedy"), by Viterbi's algorithm ("viterbi"), and so with the number of digits known ("counted").
image: [b, 32, w, 1] in 0..1; digits, centres: int [b, n].
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Count, Share, Size
from cvdl_jax.core.parallel import row_keys
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.classification import correct
from cvdl_jax.metrics.stats import intervals, paired_tests
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_train, initialise
from cvdl_jax.nn.sliding import sliding
from cvdl_jax.ops import viterbi
from cvdl_jax.ops.losses.classification import softmax_cross_entropy

READS = ("model", "data", "normalise", "optim", "grad", "compute_dtype", "study")
WAYS = ("greedy", "viterbi", "counted")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    windows: Size = 8  # of each string in a batch
    around: Share = 0.6  # of them around a digit
    near: Count = 2  # columns
    far: Count = 4
    width: Size = 3  # positions from one digit to the next, at least
    longest: Size = 2  # positions that one digit is seen at, at most


def cut(study, none, state, batch, key):
    """The windows of a batch: "image" [b n, 32, 32, 1], "label" int [b n], "weight" [b n], 0 between near and far."""
    image, centres, digits = batch["image"], batch["centres"], batch["digits"]
    side, columns = image.shape[1:3]

    def of_row(key, image, centres, digits):
        around, which, shift, anywhere = jax.random.split(key, 4)
        n = study.windows
        digit = centres[jax.random.randint(which, (n,), 0, len(centres))]
        digit += jax.random.randint(shift, (n,), -study.near, study.near + 1)
        elsewhere = jax.random.randint(anywhere, (n,), centres.min() - side // 2, centres.max() + side // 2 + 1)
        middle = jnp.where(jax.random.bernoulli(around, study.around, (n,)), digit, elsewhere)
        middle = jnp.clip(middle, side // 2, columns - side // 2)
        windows = jax.vmap(lambda m: lax.dynamic_slice_in_dim(image, m - side // 2, side, 1))(middle)
        distances = jnp.abs(middle[:, None] - centres[None])  # [n, digits]
        distance = distances.min(1)
        label = jnp.where(distance <= study.near, digits[distances.argmin(1)], none)
        return windows, label, (distance <= study.near) | (distance >= study.far)

    rows = jax.vmap(of_row)(row_keys(key, len(image)), image, centres, digits)
    image, label, weight = (x.reshape(-1, *x.shape[2:]) for x in rows)
    return state, {"image": image, "label": label, "weight": weight.astype(image.dtype)}, {}


def training_loss(model, normalise, state, batch, key):
    """Cross-entropy and accuracy of the windows."""
    (logits, _), state = apply_train(model, state, normalise(batch["image"]), key)
    losses, hits, weight = (
        softmax_cross_entropy(logits, batch["label"]),
        correct(logits, batch["label"]),
        batch["weight"],
    )
    return state, {"loss": ((losses * weight).sum(), weight.sum()), "accuracy": ((hits * weight).sum(), weight.sum())}


def scores(model, normalise, state, image):
    """Log probabilities [b, positions, classes] along strings [b, 32, w, 1]."""
    variables = {"params": state.params, "batch_stats": state.extra["batch_stats"]}
    slide = sliding(model, variables, (image.shape[1], image.shape[1], image.shape[-1]))
    return jax.nn.log_softmax(slide(normalise(image))[:, 0].astype(jnp.float32))


def readings(grammars, log):
    """{way: string int [b, positions]}."""
    return {"greedy": viterbi.collapse(log)} | {name: viterbi.read(g, log)[0] for name, g in grammars.items()}


def evaluation_step(log_of, grammars, state, batch, key):
    """Whether each string is read right, all of its digits and none besides, in each way."""
    digits, mask, log = batch["digits"], batch["mask"], log_of(state, batch["image"])
    truth = jnp.pad(digits, ((0, 0), (0, log.shape[1] - digits.shape[1])), constant_values=viterbi.NOTHING)
    hits = {name: (string == truth).all(1) for name, string in readings(grammars, log).items()}
    sums = {f"{name}_accuracy": ((hit * mask).sum(), mask.sum()) for name, hit in hits.items()}
    return sums | {f"{name}_right": hit for name, hit in hits.items()}


def finalise(means, rows):
    """Shares of strings, Wilson's intervals, and each gain over greedy reading, its interval and McNemar's p value."""
    hits = {name: np.asarray(rows[f"{name}_right"], bool) for name in WAYS}
    metrics = intervals.with_wilson(means, len(hits["greedy"]))
    for name in WAYS[1:]:
        differences = hits[name].astype(float) - hits["greedy"]
        metrics |= {f"{name}_gain": differences.mean(), f"{name}_p": paired_tests.mcnemar(hits["greedy"], hits[name]).p}
        if np.ptp(differences):  # equal ones would have an interval of no width
            ends = intervals.student_t(differences)
            metrics |= {f"{name}_gain_low": ends[0], f"{name}_gain_high": ends[1]}
    return {name: float(value) for name, value in metrics.items()}


def report(log_of, grammars, state, batch, key):
    """A figure of some strings: the scores at each position and what is read where."""
    from cvdl_jax.analysis.figures.strings import string_figure

    log = jax.jit(log_of)(state, batch["image"])
    path = viterbi.read(grammars["viterbi"], log)[1]
    return {"strings": string_figure(batch["image"], batch["digits"], jnp.exp(log), path, readings(grammars, log))}


def make(config, info) -> Task:
    """The study of a configuration."""
    if not {"image", "digits", "centres"} <= info.spec.keys():
        raise ConfigError(
            "experiment 'studies.digit_strings' needs images with 'digits' and 'centres'; set "
            "config.data.name=digit_strings"
        )
    study = configs.call(Study, config.study, "config.study")
    classes, length = info.num_classes, info.spec["digits"].shape[1]
    fields = {"num_classes": classes + 1, "dtype": config.compute_dtype}
    model = registry.create(config.model, "config.model", kinds=("backbones",), **fields)
    normalise = recipe.normalisation(config)
    grammar = partial(viterbi.at_most_one_per_width, classes, study.width, study.longest)
    grammars = {"viterbi": grammar(), "counted": grammar(length)}

    def init(key: jax.Array, batch: dict) -> dict:
        side = batch["image"].shape[1]
        params, stats = initialise(model, key, normalise(batch["image"][:1, :, :side]), False)
        return {"params": params, "extra": {"batch_stats": stats}}

    log_of = partial(scores, model, normalise)
    step = partial(evaluation_step, log_of, grammars)
    train = chain(partial(cut, study, classes), recipe.descend(config, info, partial(training_loss, model, normalise)))
    evals = recipe.evaluations(partial(Eval, step, finalise), info.sizes)
    return Task(init, train, evals, report=partial(report, log_of, grammars))
