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
from cvdl_jax.workdir.folder import read_json

NAME = "report.json"  # in the folder figures
MISTAKES = 24  # shown of each evaluation
PIXELS = 96  # the longer side of a shown image; larger ones are scaled down
SEEN = ("image", "size", "features")  # entries of a mistake that show the example
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
    most_confident = {
        evaluation.name: worst(evaluation, lambda i, name=evaluation.name: example_of(name, i))
        for evaluation in predictions.evaluations(folder)
        if isinstance(evaluation, predictions.Classified)
    }
    return {
        "class_names": [str(name) for name in class_names],
        "parameters": leaves(state.params),
        "others": {name: totals(getattr(state, name)) for name in ("opt", "extra", "rows")},
        "mistakes": most_confident,
    }


def seen(folder: Path, evaluation: str) -> dict[str, dict[str, Any]]:
    """{id: image or features} of the mistakes that a run kept of an evaluation; {} without any."""
    path = folder / "figures" / NAME
    kept = (read_json(path).get("mistakes") or {}).get(evaluation, ()) if path.is_file() else ()
    return {one["id"]: {key: one[key] for key in SEEN if key in one} for one in kept}


def leaves(tree: Any) -> list[dict[str, Any]]:
    """Name, shape, dtype and number of values of each array of a tree."""
    import jax

    from cvdl_jax.core.trees import path_name

    return [
        {"name": path_name(path), "shape": list(x.shape), "dtype": str(x.dtype), "count": int(x.size)}
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    ]


def totals(tree: Any) -> dict[str, int]:
    """How many arrays and values a tree has."""
    counts = [leaf["count"] for leaf in leaves(tree)]
    return {"arrays": len(counts), "values": sum(counts)}


def worst(
    evaluation: predictions.Classified, example: Callable[[int], Mapping[str, np.ndarray]]
) -> list[dict[str, Any]]:
    """The most confident mistakes of an evaluation, with their images or features.

    Args:
        evaluation: what was classified.
        example: `index -> example` of the split.
    """
    return [
        {
            "id": str(evaluation.ids[row]),
            "label": int(evaluation.label[row]),
            "guess": int(p.argmax()),
            "confidence": float(p.max()),
            "right": float(p[evaluation.label[row]]),
            **shown(example(int(evaluation.index[row]))),
        }
        for row, p in zip(*mistakes(evaluation), strict=True)
    ]


def mistakes(evaluation: predictions.Classified) -> tuple[np.ndarray, np.ndarray]:
    """The MISTAKES examples with the most confident wrong class: their rows int [m], probabilities float64 [m, c].

    The most confident is first; equally confident ones stay in the order of the split.
    """
    from scipy.special import softmax

    wrong = np.flatnonzero(evaluation.guess != evaluation.label)
    probabilities = softmax(evaluation.scores[wrong].astype(np.float64), axis=1)
    order = np.argsort(-probabilities.max(1), kind="stable")[:MISTAKES]
    return wrong[order], probabilities[order]


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
