"""Finite Markov decision processes, given as arrays and solved exactly: values, greedy policies, iterations.

States are 0 ... n - 1, actions 0 ... m - 1; a policy is a table of probabilities [n, m]. No reward comes after a
terminal state: its value is 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Mdp(NamedTuple):
    """The arrays of a process.

    Attributes:
        transition: P [n, m, n], `P[s, a, t] = Pr(t | s, a)`.
        reward: R [n, m], expected reward of action a in state s.
        terminal: bool [n].
        discount: gamma in [0, 1].
    """

    transition: jax.Array
    reward: jax.Array
    terminal: jax.Array
    discount: float


def uniform_policy(mdp: Mdp) -> jax.Array:
    """Every action with the same probability, [n, m]."""
    return jnp.full(mdp.reward.shape, 1 / mdp.reward.shape[1], mdp.reward.dtype)


def action_values(mdp: Mdp, v: jax.Array) -> jax.Array:
    """`q(s, a) = R(s, a) + gamma sum_t P(t | s, a) v(t)`, 0 in terminal states.

    Args:
        mdp: the process.
        v: values [n].

    Returns:
        [n, m].
    """
    q = mdp.reward + mdp.discount * mdp.transition @ v
    return jnp.where(mdp.terminal[:, None], 0, q)


def sweep(mdp: Mdp, policy: jax.Array, v: jax.Array) -> jax.Array:
    """One synchronous sweep of the Bellman expectation update: `v'(s) = sum_a pi(a | s) q(s, a)`.

    Args:
        mdp: the process.
        policy: pi [n, m].
        v: [n].

    Returns:
        [n].

    Reference: Sutton and Barto 2018, equation 4.5.
    """
    return (policy * action_values(mdp, v)).sum(1)


def optimality_sweep(mdp: Mdp, v: jax.Array) -> jax.Array:
    """One sweep of the Bellman optimality update: `v'(s) = max_a q(s, a)`. Reference: ibid., equation 4.10."""
    return action_values(mdp, v).max(1)


def evaluate_policy(mdp: Mdp, policy: jax.Array) -> jax.Array:
    """The values of a policy by linear algebra: `v = (I - gamma P_pi)^-1 R_pi` over the states that are not terminal.

    Args:
        mdp: the process; with gamma 1 the policy must reach a terminal state from everywhere.
        policy: pi [n, m].

    Returns:
        v_pi [n].
    """
    alive = 1 - mdp.terminal.astype(mdp.reward.dtype)
    p = alive[:, None] * jnp.einsum("sa,sat->st", policy, mdp.transition) * alive[None]  # [n, n]
    r = alive * (policy * mdp.reward).sum(1)  # [n]
    return jnp.linalg.solve(jnp.eye(len(r), dtype=p.dtype) - mdp.discount * p, r)


def _iterate(update, v: jax.Array, tolerance: float, most: int) -> tuple[jax.Array, jax.Array]:
    """Repeats an update until no value changes by `tolerance` or more; returns the values and the number of sweeps."""

    def go_on(carry: tuple) -> jax.Array:
        _, moved, sweeps = carry
        return (moved >= tolerance) & (sweeps < most)

    def body(carry: tuple) -> tuple:
        v, _, sweeps = carry
        new = update(v)
        return new, jnp.abs(new - v).max(), sweeps + 1

    v, _, sweeps = jax.lax.while_loop(go_on, body, (v, jnp.full((), jnp.inf, v.dtype), jnp.zeros((), jnp.int32)))
    return v, sweeps


def iterate_policy_values(
    mdp: Mdp, policy: jax.Array, tolerance: float = 1e-4, most: int = 10_000
) -> tuple[jax.Array, jax.Array]:
    """Sweeps from v = 0 until no value changes by `tolerance` or more.

    Returns:
        (v [n], number of sweeps, int32 []).
    """
    return _iterate(lambda v: sweep(mdp, policy, v), jnp.zeros(len(mdp.terminal)), tolerance, most)


def value_iteration(mdp: Mdp, tolerance: float = 1e-4, most: int = 10_000) -> tuple[jax.Array, jax.Array]:
    """The optimal values `v*(s) = max_a q*(s, a)`, by optimality sweeps from v = 0.

    Returns:
        (v* [n], number of sweeps, int32 []).

    Reference: Sutton and Barto 2018, section 4.4.
    """
    return _iterate(lambda v: optimality_sweep(mdp, v), jnp.zeros(len(mdp.terminal)), tolerance, most)


def greedy(mdp: Mdp, v: jax.Array, tolerance: float = 1e-4) -> jax.Array:
    """The greedy policy with respect to values: equal probabilities of the best actions (all within `tolerance`).

    Args:
        mdp: the process.
        v: [n].
        tolerance: difference up to which actions count as equally good.

    Returns:
        pi [n, m].
    """
    q = action_values(mdp, v)
    best = (q >= q.max(1, keepdims=True) - tolerance).astype(q.dtype)
    return best / best.sum(1, keepdims=True)


def policy_iteration(mdp: Mdp, policy: jax.Array, most: int = 100) -> tuple[jax.Array, jax.Array]:
    """Alternates exact evaluation of a policy and greedy improvement until the policy does not change.

    Args:
        mdp: the process.
        policy: the first one, [n, m].
        most: largest number of improvements.

    Returns:
        (v [n], policy [n, m]).

    Reference: Sutton and Barto 2018, section 4.3.
    """
    for _ in range(most):
        v = evaluate_policy(mdp, policy)
        new = greedy(mdp, v)
        if bool((new == policy).all()):
            break
        policy = new
    return v, policy
