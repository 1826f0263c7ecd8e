"""A surrogate attack: a model of one's own is trained on the answers of a black box, and attacked in its place."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from cvdl_jax.analysis.attacks import threat
from cvdl_jax.analysis.attacks.access import BlackBox, asked_for, needs
from cvdl_jax.analysis.attacks.pgd import projected
from cvdl_jax.config.binding import Count, NotNegative, Positive


class Small(nn.Module):
    """Two hidden layers: the surrogate of somebody who knows nothing of the model.

    Attributes:
        num_classes: of the black box.
        width: of the hidden layers.
    """

    num_classes: int
    width: int = 200

    @nn.compact
    def __call__(self, x):
        """Logits [b, num_classes] of images [b, ...]."""
        x = x.reshape(len(x), -1) - 0.5
        for _ in range(2):
            x = nn.relu(nn.Dense(self.width)(x))
        return nn.Dense(self.num_classes)(x)


class Surrogate(NamedTuple):
    """A trained surrogate.

    Attributes:
        logits_fn: images [b, ...] -> logits [b, num_classes].
        agreement: the share of the images it was trained on of which it says what the black box says.
        examples: how many images it was trained on, each a query.
    """

    logits_fn: Callable[[jax.Array], jax.Array]
    agreement: float
    examples: int


def imitate(
    model: Any,
    seeds: Any,
    num_classes: int,
    key: jax.Array | None = None,
    *,
    module: nn.Module | None = None,
    rounds: Count = 4,
    epochs: Count = 20,
    batch: Count = 64,
    lr: Positive = 1e-3,
    reach: NotNegative = 0.1,
) -> Surrogate:
    """Trains g so that g(x) is what the black box f says, on images that g itself chooses.

    In every round the set doubles, by images a step across g's own boundary: `x + lambda sign(grad g_{f(x)}(x))`.

    Args:
        model: a BlackBox, of labels at least, which counts; or `logits_fn(x)`.
        seeds: float [n, h, w, c] in 0..1, the attacker's own images.
        num_classes: of f.
        key: of the initial weights and the order; None for one of seed 0.
        module: the surrogate, images -> logits; None for `Small`.
        rounds: of training; the set doubles after each but the last.
        epochs: of a round.
        batch: images of a step.
        lr: of Adam.
        reach: lambda.

    Reference: Papernot et al. 2017, "Practical Black-Box Attacks against Machine Learning", algorithm 1.
    """
    oracle, x = asked_for(model, "labels", "imitate"), threat.check_images(seeds)
    key = jax.random.key(0) if key is None else key
    module = Small(num_classes) if module is None else module
    params, answers = module.init(jax.random.fold_in(key, 0), x[:1]), np.asarray(oracle.labels(x))
    order = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    moments = optax.adam(lr).init(params)
    for i in range(rounds):
        if i:
            new = _across(module, params, x, jnp.asarray(answers), reach)
            x, answers = jnp.concatenate([x, new]), np.concatenate([answers, oracle.labels(new)])
        size = min(batch, len(x))
        for _ in range(epochs):
            places = order.permutation(len(x))[: len(x) // size * size].reshape(-1, size)
            for rows in places:
                params, moments = _fitted(module, params, moments, x[rows], jnp.asarray(answers[rows]), lr)
    logits_fn = partial(module.apply, params)
    return Surrogate(logits_fn, float((np.asarray(logits_fn(x)).argmax(1) == answers).mean()), len(x))


@partial(jax.jit, static_argnums=0)
def _across(module, params, x, answers, reach):
    def own(x: jax.Array) -> jax.Array:
        return jnp.take_along_axis(module.apply(params, x), answers[:, None], 1).sum()

    return jnp.clip(x + reach * jnp.sign(jax.grad(own)(x)), 0, 1)


@partial(jax.jit, static_argnums=0)
def _fitted(module, params, moments, x, answers, lr):
    def loss(params: Any) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(module.apply(params, x), answers).mean()

    updates, moments = optax.adam(lr).update(jax.grad(loss)(params), moments)
    return optax.apply_updates(params, updates), moments


@needs("labels")
def surrogate(
    model: Any,
    x: Any,
    label: Any,
    key: jax.Array | None = None,
    *,
    seeds: Any = None,
    num_classes: Count | None = None,
    eps: Positive = 0.3,
    steps: Count = 40,
    norm: threat.Norm = "linf",
    rounds: Count = 4,
) -> jax.Array:
    """PGD on a surrogate, in the hope that it carries over ("transfers") to the black box, of which labels are known.

    Args:
        model: a BlackBox, of labels at least, which counts; or `logits_fn(x)`.
        x: float [b, h, w, c] in 0..1.
        label: int [b].
        key: None for one of seed 0.
        seeds: images that the surrogate is trained on first; None for x itself.
        num_classes: of the model; None for one more than the largest label and answer.
        eps: radius of the ball.
        steps: of PGD.
        norm: of the ball.
        rounds: see `imitate`.

    Returns:
        Changed images [b, h, w, c], at most eps away.

    Reference: Papernot et al. 2017, section 4.
    """
    oracle, x = asked_for(model, "labels", "surrogate"), threat.check_images(x)
    threat.check_radius(eps, norm)
    label, seeds = oracle.checked_labels(x, label), x if seeds is None else seeds
    if num_classes is None:
        num_classes = _classes(oracle, seeds, label)
    copy = imitate(oracle, seeds, num_classes, key, rounds=rounds)
    return projected(copy.logits_fn, x, label, key, eps=eps, steps=steps, norm=norm, stop=False)


def _classes(oracle: BlackBox, seeds: Any, label: Any) -> int:
    """One more than the largest class that is known of."""
    return int(max(oracle.labels(seeds).max(), np.max(np.asarray(label)))) + 1
