"""Positions of tokens: fixed ones of a sequence or a grid of patches, rotary ones, and learned ones for another size of
image, with which of them are alike.
"""

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.errors import ConfigError


def sincos(grid: tuple[int, int], d: int, temperature: float = 10_000.0) -> jax.Array:
    """Fixed positions of patches: sines and cosines of column x and row y at d / 4 frequencies each.

        [sin(x w_i), cos(x w_i), sin(y w_i), cos(y w_i)],   w_i = temperature^(-i / (d / 4 - 1)),   i = 0 ... d / 4 - 1

    Args:
        grid: (h, w), patches.
        d: size of a token, a multiple of 4 from 8.
        temperature: the longest wavelength over 2 pi.

    Returns:
        float32 [h w, d], row by row.

    Raises:
        ConfigError: for another size.

    Reference: Beyer et al. 2022, "Better plain ViT baselines for ImageNet-1k", section 2 ("sincos2d"; after Chen et al.
        2021, MoCo v3).
    """
    if d % 4 or d < 8:
        raise ConfigError(f"fixed positions need a width that is a multiple of 4 from 8 on, not {d}")
    frequency = temperature ** -(np.arange(d // 4) / (d // 4 - 1))  # [d / 4]
    y, x = (axis.reshape(-1, 1) * frequency[None] for axis in np.indices(grid))  # [h w, d / 4]
    return jnp.asarray(np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], 1), jnp.float32)


def sinusoidal(length: int, d: int, temperature: float = 10_000.0) -> jax.Array:
    """Fixed positions of a sequence: sines and cosines of wavelengths from 2 pi towards 2 pi temperature.

        P[p, 2 i] = sin(p / temperature^(2 i / d)),   P[p, 2 i + 1] = cos(p / temperature^(2 i / d))

    Args:
        length: number of positions, p = 0 ... length - 1.
        d: size of a token; an odd one ends in a sine.
        temperature: the limit of the wavelengths over 2 pi.

    Returns:
        float32 [length, d].

    Reference: Vaswani et al. 2017, "Attention Is All You Need", section 3.5.
    """
    return jnp.asarray(_waves(np.arange(length), d, temperature), jnp.float32)


