"""Paths of optimizers on the level sets of a ravine, a saddle, Rosenbrock's valley and Beale's function.

Every optimizer gets, on every surface, that one of a grid of rates whose path stays in the figure and ends lowest.
The run itself takes no steps: the points of the plane are not its parameters, and it reads no data.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.textbook.surfaces import SURFACES
from cvdl_jax.ops.textbook.trajectory import trajectory
from cvdl_jax.optim.optimizer import optimizer, with_scale

READS = ("study",)


class OptimizerPaths(NamedTuple):
    """The arguments of `config.study`."""

    optimizers: Mapping  # {name in the figure: a section as config.optim, without lr}
    steps: Size = 200
    rates: tuple[Positive, ...] = (0.001, 0.01, 0.1)


def paths_at(section, surface, steps, rates):
    """The points [rates, steps + 1, 2] and values [rates, steps + 1] of one optimizer at each of the rates."""
    unit = configs.call(optimizer, {**section, "lr": 1.0, "decay": ".*"}, "config.study.optimizers", total_steps=steps)

    def one(rate):
        path = trajectory(surface.function, jnp.asarray(surface.start), with_scale(unit, rate), steps)
        return path.points, path.values

    return jax.jit(jax.vmap(one))(jnp.asarray(rates, jnp.float32))


class Path(NamedTuple):
    """One optimizer's path on one surface."""

    points: np.ndarray  # [steps + 1, 2]
    rate: float
    gap: float  # of the last value above the minimum
    steps: int  # after which the gap stays below 1 % of the first one; all where it does not


def lowest(section, surface, study):
    """The path that stays in the figure and ends lowest."""
    points, values = map(np.asarray, paths_at(section, surface, study.steps, study.rates))
    left, right, bottom, top = surface.extent
    inside = ((points >= np.array([left, bottom])) & (points <= np.array([right, top]))).all((1, 2))  # [rates]
    if not inside.any():
        raise ConfigError(f"config.study.rates={study.rates}: every path of {section} leaves the figure; add lower")
    best = int(np.argmin(np.where(inside, values[:, -1], np.inf)))
    gaps = np.maximum(values[best] - float(surface.function(jnp.asarray(surface.minimum))), 0.0)
    settled = min(int(np.flatnonzero(gaps > 0.01 * gaps[0])[-1]) + 1, study.steps)
    return Path(points[best], study.rates[best], float(gaps[-1]), settled)


def measure(study):
    """How far above the minimum each optimizer ends, after how many steps it stays near, and the paths to draw."""
    metrics, paths = {}, {}
    for name, surface in SURFACES.items():
        paths[name] = {label: lowest(section, surface, study) for label, section in study.optimizers.items()}
        for label, path in paths[name].items():
            metrics |= {f"{name}/{label}/gap": path.gap, f"{name}/{label}/steps": path.steps}
    return metrics, paths


def draw(paths):
    """One panel of level sets for each surface, all paths in it."""
    from cvdl_jax.analysis.figures import images

    figure, axes = images.new_figure(2, 2, inches=4.5)
    for axis, (name, on_surface) in zip(axes.flat, paths.items(), strict=True):
        surface = SURFACES[name]
        left, right, bottom, top = surface.extent
        x, y = np.meshgrid(np.linspace(left, right, 200), np.linspace(bottom, top, 200))  # [200, 200]
        z = np.asarray(jax.vmap(surface.function)(jnp.stack([x.ravel(), y.ravel()], -1))).reshape(x.shape)
        axis.contour(x, y, np.log(z - z.min() + 1e-2), levels=25, colors="0.8", linewidths=0.6)
        for label, path in on_surface.items():
            text = f"{label}, {path.rate:g}: {path.gap:.0e}"
            axis.plot(*path.points.T, linewidth=1, marker=".", markersize=2, label=text)
        axis.plot(*surface.start, "ko", markersize=5)
        axis.plot(*surface.minimum, "k*", markersize=9)
        axis.set(title=name, xlim=(left, right), ylim=(bottom, top))
        axis.legend(fontsize=6, title="rate: end above the minimum", title_fontsize=6)
    return {"optimizer_paths": figure}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(OptimizerPaths, config.study, "config.study")
    if not study.rates:
        raise ConfigError("config.study.rates=() must hold one rate or more")
    return studies.measured(config, partial(measure, study), draw)
