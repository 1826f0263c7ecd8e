"""The game of generator and discriminator on a finite set of outcomes, where its solution can be written down.

    V(D) = sum_i p_i ln D_i + q_i ln(1 - D_i),   D*_i = p_i / (p_i + q_i),   V(D*) = 2 JS(p, q) - 2 ln 2

Reference: Goodfellow et al. 2014, "Generative Adversarial Nets", proposition 1 and theorem 1.
"""

import numpy as np


def game_value(p: np.ndarray, q: np.ndarray, d: np.ndarray) -> float:
    """V(D); an outcome of probability 0 adds nothing.

    Args:
        p: probabilities of the data [n].
        q: of the generator [n].
        d: the discriminator's probability that an outcome is real [n].
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(p > 0, p * np.log(d), 0).sum() + np.where(q > 0, q * np.log1p(-d), 0).sum())


def best_discriminator(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """D* [n], 1/2 where neither has an outcome.

    Args:
        p: probabilities of the data [n].
        q: of the generator [n].
    """
    total = p + q
    return np.where(total > 0, p / np.where(total > 0, total, 1), 0.5)


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """`[KL(p, m) + KL(q, m)] / 2`, m = (p + q) / 2, in nats: between 0 and ln 2.

    Args:
        p: probabilities [n].
        q: probabilities [n].
    """
    m = (p + q) / 2

    def divergence(a: np.ndarray) -> float:
        there = a > 0
        return float((a[there] * np.log(a[there] / m[there])).sum())

    return (divergence(p) + divergence(q)) / 2
