"""Linear probes drawn: accuracy by layer of a trained and of a random network, and with few examples of each class."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures.curves import panels
from cvdl_jax.core.formatting import columns, natural


def draw(sizes: Sequence[int], shots: Sequence[int], metrics: Mapping[str, float], rows: Any) -> dict[str, Any]:
    """The figure and the table of the study of linear probes.

    Args:
        sizes: images that networks were trained on, ascending.
        shots: examples of each class.
        metrics: "random_at_stage0", "n50_5_shot" ... with "_low" and "_high" where there are intervals.
        rows: not used.

    Returns:
        {"linear_probes": a matplotlib Figure, "table": text}.
    """
    layers = [name.removeprefix("random_at_") for name in metrics if name.startswith("random_at_")]
    layers = in_order(name for name in layers if not name.endswith(("_low", "_high")))
    nets = ["random", *(f"n{size}" for size in sizes)]
    figure, (left, right) = panels(
        [("all target images", "layer", "test accuracy"), ("few target images", "images of each class", "")], 4.2
    )
    for i, net in enumerate(nets):
        label, beside = "random weights" if net == "random" else f"trained on {net[1:]}", i - (len(nets) - 1) / 2
        places = [j + 0.08 * beside for j in range(len(layers))]
        _curve(left, places, [f"{net}_at_{layer}" for layer in layers], metrics, label, f"C{i}")
        _curve(right, [k * 1.04**beside for k in shots], [f"{net}_{k}_shot" for k in shots], metrics, label, f"C{i}")
    left.set_xticks(range(len(layers)), [name.replace("_", " ") for name in layers], fontsize=7)
    right.set_xscale("log")
    right.set_xticks(shots, [str(k) for k in shots], fontsize=8)
    right.minorticks_off()
    right.legend(fontsize=7)
    return {"linear_probes": figure, "table": table(nets, layers, shots, metrics)}


def table(nets: Sequence[str], layers: Sequence[str], shots: Sequence[int], metrics: Mapping[str, float]) -> str:
    """Accuracies in percent: a row for each network, a column for each layer and each number of examples."""
    keys = [*(f"at_{layer}" for layer in layers), *(f"{k}_shot" for k in shots)]
    head = ("network", *layers, *(f"{k}-shot" for k in shots))
    cells = [(net, *(f"{100 * metrics[f'{net}_{key}']:.1f}" for key in keys)) for net in nets]
    return "\n".join(columns([head, *cells], "l" + "r" * len(keys)))


def in_order(layers: Iterable[str]) -> list[str]:
    """Names of layers from the pixels to the scores: those with numbers in their order, "pre_logits" last."""
    return sorted(layers, key=lambda name: (name != "pixels", name == "pre_logits", natural(name)))


def _curve(axis: Any, x: Sequence[float], names: Sequence[str], metrics: Mapping, label: str, color: str) -> None:
    """Means with their intervals."""
    low, high = ([metrics.get(f"{name}_{end}", np.nan) for name in names] for end in ("low", "high"))
    axis.plot(x, [metrics[name] for name in names], "o-", label=label, color=color, markersize=3)
    axis.vlines(x, low, high, color=color, linewidth=0.9)
