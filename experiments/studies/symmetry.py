"""Symmetry breaking: perceptrons that differ in their initialiser only, trained side by side on the same batches.

Units of one layer that begin equal get equal gradients and stay equal. image [b, h, w, c] or features [b, d]; label
[b]. `params`: {initialiser: the tree of its network}.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval, Task
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import classification
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_params
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from cvdl_jax.ops.textbook.activation_statistics import distinct

READS = ("model", "data", "grad", "optim", "compute_dtype", "study")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    inits: tuple[str, ...]  # values of config.model.kernel_init


def units(params):
    """The weights of each unit of the first hidden layer, in, bias and out: [units, d + 1 + units of the next]."""
    first, then = params["dense0"], params["dense1" if "dense1" in params else "head"]
    return jnp.concatenate([first["kernel"].T, first["bias"][:, None], then["kernel"]], 1)


def training_loss(models, state, batch, key):
    """The networks share no parameter, so the gradient of the sum is that of each."""
    losses = {
        name: softmax_cross_entropy(apply_params(model, state.params[name], batch["features"], True)[0], batch["label"])
        for name, model in models.items()
    }
    n = jnp.ones(len(batch["label"])).sum()
    return state, {"loss": (sum(of_network.sum() for of_network in losses.values()), n)}


def evaluation_step(models, state, batch, key):
    """Accuracy of each network, and how many of its units are different."""
    sums, mask = {}, batch["mask"]
    for name, model in models.items():
        logits = apply_params(model, state.params[name], batch["features"], False)[0]
        sums[f"{name}/accuracy"] = ((classification.correct(logits, batch["label"]) * mask).sum(), mask.sum())
        sums[f"{name}/distinct_units"] = (distinct(units(state.params[name])) * mask.sum(), mask.sum())
    return sums


def report(state, batch, key):
    """The weights of every unit, a column for each."""
    from cvdl_jax.analysis.figures import images

    figure, axes = images.new_figure(1, len(state.params), inches=2.2)
    for axis, (name, params) in zip(axes.flat, state.params.items(), strict=True):
        weights = np.asarray(units(params)).T
        most = max(np.abs(weights).max(), 1e-12)
        axis.imshow(weights, cmap="coolwarm", vmin=-most, vmax=most, aspect="auto")
        axis.set_title(f"{name}: {int(distinct(units(params)))} of {weights.shape[1]}", fontsize=8)
    return {"units": figure}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    if "features" not in info.spec or config.model.get("name") != "mlp":
        raise ConfigError(
            "study 'symmetry' needs a toy set with 'features', such as circles, and config.model.name=mlp"
        )

    if not study.inits:
        raise ConfigError("config.study.inits=() needs at least one initialiser, such as ('zeros', 'auto')")
    for key in set(config.model) - {"name", "hidden", "activation", "bias_init"}:
        raise ConfigError(f"study 'symmetry' has no use for config.model.{key}; see config.study")

    def model(init: str):
        return registry.create(
            {**config.model, "kernel_init": init}, "config.model", kinds=("backbones",),
            num_classes=info.num_classes, dtype=config.compute_dtype,
        )  # fmt: skip

    models = {init: model(init) for init in study.inits}

    def init(key: jax.Array, batch: dict) -> dict:
        return {
            "params": {name: model.init(key, batch["features"][:1], False)["params"] for name, model in models.items()}
        }

    def finalise(means: dict, rows: dict) -> dict:
        return intervals.with_wilson(means, info.sizes["validation"])

    evals = {"validation": Eval(partial(evaluation_step, models), finalise)}
    return Task(init, recipe.descend(config, info, partial(training_loss, models)), evals, report)
