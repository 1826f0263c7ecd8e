"""The learning problem: empirical risk, errors in and out of the sample, and the final hypothesis.

A target f labels inputs; a hypothesis h is one function of a hypothesis set H; learning returns the final hypothesis
g in H with the smallest error on the sample, E_in; what counts is its error E_out on everything.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


def risk(loss: Callable, h: Callable, params: Any, batch: tuple[Any, Any]) -> jax.Array:
    """Empirical risk, `R_n(w) = (1/n) sum_i l(h_w(x_i), y_i)`: differentiable in the parameters.

    Args:
        loss: (predictions [n, ...], y [n, ...]) -> losses [n].
        h: (params, x [n, ...]) -> predictions [n, ...].
        params: w, any tree.
        batch: (x, y).

    Returns:
        float [].

    Raises:
        ValueError: for an empty batch, or a loss that does not return one number per example.

    Reference: Vapnik 1991, "Principles of Risk Minimization for Learning Theory", equation 3.
    """
    x, y = batch
    each = loss(h(params, x), y)
    if each.shape != (len(x),) or not len(x):
        raise ValueError(f"loss must give one number for each of {len(x)} examples, at least 1; got {list(each.shape)}")
    return each.mean()


def risk_of(loss: Callable, h: Callable, params: Any, batches: Iterable[tuple[Any, Any]]) -> float:
    """The risk over a whole data set, batch by batch; batches may differ in size.

    Args:
        loss: see `risk`.
        h: likewise.
        params: likewise.
        batches: of (x, y).

    Returns:
        The mean over all examples, which a mean of the batches' means is not.
    """
    total = n = 0
    for x, y in batches:
        total += float(risk(loss, h, params, (x, y))) * len(x)
        n += len(x)
    if not n:
        raise ValueError("batches must hold at least one example")
    return total / n


class Learned(NamedTuple):
    """What learning from a sample gives.

    Attributes:
        final: index of the final hypothesis g, the first with the smallest E_in.
        e_in: [k] of every hypothesis.
        e_out: [k].
        gap: E_out(g) - E_in(g).
        worst_gap: max over H of |E_out - E_in|, what the bounds of `bounds.py` are about.
    """

    final: int
    e_in: np.ndarray
    e_out: np.ndarray
    gap: float
    worst_gap: float


def error(predictions: Any, targets: Any) -> np.ndarray:
    """Share of wrong answers. Args: predictions [..., n], targets [n]. Returns: float64 [...]."""
    predictions, targets = np.asarray(predictions), np.asarray(targets)
    if predictions.shape[-1:] != targets.shape or not targets.size:
        raise ValueError(f"predictions [..., n] and targets [n] got {predictions.shape} and {targets.shape}")
    return (predictions != targets).mean(-1)


def learn(
    hypotheses: Iterable[Callable], target: Callable, sample: Any, population: Any, population_labels: Any = None
) -> Learned:
    """Chooses a hypothesis of a finite set on a sample, and says what it is worth.

    Args:
        hypotheses: functions x [n, ...] -> labels [n].
        target: f, likewise.
        sample: x [n, ...], drawn from the population.
        population: x [m, ...], all of it, or a sample so large that it stands for it.
        population_labels: [m]; None: the target's.

    Returns:
        A Learned.

    Reference: Abu-Mostafa et al. 2012, "Learning From Data", sections 1.1 and 1.3.
    """
    hypotheses = list(hypotheses)
    if not hypotheses:
        raise ValueError("hypotheses is empty: there is nothing to choose from")
    f_out = target(population) if population_labels is None else population_labels
    e_in = np.stack([error(h(sample), target(sample)) for h in hypotheses])
    e_out = np.stack([error(h(population), f_out) for h in hypotheses])
    final = int(e_in.argmin())
    return Learned(final, e_in, e_out, float(e_out[final] - e_in[final]), float(np.abs(e_out - e_in).max()))


def generalisation_gap(
    loss: Callable, h: Callable, params: Any, sample: tuple[Any, Any], held_out: tuple[Any, Any]
) -> dict[str, float]:
    """Risk of a trained model on what it was trained on and on what it was not.

    Args:
        loss: see `risk`.
        h: likewise.
        params: likewise.
        sample: (x, y) of training.
        held_out: (x, y) of validation or test.

    Returns:
        {"in_sample", "out_of_sample", "gap"}; the gap is out - in.
    """
    e_in, e_out = (float(risk(loss, h, params, tuple(map(jnp.asarray, each)))) for each in (sample, held_out))
    return {"in_sample": e_in, "out_of_sample": e_out, "gap": e_out - e_in}
