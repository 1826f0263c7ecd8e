"""Geometry of two views: points in space from two cameras, and the second camera from points seen in both.

A camera P = K [R | t] sees the point X at x ~ P X. Points of two views of one scene meet `x2^T F x1 = 0`; with known
K the essential matrix is `E = K2^T F K1 = [t]_x R`, from which R and the direction of t follow: no image tells how
long t is. Points are [n, 2] in pixels, or, where it says so, in coordinates with K = 1.

Reference: Hartley and Zisserman 2004, "Multiple View Geometry in Computer Vision", sections 9.6, 11.2, 11.4.3, 12.2;
    Hartley 1997, "In Defense of the Eight-Point Algorithm"; Fischler and Bolles 1981 (RANSAC).
"""

import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.value_checks import or_nan

SAMPLE = 8  # points that determine a fundamental matrix


def homogeneous(x: jax.Array) -> jax.Array:
    """[..., d] -> [..., d + 1], with a 1 behind."""
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], -1)


def project(camera: jax.Array, points: jax.Array) -> jax.Array:
    """Where a camera [3, 4], K [R t] with a K of positive scale, sees points [n, 3]: [n, 2], NaN behind it."""
    x = homogeneous(points) @ camera.T
    return x[..., :2] / jnp.where(x[..., 2:] > 0, x[..., 2:], jnp.nan)


def triangulate(camera1: jax.Array, camera2: jax.Array, x1: jax.Array, x2: jax.Array) -> jax.Array:
    """Points in space by the direct linear transform: the null vector of `x P_3 - P_1, y P_3 - P_2` of both views.

    Args:
        camera1: P1, [3, 4].
        camera2: P2, [3, 4].
        x1: points of the first view, [n, 2].
        x2: the same points in the second view, [n, 2].

    Returns:
        [n, 3].
    """
    rows = [x[:, i, None] * p[2][None] - p[i][None] for p, x in ((camera1, x1), (camera2, x2)) for i in (0, 1)]
    a = jnp.stack(rows, 1)  # [n, 4, 4]
    a = a / jnp.linalg.norm(a, axis=-1, keepdims=True)
    null = jnp.linalg.svd(a)[2][:, -1]  # [n, 4]
    return null[:, :3] / null[:, 3:]


