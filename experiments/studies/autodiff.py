"""Four ways to one gradient: the graph engine, the layer-wise equations, `jax.grad`, and differences.

A perceptron of two tanh layers with the cost `mean over examples of (a - y)^2 summed`, in float64. Then the error of
forward and central differences against the step h, in float64 and float32: a large step truncates, a small one rounds.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Range, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.nn.activations import activation, derivative
from cvdl_jax.ops.textbook import backprop, gradient_check, tape

READS = ("study",)
Exponent = Annotated[int, Range("from -16 to -1", lambda x: -16 <= x < 0)]


def cost(params, x, y):
    """The squared error of the perceptron."""
    a, _ = backprop.forward(params, x, [activation("tanh")] * len(params))
    return jnp.square(a - y).sum() / len(x)


def by_equations(params, x, y):
    """The gradients by the layer-wise equations."""
    a, caches = backprop.forward(params, x, [activation("tanh")] * len(params))
    return backprop.backward(params, caches, 2 * (a - y) / len(x), [derivative("tanh")] * len(params))[0]


def by_tape(params, x, y):
    """The gradients by the graph engine."""
    leaves = {tape.leaf("x"): x, tape.leaf("minus y"): -y}
    node, target = leaves
    weights = []
    for layer in params:
        w, b = tape.leaf("w"), tape.leaf("b")  # w as [n_in, n_out]
        leaves |= {w: layer.w.T, b: layer.b}
        weights.append((w, b))
        node = tape.apply(tape.TANH, tape.apply(tape.ADD_BIAS, node @ w, b))
    root = tape.apply(tape.SUM, tape.apply(tape.SQUARE, node + target)) * (1 / len(x))
    gradients = tape.backward(root, tape.forward(root, leaves))
    return [backprop.Dense(gradients[w].T, gradients[b]) for w, b in weights]


def compare(seed, sizes, examples, steps):
    """({metric: number}, the curves of the errors)."""
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda p: p.astype(jnp.float64), backprop.init_mlp(jax.random.key(seed), sizes))
        x, y = jnp.asarray(rng.normal(size=(examples, sizes[0]))), jnp.asarray(rng.normal(size=(examples, sizes[-1])))
        reference = jax.jit(jax.grad(cost))(params, x, y)

        def error(gradient):
            pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(reference), strict=True)
            return max(float(gradient_check.relative_error(a, b).max()) for a, b in pairs)

        metrics = {
            "equations_error": error(jax.jit(by_equations)(params, x, y)),
            "tape_error": error(jax.jit(by_tape)(params, x, y)),
        }
        curves = {}
        w, exact = np.asarray(params[0].w), np.asarray(reference[0].w)
        for dtype in ("float64", "float32"):
            inputs = jax.tree.map(lambda p, dtype=dtype: p.astype(dtype), (params, x, y))
            f = jax.jit(lambda w, inputs: cost([inputs[0][0]._replace(w=w), *inputs[0][1:]], *inputs[1:]))
            for difference in (gradient_check.forward_difference, gradient_check.central_difference):
                slopes = [
                    difference(lambda w, f=f, i=inputs, d=dtype: f(jnp.asarray(w, d), i), w, h) for h in 10.0**steps
                ]
                kind = difference.__name__.partition("_")[0]
                curves[f"{kind}, {dtype}"] = [np.linalg.norm(g - exact) / np.linalg.norm(exact) for g in slopes]
                best = int(np.argmin(curves[f"{kind}, {dtype}"]))
                metrics[f"{kind}_{dtype}/best_error"] = curves[f"{kind}, {dtype}"][best]
                metrics[f"{kind}_{dtype}/best_log10_h"] = steps[best]
    return metrics, (steps, curves)


def draw(measured):
    """The error of differences against their step."""
    from cvdl_jax.analysis.figures import images

    steps, curves = measured
    figure, axes = images.new_figure(1, 1, inches=4.5)
    axis = axes[0, 0]
    axis.set_frame_on(True)
    for name, errors in curves.items():
        axis.loglog(10.0**steps, errors, marker="o", markersize=3, label=name)
    axis.set_xlabel("step h")
    axis.set_ylabel("relative error of the gradient")
    axis.set_xticks([1e-10, 1e-8, 1e-6, 1e-4, 1e-2])
    axis.set_yticks([1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1])
    axis.legend(fontsize=8)
    return {"differences": figure}


def make(config, info) -> Task:
    """The study of a configuration."""

    def read(sizes: tuple[Size, ...], examples: Size, least: Exponent):
        return {"sizes": sizes, "examples": examples, "steps": np.arange(least, 0).astype(float)}

    section = configs.call(read, config.study, "config.study")
    return studies.measured(config, lambda: compare(config.seed, **section), draw)
