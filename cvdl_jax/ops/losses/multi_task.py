"""One loss of several tasks, of which an example may have some labels and lack others.

With n examples, of which m_it = 1 where example i has the label of task t and 0 where not:

    L = sum_t lambda_t L_t,    L_t = sum_i m_it l_it / n

The sums are returned as a pair (total, n), to be divided by the n of the global batch: so a task without any label
contributes 0, and micro-batches and devices agree. L_t counts a missing label as no loss: where a share q of the
examples has labels, L_t is q times their mean, and a lambda of 1 / q weighs the tasks as if all had them.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

Pair = tuple[jax.Array, jax.Array]


def weighted(
    losses: Mapping[str, jax.Array], known: Mapping[str, jax.Array], weights: Mapping[str, float], real: jax.Array
) -> Pair:
    """Fixed weights, `sum_t lambda_t sum_i m_it l_it` over n examples.

    Args:
        losses: l of each task, float [n].
        known: m of each task, 0 or 1 [n]; a loss where it is 0 may be anything.
        weights: lambda of each task.
        real: 1 for examples, 0 for padding, [n].

    Returns:
        (total, number of examples), scalars.
    """
    total = sum(weights[task] * masked(losses[task], known[task] * real).sum() for task in losses)
    return total, real.sum()


def uncertain(
    losses: Mapping[str, jax.Array],
    known: Mapping[str, jax.Array],
    log_variances: Mapping[str, jax.Array],
    gaussian: Mapping[str, bool],
    real: jax.Array,
) -> Pair:
    """Learned weights, `sum_t sum_i m_it (c_t exp(-s_t) l_it + s_t / 2)` with `s_t = log sigma_t^2`, a parameter.

    It is the negative logarithm of a likelihood without its constants: of normal errors of variance sigma^2 where l is
    a squared error (c = 1 / 2), and, approximately, of a softmax of scores divided by sigma^2 where l is a
    cross-entropy (c = 1). Its minimum over s is at `sigma^2 = 2 c mean(l)`.

    Args:
        losses: as of `weighted`.
        known: likewise.
        log_variances: s of each task, scalars.
        gaussian: whether c is 1 / 2, for each task.
        real: as of `weighted`.

    Returns:
        (total, number of examples), scalars.

    Reference: Kendall, Gal and Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry
        and Semantics", equations 7 and 10.
    """
    total = jnp.zeros(())
    for task, loss in losses.items():
        s, mask = log_variances[task], known[task] * real
        c = 0.5 if gaussian[task] else 1.0
        total = total + (c * jnp.exp(-s) * masked(loss, mask)).sum() + s / 2 * mask.sum()
    return total, real.sum()


def masked(losses: jax.Array, mask: jax.Array) -> jax.Array:
    """Losses [n] where the mask [n] is not 0, else 0, even where a loss is NaN."""
    return jnp.where(mask != 0, losses, 0.0) * mask
