"""Linear probes: how well a linear classifier tells classes apart by the features of a layer that is not trained.

The classifier is ridge regression to one-hot targets on standardised features, which has one solution and needs no
steps: `min_(w, b) 1/n sum_i |w^T x_i + b - y_i|^2 + strength |w|^2`. Its strength is chosen on validation examples.

Reference: Alain and Bengio 2017, "Understanding Intermediate Layers Using Linear Classifier Probes"; Dosovitskiy et al.
2021, "An Image is Worth 16x16 Words", section 4.1, for few examples by regularised least squares.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.ops import pooling

Set = tuple[jax.Array, jax.Array]  # features [n, d] and labels int [n]
Pair = tuple[jax.Array, jax.Array]
_EXACT = {"precision": lax.Precision.HIGHEST}


class Probe(NamedTuple):
    """Linear classifiers on the same features, one for each strength.

    Attributes:
        mean: float32 [d], subtracted from features.
        scale: float32 [d], by which they are then divided; 1 for features that are constant.
        kernel: float32 [strengths, d, classes].
        bias: float32 [classes].
    """

    mean: jax.Array
    scale: jax.Array
    kernel: jax.Array
    bias: jax.Array


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


def fit(x: jax.Array, labels: jax.Array, classes: int, strengths: Sequence[float]) -> Probe:
    """Ridge regression for all strengths, by the eigenvectors of the covariance of the features.

    Args:
        x: features, float [n, d].
        labels: int [n], 0 ... classes - 1.
        classes: how many.
        strengths: positive, of the penalty on the kernel; the bias has none.

    Returns:
        A Probe.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean, deviation = x.mean(0), x.std(0)
    scale = jnp.where(deviation > 1e-6 * (1 + jnp.abs(mean)), deviation, 1.0)
    z = (x - mean[None]) / scale[None]
    y = jax.nn.one_hot(labels, classes, dtype=z.dtype)
    bias = y.mean(0)
    covariance = jnp.matmul(z.T, z, **_EXACT) / len(z)  # [d, d]
    values, vectors = jnp.linalg.eigh(covariance)
    target = jnp.matmul(vectors.T, jnp.matmul(z.T, y - bias[None], **_EXACT) / len(z), **_EXACT)  # [d, classes]
    shrunk = target[None] / (jnp.maximum(values, 0)[None, :, None] + jnp.asarray(strengths, z.dtype)[:, None, None])
    return Probe(mean, scale, jnp.einsum("de,sec->sdc", vectors, shrunk, **_EXACT), bias)


def scores(probe: Probe, x: jax.Array) -> jax.Array:
    """Scores [strengths, n, classes] of features [n, d]."""
    z = (x - probe.mean[None]) / probe.scale[None]
    return jnp.einsum("nd,sdc->snc", z, probe.kernel, **_EXACT) + probe.bias[None, None]


def accuracies(probe: Probe, x: jax.Array, labels: jax.Array) -> jax.Array:
    """The accuracy of each strength, float32 [strengths], on features [n, d] with labels int [n]."""
    return (scores(probe, x).argmax(-1) == labels[None]).mean(-1)


def chosen(validation: jax.Array) -> jax.Array:
    """Which strength is best on validation examples; of equal ones the last, which is to be the strongest.

    Args:
        validation: accuracies [strengths], of ascending strengths.

    Returns:
        int [].
    """
    return len(validation) - 1 - jnp.argmax(validation[::-1])


def _chosen_accuracy(fitted: Set, validation: Set, tested: Set, classes: int, strengths: Sequence[float]) -> Pair:
    """The accuracies [strengths] of a probe on validation and on other examples."""
    probe = fit(*fitted, classes, strengths)
    return accuracies(probe, *validation), accuracies(probe, *tested)


def accuracy(fitted: Set, validation: Set, tested: Set, classes: int, strengths: Sequence[float]) -> jax.Array:
    """The accuracy of a probe at the strength that is best on validation examples.

    Args:
        fitted: (features [n, d], labels int [n]) that it is fitted to.
        validation: that its strength is chosen on.
        tested: that it is tested on.
        classes: how many.
        strengths: ascending.

    Returns:
        float32 [].
    """
    on_validation, on_test = _chosen_accuracy(fitted, validation, tested, classes, strengths)
    return on_test[chosen(on_validation)]


def few_shot_accuracy(
    key: jax.Array,
    shots: int,
    draws: int,
    fitted: Set,
    validation: Set,
    tested: Set,
    classes: int,
    strengths: Sequence[float],
) -> jax.Array:
    """As `accuracy`, of probes fitted to k examples of each class, the mean over several draws of these.

    All draws have one strength, the best by their mean validation accuracy.

    Args:
        key: a typed key.
        shots: k.
        draws: how many.
        fitted: that the examples are drawn from.
        validation: see `accuracy`.
        tested: see `accuracy`.
        classes: how many.
        strengths: ascending.

    Returns:
        float32 [].
    """
    x, labels = fitted

    def one(key: jax.Array) -> Pair:
        rows = draw_shots(key, labels, classes, shots)
        return _chosen_accuracy((x[rows], labels[rows]), validation, tested, classes, strengths)

    on_validation, on_test = jax.vmap(one)(jax.random.split(key, draws))  # [draws, strengths]
    return on_test.mean(0)[chosen(on_validation.mean(0))]


def draw_shots(key: jax.Array, labels: jax.Array, classes: int, shots: int) -> jax.Array:
    """Places of so many examples of every class, drawn without replacement.

    Args:
        key: a typed key.
        labels: int [n], of which each class has at least `shots`.
        classes: how many.
        shots: k.

    Returns:
        int [classes k].
    """
    order = jax.random.uniform(key, labels.shape)

    def of_class(c: jax.Array) -> jax.Array:
        return jnp.argsort(jnp.where(labels == c, order, 2.0))[:shots]  # those of other classes come last

    return jax.vmap(of_class)(jnp.arange(classes)).reshape(-1)
