"""Few-shot classification by prototypes: the accuracy over many episodes of classes that training did not know."""

from collections.abc import Iterator

import numpy as np

from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.stats import intervals


def episodes(
    labels: np.ndarray, way: int, shots: int, queries: int, count: int, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Episodes of some classes with some images of each; no class and no image is in an episode twice.

    Args:
        labels: int [n].
        way: classes of an episode.
        shots: images of each class that are shown with it.
        queries: other images of each, to be classified.
        count: of episodes.
        seed: of the draw. Words of a bit generator are used, which every NumPy version makes equal.

    Yields:
        (support int [way, shots], queries int [way, queries]): places in the data.

    Raises:
        ConfigError: if there are not so many classes, or a class does not have so many images.
    """
    known, which, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(known) < way or sizes.min() < shots + queries:
        raise ConfigError(
            f"{way} classes with {shots} + {queries} images cannot be drawn from {len(known)} classes, of which one "
            f"has {sizes.min()} images; use a smaller config.few_shot.way, shots or queries"
        )
    members = [np.flatnonzero(which == c) for c in range(len(known))]
    words = np.random.Philox(key=seed)

    def drawn(n: int, k: int) -> np.ndarray:
        return np.argsort(words.random_raw(n), kind="stable")[:k]

    for _ in range(count):
        rows = [members[c][drawn(len(members[c]), shots + queries)] for c in drawn(len(known), way)]
        yield np.stack([row[:shots] for row in rows]), np.stack([row[shots:] for row in rows])


def accuracy(embeddings: np.ndarray, support: np.ndarray, queries: np.ndarray) -> float:
    """The share of queries whose nearest prototype, by Euclidean distance, is that of their class.

    A prototype of another class that is as near as the right one counts as nearer.

    Args:
        embeddings: float [n, e].
        support: places of the support, int [way, shots].
        queries: places of the queries, int [way, q].
    """
    prototypes = embeddings[support].mean(1)  # [way, e]
    far = np.square(embeddings[queries][:, :, None] - prototypes[None, None]).sum(-1)  # [way, q, way]
    own = np.eye(len(support), dtype=bool)[:, None]  # [way, 1, way]
    right = np.where(own, far, np.inf).min(2)
    return float((right < np.where(own, np.inf, far).min(2)).mean())


def measured(
    embeddings: np.ndarray, labels: np.ndarray, way: int, shots: int, queries: int, count: int
) -> dict[str, float]:
    """The mean accuracy over episodes with its 95 % interval: "5way_1shot_accuracy", "..._low" and "..._high".

    The interval is Student's over episodes, as few-shot papers report it: it is about the draw of episodes from these
    classes, and not about other classes.

    Args:
        embeddings: float [n, e].
        labels: int [n].
        way: see `episodes`; the next three, too.
        shots: see there.
        queries: see there.
        count: of episodes, at least 2.
    """
    embeddings = np.asarray(embeddings, np.float32)
    drawn = episodes(np.asarray(labels), way, shots, queries, count)
    values = [accuracy(embeddings, *parts) for parts in drawn]
    name, ends = f"{way}way_{shots}shot_accuracy", intervals.student_t(values)
    return {name: float(np.mean(values)), f"{name}_low": ends[0], f"{name}_high": ends[1]}
