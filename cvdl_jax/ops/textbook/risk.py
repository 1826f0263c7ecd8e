"""The learning problem: empirical risk, errors in and out of the sample, and the final hypothesis.

A target f labels the inputs. A hypothesis h is a function of the hypothesis set H. Learning returns the final
hypothesis g, which has the smallest error E_in on the sample; what matters is its error E_out on the population.
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
    losses = loss(h(params, x), y)
    if losses.shape != (len(x),) or not len(x):
        shape = list(losses.shape)
        raise ValueError(f"loss must give one number for each of {len(x)} examples, at least 1; got {shape}")
    return losses.mean()


def risk_of(loss: Callable, h: Callable, params: Any, batches: Iterable[tuple[Any, Any]]) -> float:
    """The risk over a whole data set, batch by batch; batches may differ in size.

    Args:
        loss: see `risk`.
        h: likewise.
        params: likewise.
        batches: of (x, y).

    Returns:
        The mean over all examples, which differs from the mean of the batches' means.
    """
    total = n = 0
    for x, y in batches:
        total += float(risk(loss, h, params, (x, y))) * len(x)
        n += len(x)
    if not n:
        raise ValueError("batches must hold at least one example")
    return total / n


class Learned(NamedTuple):
    """The result of learning from a sample.

    Attributes:
        final: index of the final hypothesis g, the first with the smallest E_in.
        e_in: [k] of every hypothesis.
        e_out: [k].
        gap: E_out(g) - E_in(g).
        worst_gap: max over H of |E_out - E_in|, which `bounds.py` bounds.
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
    """Chooses the hypothesis of a finite set with the smallest error on a sample, and measures its error outside.

    Args:
        hypotheses: functions x [n, ...] -> labels [n].
        target: f, likewise.
        sample: x [n, ...], drawn from the population.
        population: x [m, ...], or a sample large enough to stand for it.
        population_labels: [m]; None for those of the target.

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
    """Risk of a trained model on its training sample and on held-out examples.

    Args:
        loss: see `risk`.
        h: likewise.
        params: likewise.
        sample: (x, y) of training.
        held_out: (x, y) of validation or test.

    Returns:
        {"in_sample", "out_of_sample", "gap"}; the gap is out - in.
    """
    e_in, e_out = (float(risk(loss, h, params, tuple(map(jnp.asarray, batch)))) for batch in (sample, held_out))
    return {"in_sample": e_in, "out_of_sample": e_out, "gap": e_out - e_in}
