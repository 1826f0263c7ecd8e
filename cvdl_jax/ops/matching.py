"""One to one matching of predictions to objects: the assignment whose costs add up to the least."""

import jax
import jax.numpy as jnp
import optax


def assign(cost: jax.Array, mask: jax.Array) -> jax.Array:
    """The prediction of each object, of all one-to-one maps s that with the least `sum_j cost[s(j), j]`.

    By the Hungarian algorithm, compiled with the step.

    Args:
        cost: float [q, t] of each prediction and object, q >= t; what is not finite counts as very dear.
        mask: [t], 1 for an object, 0 for padding.

    Returns:
        int32 [t]; predictions of padding are among those that no object has, and mean nothing.

    Raises:
        ValueError: for more objects than predictions.

    Reference: Kuhn 1955, "The Hungarian Method for the Assignment Problem"; Carion et al. 2020, "End-to-End Object
        Detection with Transformers", equation 1.
    """
    q, t = cost.shape
    if q < t:
        raise ValueError(f"{t} objects cannot have a prediction each, there are {q}")
    cost = jnp.where(mask[None] > 0, jnp.where(jnp.isfinite(cost), cost, 1e6), 0)
    predictions, objects = optax.assignment.hungarian_algorithm(cost)
    return jnp.zeros(t, jnp.int32).at[objects].set(predictions.astype(jnp.int32))
