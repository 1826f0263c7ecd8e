"""The order of the examples, computed and never stored: an endless stream of positions.

Position p belongs to epoch `p // n` and is example `permutation(seed, epoch)[p % n]`. Batch k of size B is positions
`k B ... (k + 1) B - 1`, so that batches cross the borders of epochs and no example is dropped or repeated. The examples
of step k depend on (seed, k, B) alone, so that a run can restart at any step.

Examples may be in groups, such as texts of a similar length. Each `POOL` examples that follow each other in an epoch
are then sorted by group, the groups in a random order, so that nearly every batch is of one group; an epoch is still a
permutation. Or the groups are spread evenly over an epoch, such as sources with different labels: then so many examples
that follow each other have the shares of the whole, to an example or two.

Or a row is an example of each of two sets, of n and of m <= n: then each set goes through epochs of its own, permuted
for itself, and position p belongs to epoch `p // n`, by the larger one.

Or every batch is an episode: some classes, drawn at random, and some examples of each. Then an epoch is no permutation:
what a batch holds is drawn anew, so that an example may come twice in n positions, or not at all.
"""

from functools import lru_cache

import numpy as np

from cvdl_jax.errors import ConfigError

ORDER, HOST, SOURCE, SPLIT, EPISODE, SMALLER = 0, 1, 2, 3, 4, 5  # independent streams of random bits
POOL = 4096


class Groups:
    """The groups of a split's examples; compared by identity, so that an order can be cached by them.

    Args:
        numbers: int [n], the group of each example, from 0.
        spread: spread each group evenly over an epoch, instead of keeping it together.
    """

    def __init__(self, numbers: np.ndarray, spread: bool = False):
        self.numbers, self.spread = np.asarray(numbers), spread


class Episodes:
    """Batches of some classes with equally many examples of each, which are drawn anew for every batch.

    Row r of a batch of `classes * images` rows is example `r % images` of its class `r // images`; no class and no
    example is in a batch twice. Batch k depends on (seed, k) alone.

    Args:
        labels: int [n], the class of each example.
        classes: of a batch.
        images: of each class in a batch.

    Raises:
        ConfigError: if there are not so many classes, or a class does not have so many examples.
    """

    def __init__(self, labels: np.ndarray, classes: int, images: int):
        known, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
        if len(known) < classes or counts.min() < images:
            raise ConfigError(
                f"batches of {classes} classes with {images} examples of each cannot be drawn: there are {len(known)} "
                f"classes, and class {known[counts.argmin()]} has {counts.min()} examples; use smaller numbers"
            )
        self.classes, self.images = classes, images
        self.members = [np.flatnonzero(which == c) for c in range(len(known))]

    def batch(self, seed: int, k: int) -> np.ndarray:
        """The examples of batch k: int64 [classes images]."""
        words = random_bits(seed, EPISODE, k, 0, len(self.members))
        rows = []
        for c in np.argsort(words, kind="stable")[: self.classes]:
            bits = random_bits(seed, EPISODE, k, 1 + int(c), len(self.members[c]))
            rows.append(self.members[c][np.argsort(bits, kind="stable")[: self.images]])
        return np.concatenate(rows).astype(np.int64)


