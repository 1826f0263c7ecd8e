"""Draws `analysis/diagnostics.py`: what the layers of a model compute, as histograms, and the shares that are lost."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures import images

MOST, COLUMNS = 36, 6  # layers drawn, and in a row


def draw(seen: Mapping[str, Mapping[str, list[Any]]], metrics: Mapping[str, float]) -> Any:
    """A histogram for each layer: its outputs, or the inputs of an activation function with its two shares.

    Args:
        seen: {layer: {"output" or "input": arrays [b, ..., units]}}.
        metrics: "LAYER/saturated", "LAYER/dead" in 0..1.

    Returns:
        A matplotlib Figure; of many layers the first are drawn, and the title says so.
    """
    layers = sorted(seen, key=lambda layer: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", layer)])[:MOST]
    columns = min(COLUMNS, len(layers))
    figure, axes = images.new_figure(-(-len(layers) // columns), columns, inches=1.9)
    for axis, layer in zip(axes.flat, layers, strict=False):
        parts = seen[layer].get("output") or seen[layer]["input"]
        x = np.concatenate([np.asarray(part, np.float32).ravel() for part in parts])
        x = x[np.isfinite(x)]
        activation = f"{layer}/saturated" in metrics
        title = f"{layer}\n{x.mean():.2g} ± {x.std():.2g}" if x.size else f"{layer}\nnot finite"
        if activation:
            title = f"{layer}\n{metrics[f'{layer}/saturated']:.0%} saturated, {metrics[f'{layer}/dead']:.0%} dead"
        axis.hist(x, bins=40, color="tab:orange" if activation else "tab:blue")
        axis.set_title(title, fontsize=7)
        axis.tick_params(axis="x", labelsize=6)
        axis.set_frame_on(True)
        if x.size:
            axis.set_xticks([float(f"{v:.1g}") for v in (x.min(), x.max())])
    rest = f", the first {MOST} of {len(seen)} layers" if len(seen) > MOST else ""
    figure.suptitle(f"Outputs of layers (blue) and inputs of activations (orange), one batch{rest}", fontsize=9)
    return figure
