"""Many copies of one network side by side, one for each seed: every leaf of their parameters is [copies, ...].

`vmap` maps over the copies: `jax.vmap`; for convolutions on CPUs `one_by_one`, or `in_turn` where that is rarely run.
"""

import operator
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.nn.apply import apply_params
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from cvdl_jax.ops.losses.penalties import sparsity
from cvdl_jax.optim import plateau


def initialise(model: nn.Module, key: jax.Array, x: jax.Array, copies: int) -> Any:
    """Parameters of so many copies, each from a key of its own.

    Args:
        model: `model(x, train) -> (logits, out)`, without batch statistics.
        key: a typed key.
        x: an example batch [b, ...].
        copies: how many.
    """
    return jax.vmap(lambda k: model.init(k, x, False)["params"])(jax.random.split(key, copies))


def one_by_one(f: Callable) -> Callable:
    """`jax.vmap(f)`, but one copy after the other, unrolled.

    Kernels of several copies at once are a grouped convolution, for which XLA took 20 times as long on a CPU.
    """

    def run(*args: Any) -> Any:
        made = [f(*jax.tree.map(operator.itemgetter(i), args)) for i in range(len(jax.tree.leaves(args)[0]))]
        return jax.tree.map(lambda *x: jnp.stack(x), *made)

    return run


def in_turn(f: Callable) -> Callable:
    """`jax.vmap(f)`, but in a loop: compiled once for all copies, and slower than `one_by_one` where it runs often."""
    return lambda *args: lax.map(lambda copy: f(*copy), args)


def scores(model: nn.Module, params: Any, x: jax.Array, vmap: Callable = jax.vmap) -> jax.Array:
    """Logits [copies, b, classes] of every copy on the same batch [b, ...], in evaluation mode."""
    return vmap(lambda p: apply_params(model, p, x, False)[0])(params)


def mean_losses(model: nn.Module, params: Any, x: jax.Array, label: jax.Array) -> jax.Array:
    """The mean cross-entropy of every copy, [copies], on the same batch with labels int [b], in evaluation mode."""
    return jax.vmap(lambda s: softmax_cross_entropy(s, label).mean())(scores(model, params, x))


def zeros(params: dict[str, Any]) -> dict[str, tuple[jax.Array, jax.Array]]:
    """The share of parameters of each network that are exactly 0, as sums: {name: (share, 1)}."""
    return {name: (sparsity(tree), jnp.ones(())) for name, tree in params.items()}


def train_scores(model: nn.Module, params: Any, x: jax.Array, key: jax.Array, vmap: Callable = jax.vmap) -> jax.Array:
    """Logits [copies, b, classes] in training mode, each copy on a batch of its own: x [copies, b, ...]."""

    def one(p: Any, x: jax.Array, k: jax.Array) -> jax.Array:
        return apply_params(model, p, x, True, rngs={"dropout": k})[0]

    return vmap(one)(params, x, jax.random.split(key, len(x)))


def start_stopping(params: Any, patience: int) -> dict[str, Any]:
    """What early stopping of every copy remembers: "memory", whether it has "stopped", and its best "params"."""
    copies = len(jax.tree.leaves(params)[0])
    memory, _ = plateau.no_improvement("loss", "min", patience, 0.0)
    stack = jax.tree.map(lambda x: jnp.stack([x] * copies), memory)
    return {"memory": stack, "stopped": jnp.zeros(copies, bool), "params": jax.tree.map(jnp.copy, params)}


def stop_early(kept: dict[str, Any], params: Any, loss: jax.Array, patience: int) -> dict[str, Any]:
    """One look at the validation loss of every copy, by the rule of `plateau.no_improvement`.

    Args:
        kept: of `start_stopping`, or of the last look.
        params: of the copies, as trained now.
        loss: [copies], NaN never counts as an improvement.
        patience: looks in a row without improvement, the last of which stops a copy.

    Returns:
        The same; "params" are those of each copy's smallest loss before it stopped.
    """
    _, criterion = plateau.no_improvement("loss", "min", patience, 0.0)
    memory, stop = jax.vmap(lambda memory, value: criterion(memory, {"loss": value}))(kept["memory"], loss)
    better = (memory["since"] == 0) & ~kept["stopped"]  # [copies]

    def pick(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    best = jax.tree.map(pick, params, kept["params"])
    return {"memory": memory, "stopped": kept["stopped"] | stop, "params": best}
