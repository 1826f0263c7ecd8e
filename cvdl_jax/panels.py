"""Figures of one row of plots with axes, for curves."""

from collections.abc import Sequence
from typing import Any

from cvdl_jax.figures import new_figure


def panels(labels: Sequence[tuple[str, str, str]], inches: float = 3.6) -> tuple[Any, Any]:
    """Empty plots side by side.

    Args:
        labels: (title, x label, y label) of each.
        inches: width and height of one.

    Returns:
        (figure, axes [len(labels)]).
    """
    figure, axes = new_figure(1, len(labels), inches)
    for axis, (title, x, y) in zip(axes[0], labels, strict=True):
        axis.set_frame_on(True)
        axis.xaxis.set_major_locator(_automatic())
        axis.yaxis.set_major_locator(_automatic())
        axis.tick_params(labelsize=8)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(x, fontsize=9)
        axis.set_ylabel(y, fontsize=9)
    return figure, axes[0]


def _automatic() -> Any:
    from matplotlib.ticker import AutoLocator

    return AutoLocator()
