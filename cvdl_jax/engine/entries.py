"""What a loaded run is asked: the entries of a batch as its data set stores them, checked before they are believed.

An image of bytes is scaled as in training. Numbers that the run cannot have been trained on are refused: a model gives
an answer to images in 0..255, and it is wrong.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.core.task import Task
from cvdl_jax.data import pixels
from cvdl_jax.engine.build import Run
from cvdl_jax.errors import DataError

INPUTS = ("image", "features", "image_after")  # as all data sets name them
ROUNDING = 1e-5  # beyond 0..1, as resizing leaves it


def checked(built: Run) -> Task:
    """The task of a run, whose `predict` takes uint8 or floats in 0..1 where the run was trained on bytes.

    Args:
        built: a run.

    Returns:
        The task. `predict` raises DataError for an entry of another shape, kind or range. Inside `jax.jit`, where
        values cannot be looked at, images out of range become NaN, and so do scores that are predicted of them; where
        masks of classes are predicted, "undefined" says so.
    """
    splits = built.data.splits if built.data is not None else {}
    if built.task.predict is None or not splits:
        return built.task
    spec = next(iter(splits.values())).spec
    stored = {name: spec[name] for name in INPUTS if name in spec}
    return built.task._replace(predict=partial(_predict, built.task.predict, stored))


def _predict(predict: Any, stored: Mapping[str, Any], state: Any, batch: Mapping[str, Any]) -> Any:
    if stored and not stored.keys() & batch.keys():
        raise DataError(f"the batch has {sorted(batch)}; predict needs {sorted(stored)}")
    return predict(state, {k: as_trained(k, x, stored[k]) if k in stored else x for k, x in batch.items()})


def as_trained(name: str, x: Any, stored: jax.ShapeDtypeStruct) -> Any:
    """An entry as the model saw it in training.

    Args:
        name: of the entry.
        x: numbers [b, ...].
        stored: shape and dtype of one example in the data set.

    Raises:
        DataError: if it cannot be that, naming what was expected and what to type.
    """
    x = x if isinstance(x, jax.Array) else np.asarray(x)
    if x.shape[1:] != stored.shape or x.ndim != len(stored.shape) + 1:
        one = "; one example alone is x[None]" if x.shape == stored.shape else ""
        expected = ", ".join(["b", *map(str, stored.shape)])
        raise DataError(f"{name!r} has the shape {list(x.shape)}, the run was trained on [{expected}]{one}")
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    if stored.dtype != np.uint8:
        if jnp.issubdtype(stored.dtype, jnp.floating) and not floating:
            raise DataError(
                f"{name!r} is {x.dtype}, the run was trained on {stored.dtype} as its data set has them; give the same "
                f"numbers as x.astype(np.{stored.dtype})"
            )
        return x
    if x.dtype == np.uint8:
        return pixels.to_unit(jnp.asarray(x))
    if not floating:
        raise DataError(f"{name!r} is {x.dtype}; give bytes, x.astype(np.uint8), or floats in 0..1")
    if isinstance(x, jax.core.Tracer):
        return jnp.where((x >= -ROUNDING) & (x <= 1 + ROUNDING), x, jnp.nan)
    low, high = (float(f(x)) for f in (np.min, np.max)) if x.size else (0.0, 0.0)
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise DataError(
            f"{name!r} has floats from {low:.4g} to {high:.4g}; the run was trained on pixels in 0..1: give bytes, "
            "x.astype(np.uint8), or floats, x / 255"
        )
    return x
