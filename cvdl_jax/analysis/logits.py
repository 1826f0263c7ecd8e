"""The function that explanations and attacks ask: `logits_fn(x) -> [b, k]`, of any model, its preprocessing bound in.

Any function of JAX will do: a lambda, a model of another library. `Logits` wraps one, so that calls with many images
are compiled once and never hold more than a batch of them; inside of `jax.grad` and `jax.jit` it is the function
itself.

    logits_fn = runs.logits_fn("runs/digits_lenet5")           # of a run: images in 0..1, or bytes
    logits_fn = Logits(lambda x: x.reshape(len(x), -1) @ w)    # of anything else
    gradients.saliency(logits_fn, images, target=3)
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.errors import ConfigError, DataError

BATCH = 128  # images that pass through a model at once, where nobody says
ROUNDING = 1e-5  # beyond the range, as resizing leaves it
LogitsFn = Callable[[jax.Array], jax.Array]


class Logits:
    """A function from images to scores, compiled and batched: `logits_fn(x)`, x [b, ...] -> float [b, k].

    Attributes:
        function: the pure function itself, which may be traced, differentiated and looked into.
        batch_size: the most rows that pass through the function at once.
        shape: of one input; () if any will do.
        low, high: the range of an input's numbers; None where there is none.
        class_names: of the k scores; () if nobody knows them.
        probabilities: of scores [b, k]: a softmax, or a sigmoid of each where an input may have several classes.
    """

    def __init__(
        self,
        function: LogitsFn,
        batch_size: int = BATCH,
        shape: Sequence[int] = (),
        low: float | None = 0.0,
        high: float | None = 1.0,
        class_names: Sequence[str] = (),
        probabilities: LogitsFn = jax.nn.softmax,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size} rows pass through the model at once; give at least 1")
        self.function, self.batch_size, self.shape = function, batch_size, tuple(shape)
        self.low, self.high, self.class_names, self.probabilities = low, high, tuple(class_names), probabilities
        self._compiled = jax.jit(function)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores [b, k] of x [b, ...]; in a transformation of JAX, where values cannot be looked at, unchecked.

        Raises:
            DataError: for another shape, or numbers out of range.
        """
        if isinstance(x, jax.core.Tracer):
            return self.function(x)
        return in_batches(self._compiled, self.batch_size, self.checked(x))

    def checked(self, x: Any) -> jax.Array:
        """Inputs as floats in the range of the model: bytes become pixels in 0..1.

        Raises:
            DataError: for another shape, or numbers that are not finite or out of range.
        """
        return checked(x, self.shape, self.low, self.high)


def checked(x: Any, shape: Sequence[int] = (), low: float | None = None, high: float | None = None) -> jax.Array:
    """Inputs [b, ...] as floats, after a look at their shape and range.

    Args:
        x: numbers [b, *shape]; bytes are divided by 255 where the range is 0..1.
        shape: of one input; () if any will do.
        low: the least number; None for any.
        high: the greatest.

    Raises:
        DataError: naming what is wrong and what to give.
    """
    x = x if isinstance(x, jax.Array) else np.asarray(x)
    if (shape and x.shape[1:] != tuple(shape)) or x.ndim < 2:
        one = "; one example alone is x[None]" if x.shape == tuple(shape) or x.ndim < 2 else ""
        raise DataError(
            f"x has the shape {list(x.shape)}, expected [{', '.join(['b', *map(str, shape or '...')])}]{one}"
        )
    if x.dtype == np.uint8 and (low, high) == (0.0, 1.0):
        return jnp.asarray(x, jnp.float32) / 255
    if not jnp.issubdtype(x.dtype, jnp.floating):
        bytes_too = "bytes, x.astype(np.uint8), or " if (low, high) == (0.0, 1.0) else ""
        raise DataError(f"x is {x.dtype}; give {bytes_too}floats in the range of the model, such as x / 255")
    if isinstance(x, jax.core.Tracer) or not x.size:
        return jnp.asarray(x)
    least, most = float(x.min()), float(x.max())
    if not (np.isfinite(least) and np.isfinite(most)):
        raise DataError("x has numbers that are not finite; give finite ones")
    if (low is not None and least < low - ROUNDING) or (high is not None and most > high + ROUNDING):
        raise DataError(
            f"x has floats from {least:.4g} to {most:.4g}, expected {low:g} to {high:g}; give bytes, "
            "x.astype(np.uint8), or floats in that range, such as x / 255"
        )
    return jnp.asarray(x)


