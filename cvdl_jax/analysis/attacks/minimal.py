"""The smallest change that changes the answer: DeepFool, Carlini and Wagner, and L-BFGS with a box."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cvdl_jax.analysis.attacks import threat
from cvdl_jax.analysis.attacks.access import classes_of, logits_of, needs, predicted, ranked
from cvdl_jax.analysis.attacks.pgd import has_won
from cvdl_jax.config.binding import Count, Counted, NotNegative, Positive

INSIDE = 1 - 1e-4  # of tanh, so that pixels of 0 and 1 have a finite variable, which Adam can move


@needs("gradients")
def deepfool(
    model: Any, x: Any, label: Any = None, *, steps: Count = 50, overshoot: NotNegative = 0.02, candidates: Count = 10
) -> jax.Array:
    """DeepFool: to the nearest boundary of the model's linearisation, again and again.

        l = argmin_k |f_k - f_y| / |w_k|, w_k = grad f_k - grad f_y;   x <- x + |f_l - f_y| w_l / |w_l|^2

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [b, h, w, c] in 0..1.
        label: int [b], y; None for the class that is predicted of x.
        steps: at most; an image that is misclassified moves no more.
        overshoot: the whole change is stretched by 1 + overshoot, to get across the boundary.
        candidates: classes k that are tried, the most likely ones of x beside y.

    Returns:
        Changed images [b, h, w, c] in 0..1.

    Raises:
        DataError: for images outside 0..1, or labels that do not exist.

    Reference: Moosavi-Dezfooli et al. 2016, "DeepFool", algorithm 2.
    """
    logits_fn, x, label = _prepared(model, x, label, "deepfool")
    classes = classes_of(logits_fn, x)
    tried = ranked(logits_fn, x, label)[:, : min(candidates, classes - 1)]
    change, z = jnp.zeros_like(x), x
    for _ in range(steps):
        change, z, won = _nearest(logits_fn, x, z, change, label, tried, 1 + overshoot)
        if not isinstance(won, jax.core.Tracer) and won.all():
            break
    return z


def _prepared(model: Any, x: Any, label: Any, attack: str) -> tuple:
    logits_fn, x = logits_of(model, attack), threat.check_images(x)
    if label is None:
        return logits_fn, x, predicted(logits_fn, x)
    return logits_fn, x, threat.check_classes(label, len(x), classes_of(logits_fn, x))


@partial(jax.jit, static_argnums=0)
def _nearest(logits_fn, x, z, change, label, tried, stretch):
    """(change, changed images, which had been misclassified) after a step of DeepFool."""
    logits, pull = jax.vjp(logits_fn, z)
    own = jax.nn.one_hot(label, logits.shape[1], dtype=logits.dtype)
    others = jax.nn.one_hot(tried.T, logits.shape[1], dtype=logits.dtype)  # [k, b, classes]
    w = jax.vmap(lambda aim: threat.finite(pull(aim - own)[0]))(others)  # [k, b, ...]
    gap = jnp.abs((others * logits[None]).sum(-1) - (own * logits).sum(-1)[None])  # [k, b]
    length = jnp.linalg.norm(w.reshape(*gap.shape, -1), axis=-1)  # [k, b]
    best = (gap / jnp.maximum(length, 1e-12)).argmin(0)  # [b]
    row = jnp.arange(len(z))
    factor = (gap[best, row] + 1e-4) / jnp.maximum(length[best, row], 1e-12) ** 2
    won = threat.fooled(logits, label)
    change = jnp.where(threat.rows(won, z), change, change + threat.rows(factor, z) * w[best, row])
    return change, jnp.where(threat.rows(won, z), z, jnp.clip(x + stretch * change, 0, 1)), won


class _Search(NamedTuple):
    """What the search over the trade-off c knows of each image."""

    low: np.ndarray
    high: np.ndarray
    c: np.ndarray
    best: np.ndarray  # the smallest successful image [b, ...]
    length: np.ndarray  # its distance, inf without any [b]


@needs("gradients")
def carlini_wagner(
    model: Any,
    x: Any,
    label: Any = None,
    *,
    target: Any = None,
    steps: Count = 200,
    lr: Positive = 0.05,
    searches: Count = 6,
    c: Positive = 1e-2,
    confidence: NotNegative = 0.0,
) -> jax.Array:
    """Carlini and Wagner's attack in l2: Adam on a variable that keeps the pixels in 0..1, and a search over c.

        min_w |z - x|^2 + c max(m(z), -kappa), z = (tanh w + 1) / 2,
        m = f_y - max_{k != y} f_k, or max_{k != t} f_k - f_t toward a target t

    c grows tenfold until an image is misclassified, and is bisected then.

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [b, h, w, c] in 0..1.
        label: int [b], y; None for the class that is predicted of x.
        target: int [b] or one int; None for any class.
        steps: of Adam for one c.
        lr: of Adam.
        searches: how many values of c are tried.
        c: the first.
        confidence: kappa, by how much the wrong class has to lead.

    Returns:
        Changed images [b, h, w, c]: the nearest that succeeded, or x itself where none did.

    Raises:
        DataError: for images outside 0..1, labels that do not exist, a target equal to the label.

    Reference: Carlini and Wagner 2017, "Towards Evaluating the Robustness of Neural Networks", sections V and VI.
    """
    logits_fn, x, label = _prepared(model, x, label, "carlini_wagner")
    if target is not None:
        target = threat.check_target(target, label, classes_of(logits_fn, x))
    search = _Search(
        np.zeros(len(x)), np.full(len(x), np.inf), np.full(len(x), c), np.asarray(x).copy(), np.full(len(x), np.inf)
    )
    for _ in range(searches):
        search = _bisected(
            search, *_descended(logits_fn, x, label, target, jnp.asarray(search.c, x.dtype), steps, lr, confidence)
        )
    return jnp.asarray(search.best)


def _bisected(search: _Search, nearest: jax.Array, length: jax.Array) -> _Search:
    """The search after one c: narrower from above where it succeeded, from below where it did not."""
    nearest, length = np.asarray(nearest), np.asarray(length)
    success = np.isfinite(length)
    better = length < search.length
    low, high = np.where(success, search.low, search.c), np.where(success, search.c, search.high)
    c = np.where(np.isfinite(high), (low + high) / 2, search.c * 10)
    best = np.where(better.reshape(-1, *(1,) * (nearest.ndim - 1)), nearest, search.best)
    return _Search(low, high, c, best, np.where(better, length, search.length))


def _descended(logits_fn, x, label, target, c, steps, lr, confidence):
    """(the nearest images that succeeded for a value of c, their l2 distances or inf)."""
    w = jnp.arctanh((2 * x - 1) * INSIDE)
    moments = optax.adam(1.0).init(w)
    best, length = x, jnp.full(len(x), jnp.inf, x.dtype)
    for _ in range(steps):
        w, moments, best, length = _adam(logits_fn, x, w, moments, label, target, c, best, length, lr, confidence)
    return best, length


@partial(jax.jit, static_argnums=0)
def _adam(logits_fn, x, w, moments, label, target, c, best, length, lr, confidence):
    def total(w: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        z = (jnp.tanh(w) + 1) / 2
        logits = logits_fn(z)
        ahead = threat.margin(logits, label) if target is None else -threat.margin(logits, target)
        change = jnp.square(z - x).reshape(len(x), -1).sum(1)
        return (change + c * jnp.maximum(ahead, -confidence)).sum(), (z, ahead)

    gradient, (z, ahead) = jax.grad(total, has_aux=True)(w)
    now = threat.distance(z, x, "l2")
    better = (ahead < 0) & (ahead <= -confidence) & (now < length)
    updates, moments = optax.adam(1.0).update(gradient, moments)
    best = jnp.where(threat.rows(better, x), z, best)
    return w + lr * updates, moments, best, jnp.where(better, now, length)


@needs("gradients")
def lbfgs(
    model: Any, x: Any, target: Any, label: Any = None, *, c: Positive = 1.0, searches: Counted = 10, steps: Count = 50
) -> jax.Array:
    """The first attack: a small change toward a target, by L-BFGS with the box 0..1.

        min_r c |r|^2 + J(x + r, t)  subject to 0 <= x + r <= 1

    The largest c that still reaches the target gives the smallest change: c grows tenfold while the target is reached,
    and is bisected then.

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [b, h, w, c] in 0..1.
        target: int [b] or one int, t: "make everything an ostrich".
        label: int [b], the class that is left; None for the one predicted of x.
        c: the first.
        searches: further values of c.
        steps: of L-BFGS.

    Returns:
        Changed images [b, h, w, c]: the nearest that reached the target, or x where none did.

    Raises:
        DataError: for images outside 0..1, or a target equal to the label.

    Reference: Szegedy et al. 2014, "Intriguing properties of neural networks", section 4.1 (with |r|^2 for |r|).
    """
    from scipy.optimize import minimize

    logits_fn, x, label = _prepared(model, x, label, "lbfgs")
    target = threat.check_target(target, label, classes_of(logits_fn, x))
    results = []
    for row, aim in zip(x, target, strict=True):
        one, goal = row[None], aim[None]
        best, shortest, low, high, weight = np.asarray(one), np.inf, 0.0, np.inf, c
        for _ in range(searches + 1):

            def value(flat: np.ndarray, one=one, goal=goal, weight=weight) -> tuple[float, np.ndarray]:
                z = jnp.asarray(flat.reshape(one.shape), one.dtype)
                total, gradient = _penalised(logits_fn, one, z, goal, weight)
                return float(total), np.asarray(gradient, np.float64).reshape(-1)

            start = np.asarray(one, np.float64).reshape(-1)
            bounds = [(0.0, 1.0)] * start.size
            z = minimize(value, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps}).x
            z = z.reshape(one.shape).astype(best.dtype)
            length = float(np.sqrt(np.square(z - np.asarray(one)).sum()))
            reached = bool(has_won(logits_fn, jnp.asarray(z), goal, goal)[0])
            if reached and length < shortest:
                best, shortest = z, length
            low, high = (weight, high) if reached else (low, weight)
            weight = (low + high) / 2 if np.isfinite(high) else 10 * weight
        results.append(best[0])
    return jnp.asarray(np.stack(results))


@partial(jax.jit, static_argnums=0)
def _penalised(logits_fn, x, z, target, c):
    def total(z: jax.Array) -> jax.Array:
        loss = optax.softmax_cross_entropy_with_integer_labels(logits_fn(z), target).sum()
        return c * jnp.square(z - x).sum() + loss

    return jax.value_and_grad(total)(z)
