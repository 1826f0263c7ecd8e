"""Methods over the size of the training set: accuracies and what they gain, as curves and as a table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures.curves import panels
from cvdl_jax.core.formatting import columns


def draw(
    baseline: str, methods: Iterable[str], sizes: Sequence[int], metrics: Mapping[str, float], rows: Any
) -> dict[str, Any]:
    """The figure and the table of the study of small training sets.

    Args:
        baseline: the method that the others are compared with.
        methods: this one, and the others.
        sizes: numbers of training examples.
        metrics: "method_50", "method_50_gain" with "_low" and "_high" where there are intervals, "method_50_setting".
        rows: not used.

    Returns:
        {"small_data": a matplotlib Figure, "table": text}.
    """
    methods = [baseline, *(name for name in methods if name != baseline)]
    figure, axes = panels(
        [("", "training images", "test accuracy"), ("", "training images", f"difference from {baseline!r}")], 4.2
    )
    for i, method in enumerate(methods):
        for axis, ending in zip(axes, ("", "_gain"), strict=True):
            names = [f"{method}_{size}{ending}" for size in sizes]
            if any(name not in metrics for name in names):
                continue
            low, high = ([metrics.get(f"{name}_{end}", np.nan) for name in names] for end in ("low", "high"))
            x = np.asarray(sizes) * (1 + 0.02 * (i - len(methods) / 2))  # side by side
            y = np.asarray([metrics[name] for name in names])
            axis.plot(x, y, "o-", color=f"C{i}", label=method, markersize=3)
            axis.vlines(x, low, high, color=f"C{i}", linewidth=0.9)
    axes[1].axhline(0, color="black", linewidth=0.8)
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xticks(sizes, [str(size) for size in sizes], fontsize=8)
        axis.minorticks_off()
    axes[0].legend(fontsize=7, loc="lower right")
    return {"small_data": figure, "table": table(methods, sizes, metrics)}


def table(methods: Sequence[str], sizes: Sequence[int], metrics: Mapping[str, float]) -> str:
    """Accuracies in percent with their intervals, and the place of the chosen setting: a row for each method."""

    def cell(name: str) -> str:
        ends = [metrics.get(f"{name}_{end}") for end in ("low", "high")]
        interval = "" if None in ends else f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"
        return f"{100 * metrics[name]:.1f}{interval} ({metrics[f'{name}_setting']:.0f})"

    cells = [(method, *(cell(f"{method}_{size}") for size in sizes)) for method in methods]
    return "\n".join(columns([("method", *(str(size) for size in sizes)), *cells], "l" * (1 + len(sizes))))
