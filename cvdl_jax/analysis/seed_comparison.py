"""Methods compared seed by seed: means with intervals, what each gains over a baseline, and the figure of both."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.metrics.stats.intervals import student_t_within


def by_method(values: Mapping[str, Any]) -> dict[str, list[float]]:
    """{"method/seed": number} as {method: one number a seed}, in the order in which they come."""
    values_of: dict[str, list[float]] = {}
    for name, value in values.items():
        values_of.setdefault(name.partition("/")[0], []).append(float(value))
    return values_of


def gains(values: Mapping[str, Sequence[float]], baseline: str) -> dict[str, float]:
    """Means over seeds, and the mean differences from a baseline of the same seed, each with its 95 % interval.

    Args:
        values: {method: one share in 0..1 a seed}, all in the order of the same n >= 2 seeds.
        baseline: one of the methods.

    Returns:
        {"method": mean, "method_low", "method_high"} of each, and "method_gain..." of all but the baseline; without
        the ends of an interval that would leave the range of a share, or of a difference of two.
    """
    metrics = {}
    for name, by_seed in values.items():
        rows = {name: by_seed}
        if name != baseline:
            rows[f"{name}_gain"] = np.subtract(by_seed, values[baseline]).tolist()
        for key, numbers in rows.items():
            metrics[key] = float(np.mean(numbers))
            ends = student_t_within(numbers, -float(key != name), 1.0)
            metrics |= dict(zip((f"{key}_low", f"{key}_high"), ends or (), strict=False))
    return metrics


def finalise(baseline: str) -> Callable[[dict, dict], dict[str, float]]:
    """The `finalize` of an evaluation whose step returns {"method/seed": (number, 1)}: its `gains`."""
    return lambda means, rows: gains(by_method(means), baseline)


def draw(values: Mapping[str, Sequence[float]], baseline: str, what: str) -> Any:
    """Two panels with a row for each method, the best first: its values and their mean; its gains over the baseline.

    Args:
        values: as in `gains`.
        baseline: one of the methods.
        what: the name of the values, for the axis.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.4 * len(values) + 1.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    metrics, names = gains(values, baseline), []
    for y, (name, by_seed) in enumerate(sorted(values.items(), key=lambda item: -metrics[item[0]])):
        left.plot(by_seed, [y] * len(by_seed), ".", color="grey", alpha=0.5, markersize=4)
        for axis, key in ((left, name), (right, f"{name}_gain")):
            if f"{key}_low" in metrics:
                axis.plot([metrics[f"{key}_low"], metrics[f"{key}_high"]], [y, y], color="C0")
            if key in metrics:
                axis.plot([metrics[key]], [y], "o", color="C0", markersize=5)
        names.append(name.replace("_", " "))
    left.set_yticks(range(len(values)), names)
    left.invert_yaxis()
    left.set(xlabel=what)
    right.axvline(0, color="black", linewidth=0.8)
    right.set(xlabel=f"difference from {baseline!r} of the same seed")
    return figure