def normaliser(x: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The similarity [3, 3] that moves points to the mean 0 and a mean distance of sqrt(2) from it.

    Args:
        x: [n, 2].
        weights: [n], 0 for points that do not count; None for ones.
    """
    w = jnp.ones(len(x), x.dtype) if weights is None else weights.astype(x.dtype)
    mean = (w[:, None] * x).sum(0) / w.sum()
    scale = jnp.sqrt(2.0) * w.sum() / (w * jnp.linalg.norm(x - mean[None], axis=1)).sum()
    zero, one = jnp.zeros_like(scale), jnp.ones_like(scale)
    return jnp.stack([
        jnp.stack([scale, zero, -scale * mean[0]]), jnp.stack([zero, scale, -scale * mean[1]]),
        jnp.stack([zero, zero, one]),
    ])  # fmt: skip


def fundamental(x1: jax.Array, x2: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The normalised eight-point algorithm: F of rank 2 with `x2^T F x1 = 0`, of norm 1.

    Args:
        x1: points of the first view, [n, 2], n >= 8.
        x2: the same points in the second view.
        weights: of the equations, [n]; None for ones.

    Returns:
        [3, 3].

    Raises:
        ConfigError: for fewer than eight points.
    """
    if len(x1) < SAMPLE or x1.shape != x2.shape:
        raise ConfigError(
            f"the eight-point algorithm takes two times [n, 2] with n >= 8, got {x1.shape} and {x2.shape}"
        )
    t1, t2 = normaliser(x1, weights), normaliser(x2, weights)
    a, b = homogeneous(x1) @ t1.T, homogeneous(x2) @ t2.T
    equations = (b[:, :, None] * a[:, None, :]).reshape(-1, 9)  # x2_i F_ij x1_j
    equations = equations if weights is None else equations * jnp.sqrt(weights)[:, None]
    if len(equations) < 9:
        equations = jnp.pad(equations, ((0, 9 - len(equations)), (0, 0)))  # or V' has no row for the null vector
    # The triangle of a QR decomposition has the same V; that of A'A would, with half of the digits.
    f = jnp.linalg.svd(jnp.linalg.qr(equations, mode="r"))[2][-1].reshape(3, 3)
    u, s, v = jnp.linalg.svd(f)
    f = t2.T @ (u * s.at[2].set(0)[None]) @ v @ t1
    return f / jnp.linalg.norm(f)


def essential(f: jax.Array, k1: jax.Array, k2: jax.Array) -> jax.Array:
    """`K2^T F K1` with the singular values 1, 1, 0 of an essential matrix: [3, 3]."""
    u, _, v = jnp.linalg.svd(k2.T @ f @ k1)
    return (u * jnp.asarray([[1.0, 1.0, 0.0]], u.dtype)) @ v


def relative_pose(e: jax.Array, x1: jax.Array, x2: jax.Array, weights: jax.Array | None = None) -> tuple:
    """R and the direction of t of the second camera: of four candidates the one with most points before both cameras.

    Args:
        e: essential matrix, [3, 3].
        x1: points of the first view in coordinates with K = 1, [n, 2].
        x2: likewise of the second view.
        weights: [n], of the votes; None for ones.

    Returns:
        (R [3, 3], t [3] of length 1), with X2 = R X1 + t; NaN where no point lies before both cameras.
    """
    u, _, v = jnp.linalg.svd(e)
    turn = jnp.asarray([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], e.dtype)
    rotations = [u @ w @ v for w in (turn, turn.T)]
    rotations = [r * jnp.sign(jnp.linalg.det(r)) for r in rotations]
    r = jnp.stack([rotations[0], rotations[0], rotations[1], rotations[1]])
    t = jnp.stack([u[:, 2], -u[:, 2]] * 2)
    first = jnp.eye(3, 4, dtype=e.dtype)

    def votes(r: jax.Array, t: jax.Array) -> jax.Array:
        points = triangulate(first, jnp.concatenate([r, t[:, None]], 1), x1, x2)
        before = (points[:, 2] > 0) & ((points @ r.T + t[None])[:, 2] > 0)
        return (before * (1 if weights is None else weights)).sum()

    count = jnp.stack([votes(a, b) for a, b in zip(r, t, strict=True)])
    best = count.argmax()
    return or_nan(count[best] > 0, r[best]), or_nan(count[best] > 0, t[best])


def sampson_distances(f: jax.Array, x1: jax.Array, x2: jax.Array) -> jax.Array:
    """Squared distances of pairs of points from what F allows, to first order, in squared pixels: [n].

    `(x2^T F x1)^2 / ((F x1)_1^2 + (F x1)_2^2 + (F^T x2)_1^2 + (F^T x2)_2^2)`.
    """
    a, b = homogeneous(x1) @ f.T, homogeneous(x2) @ f
    wrong = (homogeneous(x2) * a).sum(-1)
    return jnp.square(wrong) / (jnp.square(a[:, :2]).sum(-1) + jnp.square(b[:, :2]).sum(-1))


def ransac(
    key: jax.Array, x1: jax.Array, x2: jax.Array, threshold: float = 1.0, samples: int = 200
) -> tuple[jax.Array, jax.Array]:
    """F where some of the pairs are wrong: of many samples of eight pairs the one with which most pairs agree.

    With a share e of wrong pairs a sample is all right with probability `(1 - e)^8`.

    Args:
        key: typed key.
        x1: points of the first view, [n, 2].
        x2: what they are matched with in the second view, [n, 2].
        threshold: in pixels, of the Sampson distance of a pair that agrees.
        samples: how many.

    Returns:
        (F of all pairs that agree with the best sample, [3, 3], NaN where fewer than eight do; which these are, bool
        [n]).
    """

    def agreeing(key: jax.Array) -> jax.Array:
        rows = jax.random.choice(key, len(x1), (SAMPLE,), replace=False)
        return sampson_distances(fundamental(x1[rows], x2[rows]), x1, x2) < threshold**2

    agree = jax.vmap(agreeing)(jax.random.split(key, samples))  # [samples, n]
    best = agree[agree.sum(1).argmax()]
    return or_nan(best.sum() >= SAMPLE, fundamental(x1, x2, best.astype(x1.dtype))), best
