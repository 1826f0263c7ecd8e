"""The iterative gradient method: plain steps on the logits until the answer changes; no ball unless one is asked for.

"Away from a class" means the original class, and `target` the one to arrive at, as argument names throughout.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.analysis.attacks import threat
from cvdl_jax.analysis.attacks.access import classes_of, least, logits_of, needs, predicted
from cvdl_jax.config.binding import Count, Positive

Of = Literal["logits", "probabilities"]


class _Goal(NamedTuple):
    """What is climbed: a weighted sum of scores. Static, since it decides what is compiled."""

    up: bool  # ascend the target's score
    down: bool  # descend the original class's score
    runner_up: bool  # the target is the best other class of the present point
    of: Of
    norm: str


@needs("gradients")
def targeted(
    model: Any, x: Any, target: Any, *, step_size: Positive = 0.1, steps: Count = 100, eps: Positive | None = None,
    norm: threat.Norm = "l2", of: Of = "logits",
) -> jax.Array:  # fmt: skip
    """Gradient ascent on the score of a class until it is predicted: `x <- x + a grad f_a(x)`.

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [b, h, w, c] in 0..1.
        target: int [b] or one int, a; not the class that is predicted already.
        step_size: a, a factor on the gradient.
        steps: at most; an image whose target is reached moves no more.
        eps: radius of a ball that is not left; None for none.
        norm: of the ball.
        of: "logits", or "probabilities", whose gradient is close to zero where the model is sure.

    Returns:
        Changed images [b, h, w, c] in 0..1.

    Raises:
        DataError: for images outside 0..1 and a target that is the predicted class.
        ConfigError: for a radius that is not above 0.

    Reference: Simonyan et al. 2014 climb the score without softmax in the same way, section 2.
    """
    logits_fn, x, orig = _prepared(model, x, None, "targeted", eps, norm)
    target = threat.check_target(target, orig, classes_of(logits_fn, x))
    return _run(logits_fn, _Goal(True, False, False, of, norm), x, orig, target, step_size, steps, eps)


@needs("gradients")
def untargeted(
    model: Any, x: Any, orig: Any = None, *, step_size: Positive = 0.1, steps: Count = 100, eps: Positive | None = None,
    norm: threat.Norm = "l2", of: Of = "logits",
) -> jax.Array:  # fmt: skip
    """Gradient descent on the score of the original class until another is predicted: `x <- x - a grad f_{c0}(x)`.

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [b, h, w, c] in 0..1.
        orig: int [b], c0; None for the class predicted of x.
        step_size: a, a factor on the gradient.
        steps: at most; an image that has lost its class moves no more.
        eps: radius of a ball that is not left; None for none.
        norm: of the ball.
        of: see `targeted`.
    """
    logits_fn, x, orig = _prepared(model, x, orig, "untargeted", eps, norm)
    return _run(logits_fn, _Goal(False, True, False, of, norm), x, orig, orig, step_size, steps, eps)


@needs("gradients")
def least_likely(
    model: Any, x: Any, *, step_size: Positive = 0.1, steps: Count = 100, eps: Positive | None = None,
    norm: threat.Norm = "l2", of: Of = "logits",
) -> jax.Array:  # fmt: skip
    """Gradient ascent on the class that is least likely at first, until it wins: `c* = argmin_c f_c(x_0)`.

    Ascent on the score of c* is descent on its loss; texts name it either way. Arguments: see `targeted`.

    Reference: Kurakin et al. 2017, "Adversarial examples in the physical world", section 2.3.
    """
    logits_fn, x, orig = _prepared(model, x, None, "least_likely", eps, norm)
    target = least(logits_fn, x, orig)
    return _run(logits_fn, _Goal(True, False, False, of, norm), x, orig, target, step_size, steps, eps)


@needs("gradients")
def combined(
    model: Any, x: Any, orig: Any = None, *, step_size: Positive = 0.1, steps: Count = 100, eps: Positive | None = None,
    norm: threat.Norm = "l2", of: Of = "logits",
) -> jax.Array:  # fmt: skip
    """Away from the original class a and toward the present runner-up g: `x <- x - a grad f_a(x) + a grad f_g(x)`.

    `g = argmax_{c != a} f_c(x)` is chosen anew at every step. Arguments: see `untargeted`.
    """
    logits_fn, x, orig = _prepared(model, x, orig, "combined", eps, norm)
    return _run(logits_fn, _Goal(True, True, True, of, norm), x, orig, orig, step_size, steps, eps)


def gradient_sizes(model: Any, x: Any, label: Any) -> tuple[jax.Array, jax.Array]:
    """How long the gradients of a class's logit and of its probability are: `|grad f_c|` and `|grad softmax(f)_c|`.

    The second is `p_c |grad f_c - sum_k p_k grad f_k|`, which vanishes as p_c approaches 1 and as it approaches 0.

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [b, ...].
        label: int [b], c.

    Returns:
        (of the logit [b], of the probability [b]).
    """
    logits_fn = logits_of(model, "gradient_sizes")
    label = threat.check_classes(label, len(x), classes_of(logits_fn, x))

    @jax.jit
    def sizes(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        def own(of: Callable[[jax.Array], jax.Array]) -> jax.Array:
            gradient = jax.grad(lambda x: jnp.take_along_axis(of(logits_fn(x)), label[:, None], 1).sum())(x)
            return jnp.linalg.norm(gradient.reshape(len(x), -1), axis=1)

        return own(lambda f: f), own(jax.nn.softmax)

    return sizes(jnp.asarray(x))


def _prepared(model: Any, x: Any, orig: Any, attack: str, eps: float | None, norm: str) -> tuple:
    logits_fn, x = logits_of(model, attack), threat.check_images(x)
    if eps is not None:
        threat.check_radius(eps, norm)
    orig = predicted(logits_fn, x) if orig is None else threat.check_classes(orig, len(x), classes_of(logits_fn, x))
    return logits_fn, x, orig


def _run(logits_fn, goal, x, orig, target, step_size, steps, eps):
    z = x
    for _ in range(steps):
        z, done = _step(logits_fn, goal, x, z, orig, target, step_size, jnp.inf if eps is None else eps)
        if not isinstance(done, jax.core.Tracer) and done.all():
            break
    return z


@partial(jax.jit, static_argnums=(0, 1))
def _step(logits_fn, goal, x, z, orig, target, step_size, eps):
    """One step of the images that have not arrived, and which have."""

    def climbed(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = logits_fn(z)
        scores = logits if goal.of == "logits" else jax.nn.softmax(logits)
        aim = lax.stop_gradient(threat.others(logits, orig)).argmax(1) if goal.runner_up else target
        value = goal.up * _own(scores, aim) - goal.down * _own(scores, orig)
        return value.sum(), logits

    gradient, logits = jax.grad(climbed, has_aux=True)(z)
    done = threat.fooled(logits, orig) if goal.down else threat.reached(logits, target)
    moved = threat.project(z + step_size * threat.finite(gradient), x, eps, goal.norm)
    return jnp.where(threat.rows(done, z), z, moved), done


def _own(scores: jax.Array, label: jax.Array) -> jax.Array:
    return jnp.take_along_axis(scores, label[:, None], 1)[:, 0]
