"""What the learning rate does to gradient descent on a quadratic, whose threshold `2 / L` is known.

Below the threshold the loss falls: slowly where the rate is small, and slowly where it is near the threshold. Above it
the loss grows. With momentum beta the threshold is `2 (1 + beta) / L` (Polyak 1964). The run itself takes no steps, has
no parameters and reads no data.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Positive, Share, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.textbook import surfaces
from cvdl_jax.ops.textbook.trajectory import trajectory
from cvdl_jax.optim.optimizer import optimizer, with_scale

READS = ("study",)
SHOWN = (0.02, 0.2, 0.9, 0.99, 1.01)  # of the threshold; the rates whose losses are drawn
TARGET = 1e-3  # of the first loss


class LearningRate(NamedTuple):
    """The arguments of `config.study`."""

    curvatures: tuple[Positive, ...] = (1.0, 20.0)  # eigenvalues of the Hessian; L is the largest
    momentum: Share = 0.9
    steps: Size = 500
    rates: Size = 401  # of the search, between half and one and a half thresholds


def losses(study, momentum, rates):
    """The loss before and after each step [rates, steps + 1], at each of the rates; not finite once it overflows."""
    f = partial(surfaces.quadratic, curvatures=study.curvatures)
    unit = optimizer("sgd", 1.0, total_steps=study.steps, momentum=momentum)

    def one(rate):
        return trajectory(f, jnp.ones(len(study.curvatures)), with_scale(unit, rate), study.steps).values

    return np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(rates, jnp.float32)))


def threshold(study, momentum, predicted):
    """The smallest rate tried at which the loss has grown after all steps."""
    rates = predicted * np.linspace(0.5, 1.5, study.rates)
    values = losses(study, momentum, rates)
    diverged = ~(values[:, -1] <= values[:, 0])  # True for NaN
    return float(rates[np.argmax(diverged)]) if diverged.any() else float(rates[-1])


def steps_to_target(values):
    """Steps until the loss is below TARGET of the first; the number of steps where it never is."""
    below = values <= TARGET * values[0]
    return int(np.argmax(below)) if below.any() else len(values) - 1


def measure(study):
    """Measured and predicted thresholds, steps to the target at several rates, and the losses to draw."""
    largest, metrics = max(study.curvatures), {}
    for name, momentum in (("sgd", 0.0), ("momentum", study.momentum)):
        predicted = 2 * (1 + momentum) / largest
        measured = threshold(study, momentum, predicted)
        metrics |= {f"threshold_{name}": measured, f"threshold_{name}_predicted": predicted}
    drawn = losses(study, 0.0, [share * 2 / largest for share in SHOWN])
    for share, values in zip(SHOWN[:-1], drawn, strict=False):
        metrics[f"steps_at_{share}"] = steps_to_target(values)
    return metrics, dict(zip((f"{share:g} of 2 / L" for share in SHOWN), drawn, strict=True))


def draw(curves):
    """The loss over the steps, a line for each rate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for name, values in curves.items():
        axis.semilogy(np.where(np.isfinite(values), np.maximum(values, 1e-12), np.nan), label=name)
    axis.set(xlabel="step", ylabel="loss", ylim=(1e-10, 1e4), title="gradient descent on a quadratic")
    axis.legend(title="rate", fontsize=8)
    return {"learning_rate": figure}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(LearningRate, config.study, "config.study")
    if not study.curvatures or study.rates < 2:
        raise ConfigError(f"config.study needs one of curvatures or more and 2 rates or more, got {study}")
    return studies.measured(config, partial(measure, study), draw)
