"""Explanations by what a score does when parts of the input are taken away: occlusion and Shapley values.

What stands for "away" is the caller's choice, a fill: a number, an image, or "mean" and "blur" of
the image itself; results depend on it.
"""

from collections.abc import Callable, Iterable
from functools import partial
from math import comb
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.arguments import method
from cvdl_jax.analysis.explain.gradients import baseline_of
from cvdl_jax.analysis.logits import LogitsFn, batch_of, checked_by, in_batches, score, targets
from cvdl_jax.config.binding import Counted
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.ops.images.filters import gaussian_blur

Output = Literal["score", "probability"]
Fill = Any  # a number, "mean", "blur", one input or one for each row
MOST_PLAYERS = 16  # of exact Shapley values: 2^16 coalitions


def filled_with(logits_fn: LogitsFn, x: jax.Array, fill: Fill) -> jax.Array:
    """What every input becomes where it is taken away: an array like x.

    Args:
        logits_fn: whose range it keeps.
        x: images [b, h, w, c], or [b, ...] for a fill that is no word.
        fill: a number; "mean", of each image and channel; "blur", by a Gaussian of a tenth of its side; or an array.

    Raises:
        ConfigError, DataError: for another word, or an array of another shape.
    """
    if not isinstance(fill, str):
        return baseline_of(logits_fn, x, fill)
    if fill not in ("mean", "blur") or x.ndim != 4:
        raise ConfigError(f"fill={fill!r}: a number, an array, or of images [b, h, w, c] one of 'mean' and 'blur'")
    if fill == "mean":
        return jnp.broadcast_to(x.mean((1, 2), keepdims=True), x.shape)
    return gaussian_blur(x, max(x.shape[1:3]) / 10)


def _output(logits_fn: LogitsFn, x: jax.Array, target: jax.Array, output: str) -> jax.Array:
    if output == "probability":
        of = getattr(logits_fn, "probabilities", jax.nn.softmax)
        return score(lambda x: of(logits_fn(x).astype(jnp.float32)), x, target)
    return score(logits_fn, x, target).astype(jnp.float32)


_outputs = jax.jit(_output, static_argnums=(0, 3))


@partial(jax.jit, static_argnums=(0, 5))
def _kept(
    logits_fn: LogitsFn, x: jax.Array, fill: jax.Array, keep: jax.Array, target: jax.Array, output: str
) -> jax.Array:
    return _output(logits_fn, jnp.where(keep, x, fill), target, output)


def outputs_kept(
    logits_fn: LogitsFn,
    x: jax.Array,
    fill: jax.Array,
    keep: Iterable[Any],
    target: jax.Array,
    output: str = "score",
) -> jax.Array:
    """What the function gives where only parts of each input are kept, float [b, m].

    Args:
        logits_fn: `[b, ...] -> [b, k]`.
        x: inputs [b, ...].
        fill: what the rest becomes, like x.
        keep: m masks, bool, that broadcast against one input [...], for all rows; they may be made one by one.
        target: int [b].
        output: "score" or "probability".
    """
    room, columns, chunk = batch_of(logits_fn), [], []

    def flush() -> None:
        masks = jnp.asarray(np.stack(chunk))  # [s, ...]
        b, s = len(x), len(chunk)

        def compiled(row: jax.Array) -> jax.Array:  # int [n], row of x and number of mask in one
            i, j = row // s, row % s
            return _kept(logits_fn, x[i], fill[i], masks[j], target[i], output)

        columns.append(in_batches(compiled, room, jnp.arange(b * s)).reshape(b, s))
        chunk.clear()

    for mask in keep:
        chunk.append(np.broadcast_to(np.asarray(mask, bool), np.broadcast_shapes(np.shape(mask), (1,) * (x.ndim - 1))))
        if len(chunk) == room:
            flush()
    if chunk:
        flush()
    return jnp.concatenate(columns, 1)


@method
def subset_scores(
    logits_fn: LogitsFn, x: Any, masks: Any, target: Any = None, fill: Fill = 0.0, output: Output = "score"
) -> jax.Array:
    """`r_S(x) = f(x) - f(x~)`, x~ the input with the subset S filled: how much is lost without it.

    Args:
        logits_fn: `[b, ...] -> [b, k]`.
        x: inputs [b, ...].
        masks: bool [m, ...], True in S; each broadcasts against one input, as [m, h, w, 1] does.
        target: class f; one for all rows, one for each, or None for the largest score.
        fill: see `filled_with`.
        output: f is the score of the class or its probability.

    Returns:
        Float [b, m].

    Raises:
        ConfigError, DataError: for masks that do not fit.
    """
    x, masks = checked_by(logits_fn, x), np.asarray(masks)
    if (
        masks.dtype != bool
        or masks.ndim != x.ndim
        or any(m not in (1, n) for m, n in zip(masks.shape[1:], x.shape[1:], strict=True))
    ):
        raise DataError(
            f"masks are {masks.dtype}{list(masks.shape)}; expected bool [m, {', '.join(map(str, x.shape[1:]))}], where "
            "an axis may be 1"
        )
    chosen = targets(logits_fn(x), target)
    whole = in_batches(lambda x, t: _outputs(logits_fn, x, t, output), batch_of(logits_fn), x, chosen)
    return whole[:, None] - outputs_kept(logits_fn, x, filled_with(logits_fn, x, fill), ~masks, chosen, output)


