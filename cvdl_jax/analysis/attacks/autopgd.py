"""Auto-PGD: projected gradient descent with momentum that halves its own step size and returns to the best point."""

import math
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.analysis.attacks import threat
from cvdl_jax.analysis.attacks.access import classes_of, needs, ranked
from cvdl_jax.analysis.attacks.pgd import has_won, prepared, random_point
from cvdl_jax.config.binding import Count, Positive
from cvdl_jax.errors import ConfigError

MOMENTUM = 0.75  # alpha
RISES = 0.75  # rho: the share of steps that has to raise the loss for the step size to stay
FIRST, SHRINK, LEAST = 0.22, 0.03, 0.06  # of the checkpoints, as shares of the steps

Loss = Literal["cross_entropy", "dlr", "margin"]


class _Walk(NamedTuple):
    """What a walk knows of each image."""

    x: jax.Array  # the present point [b, ...]
    previous: jax.Array  # the one before [b, ...]
    gradient: jax.Array  # at the present point [b, ...]
    loss: jax.Array  # at the present point [b]
    best: jax.Array  # the point with the highest loss so far [b, ...]
    best_gradient: jax.Array  # [b, ...]
    best_loss: jax.Array  # [b]
    size: jax.Array  # step size [b]
    rises: jax.Array  # steps since the last checkpoint that raised the loss [b]
    kept_loss: jax.Array  # best_loss at the last checkpoint [b]
    kept_size: jax.Array  # the step size at the last checkpoint, before it was judged [b]
    won: jax.Array  # bool [b]
    reached: jax.Array  # the point that won, else the present best [b, ...]


def checkpoints(steps: int) -> list[int]:
    """The steps after which step sizes are judged: `w_j = ceil(p_j N)`.

        p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)

    Args:
        steps: N.

    Returns:
        w_1, w_2 ..., each at most N.
    """
    shares, marks = [0.0, FIRST], []
    while shares[-1] <= 1:
        marks.append(math.ceil(round(shares[-1] * steps, 9)))
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - SHRINK, LEAST))
    return sorted(set(marks))


@needs("gradients")
def apgd(
    model: Any,
    x: Any,
    label: Any = None,
    key: jax.Array | None = None,
    *,
    eps: Positive = 0.3,
    steps: Count = 100,
    restarts: Count = 1,
    norm: threat.Norm = "linf",
    loss: Loss = "cross_entropy",
) -> jax.Array:
    """APGD: no step size to choose.

        z = project(x_k + s grad), x_{k+1} = project(x_k + a (z - x_k) + (1 - a) (x_k - x_{k-1})), a = 0.75

    s begins at 2 eps. At a checkpoint it is halved, and the walk returns to the best point, where fewer than 3/4 of the
    steps raised the loss, or where neither s nor the best loss has changed since the last checkpoint.

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [b, h, w, c] in 0..1.
        label: int [b]; None for the class that is predicted of x.
        key: of the random starts; None for one of seed 0.
        eps: radius of the ball.
        steps: of a start, N.
        restarts: starts.
        norm: of the ball.
        loss: cross_entropy; dlr, the difference of logits ratio, which does not change where the logits are scaled:
            `-(f_y - max_{c != y} f_c) / (f_(1) - f_(3))`, of three classes at least; margin, its numerator alone.

    Returns:
        Changed images [b, h, w, c], at most eps away: the first that is misclassified, else the one of highest loss.

    Raises:
        DataError, ConfigError: see `projected`; for dlr of fewer than three classes.

    Reference: Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
        parameter-free attacks", algorithm 1 and equation 6.
    """
    logits_fn, x, label, _ = prepared(model, x, label, None, eps, norm, "apgd")
    if loss == "dlr" and classes_of(logits_fn, x) < 3:
        raise ConfigError("loss='dlr' divides by the third largest logit; of two classes use loss='margin'")
    return _restarted(logits_fn, (norm, loss), x, label, [None] * restarts, key, eps, steps)


@needs("gradients")
def apgd_t(
    model: Any,
    x: Any,
    label: Any = None,
    key: jax.Array | None = None,
    *,
    eps: Positive = 0.3,
    steps: Count = 100,
    targets: Count = 9,
    norm: threat.Norm = "linf",
) -> jax.Array:
    """Targeted APGD: one walk toward each of the classes that are most likely beside the label.

        raises `-(f_y - f_t) / (f_(1) - (f_(3) + f_(4)) / 2)`, f_(k) the k-th largest logit

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [b, h, w, c] in 0..1.
        label: int [b]; None for the class that is predicted of x.
        key: of the random starts; None for one of seed 0.
        eps: radius of the ball.
        steps: of a walk.
        targets: how many classes t are tried, at most all but one.
        norm: of the ball.

    Returns:
        Changed images [b, h, w, c]: the first that is misclassified (as any class), else the last walk's best.

    Raises:
        ConfigError: of fewer than four classes.

    Reference: Croce and Hein 2020, equation 7.
    """
    logits_fn, x, label, _ = prepared(model, x, label, None, eps, norm, "apgd_t")
    classes = classes_of(logits_fn, x)
    if classes < 4:
        raise ConfigError(
            f"apgd_t divides by the fourth largest logit, and there are {classes}; use apgd(loss='margin')"
        )
    goals = [ranked(logits_fn, x, label)[:, k] for k in range(min(targets, classes - 1))]
    return _restarted(logits_fn, (norm, "targeted_dlr"), x, label, goals, key, eps, steps)


