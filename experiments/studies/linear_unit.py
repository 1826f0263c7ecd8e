"""One linear unit on two classes, `s = w x + b`: linear regression, logistic regression, the perceptron.

features: [b, d] (or image, flattened); label: 0 or 1, [b]. `params`: {"w": [d], "b"?: []}, zeros at first. `extra`:
{"mistakes": int []}, how often a score had the wrong sign, or none, when its example was trained on.
Evaluations: "sample", of the training set, compares with theory; "validation" during training; "test" once at the end.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.core.parallel import sum_devices
from cvdl_jax.core.task import Eval, Task
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.ops.losses.binary import binary_cross_entropy_with_logits, perceptron
from cvdl_jax.ops.textbook import linear
from cvdl_jax.ops.textbook.labels import signs

READS = ("data", "grad", "optim", "study")


class Unit(NamedTuple):
    """The arguments of `config.study`."""

    loss: Literal["squared_error", "logistic", "perceptron"] = "logistic"
    bias: bool = True


LOSSES = {
    "squared_error": lambda s, label: (s - signs(label)) ** 2,  # regression on -1 and 1
    "logistic": binary_cross_entropy_with_logits,
    "perceptron": lambda s, label: perceptron(s, signs(label)),
}


def inputs(batch):
    """Features, or the pixels of images, [b, d]."""
    x = batch["image"] if "image" in batch else batch["features"]
    return x.reshape(len(x), -1)


def score(params, x):
    """Scores [b]; class 1 where positive."""
    return linear.scores(x, params["w"], params.get("b", jnp.zeros((), x.dtype)))


def training_loss(loss, state, batch, key):
    """Sums of one batch; counts the mistakes."""
    s = score(state.params, inputs(batch))
    wrong = (s * signs(batch["label"]) <= 0).sum()
    mistakes = state.extra["mistakes"] + sum_devices(wrong.astype(jnp.int32))
    state = state._replace(extra={"mistakes": mistakes})
    weight = jnp.full((), len(s), s.dtype)
    return state, {
        "loss": (loss(s, batch["label"]).sum(), weight),
        "accuracy": (weight - wrong.astype(s.dtype), weight),
    }


def evaluation_step(loss, state, batch, key):
    """Sums over the real rows of a padded batch, and what theory needs of every row."""
    x, mask = inputs(batch), batch["mask"]
    s, y = score(state.params, x), signs(batch["label"])
    size = jnp.sqrt(sum((p**2).sum() for p in state.params.values()))
    return {
        "loss": ((loss(s, batch["label"]) * mask).sum(), mask.sum()),
        "accuracy": (((s * y > 0) * mask).sum(), mask.sum()),
        "mistakes": (state.extra["mistakes"] * mask.sum(), mask.sum()),
        "x": x,
        "score": s,
        "label": batch["label"],
        "margin": y * s / jnp.where(size > 0, size, 1.0),
    }


def compare(unit, means, rows):
    """The metrics on the training set, with how far they are from what theory says of the optimum.

    Regression: from the least-squares solution. Logistic: the norm of the gradient by hand, 0 at the optimum.
    Perceptron: Novikoff's bound (R / margin)^2 on all mistakes, for the margin of the final weights, if they separate.
    """
    x, s, y = rows["x"].astype(np.float64), rows["score"], rows["label"]
    metrics = {name: means[name] for name in ("loss", "accuracy")}
    if unit.loss == "squared_error":
        best = linear.least_squares(rows["x"], np.where(y == 1, 1.0, -1.0).astype(x.dtype), bias=unit.bias)
        closed = np.asarray(linear.scores(rows["x"], *best))
        metrics |= {"from_closed_form": float(np.abs(s - closed).max())}
    elif unit.loss == "logistic":
        error = 1 / (1 + np.exp(-s.astype(np.float64))) - y
        gradient = [*(error[:, None] * x).mean(0), *([error.mean()] if unit.bias else [])]
        metrics |= {"gradient_norm": float(np.linalg.norm(gradient))}
    else:
        metrics |= {"mistakes_in_training": means["mistakes"]}
        if rows["margin"].min() > 0:
            radius2 = (x**2).sum(1).max() + unit.bias
            metrics |= {"novikoff_bound": float(radius2 / rows["margin"].min() ** 2)}
    return metrics


def finalise(means, rows):
    """Accuracy with its 95 % Wilson interval, and the loss."""
    n, metrics = len(rows["label"]), {name: means[name] for name in ("loss", "accuracy")}
    return {**intervals.with_wilson(metrics, n), "examples": n}


def report(class_names, state, batch, key):
    """The two half-planes, where the inputs lie in the plane."""
    from cvdl_jax.analysis.figures import decision_regions

    if inputs(batch).shape[1] != 2:
        return {}
    regions = decision_regions.regions(partial(score, state.params), inputs(batch), batch["label"], class_names)
    return {"decision_regions": regions}


def make(config, info) -> Task:
    """The task of a linear unit."""
    unit = configs.call(Unit, config.study, "config.study")
    if info.num_classes != 2:
        raise ConfigError(f"config.data.name={config.data.get('name')!r}: a linear unit needs a set of 2 classes")
    loss = LOSSES[unit.loss]

    def init(key: jax.Array, batch: dict) -> dict:
        x = inputs(batch)
        params = {"w": jnp.zeros(x.shape[1], x.dtype), **({"b": jnp.zeros((), x.dtype)} if unit.bias else {})}
        return {"params": params, "extra": {"mistakes": jnp.zeros((), jnp.int32)}}

    step = partial(evaluation_step, loss)
    evals = {"sample": Eval(step, partial(compare, unit), "train")}
    evals |= recipe.evaluations(partial(Eval, step, finalise), info.sizes)
    return Task(
        init=init,
        train=recipe.descend(config, info, partial(training_loss, loss)),
        evals=evals,
        report=partial(report, info.class_names),
        predict=lambda state, batch: {"score": score(state.params, inputs(batch))},
    )
