"""Mixtures of Gaussians by expectation and maximisation: `p(x) = sum_k w_k N(x; m_k, C_k)`."""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.analysis.embedding import clustering
from cvdl_jax.errors import DataError

_HIGH = lax.Precision.HIGHEST


class Mixture(NamedTuple):
    """A mixture of k Gaussians.

    Attributes:
        weights: [k], positive, of sum 1.
        means: [k, d].
        covariances: [k, d] variances ("diag"), or matrices [k, d, d] ("full").
    """

    weights: jax.Array
    means: jax.Array
    covariances: jax.Array


def log_joint(mixture: Mixture, x: jax.Array) -> jax.Array:
    """log(w_k N(x_i; m_k, C_k)) [n, k] of points x [n, d]."""
    d = x.shape[1]
    if mixture.covariances.ndim == 2:
        scaled = lambda m, v: (jnp.square(x - m[None]) / v[None]).sum(1)  # noqa: E731
        lengths = lax.map(lambda mv: scaled(*mv), (mixture.means, mixture.covariances)).T  # [n, k]
        half_log_det = jnp.log(mixture.covariances).sum(1) / 2
    else:
        root = jnp.linalg.cholesky(mixture.covariances)  # [k, d, d]

        def length(part: tuple) -> jax.Array:
            mean, lower = part
            solved = jax.scipy.linalg.solve_triangular(lower, (x - mean[None]).T, lower=True)  # [d, n]
            return jnp.square(solved).sum(0)

        lengths = lax.map(length, (mixture.means, root)).T
        half_log_det = jnp.log(jnp.diagonal(root, axis1=1, axis2=2)).sum(1)
    offset = jnp.log(mixture.weights) - half_log_det - d / 2 * math.log(2 * math.pi)
    return offset[None] - lengths / 2


def responsibilities(mixture: Mixture, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The E step: p(k | x_i) [n, k], and the mean log likelihood of a point."""
    joint = log_joint(mixture, x)
    return jax.nn.softmax(joint, 1), jax.nn.logsumexp(joint, 1).mean()


def maximise(x: jax.Array, r: jax.Array, kind: Literal["diag", "full"], floor: float) -> Mixture:
    """The M step: `n_k = sum_i r_ik`, w_k = n_k / n, weighted means and covariances, to which `floor` is added.

    Args:
        x: float [n, d].
        r: responsibilities [n, k].
        kind: of the covariances.
        floor: variance that is added in every direction, so that a component of one point has a density.
    """
    d = x.shape[1]
    mass = r.sum(0) + jnp.finfo(x.dtype).eps  # [k]
    means = jnp.matmul(r.T, x, precision=_HIGH) / mass[:, None]

    def spread(part: tuple) -> jax.Array:
        mean, share = part
        centred = x - mean[None]
        if kind == "diag":
            return (share[:, None] * centred**2).sum(0) + floor
        return jnp.matmul((share[:, None] * centred).T, centred, precision=_HIGH) + floor * jnp.eye(d, dtype=x.dtype)

    return Mixture(mass / mass.sum(), means, lax.map(spread, (means, (r / mass[None]).T)))


def fit(
    key: jax.Array,
    x: jax.Array,
    k: int,
    iterations: int = 50,
    kind: Literal["diag", "full"] = "diag",
    floor: float = 1e-6,
) -> tuple[Mixture, jax.Array]:
    """Expectation and maximisation from the clusters of k-means.

    With `floor` 0 the likelihood never decreases. The floor adds a little to the covariances that maximise it, so that
    it then may, by as little. Without a floor a component of too few points has no density: everything is NaN, which
    `check_fit` says.

    Args:
        key: of the first clusters.
        x: float [n, d].
        k: components, at most n.
        iterations: of both steps.
        kind: "diag" or "full" covariances.
        floor: see `maximise`.

    Returns:
        The Mixture, and the mean log likelihood of a point before each M step and after the last [iterations + 1].

    Raises:
        ValueError: for an unknown kind, a floor that is negative, or more components than points.

    Reference: Dempster, Laird and Rubin 1977; Bishop 2006, "Pattern Recognition and Machine Learning", section 9.2.2.
    """
    if kind not in ("diag", "full"):
        raise ValueError(f"kind={kind!r} is not one of diag, full")
    if not floor >= 0:
        raise ValueError(f"floor={floor} must be 0 or more")
    label = clustering.kmeans(key, x, k, 10).label
    first = maximise(x, jax.nn.one_hot(label, k, dtype=x.dtype), kind, floor)

    def step(mixture: Mixture, _: None) -> tuple[Mixture, jax.Array]:
        r, value = responsibilities(mixture, x)
        return maximise(x, r, kind, floor), value

    mixture, values = lax.scan(step, first, None, iterations)
    return mixture, jnp.append(values, responsibilities(mixture, x)[1])


def check_fit(values: np.ndarray, floor: float) -> None:
    """Refuses a fit that lost a component: likelihoods [iterations + 1] that are NaN make every point one cluster.

    Raises:
        DataError: naming the iteration and the floor.
    """
    bad = ~np.isfinite(np.asarray(values))
    if bad.any():
        raise DataError(
            f"the mixture has no likelihood from iteration {int(bad.argmax())} on: the covariance of a component is "
            f"singular; take a larger floor of variances than {floor}, fewer components, or other features"
        )
