"""How far apart two distributions or two directions are: Kullback-Leibler divergence and cosine similarity.

The divergences also take `reduction`, `weights` and `mask`; see `reduction.reducible`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.ops.losses.reduction import reducible
from cvdl_jax.ops.value_checks import distribution, floats, or_nan, positive, same_shape


@reducible
def kl_divergence(p: Any, q: Any, axis: int = -1) -> jax.Array:
    """KL divergence of q from p, `KL(p, q) = sum_j p_j log(p_j / q_j)`, in nats. It is not symmetric.

    Terms with p_j = 0 count as 0; the divergence is infinite if q_j = 0 where p_j is not.

    Args:
        p: probabilities, float [..., c].
        q: probabilities, [..., c].
        axis: the axis of the outcomes, over which p and q sum to one.

    Returns:
        float32 [...], at least 0 up to rounding.

    Raises:
        ValueError: for shapes that differ, NaN, or numbers that are no probabilities (NaN inside jit).

    Reference: Kullback and Leibler 1951, "On Information and Sufficiency", equation 2.4.
    """
    p, q = floats("p", p), floats("q", q)
    same_shape(p=p, q=q)
    good = distribution("p", p, axis) & distribution("q", q, axis)
    terms = p * (jnp.log(jnp.where(p == 0, 1.0, p)) - jnp.log(jnp.where(p == 0, 1.0, q)))
    return or_nan(good, terms.sum(axis))


@reducible
def kl_divergence_of_logits(p_logits: Any, q_logits: Any, axis: int = -1) -> jax.Array:
    """`KL(softmax(a), softmax(b))` from logits a and b; finite for finite logits.

    Args:
        p_logits: a, float [..., c].
        q_logits: b, [..., c].
        axis: the axis of the outcomes.

    Returns:
        float32 [...].

    Raises:
        ValueError: for shapes that differ, or NaN.
    """
    a, b = floats("p_logits", p_logits), floats("q_logits", q_logits)
    same_shape(p_logits=a, q_logits=b)
    log_p, log_q = jax.nn.log_softmax(a, axis), jax.nn.log_softmax(b, axis)
    return (jnp.exp(log_p) * (log_p - log_q)).sum(axis)


@reducible
def kl_gaussian(p_mean: Any, p_variance: Any, q_mean: Any, q_variance: Any) -> jax.Array:
    """`KL(p, q)` of normal distributions, `[v_p / v_q - 1 - log(v_p / v_q) + (m_p - m_q)^2 / v_q] / 2`.

    For independent dimensions, sum over the last axis. For the other direction, exchange p and q.

    Args:
        p_mean: m_p, float [...].
        p_variance: v_p > 0, [...].
        q_mean: m_q, [...].
        q_variance: v_q > 0, [...].

    Returns:
        float32 [...], per dimension.

    Raises:
        ValueError: for shapes that differ, NaN, or variances that are not positive (NaN inside jit).
    """
    parts = {"p_mean": p_mean, "p_variance": p_variance, "q_mean": q_mean, "q_variance": q_variance}
    parts = {name: floats(name, x) for name, x in parts.items()}
    same_shape(**parts)
    good = positive("p_variance", parts["p_variance"]) & positive("q_variance", parts["q_variance"])
    m_p, v_p, m_q, v_q = parts.values()
    ratio = v_p / v_q
    return or_nan(good, 0.5 * (ratio - 1 - jnp.log(ratio) + (m_p - m_q) ** 2 / v_q))


@reducible
def kl_to_standard_normal(mean: Any, log_variance: Any) -> jax.Array:
    """`KL(N(m, v), N(0, 1)) = (m^2 + v - log v - 1) / 2`, the latent loss of a variational autoencoder.

    Args:
        mean: m, float [..., d].
        log_variance: log v, [..., d].

    Returns:
        float32 [...], summed over the d independent dimensions.

    Raises:
        ValueError: for shapes that differ, or NaN.

    Reference: Kingma and Welling 2014, "Auto-Encoding Variational Bayes", appendix B. Errata of the course: ER86.
    """
    m, log_v = _mean_and_log_variance(mean, log_variance)
    return 0.5 * (m**2 + jnp.expm1(log_v) - log_v).sum(-1)


@reducible
def kl_from_standard_normal(mean: Any, log_variance: Any) -> jax.Array:
    """The other direction, `KL(N(0, 1), N(m, v)) = (log v + (1 + m^2) / v - 1) / 2`.

    Args:
        mean: m, float [..., d].
        log_variance: log v, [..., d].

    Returns:
        float32 [...], summed over the d independent dimensions.

    Raises:
        ValueError: for shapes that differ, or NaN.
    """
    m, log_v = _mean_and_log_variance(mean, log_variance)
    return 0.5 * (log_v + jnp.expm1(-log_v) + m**2 * jnp.exp(-log_v)).sum(-1)


def cosine_similarity(x: Any, y: Any, axis: int = -1, eps: float = 1e-6) -> jax.Array:
    """Cosine of the angle between vectors, `x . y / max(|x| |y|, eps)`, in [-1, 1]; 0 if a vector is zero.

    Args:
        x: float [..., d].
        y: [..., d].
        axis: the axis of the components.
        eps: smallest divisor, positive.

    Returns:
        float32 [...].

    Raises:
        ValueError: for shapes that differ, NaN, or eps that is not positive.
    """
    positive("eps", eps)
    x, y = floats("x", x), floats("y", y)
    same_shape(x=x, y=y)
    (x, of_x), (y, of_y) = (_shrunk(vectors, axis) for vectors in (x, y))
    return (x * y).sum(axis) / _divisor(_norm(x, axis) * _norm(y, axis), eps, of_x.squeeze(axis), of_y.squeeze(axis))


def cosine_matrix(x: Any, y: Any, eps: float = 1e-6) -> jax.Array:
    """`cosine_similarity` of every row of x with every row of y.

    Args:
        x: float [n, d].
        y: [m, d].
        eps: smallest divisor, positive.

    Returns:
        float32 [n, m].

    Raises:
        ValueError: for other shapes, NaN, or eps that is not positive.
    """
    positive("eps", eps)
    x, y = floats("x", x), floats("y", y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must be [n, d] and [m, d], got {list(x.shape)} and {list(y.shape)}")
    (x, of_x), (y, of_y) = (_shrunk(vectors, 1) for vectors in (x, y))
    norms = _norm(x, 1)[:, None] * _norm(y, 1)[None]  # [n, m]
    return jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST) / _divisor(norms, eps, of_x, of_y.T)


def _shrunk(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Vectors whose squares could overflow divided by their largest magnitude, the others as they are; the divisors."""
    largest = jax.lax.stop_gradient(jnp.abs(x).max(axis, keepdims=True))
    most = float(jnp.finfo(x.dtype).max)
    divisor = jnp.where(largest > most**0.25, jnp.minimum(largest, most / 4), 1)  # 1 / divisor is a normal number
    return x / divisor, divisor


def _divisor(norms: jax.Array, eps: float, of_x: jax.Array, of_y: jax.Array) -> jax.Array:
    """`max(norms, eps)`, eps in the units of shrunk vectors; never 0."""
    return jnp.maximum(norms, jnp.maximum(eps / of_x / of_y, jnp.finfo(norms.dtype).tiny))


def _norm(x: jax.Array, axis: int) -> jax.Array:
    """Euclidean norm; its gradient at 0 is 0, not NaN."""
    squares = jnp.square(x).sum(axis)
    return jnp.where(squares == 0, 0.0, jnp.sqrt(jnp.where(squares == 0, 1.0, squares)))


def _mean_and_log_variance(mean: Any, log_variance: Any) -> tuple[jax.Array, jax.Array]:
    mean, log_variance = floats("mean", mean), floats("log_variance", log_variance)
    same_shape(mean=mean, log_variance=log_variance)
    return mean, log_variance
