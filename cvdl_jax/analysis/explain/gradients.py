"""Explanations by gradients of a class score: pure functions of any `logits_fn(x) -> [b, k]`.

`S_c(x)` is the un-normalised score of class c, before any softmax. `target` is the class: one number, one for each row,
or None for the class with the largest score. A call compiles once for a function and a shape, and at most as many rows
pass through the function at once as its batch size.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.arguments import method
from cvdl_jax.analysis.logits import LogitsFn, batch_of, checked_by, in_batches, score, targets, within
from cvdl_jax.config.binding import NotNegative, Size
from cvdl_jax.core.parallel import row_keys
from cvdl_jax.errors import ConfigError, DataError


@partial(jax.jit, static_argnums=0)
def _gradient(logits_fn: LogitsFn, x: jax.Array, target: jax.Array) -> jax.Array:
    return jax.grad(lambda x: score(logits_fn, x, target).astype(jnp.float32).sum())(x)


@method
def gradient(logits_fn: LogitsFn, x: Any, target: Any = None) -> jax.Array:
    """`d S_c / d x`: to first order, how much each number of the input moves the score.

    Args:
        logits_fn: any function of JAX, [b, ...] -> [b, k]; each row depends on its own row alone.
        x: inputs [b, ...].
        target: c, see the module.

    Returns:
        Float array like x.

    Reference: Simonyan et al. 2014, "Deep Inside Convolutional Networks", section 3.1.
    """
    x = checked_by(logits_fn, x)
    return in_batches(partial(_gradient, logits_fn), batch_of(logits_fn), x, targets(logits_fn(x), target))


def saliency(logits_fn: LogitsFn, x: Any, target: Any = None) -> jax.Array:
    """`max over channels of |d S_c / d x|`: one number for each pixel.

    Args:
        logits_fn: see `gradient`.
        x: inputs [b, ..., channels].
        target: c, see the module.

    Returns:
        Float [b, ..., 1], not negative.

    Reference: Simonyan et al. 2014, section 3.1.
    """
    return jnp.abs(gradient(logits_fn, x, target)).max(-1, keepdims=True)


def gradient_x_input(logits_fn: LogitsFn, x: Any, target: Any = None) -> jax.Array:
    """`x * d S_c / d x`, element by element.

    An expansion around x gives `S_c(x) = S_c(x_0) + grad S_c(x) . (x - x_0) + ...`; of a root point x_0 that is
    orthogonal to the gradient at x, `grad S_c(x) . x` is left, whose terms these are. They add up to the score where it
    is linear through the origin.

    Args:
        logits_fn: see `gradient`.
        x: inputs [b, ...].
        target: c, see the module.

    Returns:
        Float array like x.

    Reference: Shrikumar et al. 2016, "Not Just a Black Box", section 2.
    """
    x = checked_by(logits_fn, x)
    return x * gradient(logits_fn, x, target)


@partial(jax.jit, static_argnums=0)
def _copies(copy: Callable[..., jax.Array], x: jax.Array, index: jax.Array, *more: jax.Array) -> jax.Array:
    """The copies [s b, ...] of the rows, copy by copy."""
    return jax.vmap(lambda i: copy(x, i, *more))(index).reshape(-1, *x.shape[1:])


@jax.jit
def _weighted(slopes: jax.Array, weight: jax.Array) -> jax.Array:
    return jnp.tensordot(weight, slopes.reshape(len(weight), -1, *slopes.shape[1:]), 1)


def mean_gradient(
    logits_fn: LogitsFn, copy: Callable[..., jax.Array], n: int, x: jax.Array, target: jax.Array, *more: jax.Array
) -> jax.Array:
    """`1/n sum_{i < n} grad S_c(copy(x, i, *more))`, in batches of rows and of copies.

    The copies of a chunk are one batch and the chunks a loop outside of the compiled function: convolutions inside a
    loop of XLA are several times slower on CPUs.

    Args:
        logits_fn: see `gradient`.
        copy: `(rows [r, ...], i, *more [r, ...]) -> [r, ...]`; kept by identity, so that it compiles once.
        n: how many copies.
        x: inputs [b, ...].
        target: int [b].
        *more: rows [b, ...] for `copy`.
    """
    room, b = batch_of(logits_fn), len(x)
    chunk = min(n, room)
    rows = max(1, min(b, room // chunk))
    dtype = jnp.promote_types(x.dtype, jnp.float32)

    def of_rows(x: jax.Array, target: jax.Array, *more: jax.Array) -> jax.Array:
        total = jnp.zeros(x.shape, dtype)
        for start in range(0, n, chunk):
            index = np.minimum(np.arange(start, start + chunk), n - 1)
            weight = (np.arange(start, start + chunk) < n) / n
            copies = _copies(copy, x, jnp.asarray(index), *more)
            slopes = _gradient(logits_fn, copies, jnp.tile(target, chunk))
            total = total + _weighted(slopes, jnp.asarray(weight, dtype))
        return total

    return in_batches(of_rows, rows, x, target, *more)


def _noisy(x: jax.Array, i: jax.Array, spread: jax.Array, keys: jax.Array) -> jax.Array:
    noise = jax.vmap(lambda key, row: jax.random.normal(jax.random.fold_in(key, i), row.shape, row.dtype))(keys, x)
    return x + spread.reshape(-1, *[1] * (x.ndim - 1)) * noise


@method
def smoothgrad(
    logits_fn: LogitsFn,
    x: Any,
    target: Any = None,
    key: jax.Array | None = None,
    samples: Size = 32,
    noise: NotNegative = 0.15,
) -> jax.Array:
    """`1/n sum_i d S_c / d x at x + sigma e_i`, e_i ~ N(0, I), `sigma = noise (max x - min x)` of each input.

    Args:
        logits_fn: see `gradient`.
        x: inputs [b, ...]; noise leaves their range, as in the paper.
        target: c, see the module.
        key: of the noise, that of seed 0 if None; each row draws from its own index.
        samples: n.
        noise: sigma as a share of the range of each input.

    Returns:
        Float array like x.

    Reference: Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise", section 3.
    """
    x = checked_by(logits_fn, x)
    keys = row_keys(jax.random.key(0) if key is None else key, len(x))
    axes = tuple(range(1, x.ndim))
    spread = noise * (x.max(axes) - x.min(axes))  # [b]
    return mean_gradient(logits_fn, _noisy, samples, x, targets(logits_fn(x), target), spread, keys)


def _between(x: jax.Array, i: jax.Array, baseline: jax.Array, n: jax.Array) -> jax.Array:
    share = (i + 0.5) / n.reshape(-1, *[1] * (x.ndim - 1))
    return baseline + share.astype(x.dtype) * (x - baseline)


def baseline_of(logits_fn: LogitsFn, x: jax.Array, baseline: Any) -> jax.Array:
    """The input that stands for "nothing", as an array like x.

    Args:
        logits_fn: whose range it keeps.
        x: [b, ...].
        baseline: a number, one input [...] or one for each row [b, ...].

    Raises:
        DataError: for another shape, an array of whole numbers, or numbers that are not finite or out of range.
    """
    given = baseline if isinstance(baseline, jax.core.Tracer) else np.asarray(baseline)
    if given.ndim and not jnp.issubdtype(given.dtype, jnp.floating):
        raise DataError(f"the baseline is {given.dtype}; give floats in the range of the inputs, for bytes x / 255")
    if isinstance(given, np.ndarray) and not (np.abs(given) <= np.finfo(np.float32).max).all():
        raise DataError("the baseline has numbers that are not finite; give some in the range of the inputs")
    within(logits_fn, given, "the baseline")
    baseline = jnp.asarray(baseline, x.dtype)
    if baseline.shape not in ((), x.shape[1:], x.shape):
        raise DataError(
            f"the baseline has the shape {list(baseline.shape)}; expected a number, {list(x.shape[1:])} or "
            f"{list(x.shape)}"
        )
    return jnp.broadcast_to(baseline, x.shape)


@method
def integrated_gradients(
    logits_fn: LogitsFn, x: Any, target: Any = None, baseline: Any = 0.0, steps: Size = 50
) -> jax.Array:
    """`(x - x') * 1/n sum_i grad S_c(x' + (i + 1/2) / n (x - x'))`: the gradient averaged on the way from x' to x.

    Completeness: the attributions of an input add up to `S_c(x) - S_c(x')`, up to the error of the midpoint rule.

    Args:
        logits_fn: see `gradient`.
        x: inputs [b, ...].
        target: c, see the module.
        baseline: x', see `baseline_of`.
        steps: n.

    Returns:
        Float array like x.

    Raises:
        DataError: for a baseline of another shape.

    Reference: Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", equations 1 and 3.
    """
    x = checked_by(logits_fn, x)
    start = baseline_of(logits_fn, x, baseline)
    n = jnp.full(len(x), steps, x.dtype)
    return (x - start) * mean_gradient(logits_fn, _between, steps, x, targets(logits_fn(x), target), start, n)


@method
def gradient_autocorrelation(logits_fn: LogitsFn, x: Any, end: Any, target: Any = None, points: Size = 64) -> jax.Array:
    """How fast the gradient forgets itself along the line from x to `end`: its autocorrelation at each lag.

    `R(k) = sum_t <d_t, d_{t+k}> / sum_t <d_t, d_t>`, `d_t = g_t - mean_t g_t`, g_t the gradient of the score at the
    t-th of n equally spaced points. That of a shattered gradient falls at once, as that of white noise; that of a
    smooth one slowly.

    Args:
        logits_fn: see `gradient`.
        x: starts [b, ...].
        end: ends, like x.
        target: c, see the module.
        points: n, at least 3.

    Returns:
        Float [b, n], 1 at lag 0; not a number where the gradient is the same at all points.

    Raises:
        ConfigError, DataError: for fewer than three points, or ends of another shape.

    Reference: Balduzzi et al. 2017, "The Shattered Gradients Problem", section 2.
    """
    x, end = checked_by(logits_fn, x), checked_by(logits_fn, end)
    if x.shape != end.shape:
        raise DataError(f"end has the shape {list(end.shape)}; each of x {list(x.shape)} needs one")
    if points < 3:
        raise ConfigError(f"gradient_autocorrelation(points={points}) needs at least 3 points")
    chosen, lines = targets(logits_fn(x), target), []
    for a, b, c in zip(x, end, chosen, strict=True):
        share = jnp.linspace(0, 1, points, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        g = gradient(logits_fn, a[None] + share * (b - a)[None], jnp.full(points, c)).reshape(points, -1)
        d = np.asarray(g, np.float64)
        d = d - d.mean(0)
        products = d @ d.T
        lines.append([np.trace(products, k) for k in range(points)])
    sums = np.asarray(lines)
    with np.errstate(invalid="ignore"):
        return jnp.asarray(sums / np.where(sums[:, :1] > 0, sums[:, :1], np.nan), jnp.float32)
