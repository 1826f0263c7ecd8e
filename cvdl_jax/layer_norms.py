"""Gradient norms layer by layer, which `task.descend` adds to its sums where a run asks for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import optax

from cvdl_jax.param_groups import path_name

_WANTED: ContextVar[bool] = ContextVar("wanted", default=False)


@contextmanager
def wanted() -> Iterator[None]:
    """Steps that are traced in this context report the gradient norm of every layer."""
    token = _WANTED.set(True)
    try:
        yield
    finally:
        _WANTED.reset(token)


def layer_norms(grads: Any) -> dict[str, jax.Array]:
    """Euclidean norm of the gradient of each layer, the parameters of one module together; {} if nobody asked.

    Args:
        grads: a tree; the last key of a path is the parameter, those before it are the layer.

    Returns:
        {"dense0": float []}; a parameter without a layer is one of its own.
    """
    if not _WANTED.get():
        return {}
    layers: dict[str, list[jax.Array]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        layers.setdefault(path_name(path[:-1] or path), []).append(leaf)
    return {layer: optax.tree.norm(leaves) for layer, leaves in layers.items()}