def in_batches(compiled: Callable[..., Any], batch_size: int, *rows: jax.Array) -> Any:
    """`compiled(*rows)`, called with at most `batch_size` rows at once, all calls of one shape.

    Args:
        compiled: jitted, `(rows [n, ...], ...) -> tree of arrays [n, ...]`, each row of its own row alone.
        batch_size: of one call; the last is padded by repeating its last row, whose results are dropped.
        *rows: arrays with one leading axis of b >= 1.
    """
    b = len(rows[0])
    if b == 0:
        raise DataError("x holds no example; give at least one")
    n = min(b, batch_size)
    parts = []
    for start in range(0, b, n):
        some = [jnp.asarray(x[start : start + n]) for x in rows]
        count = len(some[0])
        if count < n:
            some = [jnp.concatenate([x, jnp.repeat(x[-1:], n - count, 0)]) for x in some]
        parts.append(jax.tree.map(lambda y, count=count: y[:count], compiled(*some)))
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *ys: jnp.concatenate(ys), *parts)


def targets(logits: jax.Array, target: Any = None) -> jax.Array:
    """The class of each row that is asked about: int [b].

    Args:
        logits: [b, k].
        target: a class for all rows, or one for each; None for the largest score.

    Raises:
        ConfigError: for a class that does not exist.
    """
    b, k = logits.shape
    if target is None:
        return logits.argmax(-1)
    target = np.broadcast_to(np.asarray(target), (b,)) if np.ndim(target) == 0 else np.asarray(target)
    if target.shape != (b,) or not np.issubdtype(target.dtype, np.integer):
        raise ConfigError(
            f"target must be a class, or one for each of {b} rows, got {target.dtype}{list(target.shape)}"
        )
    if target.min() < 0 or target.max() >= k:
        wrong = int(target[(target < 0) | (target >= k)][0])
        raise ConfigError(f"target={wrong} is not one of the classes 0 ... {k - 1}")
    return jnp.asarray(target)


def score(logits_fn: LogitsFn, x: jax.Array, target: jax.Array) -> jax.Array:
    """The un-normalised score of one class of each row, `S_c(x)`, float [b]."""
    return jnp.take_along_axis(logits_fn(x), target[:, None], 1)[:, 0]


def checked_by(logits_fn: LogitsFn, x: Any) -> jax.Array:
    """Inputs, one at least, checked by the range of a `Logits`; of another function finite floats."""
    x = logits_fn.checked(x) if isinstance(logits_fn, Logits) else checked(x)
    if not len(x):
        raise DataError("x holds no example; give at least one")
    return x


def within(logits_fn: LogitsFn, given: Any, what: str) -> None:
    """Refuses numbers beyond the range of a `Logits`, which it never sees in an input.

    Args:
        logits_fn: a function without a range takes any.
        given: numbers, in an array or alone.
        what: their name, such as "the baseline".

    Raises:
        DataError: naming the numbers and the range.
    """
    low, high = getattr(logits_fn, "low", None), getattr(logits_fn, "high", None)
    if isinstance(given, jax.core.Tracer) or low is None or high is None or not np.size(given):
        return
    least, most = float(np.min(given)), float(np.max(given))
    if not (low - ROUNDING <= least and most <= high + ROUNDING):
        raise DataError(f"{what} is in {least:.4g}..{most:.4g}, and inputs are in {low:g}..{high:g}; give such numbers")


def batch_of(logits_fn: LogitsFn) -> int:
    """The most rows that pass through a function at once."""
    return logits_fn.batch_size if isinstance(logits_fn, Logits) else BATCH
