"""The boundary attack: a random walk along the decision boundary toward the image, by labels alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.attacks import threat
from cvdl_jax.analysis.attacks.access import BlackBox, asked_for, needs
from cvdl_jax.config.binding import Count, Positive
from cvdl_jax.core.parallel import row_random
from cvdl_jax.errors import DataError

WINDOW = 10  # proposals after which step sizes are judged
AIM = (0.5, 0.25)  # the share of sideways steps, and of steps inward, that should stay adversarial
FACTOR = 1.5  # by which a step size changes


@needs("labels")
def boundary(
    model: Any,
    x: Any,
    label: Any,
    key: jax.Array | None = None,
    *,
    steps: Count = 500,
    start: Any = None,
    starts: Count = 50,
    sideways: Positive = 0.1,
    inward: Positive = 0.1,
) -> jax.Array:
    """Rejection sampling of moves: a step on the sphere around x, then one toward x; kept where still misclassified.

    It begins at noise that is misclassified, moved toward x by bisection until just before the boundary. Step sizes
    grow where more than the aimed share of moves is kept, and shrink where fewer are.

    Args:
        model: a BlackBox, of labels at least, which counts; or `logits_fn(x)`.
        x: float [b, h, w, c] in 0..1.
        label: int [b], the class that is to be lost.
        key: None for one of seed 0.
        steps: proposals, of two queries each.
        start: [b, h, w, c] in 0..1, misclassified images to begin at; None for uniform noise.
        starts: how often noise is drawn for an image whose noise has its own class.
        sideways: length of the first step on the sphere, as a share of the distance.
        inward: of the step toward x, likewise.

    Returns:
        Changed images [b, h, w, c] in 0..1: all misclassified, but x itself where no start was.

    Raises:
        DataError: for images, or starts, outside 0..1, or labels that do not exist.

    Reference: Brendel et al. 2018, "Decision-Based Adversarial Attacks", section 2 and figure 2.
    """
    oracle, x = asked_for(model, "labels", "boundary"), threat.check_images(x)
    label, key = np.asarray(oracle.checked_labels(x, label)), jax.random.key(0) if key is None else key
    z, usable = _started(oracle, x, label, jax.random.fold_in(key, 0), start, starts)
    z = _bisected(oracle, x, z, label, usable)
    around, toward = np.full(len(x), sideways), np.full(len(x), inward)
    tried, kept = np.zeros((2, len(x))), np.zeros((2, len(x)))
    for i in range(1, steps + 1):
        on_sphere, nearer = _proposed(jax.random.fold_in(key, i), x, z, jnp.asarray(around), jnp.asarray(toward))
        first = usable & (oracle.labels(on_sphere, usable) != label)
        second = first & (oracle.labels(nearer, first) != label)
        z = jnp.where(threat.rows(jnp.asarray(second), x), nearer, z)
        tried += np.stack([usable, first])
        kept += np.stack([first, second])
        if i % WINDOW == 0:
            around = _adapted(around, tried[0], kept[0], AIM[0])
            toward = _adapted(toward, tried[1], kept[1], AIM[1])
            tried, kept = np.zeros((2, len(x))), np.zeros((2, len(x)))
    return z


def _started(oracle: BlackBox, x, label, key, start, starts):
    """(misclassified images, which there are)."""
    if start is not None:
        z = threat.check_images(start)
        if z.shape != x.shape:
            raise DataError(f"start has the shape {list(z.shape)}, the images {list(x.shape)}; give one for each image")
        return z, oracle.labels(z) != label
    z, usable = x, oracle.labels(x) != label  # an image that is misclassified already is its own start
    for i in range(starts):
        if usable.all():
            break
        noise = row_random(jax.random.uniform, jax.random.fold_in(key, i), x.shape)
        new = ~usable & (oracle.labels(noise, ~usable) != label)
        z, usable = jnp.where(threat.rows(jnp.asarray(new), x), noise, z), usable | new
    return z, usable


def _bisected(oracle: BlackBox, x, z, label, usable, halvings: int = 10):
    """The points between images and misclassified ones that are nearest to the images, yet misclassified."""
    low, high = np.zeros(len(x), np.float32), np.ones(len(x), np.float32)  # share of the way from x to z
    for _ in range(halvings):
        middle = (low + high) / 2
        wrong = oracle.labels(_between(x, z, jnp.asarray(middle)), usable) != label
        low, high = np.where(wrong, low, middle), np.where(wrong, middle, high)
    return jnp.where(threat.rows(jnp.asarray(usable), x), _between(x, z, jnp.asarray(high)), x)


@jax.jit
def _between(x, z, share):
    return jnp.clip(x + threat.rows(share, x).astype(x.dtype) * (z - x), 0, 1)


@jax.jit
def _proposed(key, x, z, sideways, inward):
    """(points on the sphere around x through z, the same a step nearer to x)."""
    away, radius = z - x, threat.rows(threat.distance(z, x, "l2"), x)
    unit = away / jnp.maximum(radius, 1e-12)
    noise = row_random(jax.random.normal, key, x.shape).astype(x.dtype)
    along = threat.rows((noise * unit).reshape(len(x), -1).sum(1), x)
    tangent = threat.steepest(noise - along * unit, "l2")
    turned = away + threat.rows(sideways, x).astype(x.dtype) * radius * tangent
    on_sphere = x + turned * radius / jnp.maximum(threat.rows(threat.distance(x + turned, x, "l2"), x), 1e-12)
    nearer = x + (on_sphere - x) * (1 - threat.rows(jnp.minimum(inward, 1.0), x).astype(x.dtype))
    return jnp.clip(on_sphere, 0, 1), jnp.clip(nearer, 0, 1)


def _adapted(size, tried, kept, aim):
    """Step sizes after a window: larger where the aimed share of moves was kept; unchanged where none was tried."""
    grown = np.where(kept >= aim * tried, size * FACTOR, size / FACTOR)
    return np.where(tried > 0, np.clip(grown, 1e-6, 0.9), size)
