"""Figures of episodes."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def episode(played: Mapping[str, Any]) -> Any:
    """Observations, actions and the sum of rewards of one episode over time.

    Args:
        played: from `episodes.history`.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.figure import Figure

    alive = np.asarray(played["alive"])
    rewards = np.asarray(played["reward"])[alive]
    rows = (("observation", np.asarray(played["observation"])[alive]), ("action", np.asarray(played["action"])[alive]))
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    for axis, (name, values) in zip(axes, (*rows, ("return so far", np.cumsum(rewards))), strict=False):
        if values.ndim == 2 and values.shape[1] > 8:  # one-hot states
            axis.imshow(values.T, aspect="auto", interpolation="nearest", cmap="gray_r")
        else:
            axis.plot(values, drawstyle="steps-post" if name == "action" else "default")
        axis.set_ylabel(name)
    axes[-1].set_xlabel("step")
    figure.suptitle(f"return {rewards.sum():g} after {len(rewards)} steps")
    return figure
