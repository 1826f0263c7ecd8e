"""The effective receptive field: how much of what a unit can see moves it, over depth, and before and after training.

Stacks of 3 x 3 convolutions with random weights, whose theoretical field grows with depth n as 2n + 1. The gradient of
one output spreads like a random walk: with uniform weights it is a Gaussian of variance 2n/3 on each axis; with random
ones its square is, so that its absolute value is wider by sqrt(2). Two standard deviations of either, as a square of
the same area, are `c sqrt(n)`. With `config.study.workdir` the layers of a trained classifier, and of the same network
with new weights, are measured too, on images of its training split.

Reference: Luo et al. 2016, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks".
"""

from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.analysis.receptive_field import effective_receptive_field, effective_size
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import State, Task
from cvdl_jax.engine import from_run, runs
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.convolution import correlate

READS = ("study",)
KINDS = ("uniform", "random", "relu")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    depths: tuple[Size, ...] = (2, 4, 8, 16, 32)
    channels: Size = 8
    draws: Size = 8  # of random weights, whose fields are averaged
    workdir: str = ""  # of a trained classifier; "" for none
    layers: tuple[str, ...] = ("stages.0", "stages.1", "stages.2")  # of it, those that are maps
    images: Size = 64


def theory(depth, kind):
    """The side of the square, `sqrt(2 pi log(1 / 0.0455) 2n/3)`; wider by sqrt(2) for random weights."""
    area = 2 * np.pi * np.log(1 / (1 - 0.9545)) * 2 * depth / 3
    return float(np.sqrt(area * (1 if kind == "uniform" else 2)))


def stack(weights, relu, x):
    """Outputs [draws, h, w, c] of stacks of convolutions, each on an image of its own, x like them."""

    def one(pair):
        image, kernels = pair  # [h, w, c], [depth, 3, 3, c, c]

        def layer(y, kernel):
            y = correlate(y, kernel, padding="same")
            return (jax.nn.relu(y) if relu else y), None

        return lax.scan(layer, image[None], kernels)[0][0]

    return lax.map(one, (x, weights))


def field_of(study, depth, kind, key):
    """The field [2n + 5, 2n + 5] of a unit in the middle, averaged over draws of weights and images."""
    shape, side = (study.draws, depth, 3, 3, study.channels, study.channels), 2 * depth + 5
    spread = np.sqrt((2 if kind == "relu" else 1) / (9 * study.channels))  # keeps the size of activations
    weights = spread * jax.random.normal(key, shape) if kind != "uniform" else jnp.full(shape, spread**2)
    x = jax.random.normal(jax.random.fold_in(key, 1), (study.draws, side, side, study.channels))
    return effective_receptive_field(partial(stack, weights, kind == "relu"), x)


def fields_of_run(study, key):
    """{"stages.0": (field of new weights, field of trained ones)} of a run's network."""
    built, state, _ = runs.load_evaluated(study.workdir, with_data=True)
    if "image" not in built.info.spec:
        raise ConfigError(f"config.study.workdir={study.workdir!r} has no images; name a run that classifies some")
    batch = from_run.example_batch(built, study.images)
    made = jax.jit(built.task.init)(key, batch)
    new, fields = State(jnp.int32(0), made["params"], {}, made["extra"]), {}
    for layer in study.layers:
        section = SimpleNamespace(workdir=study.workdir, layer=layer)
        of = (from_run.model_features(built, one, section, "config.study") for one in (new, state))
        fields[layer] = [effective_receptive_field(lambda x, f=f: f({"image": x}), batch["image"]) for f in of]
    return fields


def measure(study, seed):
    """Sizes over depth, the power of depth with which the last three grow, and the sizes of a run's layers."""
    keys, metrics, fields = jax.random.split(jax.random.key(seed), len(KINDS) + 1), {}, {}
    for key, kind in zip(keys, KINDS, strict=False):
        stacks = {n: field_of(study, n, kind, jax.random.fold_in(key, n)) for n in study.depths}
        sizes = {n: effective_size(field) for n, field in stacks.items()}
        metrics |= {f"{kind}_{n}": size for n, size in sizes.items()}
        last = sorted(sizes)[-3:]  # shallow stacks see less than the theory of many layers says
        if len(last) > 1:
            metrics[f"{kind}_power"] = np.polyfit(np.log(last), np.log([sizes[n] for n in last]), 1)[0]
        deepest = max(sizes)
        metrics[f"{kind}_share"] = sizes[deepest] / (2 * deepest + 1)
        fields[f"{kind}, {deepest} layers"] = stacks[deepest]
    for layer, pair in (fields_of_run(study, keys[-1]) if study.workdir else {}).items():
        for name, field in zip(("new", "trained"), pair, strict=True):
            metrics[f"{layer}_{name}"] = effective_size(field)
            fields[f"{layer}, {name}"] = field
    return metrics, (metrics, fields)


def draw(study, measured):
    """Sizes over depth beside theory, and the fields themselves, each brightest where it is largest."""
    from cvdl_jax.analysis.figures import curves, images

    metrics, fields = measured
    growth, (axis,) = curves.panels([("Effective receptive field", "layers of 3 x 3", "side, pixels")])
    depths = sorted(study.depths)
    axis.loglog(depths, [2 * n + 1 for n in depths], "k:", label="what can be seen, 2n + 1")
    for i, kind in enumerate(KINDS):
        axis.loglog(depths, [metrics[f"{kind}_{n}"] for n in depths], "o", markersize=4, color=f"C{i}", label=kind)
        if kind != "relu":
            axis.loglog(depths, [theory(n, kind) for n in depths], "-", linewidth=0.8, color=f"C{i}")
    axis.set_xticks(depths, [str(n) for n in depths])
    axis.minorticks_off()
    axis.set_yticks(ticks := [5, 10, 20, 40, 80], [str(n) for n in ticks])
    axis.legend(fontsize=7)
    columns = max(3, len(fields) // 3)
    grid, axes = images.new_figure(-(-len(fields) // columns), columns, 2.0)
    for axis, (name, field) in zip(axes.flat, fields.items(), strict=False):
        axis.imshow(np.sqrt(field / max(field.max(), 1e-30)), cmap="gray", vmin=0, vmax=1)
        axis.set_title(f"{name}: {effective_size(field):.1f}", fontsize=8)
    return {"growth": growth, "fields": grid}


def make(config, info) -> Task:
    """The measurement of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    return studies.measured(config, lambda: measure(study, info.seed), partial(draw, study))
