"""Operations that move the boundaries of label masks, and nothing else: images pass bit for bit."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cvdl_jax.data.augment._photometric import check_not_negative
from cvdl_jax.data.augment._rows import check_probability, check_size, chosen, moving
from cvdl_jax.data.augment._truth import find
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images import masks
from cvdl_jax.parallel import row_random


def mask_erode(size: int = 1, probability: float = 0.5, entry: str | None = None):
    """Takes a rim off every object of the masks: pixels near another label become background, 0.

    Args:
        size: of the rim in pixels.
        probability: for each row.
        entry: of the batch, int [b, h, w, ...] with 0 for the background and 255, which stays, for pixels to ignore;
            None for all masks of the batch.

    Raises:
        ConfigError: for a missing entry.
    """
    check_size("mask_erode", "size", size)
    return _on_masks("mask_erode", lambda mask, key: masks.erode(mask, size), probability, entry)


def mask_dilate(size: int = 1, probability: float = 0.5, entry: str | None = None):
    """Gives every object of the masks a rim of background; where two meet, the larger label wins.

    Args:
        size: of the rim in pixels.
        probability: for each row.
        entry: as in `mask_erode`.

    Raises:
        ConfigError: for a missing entry.
    """
    check_size("mask_dilate", "size", size)
    return _on_masks("mask_dilate", lambda mask, key: masks.dilate(mask, size), probability, entry)


def mask_warp(amount: float = 2.0, cell: int = 8, probability: float = 1.0, entry: str | None = None):
    """Bends the boundaries of masks: labels move by a smooth random field, to the nearest pixel.

    The field is drawn at the corners of a grid, uniform in -amount ... amount in both directions, and linear between
    them. All masks of a row move by the same field. Pixels to ignore, 255, stay, and no others become so.

    Args:
        amount: pixels, 0 or more; below 0.5 nothing moves.
        cell: side of the grid's cells in pixels; smaller ones give more ragged boundaries.
        probability: for each row.
        entry: as in `mask_erode`.

    Raises:
        ConfigError: for a missing entry.
    """
    check_not_negative("mask_warp", "amount", amount)
    check_size("mask_warp", "cell", cell)

    def warp(mask: jax.Array, key: jax.Array) -> jax.Array:
        rows, columns = (_interpolation(size, cell) for size in mask.shape[1:3])  # [h, m], [w, n]
        shape = (mask.shape[0], rows.shape[1], columns.shape[1], 2)
        corners = row_random(lambda k, s: jax.random.uniform(k, s, jnp.float32, -amount, amount), key, shape)
        return masks.displace(mask, jnp.einsum("ym,bmnd,xn->byxd", rows, corners, columns))

    return _on_masks("mask_warp", warp, probability, entry)


def _interpolation(size: int, cell: int) -> jax.Array:
    """Linear interpolation of `size` pixels between corners every `cell` pixels: [size, corners], rows of sum 1."""
    place = jnp.arange(size)[:, None] / cell
    return jnp.maximum(1 - jnp.abs(place - jnp.arange((size - 1) // cell + 2)[None]), 0)


def _on_masks(operation: str, apply: Callable, probability: float, entry: str | None) -> Callable:
    """Applies `(mask, key) -> mask` to one or all masks of the batch."""
    check_probability(operation, probability)

    def update(state, batch, key):
        names = [name for name in moving(batch) if name.endswith("mask")] if entry is None else [entry]
        if not names:
            find(operation, batch, "..._mask")
        where, which = jax.random.split(key)
        new = {}
        for name in names:
            mask = find(operation, batch, name)  # [b, h, w, ...]
            if mask.ndim < 3 or not jnp.issubdtype(mask.dtype, jnp.integer):
                raise ConfigError(
                    f"config.augment: {operation}(entry={name!r}) must name a mask [b, h, w, ...] of integers, got "
                    f"{mask.dtype} {list(mask.shape)}"
                )
            rows = chosen(which, probability, mask).reshape(-1, *(1,) * (mask.ndim - 1))
            new[name] = jnp.where(rows, apply(mask, where), mask)
        return state, {**batch, **new}, {}

    return update
