"""Every activation function beside its derivative: is the closed form right, and what speaks for and against it?

Inputs are quantiles of a normal distribution, so that nothing is random. For each activation g:
error: largest difference of the closed form of g' from automatic differentiation; mean: of g for z ~ N(0, 1), zero for
a zero-centred activation; saturated: share of z ~ N(0, 3) with `|g'(z)|` below 0.01; lost: the same for z ~ N(-6, 1), a
unit that was pushed far to the negative side; steepest: the largest g'; monotone: whether g' is never negative.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.nn.activations import activation, derivative

READS = ("study",)
SATURATION = 0.01


def facts(names: tuple[str, ...], points: Size):
    """({"NAME/FACT": number}, {name: (g, g') on the plotted grid})."""
    quantiles = jnp.asarray(ndtri((np.arange(points) + 0.5) / points), jnp.float32)
    grid = jnp.linspace(-5, 5, 401)

    @jax.jit
    def measure():
        facts_of, curves = {}, {}
        for name in names:
            g, slope = activation(name), derivative(name)
            automatic = jax.jvp(g, (grid,), (jnp.ones_like(grid),))[1]
            facts_of[name] = {
                "error": jnp.abs(slope(grid) - automatic).max(),
                "mean": g(quantiles).mean(),
                "saturated": (jnp.abs(slope(3 * quantiles)) < SATURATION).mean(),
                "lost": (jnp.abs(slope(quantiles - 6)) < SATURATION).mean(),
                "steepest": slope(grid).max(),
                "monotone": (slope(grid) >= 0).all(),
            }
            curves[name] = g(grid), slope(grid)
        return facts_of, curves

    facts_of, curves = jax.device_get(measure())
    metrics = {f"{title(name)}/{fact}": float(x) for name in names for fact, x in facts_of[name].items()}
    return metrics, {name: (np.asarray(grid), *curves[name]) for name in names}


def title(name):
    """A name without parentheses and dots, which metrics do without: "leaky_relu(slope=0.1)" is "leaky_relu_0.1"."""
    return name.replace("(", "_").replace(")", "").replace("slope=", "").replace("alpha=", "")


def draw(measured):
    """Curves of every activation and its derivative, and the table."""
    from cvdl_jax.analysis.figures import images

    metrics, curves = measured
    figure, axes = images.new_figure(-(-len(curves) // 5), 5, inches=2.2)
    for axis, (name, (z, value, slope)) in zip(axes.flat, curves.items(), strict=False):
        axis.set_frame_on(True)
        axis.axhline(0, color="0.8", linewidth=0.8)
        axis.axvline(0, color="0.8", linewidth=0.8)
        axis.plot(z, value, label="g")
        axis.plot(z, slope, "--", label="g'")
        axis.set_ylim(-1.8, 3)
        axis.set_xticks([-4, 0, 4])
        axis.set_yticks([-1, 0, 1, 2])
        axis.tick_params(labelsize=6)
        axis.set_title(name, fontsize=8)
    axes[0, 0].legend(fontsize=7)
    columns = ("error", "mean", "saturated", "lost", "steepest", "monotone")
    lines = [f"{'':24}" + "".join(f"{c:>11}" for c in columns)]
    for name in curves:
        lines.append(f"{name:24}" + "".join(f"{metrics[f'{title(name)}/{c}']:11.2g}" for c in columns))
    return {"activations": figure, "table": "\n".join(lines) + "\n"}


def make(config, info) -> Task:
    """The study of a configuration."""
    section = configs.bind(facts, config.study, "config.study")

    def measure():
        metrics, curves = facts(**section)
        return metrics, (metrics, curves)

    return studies.measured(config, measure, draw)
