"""What networks go by: images of each cue, and accuracies on them as bars."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures.curves import panels
from cvdl_jax.analysis.figures.images import mosaic
from cvdl_jax.core.formatting import columns

SHOWN = 6  # images of each cue, one a class


def draw(images: Mapping[str, Any], networks: Sequence[str], metrics: Mapping[str, float], rows: Any) -> dict[str, Any]:
    """The figures and the table of the study of cues.

    Args:
        images: {cue: uint8 [n, h, w, c]}.
        networks: their names.
        metrics: "NETWORK/CUE" and "NETWORK/shape_bias", with "_low" and "_high".
        rows: not used.

    Returns:
        {"images": a row of images for each cue, "cues": bars, "table": text}.
    """
    measures = [*(cue for cue in images if cue != "conflict"), "shape_bias"]
    figure, (axis,) = panels([("", "", "accuracy, or share of shapes")], 5.0)
    width = 0.8 / len(networks)
    for i, name in enumerate(networks):
        values, low, high = (
            np.asarray([metrics.get(f"{name}/{m}{end}", np.nan) for m in measures]) for end in ("", "_low", "_high")
        )
        at = np.arange(len(measures)) + width * (i - (len(networks) - 1) / 2)
        axis.bar(at, values, width, yerr=np.abs(np.stack([values - low, high - values])), label=name, ecolor="grey")
    axis.set_xticks(range(len(measures)), [m.replace("_", " ") for m in measures], fontsize=8)
    axis.set_ylim(0, 1.02)
    axis.legend(fontsize=7, title="trained on", title_fontsize=7, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
    table = [("trained on", *measures)]
    table += [(name, *(f"{100 * metrics.get(f'{name}/{m}', np.nan):.1f}" for m in measures)) for name in networks]
    shown = np.concatenate([np.asarray(x[:SHOWN]) for x in images.values()]) / 255
    return {"images": mosaic(shown, SHOWN), "cues": figure, "table": "\n".join(columns(table, "l" * len(table[0])))}
