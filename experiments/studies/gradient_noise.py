"""The noise of mini-batch gradients: its size falls as 1 / b, and training with it generalises differently.

Copies of one model begin alike and take the same number of steps at the same rate; they differ in how many rows of
each batch they see. image: [b, h, w, c] (or features: [b, d]); label: [b]. `params`: leaves [copies, ...].
Evaluations: "train" and "validation", of every copy; "noise", of the gradients of the copy with the largest batches.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size
from cvdl_jax.core import parallel
from cvdl_jax.core.task import Eval, Task
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import classification
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_params
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from experiments.classify import inputs

READS = ("model", "data", "normalise", "grad", "optim", "compute_dtype", "remat", "study")
GROUPS = (1, 2, 4, 8)  # batch sizes at which noise is measured,
GROUPINGS = 16  # in so many random groupings


class GradientNoise(NamedTuple):
    """The arguments of `config.study`."""

    sizes: tuple[Size, ...] = (4, 16, 64)  # expected rows of each copy's batches; the last is the whole batch


def scores(model, normalise, params, batch):
    """Logits [copies, b, classes] of every copy."""
    x = inputs(normalise, batch)
    return jax.vmap(lambda p: apply_params(model, p, x, False)[0])(params)


def training_loss(study, model, normalise, state, batch, key):
    """The sum over copies of their mean loss over the rows that they see: each row with probability size / largest."""
    n, largest = len(batch["label"]), study.sizes[-1]
    share = jnp.asarray(study.sizes, jnp.float32)[:, None] / largest  # [copies, 1]
    seen = parallel.row_random(jax.random.uniform, key, (n, 1))[:, 0][None] < share  # [copies, b]
    seen = seen.astype(jnp.float32)
    count = jnp.maximum(parallel.sum_devices(seen.sum(1, keepdims=True)), 1)  # [copies, 1], of the global batch
    logits = scores(model, normalise, state.params, batch)
    losses = jax.vmap(lambda one: softmax_cross_entropy(one, batch["label"]))(logits)  # [copies, b]
    return state, {"loss": ((losses * seen / count).sum() * largest, jnp.ones(n).sum())}


def evaluation_step(study, model, normalise, state, batch, key):
    """Sums of loss and accuracy of each copy."""
    mask, sums = batch["mask"], {}
    for size, logits in zip(study.sizes, scores(model, normalise, state.params, batch), strict=True):
        loss, hits = softmax_cross_entropy(logits, batch["label"]), classification.correct(logits, batch["label"])
        sums |= {f"loss_{size}": ((loss * mask).sum(), mask.sum())}
        sums |= {f"accuracy_{size}": ((hits * mask).sum(), mask.sum())}
    return sums


def group_variances(model, normalise, state, batch, key):
    """Variances of the mean gradients of groups of b rows without padding, for each b of GROUPS.

    The squared distances from the mean of all m groups are summed and divided by m - 1, which estimates `trace / b`.
    """

    def loss(params, x, label):
        return softmax_cross_entropy(apply_params(model, params, x[None], False)[0], label[None])[0]

    params = jax.tree.map(lambda p: p[-1], state.params)
    gradients = jax.vmap(jax.grad(loss), (None, 0, 0))(params, inputs(normalise, batch), batch["label"])
    flat = jnp.concatenate([g.reshape(len(g), -1) for g in jax.tree.leaves(gradients)], 1)  # [n, parameters]
    n, products = len(flat), flat @ flat.T  # [n, n]

    def order(key):
        return jnp.argsort(jnp.where(batch["mask"] > 0, jax.random.uniform(key, (n,)), 2.0))  # padding last

    def grouped(order, b):
        whole = batch["mask"][order].reshape(-1, b).min(1, keepdims=True)  # [n / b, 1]
        m = whole.sum()
        means = whole * jnp.eye(n)[order].reshape(-1, b, n).mean(1)  # [n / b, n], of a group in terms of rows
        means -= whole * means.sum(0, keepdims=True) / jnp.maximum(m, 1)  # from the mean of all groups
        return jnp.sum(means @ products * means), jnp.maximum(m - 1, 0)

    orders = jax.vmap(order)(jax.random.split(key, GROUPINGS))  # [groupings, n]
    sums = {f"variance_{b}": jax.vmap(partial(grouped, b=b))(orders) for b in GROUPS}
    return {name: (total.sum(), weight.sum()) for name, (total, weight) in sums.items()}


def noise(means, rows):
    """The trace of the covariance of one row's gradient, and `b variance_b / trace`: 1 where noise falls as 1 / b."""
    trace = means["variance_1"]
    return {"trace": trace, **{f"share_{b}": means[f"variance_{b}"] * b / trace for b in GROUPS[1:]}}


def report(model, normalise, state, batch, key):
    """The variance of gradients of b rows of one batch over b, and the line `trace / b`."""
    from matplotlib.figure import Figure

    n = len(batch["label"]) // GROUPS[-1] * GROUPS[-1]
    sums = group_variances(model, normalise, state, {**jax.tree.map(lambda x: x[:n], batch), "mask": jnp.ones(n)}, key)
    variances = [float(total / jnp.maximum(weight, 1)) for total, weight in sums.values()]
    figure = Figure(figsize=(5, 4), layout="constrained")
    axis = figure.subplots()
    axis.loglog(GROUPS, variances, "o", label="measured")
    axis.loglog(GROUPS, [variances[0] / b for b in GROUPS], "-", label="trace / b")
    axis.set(xlabel="b", ylabel="variance of the gradient", title=f"{n} examples of one batch")
    axis.legend()
    return {"gradient_noise": figure}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(GradientNoise, config.study, "config.study")
    if list(study.sizes) != sorted(set(study.sizes)) or min(study.sizes, default=0) < 1:
        raise ConfigError(f"config.study.sizes={study.sizes} must be growing batch sizes, each at least 1")
    if study.sizes[-1] != info.batch_size:
        raise ConfigError(f"config.batch_size={info.batch_size} must be the last of config.study.sizes={study.sizes}")
    model = recipe.without_dropout(registry.create(
        config.model, "config.model", kinds=("backbones",),
        num_classes=info.num_classes, dtype=config.compute_dtype, remat=config.remat,
    ))  # fmt: skip
    normalise = recipe.normalisation(config)

    def init(key: jax.Array, batch: dict) -> dict:
        one = model.init(key, inputs(normalise, batch)[:1], False)["params"]
        return {"params": jax.tree.map(lambda p: jnp.stack([p] * len(study.sizes)), one)}

    def finalise(means: dict, rows: dict) -> dict:
        return intervals.with_wilson(means, info.sizes["validation"], [f"accuracy_{size}" for size in study.sizes])

    step = partial(evaluation_step, study, model, normalise)
    return Task(
        init=init,
        train=recipe.descend(config, info, partial(training_loss, study, model, normalise)),
        evals={
            "train": Eval(step, data="train"),
            "validation": Eval(step, finalise, "validation"),
            "noise": Eval(partial(group_variances, model, normalise), noise, data="train"),
        },
        report=partial(report, model, normalise),
    )