class TwoSets:
    """Rows of an example of each of two sets; row `u + n ((v - u) mod m)` is u of the larger and v of the smaller.

    So rows 0 ... n - 1 are `(u, u mod m)`, and every combination is a row.

    Args:
        larger: n, the examples of the larger set.
        smaller: m, those of the smaller one, at most n.
    """

    def __init__(self, larger: int, smaller: int):
        self.larger, self.smaller = larger, smaller

    def row(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The row of u and v, int64."""
        return u + self.larger * ((v - u) % self.smaller)

    def members(self, row: int) -> tuple[int, int]:
        """(u, v) of a row."""
        again, u = divmod(int(row), self.larger)
        return u, (u + again) % self.smaller


@lru_cache(maxsize=2)
def permutation_of_smaller(seed: int, epoch: int, m: int) -> np.ndarray:
    """The order of an epoch of the smaller of two sets, int64 [m]; see `permutation`."""
    return np.argsort(random_bits(seed, SMALLER, epoch, 0, m), kind="stable").astype(np.int64)


def random_bits(seed: int, stream: int, epoch: int, index: int, n: int) -> np.ndarray:
    """Random 64-bit words that are a function of their arguments alone.

    The raw words of a NumPy bit generator are the same in every NumPy version (NEP 19); `Generator` methods such as
    `permutation` may change, so everything here uses the words.

    Args:
        seed: the run's seed, at least 0.
        stream: their purpose: ORDER, HOST, SOURCE, SPLIT or EPISODE.
        epoch: counted from 0; of an episode, its batch.
        index: of the example, 0 where there is none.
        n: how many words.

    Returns:
        uint64 [n].
    """
    return np.random.Philox(key=[seed, stream], counter=[0, index, epoch, 0]).random_raw(n)


def random_unit(seed: int, stream: int, epoch: int, index: int, n: int) -> np.ndarray:
    """Uniform float64 [n] in [0, 1), from the upper 53 bits of `random_bits`."""
    return (random_bits(seed, stream, epoch, index, n) >> np.uint64(11)) * 2.0**-53


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, n: int, groups: Groups | None = None) -> np.ndarray:
    """The order of one epoch; the last two are cached, because a batch may need both.

    Args:
        seed: the run's seed, at least 0.
        epoch: counted from 0.
        n: number of examples.
        groups: of the examples, to be kept together or spread; see the module.

    Returns:
        int64 [n], read-only: every number 0 ... n - 1 once.
    """
    order = np.argsort(random_bits(seed, ORDER, epoch, 0, n), kind="stable").astype(np.int64)
    if groups is not None and groups.spread:
        # The k-th of a group's m examples stands at (2 k + 1) / (2 m) of the epoch; equal places in a random order.
        place = np.empty(n)
        for group in np.unique(groups.numbers):
            rows = np.flatnonzero(groups.numbers[order] == group)
            place[rows] = (2 * np.arange(len(rows)) + 1) / (2 * len(rows))
        order = order[np.argsort(place, kind="stable")]
    elif groups is not None:
        count = int(groups.numbers.max()) + 1
        for start in range(0, n, POOL):
            pool = order[start : start + POOL]
            bits = random_bits(seed, ORDER, epoch, 1 + start // POOL, count)  # one a group
            order[start : start + POOL] = pool[np.argsort(bits[groups.numbers[pool]], kind="stable")]
    order.flags.writeable = False
    return order


def batch_positions(step: int, batch_size: int) -> np.ndarray:
    """The positions of batch `step`: int64 [batch_size]."""
    return np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64)


def host_rows(batch_size: int, process_index: int, process_count: int) -> slice:
    """The rows of a global batch that one process loads: equal contiguous parts, in the order of processes.

    Raises:
        ConfigError: if the processes cannot share the batch equally.
    """
    if batch_size % process_count:
        low, high = batch_size // process_count * process_count, (batch_size // process_count + 1) * process_count
        raise ConfigError(
            f"a global batch of {batch_size} does not divide over {process_count} processes; "
            f"use {f'{low} or {high}' if low else high}"
        )
    local = batch_size // process_count
    return slice(process_index * local, (process_index + 1) * local)


def examples(
    seed: int, positions: np.ndarray, n: int, groups: Groups | Episodes | TwoSets | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The epoch and the example at each position of the shuffled stream.

    Args:
        seed: the run's seed, at least 0.
        positions: int64 [b], each at least 0.
        n: number of examples in the split.
        groups: of its examples, see `permutation`; or the episodes that batches are, or the two sets of rows.

    Returns:
        (epochs int64 [b], indices int64 [b]).
    """
    positions = np.asarray(positions, np.int64)
    epochs = positions // n
    indices = np.empty_like(positions)
    if isinstance(groups, Episodes):
        batches, places = np.divmod(positions, groups.classes * groups.images)
        for k in np.unique(batches):
            indices[batches == k] = groups.batch(seed, int(k))[places[batches == k]]
        return epochs, indices
    two = isinstance(groups, TwoSets)
    for epoch in np.unique(epochs):
        rows = epochs == epoch
        indices[rows] = permutation(seed, int(epoch), n, None if two else groups)[positions[rows] % n]
    if two:
        smaller = np.empty_like(positions)
        for epoch in np.unique(positions // groups.smaller):
            rows = positions // groups.smaller == epoch
            smaller[rows] = permutation_of_smaller(seed, int(epoch), groups.smaller)[positions[rows] % groups.smaller]
        return epochs, groups.row(indices, smaller)
    return epochs, indices


def eval_steps(n: int, batch_size: int) -> int:
    """The number of batches that hold n examples, the last one padded."""
    return -(-n // batch_size)


def eval_batch(step: int, batch_size: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The examples of batch `step` of an evaluation: in order, each once, the last batch padded.

    Args:
        step: counted from 0.
        batch_size: global.
        n: number of examples in the split.

    Returns:
        (indices int64 [batch_size], mask float32 [batch_size]); padding is example 0 with mask 0.
    """
    positions = batch_positions(step, batch_size)
    real = positions < n
    return np.where(real, positions, 0), real.astype(np.float32)