def _restarted(logits_fn, settings, x, label, goals, key, eps, steps):
    key = jax.random.key(0) if key is None else key
    reached, won, best = x, jnp.zeros(len(x), bool), jnp.full(len(x), -jnp.inf)
    for i, goal in enumerate(goals):
        start = jnp.where(threat.rows(won, x), reached, random_point(jax.random.fold_in(key, i), x, eps, settings[0]))
        end, won = _walk(logits_fn, settings, x, start, label, goal, eps, steps)
        loss = _end(logits_fn, settings[1], end, label, goal)
        better = won | (loss > best) if goal is None else jnp.ones(len(x), bool)  # losses of two goals do not compare
        reached, best = jnp.where(threat.rows(better, x), end, reached), jnp.where(better, loss, best)
        if not isinstance(won, jax.core.Tracer) and won.all():
            break
    return reached


def _walk(logits_fn, settings, x, start, label, goal, eps, steps):
    walk, last = _begin(logits_fn, settings, start, label, goal, 2.0 * eps), 0
    marks = checkpoints(steps)
    for k in range(steps):
        walk = _advance(logits_fn, settings, x, walk, label, goal, eps, k == 0)
        if k + 1 in marks:
            walk, last = _judge(walk, k + 1 - last), k + 1
        if not isinstance(walk.won, jax.core.Tracer) and walk.won.all():
            break
    reached = jnp.where(threat.rows(walk.won, x), walk.reached, walk.best)
    return reached, has_won(logits_fn, reached, label, None)


@partial(jax.jit, static_argnums=(0, 1))
def _end(logits_fn, loss, z, label, goal):
    return loss_of(logits_fn(z), label, goal, loss)


def loss_of(logits: jax.Array, label: jax.Array, goal: jax.Array | None, loss: str) -> jax.Array:
    """What a walk raises, one number for each image; see `apgd` and `apgd_t`. Returns: float [b]."""
    if loss == "cross_entropy":
        return optax.softmax_cross_entropy_with_integer_labels(logits, label)
    if loss == "margin":
        return -threat.margin(logits, label)
    top = jnp.sort(logits, 1)[:, ::-1]  # [b, classes], the largest first
    if loss == "dlr":
        return -threat.margin(logits, label) / (top[:, 0] - top[:, 2] + 1e-12)
    own, aim = (jnp.take_along_axis(logits, c[:, None], 1)[:, 0] for c in (label, goal))
    return -(own - aim) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)


def _seen(logits_fn, loss, z, label, goal):
    """(loss [b], its gradient, which are misclassified) at a point."""

    def total(z: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        logits = logits_fn(z)
        losses = loss_of(logits, label, goal, loss)
        return losses.sum(), (losses, threat.fooled(logits, label))

    gradient, (losses, won) = jax.grad(total, has_aux=True)(z)
    return losses, gradient, won


@partial(jax.jit, static_argnums=(0, 1))
def _begin(logits_fn, settings, z, label, goal, size):
    losses, gradient, won = _seen(logits_fn, settings[1], z, label, goal)
    sizes = jnp.full(len(z), size, z.dtype)
    rises = jnp.zeros(len(z), jnp.int32)
    return _Walk(z, z, gradient, losses, z, gradient, losses, sizes, rises, losses, sizes, won, z)


@partial(jax.jit, static_argnums=(0, 1, 7))
def _advance(logits_fn, settings, x, walk, label, goal, eps, first):
    norm, loss = settings
    sizes = threat.rows(walk.size, x)
    z = threat.project(walk.x + sizes * threat.steepest(walk.gradient, norm), x, eps, norm)
    if not first:
        z = walk.x + MOMENTUM * (z - walk.x) + (1 - MOMENTUM) * (walk.x - walk.previous)
        z = threat.project(z, x, eps, norm)
    losses, gradient, won = _seen(logits_fn, loss, z, label, goal)
    better = losses > walk.best_loss
    row = threat.rows(better, x)
    return walk._replace(
        x=z, previous=walk.x, gradient=gradient, loss=losses,
        best=jnp.where(row, z, walk.best), best_gradient=jnp.where(row, gradient, walk.best_gradient),
        best_loss=jnp.where(better, losses, walk.best_loss),
        rises=walk.rises + (losses > walk.loss),
        reached=jnp.where(threat.rows(won & ~walk.won, x), z, walk.reached), won=walk.won | won,
    )  # fmt: skip


@jax.jit
def _judge(walk, passed):
    """At a checkpoint: halves the step size of images that rise too seldom or stand still, back at their best point."""
    seldom = walk.rises < RISES * passed
    still = (walk.kept_size == walk.size) & (walk.kept_loss == walk.best_loss)
    halved = seldom | still
    row = threat.rows(halved, walk.x)
    return walk._replace(
        x=jnp.where(row, walk.best, walk.x), gradient=jnp.where(row, walk.best_gradient, walk.gradient),
        loss=jnp.where(halved, walk.best_loss, walk.loss),
        size=jnp.where(halved, walk.size / 2, walk.size),
        rises=jnp.zeros_like(walk.rises), kept_loss=walk.best_loss, kept_size=walk.size,
    )  # fmt: skip
