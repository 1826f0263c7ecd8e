"""What the page of a run shows and its files do not hold, saved when the run ends: `figures/report.json`.

The parameters (name, shape, dtype), the names of the classes, and the images of the most confident mistakes.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvdl_jax.workdir import predictions

NAME = "report.json"  # in the folder figures
MISTAKES = 24  # shown of each evaluation
PIXELS = 96  # the longer side of a shown image; larger ones are scaled down
NUMBERS = 8  # an example with at most so many features is shown as numbers


def collect(
    folder: Path, state: Any, class_names: Sequence[str], example_of: Callable[[str, int], Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """The facts of a run.

    Args:
        folder: its predictions.
        state: a `task.State` on this host.
        class_names: one per class, or ().
        example_of: `(evaluation, index) -> example` of its split.

    Returns:
        A dictionary for JSON.
    """
    mistakes = {
        each.name: worst(each, lambda i, name=each.name: example_of(name, i))
        for each in predictions.evaluations(folder)
        if not isinstance(each, str)
    }
    return {
        "class_names": [str(name) for name in class_names],
        "parameters": leaves(state.params),
        "others": {name: totals(getattr(state, name)) for name in ("opt", "extra", "rows")},
        "mistakes": mistakes,
    }


def leaves(tree: Any) -> list[dict[str, Any]]:
    """Name, shape, dtype and number of values of each array of a tree."""
    import jax

    from cvdl_jax.workdir.checkpoint import tree_path

    found = jax.tree_util.tree_leaves_with_path(tree)
    return [
        {"name": tree_path(path), "shape": list(x.shape), "dtype": str(x.dtype), "count": int(x.size)}
        for path, x in found
    ]


def totals(tree: Any) -> dict[str, int]:
    """How many arrays and values a tree has."""
    counts = [leaf["count"] for leaf in leaves(tree)]
    return {"arrays": len(counts), "values": sum(counts)}


def worst(each: predictions.Classified, example: Callable[[int], Mapping[str, np.ndarray]]) -> list[dict[str, Any]]:
    """The most confident mistakes of an evaluation, with their images or features.

    Args:
        each: what was classified.
        example: `index -> example` of the split.
    """
    rows = predictions.mistakes(each)[:MISTAKES]
    p = predictions.probabilities(each.scores[rows])
    found = []
    for i, row in enumerate(rows):
        label, guess = int(each.label[row]), int(each.guess[row])
        found.append(
            {
                "id": str(each.ids[row]),
                "label": label,
                "guess": guess,
                "confidence": float(p[i, guess]),
                "right": float(p[i, label]),
                **shown(example(int(each.index[row]))),
            }
        )
    return found


def shown(example: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What there is to see of an example: {"image": PNG in base64, "size": [h, w]}, {"features": numbers} or {}."""
    image, features = example.get("image"), example.get("features")
    if image is not None and image.ndim == 3 and image.shape[-1] in (1, 3, 4) and image.dtype == np.uint8:
        return {"image": png(image), "size": list(image.shape[:2])}
    if features is not None and np.size(features) <= NUMBERS:
        return {"features": [float(f"{x:.4g}") for x in np.ravel(features)]}
    return {}


def png(image: np.ndarray) -> str:
    """An image uint8 [h, w, 1, 3 or 4] as PNG in base64, scaled down to PIXELS if it is larger."""
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if max(picture.size) > PIXELS:
        picture.thumbnail((PIXELS, PIXELS))
    out = io.BytesIO()
    picture.save(out, "png", optimize=True)
    return base64.b64encode(out.getvalue()).decode()
