"""Is the development set representative? A model's performance on it and on an external set, and the sets themselves.

The two sets are compared by accuracy (Wilson intervals, and the difference of two independent proportions), by the
recall of every class, by how often each class occurs, and by the brightness of the pixels that the model is shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.core.formatting import interval, percent
from cvdl_jax.errors import DataError
from cvdl_jax.metrics.stats.intervals import difference, homogeneity, wilson
from cvdl_jax.metrics.stats.paired_tests import format_p

BINS = 16  # of the histogram of pixel values
CHUNK = 512  # examples whose pixels are read at a time


def performance(label: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Accuracy and per-class recall of one set.

    Args:
        label: int [n].
        scores: float [n, c].

    Returns:
        n, right, accuracy, low, high (95 % Wilson); `counts` [c] and `hits` [c] of each class.

    Raises:
        DataError: without examples, or for labels that have no score.
    """
    label, scores = np.asarray(label), np.asarray(scores)
    if not len(label):
        raise DataError("a set without examples has no performance")
    c = scores.shape[1]
    if label.min() < 0 or label.max() >= c:
        raise DataError(f"labels are in {label.min()}..{label.max()}, and there are scores of the classes 0..{c - 1}")
    hit = (scores.argmax(1) == label) & ~np.isnan(scores).any(1)  # what is no number is no answer
    right, n = int(hit.sum()), len(label)
    low, high = wilson(right, n)
    counts, hits = np.bincount(label, minlength=c), np.bincount(label[hit], minlength=c)
    return {
        "n": n, "right": right, "accuracy": right / n, "low": low, "high": high,
        "counts": counts.tolist(), "hits": hits.tolist(),
    }  # fmt: skip


def pixels(split: Any) -> dict[str, Any] | None:
    """Statistics of the images of a split after the host stage, before normalisation, in 0..1.

    Args:
        split: a `data.split.Split`.

    Returns:
        mean and std of each channel, [channels], and the share of values in each of 16 equal bins; None without images.
    """
    if "image" not in split.features:
        return None
    total = squares = np.zeros(1)
    counts, n = np.zeros(BINS), 0
    for start in range(0, split.size, CHUNK):
        raw = split.batch(np.arange(start, min(start + CHUNK, split.size)))["image"]
        x = raw.astype(np.float64) / (255 if raw.dtype == np.uint8 else 1)  # [b, h, w, c]
        x = x.reshape(-1, x.shape[-1])
        total, squares, n = total + x.sum(0), squares + (x**2).sum(0), n + len(x)
        counts += np.histogram(x, BINS, (0, 1))[0]
    mean = total / n
    std = np.sqrt(np.maximum(squares / n - mean**2, 0))
    return {"mean": mean.tolist(), "std": std.tolist(), "bins": (counts / counts.sum()).tolist()}


def compare(development: Mapping[str, Any], external: Mapping[str, Any], class_names: Sequence[str]) -> dict[str, Any]:
    """The two sets side by side.

    Args:
        development: `name`, what `performance` gives, and `pixels`.
        external: likewise.
        class_names: one per class, or ().

    Returns:
        A dictionary for JSON: `development`, `external`, `difference` of the accuracies (external - development),
        `classes` (recalls, their intervals, the difference and its p value), `labels` (homogeneity of the class
        distributions), `pixels` (shift of the mean in standard deviations, distance of the histograms).
    """
    change = difference(external["right"], external["n"], development["right"], development["n"])
    names = class_names or [str(i) for i in range(len(development["counts"]))]
    return {
        "development": dict(development),
        "external": dict(external),
        "difference": change._asdict(),
        "classes": [_class(str(name), i, development, external) for i, name in enumerate(names)],
        "labels": homogeneity(np.asarray(development["counts"]), np.asarray(external["counts"]))._asdict(),
        "pixels": _pixels(development.get("pixels"), external.get("pixels")),
    }


def _class(name: str, i: int, *sets: Mapping[str, Any]) -> dict[str, Any]:
    """Recall of one class in both sets; None where a set does not have it."""
    (hits1, n1), (hits2, n2) = [(side["hits"][i], side["counts"][i]) for side in sets]

    def recall(hits: int, n: int) -> dict[str, Any]:
        low, high = wilson(hits, n) if n else (None, None)
        return {"n": n, "recall": hits / n if n else None, "low": low, "high": high}

    change = difference(hits2, n2, hits1, n1) if n1 and n2 else None
    return {
        "name": name, "development": recall(hits1, n1), "external": recall(hits2, n2),
        "difference": change.value if change else None, "p": change.p if change else None,
    }  # fmt: skip


def _pixels(first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if first is None or second is None:
        return None
    pairs = zip(first["mean"], first["std"], second["mean"], strict=True)
    shift = [(theirs - mean) / std if std else None for mean, std, theirs in pairs]
    distance = float(np.abs(np.subtract(first["bins"], second["bins"])).sum() / 2)
    return {"shift": shift, "distance": distance}


def lines(comparison: Mapping[str, Any]) -> list[str]:
    """The comparison in words, a line each."""
    sets, change = [comparison[side] for side in ("development", "external")], comparison["difference"]
    labels = comparison["labels"]
    said = [
        f"  {side['name']}: accuracy {percent(side['accuracy'])}, 95 % interval "
        f"{interval(side['low'], side['high'], True)} (Wilson, {side['n']} examples)"
        for side in sets
    ]
    said.append(
        f"  external - development: {100 * change['value']:+.2f} points [{100 * change['low']:+.2f}, "
        f"{100 * change['high']:+.2f}] (Newcombe), {format_p(change['p'])} (two independent proportions)"
    )
    for row in sorted(comparison["classes"], key=lambda one: (one["difference"] is None, one["difference"] or 0))[:3]:
        if row["difference"] is not None and row["difference"] < 0:
            a, b = row["development"], row["external"]
            recalls = " -> ".join(percent(side["recall"], 1) for side in (a, b))
            said.append(f"  recall of {row['name']!r}: {recalls}, {format_p(row['p'])}")
    said.append(f"  classes: total variation {labels['distance']:.3f}, {format_p(labels['p'])} (chi-squared, "
                f"{labels['degrees']} degrees of freedom)")  # fmt: skip
    if comparison["pixels"]:
        a, b = (side["pixels"] for side in sets)
        shown = ", ".join(f"{m:.3f} +- {s:.3f} -> {n:.3f} +- {t:.3f}"
                          for m, s, n, t in zip(a["mean"], a["std"], b["mean"], b["std"], strict=True))  # fmt: skip
        distance = comparison["pixels"]["distance"]
        said.append(f"  pixels, mean and deviation: {shown}; histograms differ by {distance:.3f}")
    return said
