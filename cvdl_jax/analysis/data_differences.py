"""How the images of two sets differ: in resolution, light, colour and scale, each tested, and in all of them at once.

    height, width      of the images as they are stored, in pixels
    brightness         mean luminance, in 0..1
    contrast           its standard deviation
    slope              how much brighter one side is than the other, of the plane that fits best: uneven lighting
    fineness           root mean square difference of neighbouring pixels over the contrast: small structures
    warmth, green      red minus blue, and green minus the mean of both, of colour images
    saturation         largest minus smallest channel, of colour images

Each is compared by Kolmogorov and Smirnov's test, corrected for their number (Holm), and by Cliff's delta.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics.stats import two_samples
from cvdl_jax.metrics.stats.paired_tests import format_p, holm

LIMIT, LEAST = 500, 4  # examples of each set


def measures(images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Numbers of each image, {name: float64 [n]}; those of colour where all images have three channels.

    Args:
        images: n arrays [h, w, c], bytes or floats in 0..1, of any sizes.

    Raises:
        DataError: without images.
    """
    if not len(images):
        raise DataError("a set without images has no measures")
    colour = all(image.shape[-1] == 3 for image in images)
    rows = [_of_image(image, colour) for image in images]
    return {name: np.asarray([row[name] for row in rows], np.float64) for name in rows[0]}


def _of_image(image: np.ndarray, colour: bool) -> dict[str, float]:
    x = image.astype(np.float64) / (255 if image.dtype == np.uint8 else 1)
    grey = x @ [0.299, 0.587, 0.114] if x.shape[-1] == 3 else x.mean(-1)  # [h, w]
    h, w = grey.shape
    v, u = np.linspace(-1, 1, h)[:, None] * np.ones(w), np.linspace(-1, 1, w)[None] * np.ones((h, 1))
    centred = grey - grey.mean()
    slopes = [2 * (centred * along).sum() / max((along**2).sum(), 1e-12) for along in (v, u)]
    steps = np.concatenate([np.diff(grey, axis=0).ravel(), np.diff(grey, axis=1).ravel(), [0.0]])
    numbers = {"height": h, "width": w, "brightness": grey.mean(), "contrast": grey.std()}
    numbers |= {"slope": np.hypot(*slopes), "fineness": np.sqrt((steps**2).mean()) / max(grey.std(), 1e-6)}
    if colour:
        red, green, blue = x.mean((0, 1))
        numbers |= {"warmth": red - blue, "green": green - (red + blue) / 2}
        numbers["saturation"] = (x.max(-1) - x.min(-1)).mean()
    return numbers


def stored_images(split: Any, limit: int = LIMIT) -> list[np.ndarray]:
    """Images of a split as its source stores them, before the host resizes them: [h, w, c] each.

    Of more than the limit those of `Split.some`.
    """
    rows = split.source.read(split.some(limit).tolist())
    return [np.asarray(row["image"]) for row in rows]


def report(first: Sequence[np.ndarray], second: Sequence[np.ndarray], seed: int = 0) -> dict[str, Any]:
    """Two sets of images side by side.

    Args:
        first: images [h, w, c] of any sizes, at least four.
        second: likewise.
        seed: of the permutations and of the division for the classifier.

    Returns:
        A dictionary for JSON: `measures`, {name: median of both, statistic, p, corrected, delta}; `discrepancy` and
        `classifier`, of all measures standardised; None where no measure varies.
    """
    ours, theirs = measures(first), measures(second)
    names = [name for name in ours if name in theirs]
    tests = [two_samples.kolmogorov_smirnov(ours[name], theirs[name]) for name in names]
    corrected = holm([test.p for test in tests])
    rows = {
        name: {
            "medians": [float(np.median(ours[name])), float(np.median(theirs[name]))],
            **test._asdict(),
            "corrected": p,
        }
        for name, test, p in zip(names, tests, corrected, strict=True)
    }
    one, two = (np.stack([side[name] for name in names], 1) for side in (ours, theirs))
    both = np.concatenate([one, two])
    varies = both.std(0) > 1e-12
    if not varies.any():
        return {"measures": rows, "discrepancy": None, "classifier": None}
    scaled = (both[:, varies] - both[:, varies].mean(0)) / both[:, varies].std(0)
    one, two = scaled[: len(one)], scaled[len(one) :]
    told = two_samples.told_apart(one, two, seed)
    return {
        "measures": rows,
        "discrepancy": two_samples.discrepancy(one, two, seed=seed)._asdict(),
        "classifier": {**told._asdict(), "accuracy": told.accuracy},
    }


def lines(differences: Mapping[str, Any]) -> list[str]:
    """The report in words, a line each, the largest differences first."""
    rows = sorted(differences["measures"].items(), key=lambda item: -abs(item[1]["delta"]))
    said = [
        f"  {name}: median {row['medians'][0]:.4g} -> {row['medians'][1]:.4g}, Cliff's delta {row['delta']:+.2f}, "
        f"{format_p(row['corrected'])} (Kolmogorov-Smirnov, Holm)"
        for name, row in rows
    ]
    if differences["classifier"]:
        told, mmd = differences["classifier"], differences["discrepancy"]
        said.append(
            f"  all together: told apart with accuracy {told['accuracy']:.3f} of {told['n']}, {format_p(told['p'])}; "
            f"MMD^2 {mmd['value']:.4f}, {format_p(mmd['p'])} (permutations)"
        )
    return said
