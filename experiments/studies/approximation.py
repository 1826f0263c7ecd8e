"""Universal approximation: networks with one hidden layer fit a curve, the wider the better; a good fit is not enough.

There are no data: the curve is known. `params`: {"units<k>": of a network that sees the curve itself, at 256 points,
"few": of the widest network, which sees a few noisy points only}. All are trained side by side, a step each.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import NotNegative, Size
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_params

READS = ("grad", "optim", "study")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    units: tuple[Size, ...] = (1, 4, 16, 64)
    activation: str = "tanh"
    few: Size = 12  # noisy points
    noise: NotNegative = 0.3


def curve(x):
    """A wave and a corner on [-1, 1]: the theorem asks for continuity, not smoothness. Args: [n, 1]. Returns: [n]."""
    x = x[:, 0]
    return np.where(x < 0, np.sin(3 * np.pi * x), 2 * np.abs(x - 0.5) - 1)


def training_loss(model, name, x, y, state, batch, key):
    """Mean squared error of one network."""
    errors = (apply_params(model, state.params[name], x, False)[0][:, 0] - y) ** 2
    return state, {"loss": (errors.sum(), jnp.full((), len(errors), errors.dtype))}


def outputs(models, x, state):
    """{name: outputs [n]} of every network."""
    return {name: apply_params(model, state.params[name], x, False)[0][:, 0] for name, model in models.items()}


def evaluation_step(models, x, y, seen, state, batch, key):
    """Root mean squared errors on the curve, and of "few" on the points that it has seen."""
    errors = {f"error_{name}": ((s - y) ** 2).mean() for name, s in outputs(models, x, state).items()}
    fitted = outputs({"few": models["few"]}, seen[0], state)["few"]
    errors["error_few_on_its_points"] = ((fitted - seen[1]) ** 2).mean()
    return {name: (jnp.sqrt(value), jnp.ones((), value.dtype)) for name, value in errors.items()}


def report(models, x, y, seen, state, batch, key):
    """Each network over the curve."""
    from cvdl_jax.analysis.figures.curves import panels

    shown = outputs(models, x, state)
    figure, axes = panels([(name, "x", "") for name in shown], inches=2.6)
    for axis, (name, s) in zip(axes, shown.items(), strict=True):
        axis.plot(x[:, 0], y, "k--", linewidth=0.8)
        axis.plot(x[:, 0], s, color="tab:red")
        axis.set_ylim(-2.2, 2.2)
        if name == "few":
            axis.plot(seen[0][:, 0], seen[1], "o", markersize=4)
    return {"approximation": figure}


def make(config, info) -> Task:
    """The networks of this study."""
    study = configs.call(Study, config.study, "config.study")
    x = np.linspace(-1, 1, 256, dtype=np.float32)[:, None]
    y = curve(x).astype(np.float32)
    rng = np.random.default_rng(info.seed)
    places = np.linspace(-1, 1, study.few, dtype=np.float32)[:, None]
    seen = places, (curve(places) + study.noise * rng.normal(size=study.few)).astype(np.float32)
    mlp = {"name": "mlp", "activation": study.activation}
    hidden = {**{f"units{k}": (k,) for k in study.units}, "few": (study.units[-1],)}
    models = {n: registry.create({**mlp, "hidden": h}, "config.study", num_classes=1) for n, h in hidden.items()}

    def init(key: jax.Array, batch: dict) -> dict:
        keys = dict(zip(models, jax.random.split(key, len(models)), strict=True))
        return {"params": {n: m.init(keys[n], x[:1], False)["params"] for n, m in models.items()}}

    losses = {n: partial(training_loss, m, n, *(seen if n == "few" else (x, y))) for n, m in models.items()}
    return Task(
        init=init,
        train=chain(*[recipe.descend(config, info, loss, on=name) for name, loss in losses.items()]),
        evals={"curve": Eval(partial(evaluation_step, models, x, y, seen), data=1)},
        report=partial(report, models, x, y, seen),
    )
