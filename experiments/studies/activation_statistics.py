"""How random weights scale activations and gradients through ten layers, without training.

Four pairs of an initialiser and an activation, several seeds. The forward pass is compared with lists that were
printed by a notebook of A. Karpathy; the criterion for the backward pass is that gradients are similar across layers.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.init import initializer
from cvdl_jax.ops.textbook import activation_statistics

READS = ("study",)


class Study(NamedTuple):
    """The arguments of `config.study`."""

    units: Size = 500  # of every layer, and inputs
    examples: Size = 1000  # of N(0, 1)
    seeds: Size = 10


class Case(NamedTuple):
    """An initialiser and an activation, and what was printed for them: 500 units, 1000 examples."""

    init: str
    activation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


CASES = {
    "small_tanh": Case(
        "normal(0.01)", "tanh",
        (0.000289, -0.000064, -0.000001, -0.000003, 0, 0, 0, 0, 0, 0),
        (0.213667, 0.047754, 0.010667, 0.002391, 0.000535, 0.000119, 0.000027, 0.000006, 0.000001, 0),
    ),
    "xavier_tanh": Case(
        "xavier_fan_in", "tanh",
        (-0.000145, 0.000485, -0.000333, -0.000013, -0.000238, 0.000176, -0.000547, -0.000206, 0.000148, -0.000529),
        (0.628485, 0.486178, 0.408851, 0.358011, 0.323565, 0.295040, 0.272295, 0.254713, 0.239710, 0.227241),
    ),
    "xavier_relu": Case(
        "xavier_fan_in", "relu",
        (0.397685, 0.280004, 0.183151, 0.130450, 0.092056, 0.064787, 0.047867, 0.034165, 0.024928, 0.018272),
        (0.583384, 0.410386, 0.280291, 0.198090, 0.138666, 0.098349, 0.069325, 0.050724, 0.035902, 0.025658),
    ),
    "he_relu": Case(
        "he_normal", "relu",
        (0.562934, 0.577537, 0.574250, 0.602799, 0.573220, 0.548410, 0.599740, 0.586302, 0.655965, 0.637412),
        (0.826029, 0.828810, 0.845599, 0.851682, 0.851573, 0.811833, 0.834997, 0.870794, 0.940311, 0.874220),
    ),
}  # fmt: skip
LAYERS = 10


@partial(jax.jit, static_argnames=("case", "study"))
def measure(case: Case, study: Study, key: jax.Array) -> dict[str, jax.Array]:
    """The statistics of one network: mean, std and gradient_std [layers], a few activations [layers, 2000]."""
    for_x, for_w, for_gradient = jax.random.split(key, 3)
    x = jax.random.normal(for_x, (study.examples, study.units))
    init, g = initializer(case.init, case.activation), activation(case.activation)
    square = (study.units, study.units)
    kernels = jax.vmap(lambda k: init(k, square, jnp.float32))(jax.random.split(for_w, LAYERS))
    a = activation_statistics.activations(x, kernels, g)  # [layers, b, n]
    mean, std = activation_statistics.mean_and_std(a)
    last = jax.random.normal(for_gradient, x.shape)
    gradient = activation_statistics.gradients(x, kernels, g, last)[0]  # [layers, b, n]
    sample = a.reshape(LAYERS, -1)[:, :2000]
    return {"mean": mean, "std": std, "gradient_std": activation_statistics.mean_and_std(gradient)[1], "sample": sample}


def everything(study: Study, seed: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics, and {case: {statistic: [seeds, layers, ...]}}."""
    keys = [jax.random.fold_in(jax.random.key(seed), i) for i in range(study.seeds)]
    metrics, all_values = {}, {}
    for name, case in CASES.items():
        runs = [jax.device_get(measure(case, study, key)) for key in keys]
        values = {statistic: np.stack([run[statistic] for run in runs]) for statistic in runs[0]}
        all_values[name] = values
        std, gradient = values["std"].mean(0), values["gradient_std"].mean(0)  # [layers]
        off = np.maximum(np.abs(std - np.array(case.std)) - 5e-7, 0)  # they were printed to six digits
        spread = np.hypot(values["std"].std(0, ddof=1), values["std"].std(0, ddof=1) / study.seeds**0.5)
        metrics |= {
            f"{name}/std_layer0": std[0],
            f"{name}/std_layer9": std[-1],
            f"{name}/largest_difference": (off / std).max(),  # of the mean over seeds from the printed std
            f"{name}/largest_difference_in_sds": (off / spread).max(),  # of one seed from the mean of the others
            f"{name}/gradient_std_first_to_last": gradient[0] / gradient[-1],
        }
    return metrics, all_values


def draw(all_values: dict[str, Any]) -> dict[str, Any]:
    """Standard deviations by layer, the printed ones as dots, and histograms of activations."""
    from matplotlib.figure import Figure

    from cvdl_jax.analysis.figures import images

    curves = Figure(figsize=(9, 3.5), layout="constrained")
    forward, backward = curves.subplots(1, 2)
    histograms, cells = images.new_figure(len(CASES), LAYERS, inches=1.0)
    for row, (name, values) in zip(cells, all_values.items(), strict=True):
        (line,) = forward.semilogy(values["std"].mean(0), label=name)
        printed = np.array(CASES[name].std)
        forward.semilogy(np.where(printed > 0, printed, np.nan), "o", color=line.get_color(), markersize=4)
        backward.semilogy(values["gradient_std"].mean(0), label=name)
        for layer, axis in enumerate(row):
            axis.hist(values["sample"][0, layer], bins=30, range=(-1, 1))
            axis.set_title(f"{name} {layer}", fontsize=6)
    forward.set_title("std of activations; dots: printed")
    backward.set_title("std of dJ/dz")
    for axis in (forward, backward):
        axis.set_xlabel("layer")
        axis.legend(fontsize=8)
    return {"layers": curves, "histograms": histograms}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    if study.seeds < 2:
        raise ConfigError(f"config.study.seeds={study.seeds} must be at least 2: their spread is measured")
    return studies.measured(config, partial(everything, study, config.seed), draw)
