"""Augmentation as one string: `flip | padded_crop(padding=4) | mixup(alpha=0.2)`, applied in order on the device.

The folder is the registry, together with a user's `extensions/data/augment` in the current folder: every public
function in another file of this folder is an operation, found by its name
without importing the others, so that a new operation needs no change here. It is a factory with plain keyword arguments
that returns a transform `(state, batch, key) -> (state, batch, {})`; one with the argument `num_classes` gets it.
`batch["image"]` is float32 [b, h, w, c] in 0..1, `batch["label"]` int32 [b] or float32 [b, num_classes]. Every random
number of a row is drawn from the row's own key (`parallel.row_random`), so that the layout over devices has no effect.
Helpers are private, or live in files whose names start with an underscore.
"""

import ast
import importlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax

from cvdl_jax.config import places
from cvdl_jax.config.binding import build_calls
from cvdl_jax.core.materialise import stored
from cvdl_jax.core.task import Transform, chain
from cvdl_jax.errors import ConfigError, nearest

FOLDER = Path(__file__).parent


@cache
def operations(folder: Path = FOLDER) -> dict[str, str]:
    """All operations, read from the source: {name: file of this folder}.

    Raises:
        ValueError: if two files have an operation of one name.
    """
    files: dict[str, str] = {}
    for path in sorted(folder.glob("*.py")):
        if path.stem.startswith("_") or path.stem == "policy":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                if node.name in files:
                    raise ValueError(f"{files[node.name]}.py and {path.name} both have {node.name!r}")
                files[node.name] = path.stem
    return files


def find(name: str, path: str = "config.augment") -> Callable:
    """The factory of an operation; `path` is the key that names it, for messages.

    Raises:
        ConfigError: with the nearest name, if there is none.
    """
    known, own = operations(), places.extension("cvdl_jax.data.augment")
    added = operations(own.resolve()) if own else {}
    for both in known.keys() & added.keys():
        places.refuse_ours(both, own / f"{added[both]}.py", f"cvdl_jax/data/augment/{known[both]}.py")
    if name in added:
        return getattr(places.load_once(own.resolve() / f"{added[name]}.py"), name)
    if name not in known:
        raise ConfigError(f"{path}: there is no operation {name!r}; {nearest(name, known | added)}")
    return getattr(importlib.import_module(f"cvdl_jax.data.augment.{known[name]}"), name)


def build(policy: str, num_classes: int | None = None, path: str = "config.augment") -> Transform | None:
    """The transform of a policy.

    Args:
        policy: calls in order, separated by "|"; empty for none.
        num_classes: for operations on labels.
        path: the key, for messages.

    Returns:
        A Transform, or None for an empty policy.

    Raises:
        ConfigError: for an unknown operation or argument, or an impossible value.
    """
    parts = build_calls(policy, partial(find, path=path), path, num_classes=num_classes)
    return chain(*parts, _store) if parts else None


def _store(state: Any, batch: Mapping[str, Any], key: jax.Array) -> tuple[Any, dict[str, Any], dict]:
    """Makes XLA compute the augmented images once, not again in the first convolution and in its weight gradient."""
    if "image" not in batch:
        return state, batch, {}
    return state, {**batch, "image": stored(batch["image"], jax.random.key_data(key)[0])}, {}
