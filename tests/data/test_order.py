"""The order of the data: permutations, batches across epochs, rows of each process."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvdl_jax.data import order
from cvdl_jax.errors import ConfigError

seeds, sizes, batches = st.integers(0, 2**40), st.integers(1, 60), st.integers(1, 70)


@pytest.mark.curriculum("D3")
@given(seeds, st.integers(0, 1000), sizes)
def test_every_epoch_is_a_permutation(seed, epoch, n):
    assert sorted(order.permutation(seed, epoch, n)) == list(range(n))


@given(seeds, st.integers(0, 1000), st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 30))
def test_groups_stay_together_and_an_epoch_is_a_permutation(seed, epoch, numbers, pool):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "POOL", pool)
        groups, n = order.Groups(np.asarray(numbers)), len(numbers)
        rows = order.permutation(seed, epoch, n, groups)
    plain = order.permutation(seed, epoch, n)
    for start in range(0, n, pool):
        part, of = rows[start : start + pool], np.asarray(numbers)[rows[start : start + pool]]
        assert sorted(part) == sorted(plain[start : start + pool])
        assert (np.diff(of) != 0).sum() == len(set(of.tolist())) - 1
        for group in set(of.tolist()):  # in the order that they had
            assert part[of == group].tolist() == [i for i in plain[start : start + pool] if numbers[i] == group]


def test_groups_come_in_another_order_in_each_pool_and_epoch(monkeypatch):
    monkeypatch.setattr(order, "POOL", 30)
    groups = order.Groups(np.arange(90) % 3)
    first = {tuple(groups.numbers[order.permutation(0, e, 90, groups)][[0, 30, 60]].tolist()) for e in range(9)}
    assert len(first) > 3 and any(len(set(pools)) > 1 for pools in first)


@pytest.mark.curriculum("D3")
@given(seeds, sizes, batches, st.integers(0, 20))
def test_batches_concatenate_to_the_stream_of_epochs(seed, n, batch, first):
    positions = [order.batch_positions(first + k, batch) for k in range(3)]
    epochs, indices = order.examples(seed, np.concatenate(positions), n)
    start = first * batch
    stream = [(e, i) for e in range((start + 3 * batch) // n + 1) for i in order.permutation(seed, e, n)]
    assert list(zip(epochs, indices, strict=True)) == stream[start : start + 3 * batch]


@given(seeds, sizes, st.integers(1, 8), st.integers(1, 5), st.integers(0, 9))
def test_rows_of_the_processes_are_the_global_batch(seed, n, local, processes, step):
    batch = local * processes
    positions = order.batch_positions(step, batch)
    parts = [order.examples(seed, positions[order.host_rows(batch, p, processes)], n) for p in range(processes)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), order.examples(seed, positions, n))


@pytest.mark.curriculum("D3")
@given(st.integers(0, 50), batches)
def test_evaluation_sees_every_example_once_in_order(n, batch):
    steps = [order.eval_batch(k, batch, n) for k in range(order.eval_steps(n, batch))]
    seen = [i for indices, mask in steps for i, real in zip(indices, mask, strict=True) if real]
    assert seen == list(range(n))
    assert all(len(indices) == batch and mask.dtype == np.float32 for indices, mask in steps)


def test_the_words_are_those_of_philox_on_every_machine():
    assert order.random_bits(1, order.ORDER, 2, 3, 2).tolist() == [17224543832666973655, 7201471728553250725]
    assert order.permutation(7, 0, 8).tolist() == [4, 1, 6, 3, 2, 7, 5, 0]


@pytest.mark.curriculum("D3")
def test_epochs_seeds_and_streams_differ():
    orders = {tuple(order.permutation(s, e, 30)) for s in range(3) for e in range(3)}
    assert len(orders) == 9
    words = {order.random_bits(0, s, e, i, 1)[0] for s in range(3) for e in range(3) for i in range(3)}
    assert len(words) == 27


def test_a_batch_that_processes_cannot_share_names_the_nearest():
    with pytest.raises(ConfigError, match="batch of 10 does not divide over 4 processes; use 8 or 12"):
        order.host_rows(10, 0, 4)
