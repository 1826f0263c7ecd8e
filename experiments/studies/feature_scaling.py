"""What feature scaling does to gradient descent: a linear regression on features whose units differ.

Its loss `|X w + b - y|^2 / 2n` is a quadratic with the Hessian `H = [X, 1]^T [X, 1] / n`. Gradient descent at the best
constant rate, 2 / (L + mu), shrinks the error by `(k - 1) / (k + 1)` a step, k = L / mu the condition number (Nocedal
and Wright 2006, theorem 3.3). The study makes its own data; the run has no parameters and takes no steps.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cvdl_jax.analysis.figures.curves import panels
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Inside, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.data import scaling
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.textbook.trajectory import trajectory

READS = ("study",)
KINDS = {"raw": "", "centred": "channel_mean", "min_max": "min_max", "standardised": "standardise"}


class FeatureScaling(NamedTuple):
    """The arguments of `config.study`."""

    examples: Size = 200  # houses
    area: tuple[float, float] = (50.0, 250.0)  # square metres, uniform
    rooms: tuple[int, int] = (1, 8)  # uniform, both ends included
    tolerance: Inside = 1e-3  # the excess loss to reach, as a share of the first
    steps: Size = 100_000  # at most


def houses(study, seed):
    """Features [n, 2], area and rooms, and prices [n]."""
    rng = np.random.default_rng(seed)
    area = rng.uniform(*study.area, study.examples)
    rooms = rng.integers(study.rooms[0], study.rooms[1] + 1, study.examples)
    noise = rng.normal(0, 10, study.examples)
    return np.stack([area, rooms], -1).astype(np.float64), 50 + 2.0 * area + 15.0 * rooms + noise


def quadratic(x, y):
    """The Hessian [d + 1, d + 1] of the regression, its minimiser [d + 1] and L + mu with the condition number."""
    design = np.concatenate([x, np.ones((len(x), 1))], 1)
    hessian = design.T @ design / len(x)
    values = np.linalg.eigvalsh(hessian)
    return hessian, np.linalg.solve(hessian, design.T @ y / len(x)), values[-1] + values[0], values[-1] / values[0]


def descend(study, hessian, best, total):
    """Excess losses [steps + 1], as shares of the first, from the zero start."""

    def loss(gap):
        return gap @ jnp.asarray(hessian) @ gap / 2

    with jax.enable_x64(True):  # condition numbers of 1e5 leave float32 no digits
        start = jnp.asarray(-best)
        path = jax.jit(lambda w: trajectory(loss, w, optax.sgd(2 / total), study.steps).values)(start)
        return np.asarray(path / path[0])


def measure(study, seed):
    """Condition numbers, steps to the tolerance and what theory bounds them by; curves to draw."""
    x, y = houses(study, seed)
    metrics, curves = {}, {}
    for name, kind in KINDS.items():
        scaled = scaling.fit(kind, [x]).apply(x) if kind else x
        hessian, best, total, condition = quadratic(scaled, y)
        values = descend(study, hessian, best, total)
        below = values <= study.tolerance
        shrink = (condition - 1) / (condition + 1)
        bound = np.log(study.tolerance) / (2 * np.log(shrink)) if 0 < shrink else 1.0
        steps = int(np.argmax(below)) if below.any() else study.steps
        metrics |= {f"{name}_condition": condition, f"{name}_steps": steps, f"{name}_bound": float(np.ceil(bound))}
        curves[name] = values
    return metrics, curves


def draw(curves):
    """The excess loss over the steps, a line for each scaling."""
    figure, (axis,) = panels([("feature scaling and gradient descent", "step", "excess loss, share of the first")], 5.0)
    for name, values in curves.items():
        axis.loglog(np.arange(1, len(values) + 1), np.maximum(values, 1e-12), label=name.replace("_", " "))
    axis.set_ylim(1e-6, 2)
    axis.legend(fontsize=8)
    return {"feature_scaling": figure}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(FeatureScaling, config.study, "config.study")
    if study.examples < 3:
        raise ConfigError(f"config.study.examples={study.examples} must be 3 or more: there are three weights")
    return studies.measured(config, partial(measure, study, config.seed), draw)