def _waves(places: np.ndarray, d: int, temperature: float) -> np.ndarray:
    """Sines and cosines of places [n], in turn: [n, d]."""
    frequency = temperature ** -(2 * (np.arange(d) // 2) / d)  # [d]
    angles = places[:, None] * frequency[None]  # [n, d]
    return np.where(np.arange(d) % 2 == 0, np.sin(angles), np.cos(angles))


def sinusoidal_grid(grid: tuple[int, int], d: int, temperature: float = 10_000.0) -> jax.Array:
    """`sinusoidal` of rows and of columns, d / 2 each, of places in 0 ... 2 pi, whatever the size of the grid.

    Args:
        grid: (h, w).
        d: size of a token, even.
        temperature: as in `sinusoidal`.

    Returns:
        float32 [h w, d], row by row; the half of the rows first.

    Raises:
        ConfigError: for an odd width.

    Reference: Carion et al. 2020, "End-to-End Object Detection with Transformers", appendix A.4; places are scaled as
        in the authors' code.
    """
    if d % 2:
        raise ConfigError(f"positions of rows and columns need an even width, not {d}")
    halves = [_waves(2 * np.pi * (np.arange(n) + 1) / n, d // 2, temperature) for n in grid]
    y, x = np.indices(grid).reshape(2, -1)
    return jnp.asarray(np.concatenate([halves[0][y], halves[1][x]], 1), jnp.float32)


def rotate(x: jax.Array, places: jax.Array, temperature: float = 10_000.0) -> jax.Array:
    """Rotary positions: the pair (x_i, x_{i + c / 2}) of a query or a key is turned by `place temperature^(-2 i / c)`.

    The dot product of a turned query and a turned key depends on their places by the difference alone.

    Args:
        x: queries or keys [b, n, h, c], c even.
        places: int or float [b or 1, n].
        temperature: as in `sinusoidal`.

    Returns:
        Array like x; angles are at least float32.

    Raises:
        ConfigError: for an odd number of channels.

    Reference: Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", equation 15; the pairs
        are halves apart, as in GPT-NeoX, which permutes the channels of the paper.
    """
    c = x.shape[-1]
    if c % 2:
        raise ConfigError(f"rotary positions need heads of an even number of channels, not {c}")
    wide = jnp.promote_types(x.dtype, jnp.float32)
    frequency = temperature ** -(2 * jnp.arange(c // 2, dtype=wide) / c)
    angles = places[..., None].astype(wide) * frequency[None, None]  # [b or 1, n, c / 2]
    cos, sin = jnp.cos(angles)[:, :, None], jnp.sin(angles)[:, :, None]  # [b or 1, n, 1, c / 2]
    first, second = jnp.split(x.astype(wide), 2, -1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1).astype(x.dtype)


def resample_positions(
    positions: jax.Array, grid: tuple[int, int], new_grid: tuple[int, int], prefix: int = 1
) -> jax.Array:
    """Position embeddings of another grid, by bicubic interpolation with anti-aliasing; equal to timm's.

    Args:
        positions: float [1, prefix + h w, d]: those of other tokens first, then of patches row by row.
        grid: (h, w), patches for which they were learned.
        new_grid: (h', w').
        prefix: number of tokens that have a position but no place, such as the class token; theirs are kept.

    Returns:
        float [1, prefix + h' w', d].

    Raises:
        ValueError: if the positions are not as many as the grid and the prefix need, or a grid is empty.

    Reference: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", section 3.2.
    """
    (one, count, d), (h, w) = positions.shape, grid
    if one != 1 or count != prefix + h * w or prefix < 0:
        raise ValueError(
            f"positions of shape {positions.shape} do not fit a grid of {h}x{w} patches behind {prefix} other tokens; "
            f"that takes (1, {prefix + h * w}, d)"
        )
    if min(*grid, *new_grid) < 1:
        raise ValueError(f"grids of patches must be at least 1x1, got {grid} and {new_grid}")
    if tuple(grid) == tuple(new_grid):
        return positions
    places = positions[:, prefix:].astype(jnp.promote_types(positions.dtype, jnp.float32)).reshape(h, w, d)
    places = jax.image.resize(places, (*new_grid, d), "cubic", antialias=True)
    places = places.reshape(1, -1, d).astype(positions.dtype)
    return jnp.concatenate([positions[:, :prefix], places], axis=1)


def position_similarity(
    positions: jax.Array, grid: tuple[int, int], prefix: int = 1, epsilon: float = 1e-6
) -> jax.Array:
    """Cosine similarity `u . v / max(|u| |v|, epsilon)` of the position of every patch with that of every other.

    Args:
        positions: float [1, prefix + h w, d], as in a Vision Transformer's parameter "positions".
        grid: (h, w).
        prefix: number of tokens ahead of the patches, which are left out.
        epsilon: least product of lengths.

    Returns:
        float [h, w, h, w]; entry [i, j] is the map of similarities with the patch in row i and column j.

    Raises:
        ValueError: if the positions do not fit the grid.

    Reference: Dosovitskiy et al. 2021, figure 7, center.
    """
    h, w = grid
    if positions.shape[:2] != (1, prefix + h * w):
        raise ValueError(
            f"positions of shape {positions.shape} do not fit {h}x{w} patches behind {prefix} other tokens"
        )
    places = positions[0, prefix:].astype(jnp.promote_types(positions.dtype, jnp.float32))  # [n, d]
    lengths = jnp.sqrt(jnp.square(places).sum(-1))
    similarity = places @ places.T / jnp.maximum(lengths[:, None] * lengths[None], epsilon)
    return similarity.reshape(h, w, h, w)
