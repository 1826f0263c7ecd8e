"""Why adversarial examples exist: many small changes add up in a linear score; and what the boundary looks like."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.attacks import threat
from cvdl_jax.analysis.attacks.access import classes_of, logits_of
from cvdl_jax.config.binding import Positive


class Response(NamedTuple):
    """How a linear score w.x of unit inputs answers to a change of size eps in every input, by dimension.

    Attributes:
        dimensions: int [k], n.
        worst: eps |w|_1, the mean over draws of w [k]: grows as n.
        chance: the standard deviation of w.(eps s) for random signs s, eps |w|_2 [k]: grows as sqrt(n).
    """

    dimensions: np.ndarray
    worst: np.ndarray
    chance: np.ndarray


def worst_change(w: Any, eps: float) -> tuple[jax.Array, jax.Array]:
    """The change of size eps that raises a linear score most: `eps sign(w)`, by `eps |w|_1`.

    Args:
        w: float [...], the weights of one score.
        eps: the largest change of an input.

    Returns:
        (the change [...], by how much w.x grows).

    Reference: Goodfellow et al. 2015, "Explaining and Harnessing Adversarial Examples", section 3.
    """
    threat.check_radius(eps, "linf")
    w = jnp.asarray(w)
    return eps * jnp.sign(w), eps * jnp.abs(w).sum()


def response(dimensions: Any, eps: float, key: jax.Array, draws: int = 32) -> Response:
    """The answer of a score with normal weights, by dimension: `eps |w|_1` beside `eps |w|_2`.

    Args:
        dimensions: ints, n.
        eps: the largest change of an input.
        key: of the weights.
        draws: weight vectors of each dimension.
    """
    threat.check_radius(eps, "linf")
    sizes = []
    for i, n in enumerate(dimensions):
        w = jax.random.normal(jax.random.fold_in(key, i), (draws, int(n)))
        sizes.append((eps * jnp.abs(w).sum(1).mean(), eps * jnp.linalg.norm(w, axis=1).mean()))
    return Response(np.asarray(dimensions), *np.asarray(sizes).T)


def adversarial_direction(model: Any, x: Any, label: int) -> jax.Array:
    """The gradient of a class's margin at one image x [h, w, c], of length one, downward. Returns: [h, w, c]."""
    logits_fn, x = logits_of(model, "adversarial_direction"), threat.check_images(x)
    y = threat.check_classes(label, 1, classes_of(logits_fn, x[None]))
    gradient = jax.grad(lambda x: threat.margin(logits_fn(x[None]), y)[0])(x)
    return -gradient / jnp.maximum(jnp.linalg.norm(gradient), 1e-12)


def cross_section(
    model: Any, x: Any, across: Any, aside: Any, reach: Positive = 3.0, points: int = 61
) -> tuple[np.ndarray, np.ndarray]:
    """The predicted classes on a plane through an image: `argmax f(x + s u + t v)`. The plane may leave 0..1.

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [h, w, c].
        across: u [h, w, c], such as `adversarial_direction`; made of length one.
        aside: v [h, w, c]; what is not orthogonal to u is taken away, then it is made of length one.
        reach: s and t go from -reach to reach.
        points: along each axis.

    Returns:
        (s [points], the classes int [points (t), points (s)]).
    """
    logits_fn = logits_of(model, "cross_section")
    x, u, v = (jnp.asarray(a) for a in (x, across, aside))
    u = u / jnp.linalg.norm(u)
    v = v - (u * v).sum() * u
    v = v / jnp.linalg.norm(v)
    s = jnp.linspace(-reach, reach, points)

    @jax.jit
    def line(t: jax.Array) -> jax.Array:
        steps = s.reshape(-1, *(1,) * x.ndim)
        return logits_fn((x + t * v)[None] + steps * u[None]).argmax(1)

    return np.asarray(s), np.stack([np.asarray(line(t)) for t in s])
