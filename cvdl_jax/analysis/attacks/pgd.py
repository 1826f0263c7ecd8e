"""Steps along the gradient of a loss inside a ball: one (FGSM), several (iterative sign), with random starts (PGD).

`pgd` is one traced function, for a training step; the others are loops over a compiled step, for evaluations.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import lax

from cvdl_jax.analysis.attacks import threat
from cvdl_jax.analysis.attacks.access import classes_of, least, logits_of, needs, predicted
from cvdl_jax.config.binding import Count, Layers, Positive, UpToOne
from cvdl_jax.core.materialise import bits_of, stored
from cvdl_jax.core.parallel import backend, row_random
from cvdl_jax.errors import ConfigError

Objective = Literal["cross_entropy", "margin"]


def pgd(
    loss: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    key: jax.Array,
    epsilon: Positive = 8 / 255,
    step_size: Positive = 2 / 255,
    steps: Layers = 7,
    random_start: bool = True,
    norm: threat.Norm = "linf",
    share: UpToOne = 1.0,
    scale: jax.Array | float = 1.0,
) -> jax.Array:
    """Raises the loss inside the ball around x: `x <- project(x + a steepest(grad L(x)))`, pixels kept in 0..1.

    Args:
        loss: float [b, h, w, c] -> [b]; each example's loss depends on its own row.
        x: float [b, h, w, c] in 0..1.
        key: for the random start and the choice of rows; each row draws from its own index.
        epsilon: radius of the ball, in pixels of 0..1.
        step_size: a, likewise.
        steps: number of gradient steps; one with step_size = epsilon and no random start is the fast gradient sign
            method.
        random_start: begin at a uniform point of the ball.
        norm: linf, where a step is a sign(g), or l2, where it is a g / |g|.
        share: of the rows that are changed, each by a draw of its own; the others stay clean, so that a training step
            sees a mixed batch.
        scale: factor on the radius and the step, 0..1, which may be traced: a radius that grows in training.

    Returns:
        Adversarial examples [b, h, w, c], at most epsilon away from x.

    Raises:
        ConfigError: for a radius, step, share or number of steps that is not positive.

    Reference: Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks", section 2.1; mixed
        batches: Goodfellow et al. 2015, "Explaining and Harnessing Adversarial Examples", section 6.
    """
    for name, value in (("epsilon", epsilon), ("step_size", step_size), ("steps", steps), ("share", share)):
        if value <= 0:
            raise ConfigError(f"config.adversary.{name}={value} must be above 0; leave config.adversary empty for none")
    threat.check_radius(epsilon, norm, "config.adversary.epsilon")
    epsilon, step_size = epsilon * scale, step_size * scale
    gradient = jax.grad(lambda x: loss(x).sum())
    start = random_point(key, x, epsilon, norm) if random_start else x

    def step(z: jax.Array, _: None) -> tuple[jax.Array, None]:
        z = threat.project(z + step_size * threat.steepest(gradient(z), norm), x, epsilon, norm)
        return stored(z, bits_of(z)), None  # the next step's convolution would compute this one's gradient many times

    unroll = steps if backend() == "cpu" else 1  # XLA's CPU convolutions are slow inside a loop
    z = lax.scan(step, start, None, length=steps, unroll=unroll)[0]
    if share < 1:
        chosen = row_random(jax.random.uniform, jax.random.fold_in(key, 1), (len(x),)) < share
        z = jnp.where(threat.rows(chosen, x), z, x)
    return lax.stop_gradient(z)


def random_point(key: jax.Array, x: jax.Array, eps: float, norm: threat.Norm) -> jax.Array:
    """A uniform point of the ball around each image, cut off at 0..1; each row draws from its own index."""
    if norm == "linf":
        return threat.project(x + eps * row_random(_signed, key, x.shape).astype(x.dtype), x, eps, norm)
    direction = threat.steepest(row_random(jax.random.normal, key, x.shape), norm)
    radius = row_random(jax.random.uniform, jax.random.fold_in(key, 2), (len(x),)) ** (len(x) / x.size)
    return threat.project(x + eps * threat.rows(radius, x) * direction, x, eps, norm).astype(x.dtype)


def _signed(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


# Evaluations of a model -----------------------------------------------------------------------------------------------


@needs("gradients")
def fgsm(
    model: Any, x: Any, label: Any = None, *, eps: Positive = 0.1, norm: threat.Norm = "linf", target: Any = None
) -> jax.Array:
    """The fast gradient sign method, one step: `x + eps sign(grad_x J(x, y))`.

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [b, h, w, c] in 0..1.
        label: int [b], y; None for the class that is predicted of x.
        eps: length of the step in pixels of 0..1.
        norm: linf for the sign; l2 for a step of length eps along the gradient.
        target: int [b] or one int: descend its loss instead.

    Returns:
        Changed images [b, h, w, c] in 0..1, at most eps away.

    Raises:
        DataError: for images outside 0..1, labels that do not exist, a target equal to the label.
        ConfigError: for a radius that is not above 0.

    Reference: Goodfellow et al. 2015, "Explaining and Harnessing Adversarial Examples", section 3.
    """
    logits_fn, x, label, target = prepared(model, x, label, target, eps, norm, "fgsm")
    return _single(logits_fn, (norm, "cross_entropy"), x, label, target, eps)


@needs("gradients")
def iterative_sign(
    model: Any,
    x: Any,
    label: Any = None,
    *,
    eps: Positive = 0.1,
    step_size: Positive | None = None,
    steps: Count = 10,
    toward: Literal["away", "least_likely"] = "away",
) -> jax.Array:
    """The iterative gradient sign method: FGSM in small steps from x itself, cut off at the ball after each.

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [b, h, w, c] in 0..1.
        label: int [b], y; None for the class that is predicted of x.
        eps: radius of the maximum-norm ball.
        step_size: of a step; None for 2.5 eps / steps.
        steps: of them; an image that is misclassified moves no more.
        toward: away: raises the loss of y; least_likely: lowers that of the class that is least likely of x.

    Reference: Kurakin et al. 2017, "Adversarial examples in the physical world", sections 2.2 and 2.3.
    """
    logits_fn, x, label, target = prepared(model, x, label, None, eps, "linf", "iterative_sign")
    if toward == "least_likely":
        target = least(logits_fn, x, label)
    settings = "linf", "cross_entropy"
    return _climb(logits_fn, settings, x, x, label, target, eps, step_size or 2.5 * eps / steps, steps)[0]


@needs("gradients")
def projected(
    model: Any,
    x: Any,
    label: Any = None,
    key: jax.Array | None = None,
    *,
    eps: Positive = 0.3,
    step_size: Positive | None = None,
    steps: Count = 40,
    restarts: Count = 1,
    norm: threat.Norm = "linf",
    objective: Objective = "cross_entropy",
    target: Any = None,
    stop: bool = True,
) -> jax.Array:
    """PGD as an attack on a model: steps from a random point of the ball, once or several times.

        x_{n+1} = project(x_n + a steepest(grad L(x_n)))

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [b, h, w, c] in 0..1.
        label: int [b]; None for the class that is predicted of x.
        key: of the random starts; None for one of seed 0.
        eps: radius of the ball.
        step_size: a; None for 2.5 eps / steps, so that the boundary is reached from everywhere.
        steps: of a start; an image that is misclassified moves no more.
        restarts: starts; a later one is made of the images that are still classified rightly.
        norm: of the ball.
        objective: cross_entropy, or margin, `max_{c != y} f_c - f_y`, whose gradient does not vanish where the model is
            sure.
        target: int [b] or one int: the class to arrive at, whose loss is lowered (whose margin is raised).
        stop: False for all steps, even of an image that is misclassified: on a copy of another model, or the mean of
            random views (`expectation`), an image that has just crossed the border crosses no other one.

    Returns:
        Changed images [b, h, w, c] in 0..1, at most eps away: of each image the first that is misclassified, else the
        last of the last start.

    Raises:
        DataError: for images outside 0..1, labels that do not exist, a target equal to the label.
        ConfigError: for a radius that is not above 0.

    Reference: Madry et al. 2018, section 2.1; the margin: Carlini and Wagner 2017, f_6.
    """
    logits_fn, x, label, target = prepared(model, x, label, target, eps, norm, "pgd")
    key = jax.random.key(0) if key is None else key
    z, won = x, None
    for i in range(restarts):
        start = _start(jax.random.fold_in(key, i), x, eps, norm)
        start = start if won is None else jnp.where(threat.rows(won, x), z, start)
        z, won = _climb(
            logits_fn, (norm, objective), x, start, label, target, eps, step_size or 2.5 * eps / steps, steps, stop
        )
        if not isinstance(won, jax.core.Tracer) and won.all():
            break
    return z


def prepared(model: Any, x: Any, label: Any, target: Any, eps: float, norm: str, attack: str) -> tuple:
    """What every attack in a ball begins with: (logits_fn, x, label, target), checked. Raises: see `projected`."""
    logits_fn, x = logits_of(model, attack), threat.check_images(x)
    threat.check_radius(eps, norm)
    classes = classes_of(logits_fn, x)
    label = predicted(logits_fn, x) if label is None else threat.check_classes(label, len(x), classes)
    return logits_fn, x, label, None if target is None else threat.check_target(target, label, classes)


def objective_of(logits: jax.Array, label: jax.Array, target: jax.Array | None, objective: Objective) -> jax.Array:
    """What an attack raises, one number for each image: the loss of its label, or minus that of its target. [b]"""
    sign, wanted = (1, label) if target is None else (-1, target)
    if objective == "margin":
        return -sign * threat.margin(logits, wanted)
    return sign * optax.softmax_cross_entropy_with_integer_labels(logits, wanted)


def _moved(logits_fn, settings, x, z, label, target, eps, step_size):
    """(the points after one step, the logits before it)."""
    norm, objective = settings

    def climbed(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = logits_fn(z)
        return objective_of(logits, label, target, objective).sum(), logits

    gradient, logits = jax.grad(climbed, has_aux=True)(z)
    return threat.project(z + step_size * threat.steepest(gradient, norm), x, eps, norm), logits


@partial(jax.jit, static_argnums=(0, 1))
def _single(logits_fn, settings, x, label, target, eps):
    return _moved(logits_fn, settings, x, x, label, target, eps, eps)[0]


@partial(jax.jit, static_argnums=(0, 1, 9))
def _step(logits_fn, settings, x, z, label, target, eps, step_size, won, stop):
    """One step of the images that have not won yet: (z, which of the given points had won, or won before)."""
    moved, logits = _moved(logits_fn, settings, x, z, label, target, eps, step_size)
    won = won | threat.succeeded(logits, label, target)
    if not stop:
        return moved, won
    return jnp.where(threat.rows(won, z), z, moved), won


@partial(jax.jit, static_argnums=0)
def has_won(logits_fn, z, label, target):
    """Which points are classified as the attack wants. Returns: bool [b]."""
    return threat.succeeded(logits_fn(z), label, target)


@partial(jax.jit, static_argnums=3)
def _start(key, x, eps, norm):
    return random_point(key, x, eps, norm)


def _climb(logits_fn, settings, x, z, label, target, eps, step_size, steps, stop=True):
    won = jnp.zeros(len(x), bool)
    for _ in range(steps):
        z, won = _step(logits_fn, settings, x, z, label, target, eps, step_size, won, stop)
        if stop and not isinstance(won, jax.core.Tracer) and won.all():
            return z, won
    return z, has_won(logits_fn, z, label, target)
