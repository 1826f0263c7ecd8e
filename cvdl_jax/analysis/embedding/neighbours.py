"""How well an embedding keeps who is whose neighbour: trustworthiness and continuity.

With n points, U_i the k nearest points of i in the plane and V_i those among the features, r(i, j) the rank of j among
the points nearest to i by the features and s(i, j) the same in the plane, the nearest being 1:

    T = 1 - 2 / (n k (2 n - 3 k - 1)) sum_i sum_{j in U_i, not V_i} (r(i, j) - k)
    C = 1 - 2 / (n k (2 n - 3 k - 1)) sum_i sum_{j in V_i, not U_i} (s(i, j) - k)

T falls where strangers become neighbours, C where neighbours are torn apart; both are 1 where every neighbourhood is
kept.

Reference: Venna and Kaski 2001, "Neighborhood Preservation in Nonlinear Projection Methods", equations 1 and 2.
"""

import jax
import jax.numpy as jnp

from cvdl_jax.analysis.embedding.tsne import squared_distances
from cvdl_jax.config.binding import Size
from cvdl_jax.errors import ConfigError


def ranks(x: jax.Array) -> jax.Array:
    """The rank of every point among those nearest to another one: int [n, n], 1 for the nearest, 0 for itself.

    Args:
        x: float [n, d]; of equally far points the first comes first.
    """
    distances = jnp.where(jnp.eye(len(x), dtype=bool), -jnp.inf, squared_distances(x))
    return jnp.argsort(jnp.argsort(distances, 1, stable=True), 1)


def kept(features: jax.Array, points: jax.Array, k: Size = 10) -> tuple[jax.Array, jax.Array]:
    """(trustworthiness, continuity) of an embedding.

    Args:
        features: float [n, d].
        points: float [n, e], where the features are shown.
        k: neighbours, fewer than half of the points.

    Raises:
        ConfigError: for so many neighbours.
    """
    n = len(features)
    if not 1 <= k < n / 2:
        raise ConfigError(f"{k} neighbours of {n} points must be at least one and fewer than half of them")
    high, low = ranks(features), ranks(points)
    norm = 2 / (n * k * (2 * n - 3 * k - 1))

    def share(rank: jax.Array, shown: jax.Array) -> jax.Array:
        """1 less what intrudes among those shown near, by its rank."""
        return 1 - norm * jnp.where((shown > 0) & (shown <= k) & (rank > k), rank - k, 0).sum()

    return share(high, low), share(low, high)


def measures(features: jax.Array, points: jax.Array, most: int = 10) -> dict[str, jax.Array]:
    """{"trustworthiness_K", "continuity_K"} of K = `most` neighbours, fewer of few points, {} of two; see `kept`."""
    k = min(most, (len(points) - 1) // 2)
    if k == 0:
        return {}
    trust, continuity = kept(features, points, k)
    return {f"trustworthiness_{k}": trust, f"continuity_{k}": continuity}
