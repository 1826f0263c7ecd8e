"""Searches of a space of architectures, each a tuple of choices, by the scores of those that are tried.

The reward of a search is the validation metric of the child that an architecture becomes when it is trained.

Reference: Real et al. 2019, "Regularized Evolution for Image Classifier Architecture Search", algorithm 1; Li and
Talwalkar 2020, "Random Search and Reproducibility for Neural Architecture Search", for random search as the baseline.
"""

import collections
import math
from collections.abc import Callable, Sequence

import numpy as np

Architecture = tuple[int, ...]
History = list[tuple[Architecture, float]]  # every child, in the order in which they were tried, with its score


def best(history: History) -> Architecture:
    """The architecture with the highest score, the first of equals."""
    return max(history, key=lambda child: child[1])[0]


def random_search(
    score: Callable[[Architecture], float], choices: Sequence[int], budget: int, seed: int | Sequence[int]
) -> History:
    """Tries different architectures, all equally likely.

    Args:
        score: of a trained child; higher is better.
        choices: how many there are at each place of an architecture.
        budget: children.
        seed: of the draws.

    Raises:
        ValueError: for a budget that is not 1 ... the size of the space, or a score that is not a number.
    """
    size = math.prod(choices)
    if not 1 <= budget <= size:
        raise ValueError(
            f"a random search without repetition tries 1 to {size} architectures of this space, not {budget}"
        )
    drawn = np.random.default_rng(seed).permutation(size)[:budget]
    return _scored(score, [tuple(map(int, np.unravel_index(i, choices))) for i in drawn])


def regularised_evolution(
    score: Callable[[Architecture], float],
    choices: Sequence[int],
    budget: int,
    seed: int | Sequence[int],
    population: int,
    sample: int,
) -> History:
    """Mutates the best of a random sample of the living, and lets the oldest die.

    Args:
        score: of a trained child; higher is better. An architecture that comes again is a child again.
        choices: how many there are at each place of an architecture, at least 2 at one of them.
        budget: children, those of the first population included.
        seed: of the draws.
        population: how many live at once; the first ones are random.
        sample: how many the parent is the best of, drawn with replacement.

    Raises:
        ValueError: for numbers that are impossible, or a score that is not a number.
    """
    if not (1 <= sample and 1 <= population <= budget) or max(choices) < 2:
        raise ValueError(
            f"evolution needs 1 <= population={population} <= budget={budget}, sample={sample} of at least 1 and a "
            "place with two choices or more"
        )
    random, mutable = np.random.default_rng(seed), [i for i, n in enumerate(choices) if n > 1]
    first = [tuple(int(random.integers(n)) for n in choices) for _ in range(population)]
    history = _scored(score, first)
    living = collections.deque(history)
    while len(history) < budget:
        parent = best([living[random.integers(population)] for _ in range(sample)])
        place = mutable[random.integers(len(mutable))]
        other = int(random.integers(choices[place] - 1))
        child = (*parent[:place], other + (other >= parent[place]), *parent[place + 1 :])  # never as it was
        history += _scored(score, [child])
        living.append(history[-1])
        living.popleft()
    return history


def _scored(score: Callable[[Architecture], float], children: Sequence[Architecture]) -> History:
    history = [(child, float(score(child))) for child in children]
    for child, value in history:
        if math.isnan(value):
            raise ValueError(f"the score of {child} is not a number; the search cannot rank it")
    return history
