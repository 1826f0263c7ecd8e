"""Images of nothing that a classifier is sure of: by gradient ascent, or by evolution from noise."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.attacks import threat
from cvdl_jax.analysis.attacks.access import asked_for, classes_of, logits_of, needs
from cvdl_jax.config.binding import Count, Inside, NotNegative, Positive, Probability
from cvdl_jax.errors import ConfigError


@needs("gradients")
def sure_of_nothing(
    model: Any,
    shape: tuple[int, ...],
    target: Any,
    key: jax.Array | None = None,
    *,
    confidence: Inside = 0.99,
    step_size: Positive = 0.02,
    steps: Count = 300,
    decay: NotNegative = 0.0,
) -> jax.Array:
    """Gradient ascent from noise until the target's probability is reached.

        x <- (1 - d) x + a grad f_t / max |grad f_t|

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        shape: (h, w, c) of an image.
        target: int [b], one image for each.
        key: of the noise; None for one of seed 0.
        confidence: probability of the target at which an image moves no more.
        step_size: a, the largest change of a pixel in a step.
        steps: at most.
        decay: d, of every pixel toward 0 in a step.

    Returns:
        Images [b, h, w, c] in 0..1.

    Reference: Nguyen et al. 2015, "Deep Neural Networks are Easily Fooled", section 2.4 (gradient ascent).
    """
    logits_fn = logits_of(model, "sure_of_nothing")
    key = jax.random.key(0) if key is None else key
    target = jnp.atleast_1d(jnp.asarray(target))
    x = jax.random.uniform(key, (len(target), *shape))
    target = threat.check_classes(target, len(x), classes_of(logits_fn, x), "target")
    for _ in range(steps):
        x, sure = _ascended(logits_fn, x, target, confidence, step_size, decay)
        if sure.all():
            break
    return x


@partial(jax.jit, static_argnums=0)
def _ascended(logits_fn, x, target, confidence, step_size, decay):
    def climbed(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = logits_fn(x)
        return jnp.take_along_axis(logits, target[:, None], 1).sum(), logits

    gradient, logits = jax.grad(climbed, has_aux=True)(x)
    sure = jnp.take_along_axis(jax.nn.softmax(logits), target[:, None], 1)[:, 0] >= confidence
    largest = jnp.abs(gradient).reshape(len(x), -1).max(1)
    moved = (1 - decay) * x + step_size * gradient / threat.rows(jnp.maximum(largest, 1e-12), x)
    return jnp.where(threat.rows(sure, x), x, jnp.clip(moved, 0, 1)), sure


@needs("scores")
def evolved(
    model: Any,
    shape: tuple[int, ...],
    num_classes: int,
    key: jax.Array | None = None,
    *,
    generations: Count = 500,
    children: Count = 64,
    rate: Probability = 0.1,
    size: Positive = 0.3,
) -> tuple[jax.Array, jax.Array]:
    """Evolution from noise, by scores alone: the best image so far of every class, and children of random ones.

    A child is a copy of the best image of a random class; every pixel mutates with probability `rate` by a normal
    number. It takes the place of the best image of any class of which it is more probable.

    Args:
        model: a BlackBox of scores, which counts; or `logits_fn(x)`.
        shape: (h, w, c) of an image.
        num_classes: of the model.
        key: None for one of seed 0.
        generations: of children.
        children: of a generation.
        rate: of mutations.
        size: standard deviation of a mutation.

    Returns:
        (images [num_classes, h, w, c] in 0..1, their probabilities [num_classes]).

    Raises:
        ConfigError: for another number of classes than the model has.

    Reference: Nguyen et al. 2015, section 2.3 (MAP-Elites, direct encoding).
    """
    oracle = asked_for(model, "scores", "evolved")
    draw = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.key(0) if key is None else key)))
    best, sure = np.zeros((num_classes, *shape), np.float32), np.full(num_classes, -1.0)
    child = draw.uniform(size=(children, *shape)).astype(np.float32)
    for _ in range(generations):
        p = np.asarray(jax.nn.softmax(jnp.asarray(oracle.scores(child))))  # [children, num_classes]
        if p.shape[1] != num_classes:
            raise ConfigError(f"evolved(num_classes={num_classes}): the model gives scores of {p.shape[1]} classes")
        first = p.argmax(0)
        better = p[first, np.arange(num_classes)] > sure
        best[better], sure[better] = child[first[better]], p[first, np.arange(num_classes)][better]
        parents = best[draw.integers(num_classes, size=children)]
        mutates = draw.uniform(size=parents.shape) < rate
        child = np.clip(parents + mutates * draw.normal(scale=size, size=parents.shape), 0, 1).astype(np.float32)
    return jnp.asarray(best), jnp.asarray(sure)