class Occlusion(NamedTuple):
    """What an occluder that slides over an image does.

    Attributes:
        outputs: of the class, at each place of the occluder: float [b, rows, columns].
        drops: for each pixel the mean of `f(x) - f(x~)` over all occluders that cover it: float [b, h, w, 1].
    """

    outputs: jax.Array
    drops: jax.Array


def _starts(side: int, size: int, stride: int) -> list[int]:
    """Where windows begin: every `stride`, and one that ends with the image."""
    return sorted({*range(0, side - size + 1, stride), side - size})


@method
def occlusion(
    logits_fn: LogitsFn,
    x: Any,
    target: Any = None,
    size: Counted = 0,
    stride: Counted = 0,
    fill: Fill = 0.0,
    output: Output = "probability",
) -> Occlusion:
    """The class's probability while a square slides over the image, and how much each pixel's absence costs.

    `P(c | x occluded at (i, j))`; where it falls, the image said c.

    Args:
        logits_fn: `[b, h, w, c] -> [b, k]`.
        x: images [b, h, w, c].
        target: see `subset_scores`.
        size: side of the square in pixels; 0 for a quarter of the image.
        stride: pixels between its places; 0 for half its side. The last one in each direction ends with the image.
        fill: of the square, see `filled_with`.
        output: "probability" or "score" of the class.

    Raises:
        ConfigError, DataError: for a square that is larger than the image, or what is no image.

    Reference: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2.
    """
    x = checked_by(logits_fn, x)
    if x.ndim != 4:
        raise DataError(f"occlusion slides over images [b, h, w, c], got {list(x.shape)}; use subset_scores")
    b, h, w = x.shape[:3]
    size = size or max(1, round(min(h, w) / 4))
    if size > min(h, w):
        raise ConfigError(f"occlusion(size={size}) does not fit into images of {h}x{w} pixels")
    stride = stride or max(1, size // 2)
    rows, columns = _starts(h, size, stride), _starts(w, size, stride)
    masks = np.zeros((len(rows) * len(columns), h, w, 1), bool)
    for k, (i, j) in enumerate((i, j) for i in rows for j in columns):
        masks[k, i : i + size, j : j + size] = True
    chosen = targets(logits_fn(x), target)
    whole = in_batches(lambda x, t: _outputs(logits_fn, x, t, output), batch_of(logits_fn), x, chosen)
    outputs = outputs_kept(logits_fn, x, filled_with(logits_fn, x, fill), ~masks, chosen, output)  # [b, m]
    cover = jnp.asarray(masks.reshape(len(masks), -1), outputs.dtype)
    counts = jnp.maximum(cover.sum(0), 1)  # a stride beyond the size leaves pixels that nothing covers
    drops = jnp.einsum("bm,mp->bp", whole[:, None] - outputs, cover, precision="highest") / counts[None]
    return Occlusion(outputs.reshape(b, len(rows), len(columns)), drops.reshape(b, h, w, 1))


# Shapley values -------------------------------------------------------------------------------------------------------


def shapley_of_game(values: Any) -> np.ndarray:
    """`phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))`.

    Efficiency: they add up to `v(all) - v(none)`. Players that are alike get the same, one that changes nothing 0.

    Args:
        values: float [..., 2^n], v of each coalition; bit i of its number says whether player i is in it.

    Returns:
        float64 [..., n].

    Raises:
        ConfigError: for a number of values that is no power of two.

    Reference: Shapley 1953, "A Value for n-Person Games", equation 12.
    """
    values = np.asarray(values, np.float64)
    n = max(values.shape[-1].bit_length() - 1, 0)
    if values.shape[-1] != 2**n:
        raise ConfigError(f"a game of n players has 2^n values, got {values.shape[-1]}")
    coalitions = np.arange(2**n)
    sizes = np.array([int(s).bit_count() for s in coalitions])
    phi = []
    for i in range(n):
        without = coalitions[(coalitions >> i & 1) == 0]
        weight = np.array([1 / (n * comb(n - 1, s)) for s in sizes[without]])
        phi.append(((values[..., without | 1 << i] - values[..., without]) * weight).sum(-1))
    return np.stack(phi, -1) if phi else np.zeros((*values.shape[:-1], 0))


def patches(shape: Any, size: int) -> np.ndarray:
    """The players of an image: squares of `size` pixels, numbered row by row; int [h, w, 1].

    Args:
        shape: (h, w, ...) of an image.
        size: side of a square; the last ones may be smaller.

    Raises:
        ConfigError: for a side that no image of this shape has.
    """
    h, w = shape[:2]
    if not 1 <= size <= max(h, w):
        raise ConfigError(f"patches of {size} pixels do not divide an image of {h}x{w}; give 1 to {max(h, w)}")
    return (np.arange(h)[:, None] // size * -(-w // size) + np.arange(w)[None] // size)[..., None]


class Shapley(NamedTuple):
    """Shapley values of the parts of inputs.

    Attributes:
        values: of each part, float [b, n].
        spread: each part's value in equal shares over its numbers, float like x: its sum is that of the values.
        error: standard error of each sampled value, float [b, n]; 0 where all coalitions were counted.
    """

    values: jax.Array
    spread: jax.Array
    error: jax.Array


@method
def shapley(
    logits_fn: LogitsFn,
    x: Any,
    players: Any,
    target: Any = None,
    baseline: Fill = 0.0,
    permutations: Counted = 0,
    seed: int = 0,
    output: Output = "score",
) -> Shapley:
    """What each part of an input adds to the score, averaged over all orders in which parts may be put in.

    The game is `v(S) = f(x with the parts outside S filled)`. Exactly: `shapley_of_game`, of 2^n coalitions. Sampled:
    the mean over random orders, each with its reverse, of what a part adds when its turn comes; efficiency holds
    exactly for every order, and so for their mean.

    Args:
        logits_fn: `[b, ...] -> [b, k]`.
        x: inputs [b, ...].
        players: int, of the shape of one input or one that broadcasts against it: which part a number belongs to, 0 ...
            n - 1; such as `patches(x.shape[1:], 8)`, or `np.arange(d)` for d features.
        target: see `subset_scores`.
        baseline: see `filled_with`.
        permutations: orders to sample; 0 for exact values.
        seed: of the sampled orders.
        output: f is the score of the class or its probability.

    Raises:
        ConfigError, DataError: for parts that do not fit, or exact values of too many.

    Reference: Lundberg and Lee 2017, "A Unified Approach to Interpreting Model Predictions", equation 4; Castro et al.
        2009, "Polynomial calculation of the Shapley value based on sampling", for orders; Mitchell et al. 2022,
        "Sampling Permutations for Shapley Value Estimation", section 4.2, for their reverses.
    """
    x, players = checked_by(logits_fn, x), np.asarray(players)
    one = x.shape[1:]
    fits = players.ndim <= len(one) and all(n in (1, m) for n, m in zip(players.shape[::-1], one[::-1], strict=False))
    if not np.issubdtype(players.dtype, np.integer) or not players.size or not fits:
        raise DataError(
            f"players are {players.dtype}{list(players.shape)}; expected integers that broadcast against one input "
            f"{list(x.shape[1:])}"
        )
    n = int(players.max()) + 1
    if set(np.unique(players)) != set(range(n)):
        raise DataError(f"players must be numbered 0 ... {n - 1} without a gap")
    if not permutations and n > MOST_PLAYERS:
        raise ConfigError(
            f"exact Shapley values of {n} parts need 2^{n} coalitions; give permutations=100, or at most "
            f"{MOST_PLAYERS} parts"
        )
    chosen, fill = targets(logits_fn(x), target), filled_with(logits_fn, x, baseline)

    def values_of(coalitions: Iterable[np.ndarray]) -> np.ndarray:
        keep = (members[players] for members in coalitions)
        return np.asarray(outputs_kept(logits_fn, x, fill, keep, chosen, output), np.float64)

    if permutations:
        values, error = _sampled(values_of, n, permutations, seed)
    else:
        bits = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)  # [2^n, n]
        values = shapley_of_game(values_of(bits))
        error = np.zeros_like(values)
    whole = np.broadcast_to(players, x.shape[1:])
    shares = values / np.bincount(whole.reshape(-1), minlength=n)
    return Shapley(*(jnp.asarray(v, jnp.float32) for v in (values, shares[:, whole], error)))


def _sampled(
    values_of: Callable[[Iterable[np.ndarray]], np.ndarray], n: int, permutations: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Means over orders and their reverses, and the standard errors of these means."""
    rng, pairs = np.random.default_rng(seed), []
    for _ in range(permutations):
        order, gains = rng.permutation(n), []
        for turn in (order, order[::-1]):
            place = np.argsort(turn)
            values = values_of(place < k for k in range(n + 1))  # [b, n + 1]
            gains.append(np.diff(values)[:, place])
        pairs.append((gains[0] + gains[1]) / 2)
    stacked = np.stack(pairs)  # [permutations, b, n]
    spread = stacked.std(0, ddof=1) if permutations > 1 else np.full_like(stacked[0], np.nan)
    return stacked.mean(0), spread / np.sqrt(permutations)
