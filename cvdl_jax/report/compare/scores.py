"""The metrics of `--compare`, of one sample of examples or of many at once: arrays [..., n], numbers [...]."""

import numpy as np


def accuracy(guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of right answers."""
    return (guess == truth).mean(-1)


def macro_f1(classes: int, guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean over the classes, of those that occur or are predicted, of F1 = 2 TP / (2 TP + FP + FN).

    Args:
        classes: c.
        guess: int [..., n]; what is not in 0..c-1 is always wrong.
        truth: int [..., n]; what is not in 0..c-1 is no class's example.
    """
    shape, n = truth.shape[:-1], truth.shape[-1]
    guess, truth = guess.reshape(-1, n), truth.reshape(-1, n)
    row = np.arange(len(truth))[:, None] * (classes + 1)  # the last bin of a row takes what is no class

    def counts(values: np.ndarray, kept: np.ndarray | bool = True) -> np.ndarray:
        bins = row + np.where(kept & (values >= 0) & (values < classes), values, classes)
        return np.bincount(bins.ravel(), minlength=row.size * (classes + 1)).reshape(-1, classes + 1)[:, :-1]

    right, total = counts(truth, guess == truth), counts(truth) + counts(guess)
    present = total > 0
    f1 = np.divide(2 * right, total, out=np.zeros(total.shape), where=present)
    return (f1.sum(-1) / present.sum(-1)).reshape(shape)


def absolute(guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean absolute error of each example: [n, ...] -> [n]."""
    return np.abs(guess - truth).reshape(len(truth), -1).mean(-1)


def squared(guess: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean squared error of each example: [n, ...] -> [n]."""
    return ((guess - truth) ** 2).reshape(len(truth), -1).mean(-1)


def mean(errors: np.ndarray) -> np.ndarray:
    """Of errors [..., n]."""
    return errors.mean(-1)


def root_mean(errors: np.ndarray) -> np.ndarray:
    """Root of the mean of squared errors [..., n]."""
    return np.sqrt(errors.mean(-1))
