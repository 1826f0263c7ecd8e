"""Small graphs with a class for every node: Zachary's karate club, and random ones with communities.

Reference: Zachary 1977, "An Information Flow Model for Conflict and Fission in Small Groups", figures 1 and 3; Holland
    et al. 1983, "Stochastic Blockmodels: First Steps".
"""

import jax
import jax.numpy as jnp
import numpy as np

# {member: those with a smaller number whom he met outside the club}, numbered from 1 as in the paper; 78 pairs
FRIENDS = {
    2: (1,), 3: (1, 2), 4: (1, 2, 3), 5: (1,), 6: (1,), 7: (1, 5, 6), 8: (1, 2, 3, 4), 9: (1, 3), 10: (3,),
    11: (1, 5, 6), 12: (1,), 13: (1, 4), 14: (1, 2, 3, 4), 17: (6, 7), 18: (1, 2), 20: (1, 2), 22: (1, 2),
    26: (24, 25), 28: (3, 24, 25), 29: (3,), 30: (24, 27), 31: (2, 9), 32: (1, 25, 26, 29),
    33: (3, 9, 15, 16, 19, 21, 23, 24, 30, 31, 32),
    34: (9, 10, 14, 15, 16, 19, 20, 21, 23, 24, 27, 28, 29, 30, 31, 32, 33),
}  # fmt: skip
# Who went with the instructor (1) when the club split; the others went with the officers (34).
WITH_INSTRUCTOR = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 17, 18, 20, 22)
MEMBERS = 34


def karate_club() -> tuple[np.ndarray, np.ndarray]:
    """The adjacency matrix, float32 [34, 34], and the side that every member took, int32 [34]: 0 the instructor's."""
    adjacency = np.zeros((MEMBERS, MEMBERS), np.float32)
    for one, others in FRIENDS.items():
        for other in others:
            adjacency[one - 1, other - 1] = adjacency[other - 1, one - 1] = 1
    sides = np.ones(MEMBERS, np.int32)
    sides[np.asarray(WITH_INSTRUCTOR) - 1] = 0
    return adjacency, sides


def block_model(key: jax.Array, labels: jax.Array, inside: float, between: float) -> jax.Array:
    """A random graph: two nodes are joined with one probability if they are of one class, else with another.

    Args:
        key: typed key.
        labels: int [n].
        inside: probability of an edge between nodes of one class.
        between: of one between nodes of two.

    Returns:
        Adjacency, symmetric, without loops, float32 [n, n].
    """
    same = labels[:, None] == labels[None]
    upper = jnp.triu(jax.random.uniform(key, same.shape) < jnp.where(same, inside, between), 1)
    return (upper | upper.T).astype(jnp.float32)
