"""Optax transformations for rules that Optax has in another form only. Their states are arrays."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

Norm = Literal["tensor", "global"]


class AccumulatorState(NamedTuple):
    """One accumulator for each element, tensor or tree."""

    accumulator: Any


def scale_by_root_of_sum(initial: float = 0.0, eps: float = 1e-7) -> optax.GradientTransformation:
    """AdaGrad with eps outside the root: `c <- c + g^2; g / (sqrt(c) + eps)`.

    `optax.scale_by_rss` has it inside.

    Args:
        initial: c before the first update.
        eps: added to the root. Where c is 0, so is g, and the update.

    Reference: Duchi et al. 2011, figure 1 (there delta).
    """

    def init(params: Any) -> AccumulatorState:
        return AccumulatorState(optax.tree.full_like(params, initial))

    def update(updates: Any, state: AccumulatorState, params: Any = None):
        del params
        total = jax.tree.map(lambda g, c: c + g**2, updates, state.accumulator)
        updates = jax.tree.map(lambda g, c: g / jnp.where(c > 0, jnp.sqrt(c) + eps, 1), updates, total)
        return updates, AccumulatorState(total)

    return optax.GradientTransformation(init, update)


def scale_by_norm(
    smoothing: float = 0.9, eps: float = 1e-7, eps_inside: bool = False, norm: Norm = "tensor"
) -> optax.GradientTransformation:
    """RMSProp by norms: `v <- smoothing v + (1 - smoothing) |g|^2`, one number; `g / (sqrt(v) + eps)`.

    All elements share one scale, so that the direction of the gradient is kept.

    Args:
        smoothing: in [0, 1).
        eps: added to the root, or inside it.
        eps_inside: `g / sqrt(v + eps)`.
        norm: |g| of each tensor by itself, or of all of them together.
    """

    def squares(tree: Any) -> Any:
        each = jax.tree.map(lambda g: jnp.sum(g**2), tree)
        return each if norm == "tensor" else sum(jax.tree.leaves(each))

    def init(params: Any) -> AccumulatorState:
        return AccumulatorState(jax.tree.map(jnp.zeros_like, squares(params)))

    def update(updates: Any, state: AccumulatorState, params: Any = None):
        del params
        v = jax.tree.map(lambda v, new: smoothing * v + (1 - smoothing) * new, state.accumulator, squares(updates))

        def scaled(g: jax.Array, v: jax.Array) -> jax.Array:
            return (g / (jnp.sqrt(v + eps) if eps_inside else jnp.sqrt(v) + eps)).astype(g.dtype)

        each = v if norm == "tensor" else jax.tree.map(lambda _: v, updates)
        return jax.tree.map(scaled, updates, each), AccumulatorState(v)

    return optax.GradientTransformation(init, update)


class MomentsState(NamedTuple):
    """First and second moments, without a count."""

    mu: Any
    nu: Any


def scale_by_raw_moments(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, eps_root: float = 0.0, nesterov: bool = False
) -> optax.GradientTransformation:
    """Adam without bias correction: `m / (sqrt(v + eps_root) + eps)`; its first steps are larger than Adam's.

    Args:
        b1: `m <- b1 m + (1 - b1) g`.
        b2: `v <- b2 v + (1 - b2) g^2`.
        eps: added to the root.
        eps_root: added inside the root.
        nesterov: use `b1 m + (1 - b1) g` in place of m.
    """

    def init(params: Any) -> MomentsState:
        return MomentsState(optax.tree.zeros_like(params), optax.tree.zeros_like(params))

    def update(updates: Any, state: MomentsState, params: Any = None):
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        first = optax.tree.update_moment(updates, mu, b1, 1) if nesterov else mu
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v + eps_root) + eps), first, nu), MomentsState(mu, nu)

    return optax.GradientTransformation(init, update)


def clip_by_tensor_norm(bound: float) -> optax.GradientTransformation:
    """Each tensor by itself: g if `|g| <= bound`, else `bound g / |g|`.

    Reference: Pascanu et al. 2013, algorithm 1, there for all tensors together.
    """

    def one(g: jax.Array) -> jax.Array:
        return g * (bound / jnp.maximum(jnp.sqrt(jnp.sum(g**2)), bound)).astype(g.dtype)

    return optax.stateless(lambda updates, params: jax.tree.map(one, updates))
