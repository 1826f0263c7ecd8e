"""What studies of small training sets share: batches for each size, an auxiliary task, and the choice of settings."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.analysis import seed_comparison
from cvdl_jax.errors import ConfigError


def check_ascending(values: Sequence[float], path: str, most: float = math.inf, of: str = "") -> None:
    """Refuses an empty list, one that does not ascend, and one that goes beyond what there is.

    Args:
        values: numbers of a config.
        path: of them, for messages.
        most: the largest that there can be.
        of: what there are so many of.

    Raises:
        ConfigError: naming the path.
    """
    if not values or list(values) != sorted(set(values)) or values[-1] > most:
        raise ConfigError(f"{path}={tuple(values)} must ascend{f', up to the {most} {of}' if of else ''}")


def draw_rows(key: jax.Array, orders: jax.Array, sizes: Sequence[int], batch: int) -> jax.Array:
    """Places of the examples of a batch for every size and seed, drawn with replacement.

    Args:
        key: a typed key.
        orders: int [seeds, examples], an order of all examples for each seed; a set of size n is the first n of it.
        sizes: of the sets.
        batch: how many are drawn for each.

    Returns:
        int [sizes seeds, batch], the seeds of the first size first.
    """
    copies = len(sizes) * len(orders)
    most = jnp.repeat(jnp.asarray(sizes), len(orders), total_repeat_length=copies)[:, None]
    picked = jax.random.randint(key, (copies, batch), 0, most)
    return jnp.take_along_axis(jnp.tile(orders, (len(sizes), 1)), picked, 1)


def repeated(params: Any, times: int) -> Any:
    """A tree of leaves [seeds, ...] so many times behind itself: [times seeds, ...]."""
    return jax.tree.map(lambda x: jnp.tile(x, (times, *[1] * (x.ndim - 1))), params)


def linear_head(key: jax.Array, seeds: int, width: int, classes: int) -> dict[str, jax.Array]:
    """First weights of a linear layer for every seed: kernel [seeds, width, classes] by LeCun's rule, bias of zeros."""
    kernel = jax.random.normal(key, (seeds, width, classes)) * width**-0.5
    return {"kernel": kernel, "bias": jnp.zeros((seeds, classes))}


def pretrained(
    loss: Callable[[Any, jax.Array, jax.Array], jax.Array],
    optimizer: optax.GradientTransformation,
    params: Any,
    key: jax.Array,
    examples: int,
    batch: int,
    steps: int,
) -> Any:
    """Parameters after some steps on batches that are drawn with replacement, the same ones for all seeds.

    Args:
        loss: `(params, rows int [batch], key) -> []`, of all seeds together.
        optimizer: an Optax transformation.
        params: at first.
        key: a typed key.
        examples: that there are to draw from.
        batch: how many are drawn.
        steps: how many.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def step(i: jax.Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        params, state = carry
        first, second = jax.random.split(jax.random.fold_in(key, i))
        rows = jax.random.randint(first, (batch,), 0, examples)
        updates, state = optimizer.update(jax.grad(loss)(params, rows, second), state, params, key=second)
        return optax.apply_updates(params, updates), state

    return jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params)))[0]


def at_best_settings(
    values: Mapping[str, Sequence[float]],
    methods: Mapping[str, Sequence[str]],
    sizes: Sequence[int],
    split: str,
    baseline: str,
) -> dict[str, float]:
    """For each method and size, how well the setting does that is best on validation examples.

    Args:
        values: {"method_setting_50_validation" and the same of the split: one share for each seed}.
        methods: {method: its settings}; of equally good ones the first is taken.
        sizes: of the training sets.
        split: what is reported.
        baseline: the method with which the others are compared.

    Returns:
        {"method_50", "_low", "_high", "_gain" ... of `seed_comparison.gains`; "method_50_setting": its place, from 1}.
    """
    metrics = {}
    for size in sizes:
        best = {}
        for method, settings in methods.items():
            names = [f"{method}_{setting}_{size}" for setting in settings]
            means = [sum(values[f"{name}_validation"]) for name in names]
            place = means.index(max(means))
            best[f"{method}_{size}"] = values[f"{names[place]}_{split}"]
            metrics[f"{method}_{size}_setting"] = float(place + 1)
        metrics |= seed_comparison.gains(best, f"{baseline}_{size}")
    return metrics
