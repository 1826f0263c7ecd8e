"""Vanishing and exploding gradients: the norm of every layer's gradient in a deep stack, before any training.

Standard normal inputs and random labels go through a perceptron of equal layers with softmax cross-entropy. A case is
an activation and the standard deviation of the weights: "small" 0.01, else a gain over the square root of the fan-in,
"lecun" 1, "he" the square root of 2, "large" 3. With gain c and slope s of the activation, each layer multiplies the
gradient by about c s; only c s = 1 keeps it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Layers, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.nn.activations import activation, derivative
from cvdl_jax.ops.textbook import backprop

READS = ("study",)
GAINS = {"lecun": 1.0, "he": 2**0.5, "large": 3.0}


def profile(case, key, depth, width, examples, classes):
    """Norms of dz [depth], of dW [depth], and standard deviations of the activations [depth] of one case, "relu he"."""
    name, scheme = case.split()
    std = 0.01 if scheme == "small" else GAINS[scheme] * width**-0.5
    keys = jax.random.split(key, depth + 2)
    sizes = [width] * depth + [classes]
    params = [
        backprop.Dense(std * jax.random.normal(k, (n_out, width)), jnp.zeros(n_out))
        for k, n_out in zip(keys, sizes, strict=False)
    ]
    x, labels = jax.random.normal(keys[-1], (examples, width)), jnp.arange(examples) % classes
    scores, caches = backprop.forward(params, x, [activation(name)] * depth + [activation("identity")])
    _, da = backprop.dense_backward(params[-1], caches[-1].x, backprop.softmax_cross_entropy_gradient(scores, labels))
    signals, norms = [], []
    for layer, cache in reversed(list(zip(params, caches, strict=True))[:-1]):
        dz = da * derivative(name)(cache.z)
        gradient, da = backprop.dense_backward(layer, cache.x, dz)
        signals.append(np.linalg.norm(dz))
        norms.append(np.linalg.norm(gradient.w))
    return np.array(signals[::-1]), np.array(norms[::-1]), np.array([cache.a.std() for cache in caches[:-1]])


def compare(
    seed: int, cases: tuple[str, ...], depth: Layers = 20, width: Size = 64, examples: Size = 128, classes: Size = 10
):
    """({metric: number}, {case: profiles}).

    "decades" is log10 of the norm of dz in the first layer over that in the last, below 0 where gradients vanish;
    "first" is log10 of the norm of the first layer's dW, which is what training sees.
    """
    metrics, profiles = {}, {}
    with jax.enable_x64(True):  # for numbers down to 1e-300
        for case in cases:
            signals, norms, _ = profiles[case] = profile(case, jax.random.key(seed), depth, width, examples, classes)
            name = case.replace(" ", "_")
            metrics |= {f"{name}/decades": np.log10(signals[0] / signals[-1]), f"{name}/first": np.log10(norms[0])}
    return metrics, profiles


def draw(profiles):
    """The profiles, over the layers."""
    from matplotlib.ticker import LogLocator

    from cvdl_jax.analysis.figures import images

    figure, axes = images.new_figure(1, 3, inches=4.2)
    titles = "Norm of the gradient dz", "Norm of the gradient dW", "Standard deviation of the activations"
    for axis, title, column in zip(axes[0], titles, range(3), strict=True):
        axis.set_frame_on(True)
        for i, (case, parts) in enumerate(profiles.items()):
            layers = np.arange(1, 1 + len(parts[column]))
            axis.semilogy(layers, parts[column], "-o" if i < 5 else "--s", markersize=3, label=case)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("layer, from the input")
        axis.set_xticks([1, 5, 10, 15, 20])
        axis.yaxis.set_major_locator(LogLocator(numticks=8))
    axes[0, 0].legend(fontsize=7)
    return {"gradient_flow": figure}


def make(config, info) -> Task:
    """The study of a configuration."""
    section = configs.bind(compare, config.study, "config.study", seed=config.seed)
    return studies.measured(config, lambda: compare(**section), draw)
