"""Square attack: random search with squares, by scores alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.attacks import threat
from cvdl_jax.analysis.attacks.access import asked_for, needs
from cvdl_jax.config.binding import Count, Inside, Positive
from cvdl_jax.core.parallel import row_keys
from cvdl_jax.errors import DataError

# Where the share of changed pixels is halved, as iterations of 10,000, and by how much it is smaller then.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def share(start: float, iteration: int, total: int) -> float:
    """The share of pixels that the square of an iteration covers: `start / 2^k` after k of the halvings.

    Reference: Andriushchenko et al. 2020, section 3.3; the schedule of 10,000 iterations is scaled to `total`.
    """
    at = int(iteration / total * 10000)
    return start / 2 ** sum(at > mark for mark in HALVINGS)


@needs("scores")
def square(
    model: Any,
    x: Any,
    label: Any,
    key: jax.Array | None = None,
    *,
    eps: Positive = 0.3,
    queries: Count = 1000,
    start: Inside = 0.8,
) -> jax.Array:
    """The Square attack in the maximum norm: a random square is set to x +- eps, and kept if the margin falls.

    It begins with vertical stripes, each pixel column at x + eps or x - eps in every channel.

    Args:
        model: a BlackBox of scores, which counts; or `logits_fn(x)`.
        x: float [b, h, w, c] in 0..1.
        label: int [b].
        key: None for one of seed 0.
        eps: radius.
        queries: at most so many of each image; one that is misclassified is asked no more.
        start: the share of pixels of the first square.

    Returns:
        Changed images [b, h, w, c], at most eps away.

    Raises:
        DataError: for images outside 0..1, what is no image, or labels that do not exist.
        ConfigError: for a model that gives labels only.

    Reference: Andriushchenko et al. 2020, "Square Attack", algorithms 1 and 2.
    """
    oracle, x = asked_for(model, "scores", "square"), threat.check_images(x)
    threat.check_radius(eps, "linf")
    if x.ndim != 4:
        raise DataError(f"square needs images [b, h, w, c], got the shape {list(x.shape)}; use another attack")
    label = oracle.checked_labels(x, label)
    key = jax.random.key(0) if key is None else key
    z = _stripes(jax.random.fold_in(key, 0), x, eps)
    best = np.asarray(threat.margin(jnp.asarray(oracle.scores(z)), label))
    for i in range(1, queries):
        active = best > 0
        if not active.any():
            break
        side = max(round(np.sqrt(share(start, i, queries) * x.shape[1] * x.shape[2])), 1)
        side = min(side, x.shape[1], x.shape[2])
        new = _square(jax.random.fold_in(key, i), x, z, eps, side)
        margins = np.asarray(threat.margin(jnp.asarray(oracle.scores(new, active)), label))
        better = active & (margins < best)
        z = jnp.where(threat.rows(jnp.asarray(better), x), new, z)
        best = np.where(better, margins, best)
    return z


@jax.jit
def _stripes(key, x, eps):
    signs = jax.vmap(lambda k: jax.random.rademacher(k, (1, x.shape[2], x.shape[3]), x.dtype))(row_keys(key, len(x)))
    return threat.project(x + eps * signs, x, eps)


@jax.jit
def _square(key, x, z, eps, side):
    """The images with a square of `side` pixels at a random place of each set to x + eps or x - eps, by channel."""
    b, h, w, c = x.shape

    def drawn(k: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows, columns, colours = jax.random.split(k, 3)
        top = jnp.floor(jax.random.uniform(rows) * (h - side + 1))
        left = jnp.floor(jax.random.uniform(columns) * (w - side + 1))
        y, x_ = jnp.arange(h)[:, None], jnp.arange(w)[None]
        inside = (y >= top) & (y < top + side) & (x_ >= left) & (x_ < left + side)
        return inside, jax.random.rademacher(colours, (c,), x.dtype)

    inside, signs = jax.vmap(drawn)(row_keys(key, b))  # [b, h, w], [b, c]
    return threat.project(jnp.where(inside[..., None], x + eps * signs[:, None, None], z), x, eps)
