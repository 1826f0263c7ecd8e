"""How good samples are, in NumPy: a distance that needs no network, and what a classifier says of them."""

import numpy as np

from cvdl_jax.errors import DataError


def sliced_wasserstein(real: np.ndarray, fake: np.ndarray) -> float:
    """The mean over directions of the one-dimensional Wasserstein-1 distance, in the units of the projections.

    In one dimension the best plan moves sorted values onto sorted values: `W1 = mean |sort(x) - sort(y)|`.

    Args:
        real: [n, k], n examples projected onto k directions.
        fake: [n, k], as many samples on the same directions.

    Raises:
        DataError: for two sets of different shape, or empty ones.

    Reference: Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters of Measures", section 3.
    """
    if real.shape != fake.shape or not real.size:
        raise DataError(f"the sliced distance compares as many samples as examples, got {real.shape} and {fake.shape}")
    return float(np.abs(np.sort(real.astype(np.float64), 0) - np.sort(fake.astype(np.float64), 0)).mean())


def spread(real: np.ndarray, fake: np.ndarray) -> float:
    """`sqrt(sum var(fake) / sum var(real))` over directions: 1 where samples vary as the data do, 0 if all are equal.

    Args:
        real: [n, k] projections of examples.
        fake: [m, k] projections of samples.
    """
    return float(np.sqrt(fake.astype(np.float64).var(0).sum() / real.astype(np.float64).var(0).sum()))


def judged(probabilities: np.ndarray) -> dict[str, float]:
    """What a classifier says of samples.

    Args:
        probabilities: [n, classes], p(y | x) of each sample; rows sum to 1.

    Returns:
        `classes`: number of classes that at least a tenth of a fair share of the samples, n / (10 classes), are
        assigned to, so that a stray sample covers nothing; `confidence`: mean largest probability; `inception_score`:
        `exp(mean KL(p(y | x) || p(y)))`, between 1 and the number of classes.

    Raises:
        DataError: without samples.

    Reference: Salimans et al. 2016, "Improved Techniques for Training GANs", section 4.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not p.size:
        raise DataError(f"expected the probabilities [n, classes] of at least one sample, got shape {p.shape}")
    n, classes = p.shape
    counts = np.bincount(p.argmax(-1), minlength=classes)
    marginal = p.mean(0)
    logs = np.log(np.maximum(p, 1e-300)) - np.log(np.maximum(marginal, 1e-300))[None]
    return {
        "classes": float((counts >= max(1, n / (10 * classes))).sum()),
        "confidence": float(p.max(-1).mean()),
        "inception_score": float(np.exp((p * logs).sum(-1).mean())),
        "samples": float(n),
    }
