"""How far clusters agree with classes that they were not told."""

import numpy as np


def adjusted_rand(label: np.ndarray, cluster: np.ndarray) -> float:
    """The adjusted Rand index: 1 for the same partition, 0 on average for a random one of the same sizes.

    With the pairs of points that are together in both, `S = sum_ij C(n_ij, 2)`, in the classes A and in the clusters B,
    of C(n, 2) pairs: `(S - A B / C(n, 2)) / ((A + B) / 2 - A B / C(n, 2))`. Two partitions without any choice, all
    points together or all alone, are the same.

    Args:
        label: int [n].
        cluster: int [n].

    Reference: Hubert and Arabie 1985, "Comparing Partitions", equation 5.
    """
    pairs = lambda counts: float((counts * (counts - 1) / 2).sum())  # noqa: E731
    table = contingency(label, cluster)
    both, a, b = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    chance = a * b / max(pairs(np.asarray([len(label)])), 1)
    most = (a + b) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


def purity(label: np.ndarray, cluster: np.ndarray) -> float:
    """The share of points whose class is the most frequent one of their cluster."""
    return float(contingency(label, cluster).max(0).sum() / len(label))


def contingency(label: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Counts of points by class and cluster, int [classes, clusters], of those that occur."""
    _, rows = np.unique(np.asarray(label), return_inverse=True)
    _, columns = np.unique(np.asarray(cluster), return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1), np.int64)
    np.add.at(table, (rows, columns), 1)
    return table
