"""What an adversarial example is: the distance that it keeps, the answer that it changes, and what may be asked for."""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.classification import correct

Norm = Literal["linf", "l2"]
Measure = Literal["linf", "l2", "l1", "l0"]
ROUNDING = 1e-6  # by which a radius may be exceeded; of l2 beyond 1, as a share of it, since lengths are float32
BEYOND = 1e-5  # how far beyond 0..1 an image may be that is given, as resizing leaves it


def distance(a: jax.Array, b: jax.Array, norm: Measure = "linf") -> jax.Array:
    """The size of the change from a to b, one number for each example.

        linf: max |a - b|    l2: sqrt(sum (a - b)^2)    l1: sum |a - b|    l0: number of pixels that changed

    Args:
        a: float [b, ...].
        b: likewise.
        norm: see above; l0 counts a pixel once, whichever of its channels changed.

    Returns:
        float [b].
    """
    change = jnp.abs(a - b)
    if norm == "l0":
        pixels = change.max(-1) if change.ndim == 4 else change
        return (pixels.reshape(len(a), -1) > 0).sum(1).astype(change.dtype)
    flat = change.reshape(len(a), -1)
    if norm == "linf":
        return flat.max(1)
    return flat.sum(1) if norm == "l1" else jnp.linalg.norm(flat, axis=1)


@jax.jit
def margin(logits: jax.Array, label: jax.Array) -> jax.Array:
    """By how much a class is ahead of all others: `f_y - max_{c != y} f_c`.

    Args:
        logits: float [b, num_classes].
        label: int [b], y.

    Returns:
        float [b]; above 0 where y is predicted.
    """
    own = jnp.take_along_axis(logits, label[:, None], 1)[:, 0]
    return own - others(logits, label).max(1)


def others(logits: jax.Array, label: jax.Array) -> jax.Array:
    """The logits with -inf in the place of a class."""
    return jnp.where(jnp.arange(logits.shape[1])[None] == label[:, None], -jnp.inf, logits)


