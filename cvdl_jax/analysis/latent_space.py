"""How a space of codes looks: how much of it is empty, how far classes lie apart, how images change along a line."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics import feature_distances

CENTRAL = (2.5, 97.5)  # percentiles between which a space is looked at: a few far codes are no space
MADE = ("reconstruction", "sample", "midway")  # images that are compared with real ones
COMPARED = 1000  # of each, at most


def empty_space(codes: np.ndarray, bins: int = 20) -> float:
    """The share of cells without a code, of the box that holds the central 95 % of the codes along each axis.

    Of codes of more than two numbers, the plane of their two principal components is looked at. It is the same for
    codes that are stretched or moved, and falls with their number: only equal numbers compare.

    Args:
        codes: [n, d].
        bins: cells along each axis.

    Raises:
        DataError: for fewer than two codes.
    """
    x = np.asarray(codes, np.float64)
    if x.ndim != 2 or len(x) < 2:
        raise DataError(f"expected the codes [n, d] of two examples or more, got shape {x.shape}")
    if x.shape[1] > 2:
        x = x - x.mean(0)
        x = x @ np.linalg.svd(x, full_matrices=False)[2][:2].T
    edges = [np.linspace(*np.percentile(axis, CENTRAL), bins + 1) for axis in x.T]
    counts = np.histogramdd(x, edges)[0]
    return float((counts == 0).mean())


def separation(codes: np.ndarray, labels: np.ndarray) -> float:
    """`tr S_b / tr S_w`: the variance of class means over that within classes, both weighted by class sizes.

    Args:
        codes: [n, d].
        labels: int [n].

    Returns:
        0 for classes in the same place; infinite for classes that are points.

    Reference: Fisher 1936; the traces are those of the scatter matrices between and within classes.
    """
    x, labels = np.asarray(codes, np.float64), np.asarray(labels)
    groups = [x[labels == c] for c in np.unique(labels)]
    between = sum(len(group) * ((group.mean(0) - x.mean(0)) ** 2).sum() for group in groups)
    within = sum(((group - group.mean(0)) ** 2).sum() for group in groups)
    return float(between / within) if within else float("inf")


def jumps(images: jax.Array) -> jax.Array:
    """The largest change from one image of a walk to the next, over the mean change: 1 for a steady walk.

    Args:
        images: of n walks of k images, [n, k, h, w, c].

    Returns:
        [n], between 1 and k - 1; 1 where nothing changes at all.
    """
    steps = jnp.sqrt(jnp.square(images[:, 1:] - images[:, :-1]).sum((2, 3, 4)))  # [n, k - 1]
    mean = steps.mean(1)
    return jnp.where(mean > 0, steps.max(1) / jnp.where(mean > 0, mean, 1), 1)


def spread_of_weights(kernel: jax.Array) -> jax.Array:
    """`(sum w^2)^2 / (n sum w^4)` of each unit's weights: near 1 for all alike, 1 / n for a single one.

    Args:
        kernel: [n, units].

    Returns:
        [units]; small for units that look at a few pixels.
    """
    square = jnp.square(kernel)
    return square.sum(0) ** 2 / (len(kernel) * jnp.square(square).sum(0))


def finalised(names: Sequence[str], means: Mapping[str, float], rows: dict[str, np.ndarray]) -> dict[str, float]:
    """The measures of several autoencoders on the same images, from what an evaluation collected.

    Args:
        names: of the autoencoders.
        means: passed on.
        rows: {"image": [n, h, w, c], "label": int [n], and of each "NAME_code": [n, d], "NAME_reconstruction",
            "NAME_sample", "NAME_midway": images, "NAME_apart": bool [n], whether the two classes of a midway differ}.
            Images are taken out of it.

    Returns:
        means, and of each "NAME_empty", "NAME_separation", and how far samples and images halfway are from the nearest
        real image, over how far reconstructions are, "NAME_sample" and "NAME_midway".
    """
    real, metrics = rows.pop("image"), dict(means)
    real = real.reshape(len(real), -1)
    for name in names:
        code, apart = rows[f"{name}_code"], rows.pop(f"{name}_apart")
        metrics[f"{name}_empty"] = empty_space(code)
        metrics[f"{name}_separation"] = separation(code, rows["label"])
        images = {part: rows.pop(f"{name}_{part}").reshape(len(real), -1) for part in MADE}
        images["midway"] = images["midway"][apart]
        far = {part: feature_distances.nearest(x[:COMPARED], real)[1].mean() for part, x in images.items() if len(x)}
        metrics |= {f"{name}_{part}": float(far[part] / far[MADE[0]]) for part in MADE[1:] if part in far}
    return metrics
