"""Gradient estimators for `task.descend`: plain, accumulated over micro-batches, sharpness-aware. They compose.

An estimator maps `(loss, on)` to `(state, batch, key) -> (grads, state, sums)`. Only here are gradients averaged.
`layer_norms` measures a gradient layer by layer, for runs that ask for it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.core import trace_context
from cvdl_jax.core.parallel import backend, mean_devices, rowwise, sum_devices, whole
from cvdl_jax.core.trees import path_name
from cvdl_jax.errors import ConfigError


def select(tree: Any, on: str | None) -> Any:
    """The sub-tree named `on`, or the whole tree for None."""
    return tree if on is None else tree[on]


def substitute(tree: Any, on: str | None, sub: Any) -> Any:
    """The tree with its sub-tree `on` (None: all of it) replaced."""
    return sub if on is None else {**tree, on: sub}


def zeros_like(shapes: Any) -> Any:
    """Zeros for a tree of shapes and dtypes."""
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def slice_rows(tree: Any, n: int, i: int | jax.Array) -> Any:
    """The i-th of n sub-batches: rows i, i + n, i + 2n ... Strided, so that no row has to move to another device.

    Args:
        tree: leaves [b, ...].
        n: number of sub-batches; must divide b.
        i: which one.

    Returns:
        Leaves [b / n, ...].

    Raises:
        ConfigError: if n does not divide b.
    """

    def one(x: jax.Array) -> jax.Array:
        if x.shape[0] % n:
            raise ConfigError(
                f"a batch of {x.shape[0]} rows cannot be split into {n} equal parts; change config.batch_size, or the "
                "number of parts (in config.grad, or that of the experiment)"
            )
        return x.reshape(x.shape[0] // n, n, *x.shape[1:])[:, i]

    return jax.tree.map(one, tree)


def _put_rows(tree: Any, n: int, i: int | jax.Array, part: Any) -> Any:
    """Writes a sub-batch back where `slice_rows` took it from."""

    def one(x: jax.Array, new: jax.Array) -> jax.Array:
        return x.reshape(x.shape[0] // n, n, *x.shape[1:]).at[:, i].set(new).reshape(x.shape)

    return jax.tree.map(one, tree, part)


def _or_one(weight: jax.Array) -> jax.Array:
    """A weight to divide by: rows that are all masked have weight 0 and gradient 0, not 0 / 0."""
    weight = jnp.asarray(weight)
    return jnp.where(weight == 0, jnp.ones_like(weight), weight)


def plain(loss: Callable, on: str | None) -> Callable:
    """The gradient of `total / global weight` with respect to `params[on]`."""

    def estimate(state: Any, batch: Any, key: jax.Array):
        def objective(sub: Any):
            params = whole(substitute(state.params, on, sub))
            new, sums = loss(state._replace(params=params, extra=whole(state.extra)), rowwise(batch), key)
            total, weight = sums["loss"]
            return total / _or_one(mean_devices(lax.stop_gradient(weight))), (new, sums)

        (_, (new, sums)), grads = jax.value_and_grad(objective, has_aux=True)(select(state.params, on))
        sums = jax.tree.map(lambda x: jnp.asarray(x, jnp.promote_types(jnp.asarray(x).dtype, jnp.float32)), sums)
        return mean_devices(grads), new._replace(params=state.params), sums

    return estimate


def build(text: str) -> Callable:
    """The estimator of a config: "plain", "accumulate(4)", "sam(0.05) | accumulate(2)" (the outermost first).

    Args:
        text: calls separated by "|".

    Returns:
        A gradient estimator.

    Raises:
        ConfigError: for an unknown name, argument or value.
    """
    estimator = plain
    for make in reversed(
        configs.build_calls(text, {"plain": _plain, "accumulate": _accumulate, "sam": _sam}, "config.grad")
    ):
        estimator = make(estimator)
    return estimator


def _plain() -> Callable:
    return lambda inner: inner


def _accumulate(n: Size) -> Callable:
    if n < 1:
        raise ConfigError(f"config.grad: accumulate({n}) needs at least 1 micro-batch")
    return lambda inner: accumulate(n, inner)


def _sam(rho: Positive) -> Callable:
    if rho <= 0:
        raise ConfigError(f"config.grad: sam({rho}) needs a radius above 0, for example sam(0.05)")
    return lambda inner: sam(rho, inner)


def accumulate(n: int, inner: Callable = plain) -> Callable:
    """Averages the gradients of n strided micro-batches, weighted by their weights: one big batch in 1/n the memory.

    Batch statistics see n smaller batches, one after the other. On CPU the loop is unrolled, because XLA's
    convolutions are slow inside a while loop there.
    """

    def estimator(loss: Callable, on: str | None) -> Callable:
        estimate_one = inner(loss, on)

        def micro(state: Any, batch: Any, key: jax.Array, i: Any):
            part = state._replace(rows=slice_rows(state.rows, n, i))
            grads, new, sums = estimate_one(part, slice_rows(batch, n, i), jax.random.fold_in(key, i))
            weight = sum_devices(sums["loss"][1])
            new = new._replace(rows=_put_rows(state.rows, n, i, new.rows))
            return jax.tree.map(lambda g: g * weight.astype(g.dtype), grads), new, sums

        def estimate(state: Any, batch: Any, key: jax.Array):
            shapes = jax.eval_shape(micro, state, batch, key, 0)

            def body(carry: Any, i: jax.Array):
                state, grads, sums = carry
                more_grads, state, more_sums = micro(state, batch, key, i)
                return (state, *jax.tree.map(jnp.add, (grads, sums), (more_grads, more_sums))), None

            carry = (state, zeros_like(shapes[0]), zeros_like(shapes[2]))
            unroll = n if backend() == "cpu" else 1
            (state, grads, sums), _ = lax.scan(body, carry, jnp.arange(n), unroll=unroll)
            weight = _or_one(sum_devices(sums["loss"][1]))
            return jax.tree.map(lambda g: g / weight.astype(g.dtype), grads), state, sums

        return estimate

    return estimator


def sam(rho: float, inner: Callable = plain) -> Callable:
    """Sharpness-aware minimisation: the gradient at `w + rho g / |g|`, applied at w.

    The sums and the new batch statistics are those of the first, unperturbed pass.

    Reference: Foret et al. 2021, "Sharpness-Aware Minimization", equations 2 and 3.
    """

    def estimator(loss: Callable, on: str | None) -> Callable:
        estimate_one = inner(loss, on)

        def estimate(state: Any, batch: Any, key: jax.Array):
            grads, new, sums = estimate_one(state, batch, key)
            scale = rho / (optax.tree.norm(grads) + 1e-12)
            ascend = partial(jax.tree.map, lambda p, g: p + (scale * g).astype(p.dtype))
            worst = substitute(state.params, on, ascend(select(state.params, on), grads))
            grads, _, _ = estimate_one(state._replace(params=worst), batch, key)
            return grads, new, sums

        return estimate

    return estimator


def layer_norms(grads: Any) -> dict[str, jax.Array]:
    """Euclidean norm of the gradient of each layer, the parameters of one module together.

    `task.descend` adds them to its sums where the code is traced within `trace_context.within(layer_norms=True)`;
    elsewhere there are none.

    Args:
        grads: a tree; the last key of a path is the parameter, those before it are the layer.

    Returns:
        {"dense0": float []}; a parameter without a layer is one of its own; {} if nobody asked.
    """
    if not trace_context.current().layer_norms:
        return {}
    layers: dict[str, list[jax.Array]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        layers.setdefault(path_name(path[:-1] or path), []).append(leaf)
    return {layer: optax.tree.norm(leaves) for layer, leaves in layers.items()}
