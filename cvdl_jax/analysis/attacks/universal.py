"""One change for many images: a universal perturbation, and a patch that works wherever it is put."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cvdl_jax.analysis.attacks import threat
from cvdl_jax.analysis.attacks.access import classes_of, logits_of, needs, predicted
from cvdl_jax.analysis.attacks.pgd import prepared
from cvdl_jax.config.binding import Count, Inside, NotNegative, Positive
from cvdl_jax.core.parallel import row_keys
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.ops.images import affine


@needs("gradients")
def universal(
    model: Any,
    x: Any,
    label: Any = None,
    key: jax.Array | None = None,
    *,
    eps: Positive = 0.1,
    norm: threat.Norm = "linf",
    epochs: Count = 10,
    batch: Count = 64,
    step_size: Positive | None = None,
    ceiling: Positive = 9.0,
) -> jax.Array:
    """One change v, `|v| <= eps`, that is added to every image and misclassifies most of them.

        max_v mean_i min(J(clip(x_i + v), y_i), beta), by steps of steepest ascent over batches

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [n, h, w, c] in 0..1, the images that it is made of; `fooling_rate` on others says how universal it is.
        label: int [n]; None for the classes predicted of x.
        key: of the order of images; None for one of seed 0.
        eps: radius.
        norm: of the radius.
        epochs: passes over the images.
        batch: images of a step.
        step_size: of a step; None for eps / 10.
        ceiling: beta, beyond which the loss of an image does not count, so that none dominates.

    Returns:
        v [h, w, c].

    Raises:
        DataError, ConfigError: see `projected`.

    Reference: Moosavi-Dezfooli et al. 2017, "Universal adversarial perturbations"; by gradients: Shafahi et al. 2020,
        "Universal Adversarial Training", algorithm 1 and equation 5.
    """
    logits_fn, x, label, _ = prepared(model, x, label, None, eps, norm, "universal")
    n, batch = len(x), min(batch, len(x))
    order = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.key(0) if key is None else key)))
    v = jnp.zeros((1, *x.shape[1:]), x.dtype)
    for _ in range(epochs):
        places = np.resize(order.permutation(n), -(-n // batch) * batch)  # the last batch is filled from the first
        for chosen in places.reshape(-1, batch):
            v = _raised(logits_fn, norm, x[chosen], label[chosen], v, eps, step_size or eps / 10, ceiling)
    return v[0]


@partial(jax.jit, static_argnums=(0, 1))
def _raised(logits_fn, norm, x, label, v, eps, step_size, ceiling):
    def mean_loss(v: jax.Array) -> jax.Array:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits_fn(jnp.clip(x + v, 0, 1)), label)
        return jnp.minimum(losses, ceiling).mean()

    moved = v + step_size * threat.steepest(jax.grad(mean_loss)(v), norm)
    length = threat.distance(moved, jnp.zeros_like(moved), norm)[0]
    return jnp.clip(moved, -eps, eps) if norm == "linf" else moved * jnp.minimum(1, eps / jnp.maximum(length, 1e-12))


def fooling_rate(model: Any, x: Any, v: Any) -> float:
    """The share of images whose predicted class changes when v [h, w, c] is added, pixels cut off at 0..1.

    Raises:
        DataError: for images outside 0..1, or a change of another shape or of numbers that are not finite.
    """
    logits_fn, x, v = logits_of(model, "fooling_rate"), threat.check_images(x), jnp.asarray(v)
    if v.shape != x.shape[1:] or not jnp.isfinite(v).all():
        raise DataError(f"v has the shape {list(v.shape)}; give finite numbers, one for each of {list(x.shape[1:])}")
    return float((predicted(logits_fn, x) != predicted(logits_fn, jnp.clip(x + v[None], 0, 1))).mean())


# Transformations ------------------------------------------------------------------------------------------------------

Transform = Callable[[jax.Array, jax.Array], jax.Array]  # (key, images) -> images


def placed_anywhere(
    degrees: float = 20.0, scale: float = 0.1, shift: float = 0.1, brightness: float = 0.1
) -> Transform:
    """A random pose and light of every image, as a camera sees a printed one.

    Args:
        degrees: largest rotation.
        scale: largest relative change of size.
        shift: largest displacement, as a share of a side.
        brightness: largest number added to all pixels.
    """

    def transform(key: jax.Array, x: jax.Array) -> jax.Array:
        def drawn(k: jax.Array) -> jax.Array:
            return jax.random.uniform(k, (5,), x.dtype, -1.0, 1.0)

        turn, size, down, right, light = jax.vmap(drawn)(row_keys(key, len(x))).T
        matrices = affine.compose(
            affine.rotation(degrees * turn),
            affine.scaling(1 + scale * size, 1 + scale * size),
            affine.translation(shift * x.shape[1] * down, shift * x.shape[2] * right),
        )
        return jnp.clip(affine.warp(x, matrices) + threat.rows(brightness * light, x), 0, 1)

    return transform


def expectation(model: Any, transform: Transform, key: jax.Array, draws: int = 16) -> Callable[[jax.Array], jax.Array]:
    """Expectation over transformations: a model whose answer is the mean over the same random views of each image.

        log p(c | x) = log mean_t softmax(f(t(x)))_c

    An attack with gradients on it that takes all its steps, such as `pgd.projected(..., stop=False)`, makes images that
    stay adversarial when they are seen anew: measure with another key.

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        transform: `(key, images [b, h, w, c]) -> images`, each row by a draw of its own.
        key: of the draws, which are the same at every step of the attack.
        draws: t.

    Returns:
        A function from images [b, h, w, c] to log probabilities [b, num_classes].

    Reference: Athalye et al. 2018, "Synthesizing Robust Adversarial Examples", equation 2.
    """
    logits_fn = logits_of(model, "expectation")
    if draws < 1:
        raise ConfigError(f"draws={draws} must be 1 or more")

    def mean_log_probability(x: jax.Array) -> jax.Array:
        views = jax.vmap(lambda k: transform(k, x))(jax.random.split(key, draws))  # [t, b, h, w, c]
        logits = logits_fn(views.reshape(-1, *x.shape[1:])).reshape(draws, len(x), -1)
        return jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0) - jnp.log(draws)

    return mean_log_probability


# A patch --------------------------------------------------------------------------------------------------------------


def with_patch(
    key: jax.Array, x: jax.Array, patch: jax.Array, degrees: float = 20.0, scale: float = 0.2
) -> tuple[jax.Array, jax.Array]:
    """Images with a patch at a random place of each, turned and scaled at random.

    Args:
        key: each row draws from its own index.
        x: float [b, h, w, c] in 0..1.
        patch: float [s, s, c] in 0..1, s at most the shorter side.
        degrees: largest rotation.
        scale: largest relative change of size.

    Returns:
        (images [b, h, w, c], the share of each pixel that is patch [b, h, w, 1]).
    """
    (b, h, w, c), s = x.shape, len(patch)
    top, left = (h - s) // 2, (w - s) // 2
    room = ((0, 0), (top, h - s - top), (left, w - s - left), (0, 0))
    canvas = jnp.pad(jnp.concatenate([patch, jnp.ones((s, s, 1), x.dtype)], -1)[None], room)  # in the middle
    draws = jax.vmap(lambda k: jax.random.uniform(k, (4,), x.dtype, -1.0, 1.0))(row_keys(key, b)).T
    still = jnp.ones(b, x.dtype)
    matrices = affine.compose(
        affine.translation(((h - s) / 2 - top) * still, ((w - s) / 2 - left) * still),  # exactly to the middle
        affine.scaling(1 + scale * draws[3], 1 + scale * draws[3]),
        affine.rotation(degrees * draws[2]),
        affine.translation(draws[0] * (h - s) / 2, draws[1] * (w - s) / 2),
    )
    seen = affine.warp(jnp.broadcast_to(canvas, (b, h, w, c + 1)), matrices)
    return seen[..., :c] + x * (1 - seen[..., c:]), seen[..., c:]


@needs("gradients")
def patch(
    model: Any,
    x: Any,
    target: int,
    key: jax.Array | None = None,
    *,
    share: Inside = 0.3,
    steps: Count = 300,
    batch: Count = 32,
    lr: Positive = 0.05,
    degrees: NotNegative = 20.0,
    scale: NotNegative = 0.2,
) -> jax.Array:
    """An adversarial patch: it makes every image the target, wherever it lies ("make everything a toaster").

        max_p E_{x, t} log softmax(f(A(p, x, t)))_target, t a place, an angle and a size, by Adam with pixels in 0..1

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [n, h, w, c] in 0..1, the images that it is made on.
        target: the class.
        key: None for one of seed 0.
        share: of the shorter side that the patch is wide.
        steps: of Adam.
        batch: images of a step.
        lr: of Adam, in pixels of 0..1.
        degrees: see `with_patch`.
        scale: see `with_patch`.

    Returns:
        p [s, s, c].

    Raises:
        DataError: for images outside 0..1, or a class that does not exist.

    Reference: Brown et al. 2017, "Adversarial Patch", equation 1.
    """
    logits_fn, x = logits_of(model, "patch"), threat.check_images(x)
    goal = threat.check_classes(target, 1, classes_of(logits_fn, x), "target")[0]
    key = jax.random.key(0) if key is None else key
    side = max(round(share * min(x.shape[1:3])), 1)
    p = jnp.full((side, side, x.shape[3]), 0.5, x.dtype)
    moments = optax.adam(1.0).init(p)
    for i in range(steps):
        p, moments = _patched(
            logits_fn, min(batch, len(x)), x, p, moments, jax.random.fold_in(key, i), goal, lr, degrees, scale
        )
    return p


@partial(jax.jit, static_argnums=(0, 1))
def _patched(logits_fn, batch, x, p, moments, key, goal, lr, degrees, scale):
    rows = jax.random.choice(jax.random.fold_in(key, 1), len(x), (batch,), replace=False)

    def loss(p: jax.Array) -> jax.Array:
        logits = logits_fn(jnp.clip(with_patch(key, x[rows], p, degrees, scale)[0], 0, 1))
        return -jax.nn.log_softmax(logits)[:, goal].mean()

    updates, moments = optax.adam(1.0).update(jax.grad(loss)(p), moments)
    return jnp.clip(p + lr * updates, 0, 1), moments