def reached(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Whether a targeted attack has succeeded: `f_a(z) > max_{c != a} f_c(z)` for the target a.

    Args:
        logits: float [b, num_classes], of the changed images.
        target: int [b], a.

    Returns:
        bool [b]; a tie, and a logit that is no number, is no success.

    Reference: Szegedy et al. 2014, "Intriguing properties of neural networks", section 4.1.
    """
    return margin(logits, target) > 0


def fooled(logits: jax.Array, orig: jax.Array) -> jax.Array:
    """Whether an untargeted attack has succeeded: another class than the original one is ahead.

    Args:
        logits: float [b, num_classes], of the changed images.
        orig: int [b], the class that is to be lost: the true one, or the one predicted of the clean image.

    Returns:
        bool [b]; of equal logits the first class is the answer, as in every accuracy; with a logit that is no number
        the answer is lost.
    """
    return correct(logits, orig) == 0


def succeeded(logits: jax.Array, orig: jax.Array, target: jax.Array | None) -> jax.Array:
    """`reached` where there is a target, else `fooled`. Returns: bool [b]."""
    return fooled(logits, orig) if target is None else reached(logits, target)


def is_adversarial(
    logits: jax.Array, x: jax.Array, z: jax.Array, orig: jax.Array, eps: float, norm: Measure = "linf"
) -> jax.Array:
    """Whether z is an adversarial example of x: its class is lost, `|x - z| <= eps`, and its pixels are in 0..1.

    Args:
        logits: float [b, num_classes], of z.
        x: float [b, h, w, c], the clean images.
        z: likewise, the changed ones.
        orig: int [b].
        eps: radius.
        norm: of the radius.

    Returns:
        bool [b]. Distances may exceed eps, and pixels the range, by the rounding of 1e-6 (an l2 radius above 1 by
        1e-6 of itself).
    """
    flat = z.reshape(len(z), -1)
    inside = (flat.min(1) >= -ROUNDING) & (flat.max(1) <= 1 + ROUNDING)
    room = ROUNDING * jnp.maximum(1, eps) if norm == "l2" else ROUNDING
    return fooled(logits, orig) & (distance(x, z, norm) <= eps + room) & inside


def project(z: jax.Array, x: jax.Array, eps: float, norm: Norm = "linf") -> jax.Array:
    """The point of the ball around x, cut off at the range of pixels, next to z (of the ball first, then of the range).

        linf: clip(z, x - eps, x + eps)    l2: x + (z - x) min(1, eps / |z - x|)    then clip(., 0, 1)

    Args:
        z: float [b, ...].
        x: float [b, ...] in 0..1, so that the second step does not leave the ball.
        eps: radius.
        norm: of the ball.
    """
    if norm == "linf":
        return jnp.clip(jnp.clip(z, x - eps, x + eps), 0, 1)
    change = z - x
    length = rows(distance(z, x, "l2"), x)
    # A length is a rounded sum of pixels that are rounded themselves, to 2^-25 each: neither is to exceed the radius.
    within = jnp.maximum(eps * (1 - ROUNDING) - 2**-25 * math.sqrt(x[0].size), 0)
    return jnp.clip(x + change * jnp.where(length > within, within / jnp.maximum(length, 1e-12), 1), 0, 1)


def steepest(gradient: jax.Array, norm: Norm) -> jax.Array:
    """The direction of length one in which a linear function grows most: sign(g) for linf, g / |g| for l2.

    Derivatives that are no finite numbers count as `finite` says. A gradient is divided by its largest entry before its
    length is taken, as squares of what a sure model leaves of it are 0 in float32.
    """
    gradient = finite(gradient)
    if norm == "linf":
        return jnp.sign(gradient)
    largest = jnp.abs(gradient.reshape(len(gradient), -1)).max(1)
    gradient = gradient / rows(jnp.where(largest > 0, largest, 1), gradient)
    length = jnp.linalg.norm(gradient.reshape(len(gradient), -1), axis=1)
    return gradient / rows(jnp.maximum(length, 1e-12), gradient)


def finite(gradient: jax.Array) -> jax.Array:
    """A gradient [b, ...] in finite numbers, so that one pixel without a derivative does not stop an attack on others.

    What is no number becomes 0; an infinite entry becomes the largest finite one of its example, or 1, with its sign.
    """
    size = jnp.where(jnp.isfinite(gradient), jnp.abs(gradient), 0).reshape(len(gradient), -1).max(1)
    bound = rows(jnp.where(size > 0, size, 1), gradient)
    known = jnp.where(jnp.isinf(gradient), jnp.sign(gradient) * bound, gradient)
    return jnp.where(jnp.isnan(gradient), 0, known)


def without_derivative(losses: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """Which images have no derivative that is a number, so that no attack by gradients can say anything of them.

    Args:
        losses: images -> [b], each of its own image alone.
        x: float [b, h, w, c].

    Returns:
        bool [b].
    """
    gradient = jax.grad(lambda z: losses(z).sum())(x)
    return jnp.isnan(gradient.reshape(len(x), -1)).all(1)


def check_derivative(logits_fn: Callable[[jax.Array], jax.Array], x: jax.Array) -> None:
    """Refuses a model whose derivatives are no numbers, on which every attack by gradients would fail.

    Args:
        logits_fn: images -> logits [b, num_classes].
        x: float [b, h, w, c].

    Raises:
        ConfigError: if some of the images have no derivative.
    """
    count = int(jax.jit(lambda z: without_derivative(lambda y: logits_fn(y).max(1), z))(x).sum())
    if count:
        raise ConfigError(
            f"the derivative of this model's scores is no number at {count} of {len(x)} images, so that attacks by "
            "gradients would fail whether it is robust or not; attack it by square or boundary"
        )


def rows(values: jax.Array, like: jax.Array) -> jax.Array:
    """Numbers [b] in the shape [b, 1, ...] in which they multiply images."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


# What may be asked for ------------------------------------------------------------------------------------------------


def check_radius(eps: float, norm: str, name: str = "eps") -> None:
    """Refuses a radius that is no size of a change of pixels in 0..1.

    Raises:
        ConfigError: naming the radius.
    """
    if norm not in ("linf", "l2"):
        raise ConfigError(f"norm={norm!r} does not exist; choose 'linf' or 'l2'")
    if not 0 < eps < math.inf:
        raise ConfigError(f"{name}={eps} must be above 0, in pixels of 0..1, such as 8/255 = 0.0314")
    if norm == "linf" and eps > 1:
        way = f"{eps:g} of 255 is {eps / 255:.4g}" if eps <= 255 else "give at most 1"
        raise ConfigError(f"{name}={eps} is more than the whole range of pixels, 0..1; {way}")


def check_images(x: Any) -> jax.Array:
    """Images as floats, refused if they are out of the range.

    Raises:
        DataError: for bytes, for numbers outside 0..1, and without an image.
    """
    if np.ndim(x) < 2 or not np.shape(x)[0]:
        raise DataError(f"x has the shape {list(np.shape(x))}; attacks change images [b, ...], b at least 1")
    if isinstance(x, jax.core.Tracer):
        return x
    if not jnp.issubdtype(np.asarray(x).dtype, jnp.floating):
        raise DataError(f"x is {np.asarray(x).dtype}; attacks change floats in 0..1: give x / 255")
    low, high = (float(f(x)) for f in (np.min, np.max)) if np.size(x) else (0.0, 0.0)
    if not (low >= -BEYOND and high <= 1 + BEYOND):
        raise DataError(
            f"x has values from {low:.4g} to {high:.4g}; attacks keep pixels in 0..1: give x / 255, and let logits_fn "
            "normalise"
        )
    return jnp.clip(jnp.asarray(x), 0, 1)


def check_classes(label: Any, n: int, num_classes: int | None, name: str = "label") -> jax.Array:
    """Classes int [n], refused where there is no such class, of `num_classes`, or of unknown many for None.

    Raises:
        DataError: for another number of them, or a class outside 0 ... num_classes - 1.
    """
    if isinstance(label, jax.core.Tracer):
        return label
    label = np.asarray(label)
    label = np.broadcast_to(label, (n,)) if label.ndim == 0 else label
    if label.shape != (n,) or not np.issubdtype(label.dtype, np.integer):
        raise DataError(
            f"{name} has the shape {list(label.shape)} and the type {label.dtype}; give {n} whole numbers, one for "
            "each image"
        )
    if n and not (0 <= label.min() and (num_classes is None or label.max() < num_classes)):
        known = "they are counted from 0" if num_classes is None else f"the model has 0..{num_classes - 1}"
        raise DataError(f"{name} has classes from {label.min()} to {label.max()}; {known}")
    return jnp.asarray(label)


def check_target(target: Any, label: Any, num_classes: int) -> jax.Array:
    """Targets int [n], refused where one is the class that the image has already.

    Raises:
        DataError: naming the first such image.
    """
    n = len(label)
    target = check_classes(target, n, num_classes, "target")
    if isinstance(target, jax.core.Tracer) or isinstance(label, jax.core.Tracer):
        return target
    same = np.flatnonzero(np.asarray(target) == np.asarray(label))
    if len(same):
        raise DataError(
            f"the target of image {same[0]} is its own class, {int(np.asarray(target)[same[0]])}; a targeted attack "
            "needs another class"
        )
    return target
