"""Classifiers under covariate, label and concept shift: trained as they come, and with importance weights.

Every seed draws its own examples: training examples with labels, test examples without, others of the training
distribution to count a confusion matrix on, and many test examples to evaluate on. All methods are linear classifiers,
which cannot fit p(y | x) everywhere, so that it matters where they do. `params`: {method: leaves [seeds, ...], "ratio":
the classifier that estimates weights}; `extra`: {"data": arrays [seeds, ...]}. Methods: "erm" (no weights), "known" and
"estimated" weights, "oracle" (trained on as many labelled test examples).
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.analysis import seed_comparison
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size
from cvdl_jax.core.task import Eval, Task
from cvdl_jax.engine import recipe
from cvdl_jax.ops import distribution_shift as shift
from cvdl_jax.ops.losses.classification import softmax_cross_entropy

READS = ("optim", "grad", "study")
METHODS = ("erm", "known", "estimated", "oracle")
TRAINED, TESTED = (0.0, 1.0), (1.2, 0.5)  # mean and deviation of the first coordinate under covariate shift
PRIORS = jnp.asarray([[1 / 3, 1 / 3, 1 / 3], [0.1, 0.2, 0.7]])  # of the classes, to train and to test on
CENTRES = jnp.asarray([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.2]])
SHARP = 6.0  # of the border between two classes


class Shift(NamedTuple):
    """The arguments of `config.study`."""

    kind: Literal["covariate", "label", "concept"] = "covariate"
    seeds: Size = 20
    examples: Size = 300  # of each of the three sets that methods see
    tested: Size = 4000  # examples to evaluate on


def examples(kind, key, n, test):
    """Draws n examples of one of the distributions: (x [n, 2], y int [n], the true ratio [n])."""
    keys = jax.random.split(key, 3)
    if kind == "label":
        y = jax.random.categorical(keys[0], jnp.log(PRIORS[test]), shape=(n,))
        return CENTRES[y] + 0.7 * jax.random.normal(keys[1], (n, 2)), y, (PRIORS[1] / PRIORS[0])[y]
    mean, deviation = TESTED if test and kind == "covariate" else TRAINED
    x = jax.random.normal(keys[0], (n, 2)) * jnp.asarray([[deviation, 1.0]]) + jnp.asarray([[mean, 0.0]])
    border = x[:, 0] if test and kind == "concept" else jnp.sin(2 * x[:, 0])  # what changes under concept shift
    y = jax.random.bernoulli(keys[1], jax.nn.sigmoid(SHARP * (x[:, 1] - border))).astype(jnp.int32)
    ratio = shift.ratio_of_normals(x[:, 0], TESTED, TRAINED) if kind == "covariate" else jnp.ones(n)
    return x, y, ratio


def scores(w, x):
    """Linear scores: w {"kernel" [d, c], "bias" [c]}, x [n, d] -> [n, c]."""
    return x @ w["kernel"] + w["bias"][None]


def squares(x):
    """With squares and the product, by which the log ratio of two normal distributions is linear: [n, 2] -> [n, 5]."""
    return jnp.concatenate([x, x**2, x[:, :1] * x[:, 1:]], 1)


def estimated(kind, params, data):
    """Weights of the training examples of one seed, without labels of the test distribution: [n]."""
    (x, y, _), (other, true, _), (unlabelled, *_) = (data[name] for name in ("train", "held_out", "target"))
    if kind == "label":
        c = params["erm"]["bias"].shape[0]
        guess, predicted = (jax.nn.one_hot(scores(params["erm"], z).argmax(1), c) for z in (other, unlabelled))
        confusion = guess.T @ jax.nn.one_hot(true, c) / len(true)
        return shift.label_ratio(confusion, predicted.mean(0))[y]
    logits = scores(params["ratio"], squares(x))
    return shift.ratio_from_logits(logits[:, 1] - logits[:, 0], len(x), len(unlabelled))


def loss_of_seed(kind, params, data):
    """The sum of the mean losses of all methods, and of the classifier of the two distributions."""
    (x, y, known), (target, target_y, _) = data["train"], data["target"]
    weights = {"erm": jnp.ones(len(x)), "known": known, "estimated": estimated(kind, params, data)}
    total = softmax_cross_entropy(scores(params["oracle"], target), target_y).mean()
    for name, w in weights.items():
        total += shift.weighted_risk(softmax_cross_entropy(scores(params[name], x), y), jax.lax.stop_gradient(w))
    both, which = jnp.concatenate([x, target]), jnp.repeat(jnp.arange(2), jnp.asarray([len(x), len(target)]),
                                                           total_repeat_length=len(x) + len(target))  # fmt: skip
    return total + softmax_cross_entropy(scores(params["ratio"], squares(both)), which).mean()


def training_loss(kind, state, batch, key):
    """Summed over seeds, each of which has parameters of its own."""
    losses = jax.vmap(partial(loss_of_seed, kind))(state.params, state.extra["data"])
    return state, {"loss": (losses.sum(), jnp.ones(()))}


def evaluation_step(kind, state, batch, key):
    """{"method/seed": (accuracy, 1)} on the test distribution, that of "erm" on its own, and what weights cost."""

    def of_seed(params, data):
        hits = {name: (scores(params[name], data["test"][0]).argmax(1) == data["test"][1]).mean() for name in METHODS}
        (other, true, _), (_, y, known) = data["held_out"], data["train"]
        hits["own"] = (scores(params["erm"], other).argmax(1) == true).mean()
        weights = estimated(kind, params, data)
        distance = jnp.abs(weights - known).mean()
        return hits | {"effective": shift.effective_size(known) / len(y), "weight_error": distance}

    values = jax.vmap(of_seed)(state.params, state.extra["data"])
    return {f"{name}/{i}": (v[i], jnp.ones(())) for name, v in values.items() for i in range(len(v))}


def finalise(means, rows):
    """Accuracies with intervals over seeds, gains over "erm" in pairs, and means of the rest."""
    values = seed_comparison.by_method(means)
    rest = {name: sum(values[name]) / len(values[name]) for name in ("own", "effective", "weight_error")}
    return {**seed_comparison.gains({name: values[name] for name in METHODS}, "erm"), **rest}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Shift, config.study, "config.study")
    classes = 3 if study.kind == "label" else 2

    def of_seed(key):
        sizes = {"train": study.examples, "held_out": study.examples, "target": study.examples, "test": study.tested}
        return {
            name: examples(study.kind, jax.random.fold_in(key, i), n, int(name in ("target", "test")))
            for i, (name, n) in enumerate(sizes.items())
        }

    def init(key: jax.Array, batch: dict) -> dict:
        data = jax.vmap(of_seed)(jax.random.split(key, study.seeds))
        shapes = {**dict.fromkeys(METHODS, (2, classes)), "ratio": (5, 2)}
        zeros = {
            name: {"kernel": jnp.zeros((study.seeds, *shape)), "bias": jnp.zeros((study.seeds, shape[1]))}
            for name, shape in shapes.items()
        }
        return {"params": zeros, "extra": {"data": data}}

    evals = recipe.evaluations(lambda split: Eval(partial(evaluation_step, study.kind), finalise, data=1))
    return Task(init=init, train=recipe.descend(config, info, partial(training_loss, study.kind)), evals=evals)
