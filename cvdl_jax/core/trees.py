"""Trees of parameters by the names of their leaves."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

STACKED = "_scanned"  # the end of the name of a module whose arrays hold one entry for each of several equal blocks


def path_name(path: Sequence[Any]) -> str:
    """The keys of a path in a tree joined by "/"."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator="/")


def names(params: Any) -> list[str]:
    """The paths of all parameters, in the order of `jax.tree.leaves`."""
    return [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]


def map_named(fn: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """`jax.tree.map` whose function gets the path's name first."""
    return jax.tree_util.tree_map_with_path(lambda path, *leaves: fn(path_name(path), *leaves), tree, *rest)
