"""Linear probes: how well a linear classifier tells classes apart by the features of a layer that is not trained.

The classifier is ridge regression to one-hot targets on standardised features, which has one solution and needs no
steps: `min_(w, b) 1/n sum_i |w^T x_i + b - y_i|^2 + strength |w|^2`. Its strength is chosen on validation examples.
It is solved on the host in float64: the same features give the same numbers on every machine and layout.

Reference: Alain and Bengio 2017, "Understanding Intermediate Layers Using Linear Classifier Probes"; Dosovitskiy et al.
2021, "An Image is Worth 16x16 Words", section 4.1, for few examples by regularised least squares.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.ops import pooling

Set = tuple[np.ndarray, np.ndarray]  # features [n, d] and labels int [n]


class Probe(NamedTuple):
    """Linear classifiers on the same features, one for each strength.

    Attributes:
        mean: float64 [d], subtracted from features.
        scale: float64 [d], by which they are then divided; 1 for features that are constant.
        kernel: float64 [strengths, d, classes].
        bias: float64 [classes].
    """

    mean: np.ndarray
    scale: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray


def features(out: Mapping[str, Any], grid: int = 2) -> dict[str, jax.Array]:
    """What a model returns beside its scores as one vector for each example and layer.

    Args:
        out: arrays, or tuples of them, [b, ...]: "stages" and "pre_logits" of a backbone, for example.
        grid: maps [b, h, w, c] are averaged over so many times so many cells, or fewer where the map is smaller.

    Returns:
        {"stage0", "stage1" ... for a tuple "stages", "pre_logits": float32 [b, d]}, in the order of `out`.
    """
    vectors = {}
    for name, value in out.items():
        several = isinstance(value, tuple)
        for i, x in enumerate(value if several else (value,)):
            if x.ndim > 2:
                sides = tuple(min(grid, n) for n in x.shape[1:-1])
                x = pooling.adaptive_avg_pool(x, sides)
            wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
            vectors[f"{name.removesuffix('s')}{i}" if several else name] = wide.reshape(len(x), -1)
    return vectors


def fit(x: np.ndarray, labels: np.ndarray, classes: int, strengths: Sequence[float]) -> Probe:
    """Ridge regression for all strengths, by the eigenvectors of the covariance of the features.

    Args:
        x: features, float [n, d].
        labels: int [n], 0 ... classes - 1.
        classes: how many.
        strengths: positive, of the penalty on the kernel; the bias has none.

    Returns:
        A Probe.
    """
    x = np.asarray(x, np.float64)
    mean, deviation = x.mean(0), x.std(0)
    scale = np.where(deviation > 1e-6 * (1 + np.abs(mean)), deviation, 1.0)
    z, y = (x - mean) / scale, np.eye(classes)[labels]
    bias = y.mean(0)
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    target = vectors.T @ (z.T @ (y - bias)) / len(z)  # [d, classes]
    kernel = [vectors @ (target / (np.maximum(values, 0)[:, None] + strength)) for strength in strengths]
    return Probe(mean, scale, np.stack(kernel), bias)


def scores(probe: Probe, x: np.ndarray) -> np.ndarray:
    """Scores [strengths, n, classes] of features [n, d]."""
    return (np.asarray(x, np.float64) - probe.mean) / probe.scale @ probe.kernel + probe.bias


def accuracies(probe: Probe, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The accuracy of each strength, [strengths], on features [n, d] with labels int [n]."""
    given = scores(probe, x)
    return ((given.argmax(-1) == np.asarray(labels)) & ~np.isnan(given).any(-1)).mean(-1)


def chosen(validation: Sequence[float]) -> int:
    """Which strength is best on validation examples; of equal ones the last, which is to be the strongest.

    Args:
        validation: accuracies [strengths], of ascending strengths.
    """
    return len(validation) - 1 - int(np.argmax(np.asarray(validation)[::-1]))


def accuracy(fitted: Set, validation: Set, tested: Set, classes: int, strengths: Sequence[float]) -> float:
    """The accuracy of a probe at the strength that is best on validation examples.

    Args:
        fitted: (features [n, d], labels int [n]) that it is fitted to.
        validation: that its strength is chosen on.
        tested: that it is tested on.
        classes: how many.
        strengths: ascending.
    """
    probe = fit(*fitted, classes, strengths)
    return float(accuracies(probe, *tested)[chosen(accuracies(probe, *validation))])


def few_shot_accuracy(
    rng: np.random.Generator,
    shots: int,
    draws: int,
    fitted: Set,
    validation: Set,
    tested: Set,
    classes: int,
    strengths: Sequence[float],
) -> float:
    """As `accuracy`, of probes fitted to k examples of each class, the mean over several draws of these.

    All draws have one strength, the best by their mean validation accuracy.

    Args:
        rng: draws the examples.
        shots: k.
        draws: how many.
        fitted: that the examples are drawn from.
        validation: see `accuracy`.
        tested: see `accuracy`.
        classes: how many.
        strengths: ascending.
    """
    (x, labels), on_validation, on_test = fitted, [], []
    for _ in range(draws):
        rows = draw_shots(rng, labels, classes, shots)
        probe = fit(x[rows], labels[rows], classes, strengths)
        on_validation.append(accuracies(probe, *validation))
        on_test.append(accuracies(probe, *tested))
    return float(np.mean(on_test, 0)[chosen(np.mean(on_validation, 0))])


def draw_shots(rng: np.random.Generator, labels: np.ndarray, classes: int, shots: int) -> np.ndarray:
    """Places of so many examples of every class, drawn without replacement.

    Args:
        rng: draws them.
        labels: int [n], of which each class has at least `shots`.
        classes: how many.
        shots: k.

    Returns:
        int [classes k].
    """
    of_classes = (np.flatnonzero(np.asarray(labels) == c) for c in range(classes))
    return np.concatenate([rng.choice(places, shots, replace=False) for places in of_classes])
