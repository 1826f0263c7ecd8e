"""Mean shift with fixed shapes: clusters of points, one after the other, each around the mean that a seed moves to."""

import jax
import jax.numpy as jnp
from jax import lax


def mean_shift(
    points: jax.Array, scores: jax.Array, inside: jax.Array, bandwidth: float, most: int, steps: int = 5, least: int = 1
) -> tuple[jax.Array, jax.Array]:
    """Clusters by mean shift with a flat kernel.

    The free point of the best score is a seed; its place becomes the mean of the free points nearer than the bandwidth,
    `steps` times, and the free points nearer than the bandwidth to it are a cluster. This is done until no point is
    free, `most` times at most.

    Args:
        points: float [p, e].
        scores: float [p]; the order of the seeds.
        inside: bool [p], the points to cluster.
        bandwidth: radius of a cluster.
        most: number of clusters.
        steps: moves of a seed.
        least: points of a cluster; smaller ones get the number 0, and take a turn.

    Returns:
        int32 [p], 1 ... most in the order in which clusters were made, 0 for points of none; int32 [], points that are
        inside and were not reached.

    Reference: Comaniciu and Meer 2002, "Mean Shift"; De Brabandere et al. 2017, "Semantic Instance Segmentation with a
    Discriminative Loss Function", section 3.3.
    """
    inside = inside & jnp.isfinite(points).all(-1)

    def cluster(carry: tuple) -> tuple:
        k, numbers, free = carry
        seed = points[jnp.where(free, scores, -jnp.inf).argmax()]

        def near(centre: jax.Array) -> jax.Array:
            return free & (((points - centre[None]) ** 2).sum(-1) < bandwidth**2)

        def move(_: jax.Array, centre: jax.Array) -> jax.Array:
            close = near(centre)[:, None]
            mean = jnp.where(close, points, 0).sum(0) / jnp.maximum(close.sum(), 1)
            return jnp.where(close.any(), mean, centre)

        # The seed belongs to its cluster even if the mean has moved away from it: else it would be the next seed.
        centre = lax.fori_loop(0, steps, move, seed)
        is_seed = free & (points == seed[None]).all(-1)
        members = near(centre) | is_seed
        return k + 1, jnp.where(members & (members.sum() >= least), k + 1, numbers), free & ~members

    start = jnp.int32(0), jnp.zeros(len(points), jnp.int32), inside
    _, numbers, free = lax.while_loop(lambda carry: (carry[0] < most) & carry[2].any(), cluster, start)
    return numbers, free.sum(dtype=jnp.int32)
