"""Rows of symbols against loops: where they end, what a decoder reads, and rows that are turned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvdl_jax.ops import tokens

ROWS = st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=1, max_size=4).map(np.asarray)
JITTED = {
    f.__name__: jax.jit(f) for f in (tokens.lengths, tokens.there, tokens.shifted, tokens.until_end, tokens.turned)
}


def test_a_row_by_hand():
    row = np.asarray([[7, 9, 2, 0, 0], [5, 2, 8, 2, 9], [0, 0, 0, 0, 0]])
    assert tokens.lengths(row).tolist() == [3, 5, 0]
    assert tokens.shifted(row).tolist() == [[1, 7, 9, 2, 0], [1, 5, 2, 8, 2], [1, 0, 0, 0, 0]]
    assert tokens.until_end(row).tolist() == [[7, 9, 2, 0, 0], [5, 2, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert tokens.turned(row, np.asarray([3, 2, 0])).tolist() == [[2, 9, 7, 0, 0], [2, 5, 8, 2, 9], [0, 0, 0, 0, 0]]


@settings(max_examples=30, deadline=None)
@given(ROWS)
def test_ends_and_padding_equal_a_loop(rows):
    sizes = [max((i + 1 for i, x in enumerate(row) if x != 0), default=0) for row in rows]
    assert JITTED["lengths"](rows).tolist() == sizes
    assert JITTED["there"](rows).tolist() == [[i < n for i in range(6)] for n in sizes]
    kept = [[0 if 2 in row[:i].tolist() else int(x) for i, x in enumerate(row)] for row in rows]
    assert JITTED["until_end"](rows).tolist() == kept


@settings(max_examples=30, deadline=None)
@given(ROWS, st.integers(0, 6))
def test_turning_equals_a_loop_and_undoes_itself(rows, size):
    vectors = np.stack([rows, -rows], -1)  # [b, t, 2]
    sizes = np.asarray([(size + i) % 7 for i in range(len(rows))])
    turned = JITTED["turned"](vectors, sizes)
    expected = [[*row[:n][::-1], *row[n:]] for row, n in zip(vectors, sizes, strict=True)]
    np.testing.assert_array_equal(turned, expected)
    np.testing.assert_array_equal(JITTED["turned"](turned, sizes), vectors)


@pytest.mark.parametrize(("longest", "columns"), [(1, 3), (3, 3), (4, 5), (5, 5), (6, 8), (8, 8)])
def test_a_batch_is_cut_to_the_shortest_bucket_that_holds_it(longest, columns):
    rows = jnp.arange(16).reshape(2, 8)
    seen = jax.jit(lambda n: tokens.in_bucket(lambda x, y: (x.shape[1] + 0 * n, y.sum(1)), (3, 5), n, rows, rows))(
        longest
    )
    assert seen[0] == columns
    np.testing.assert_array_equal(seen[1], np.arange(16).reshape(2, 8)[:, :columns].sum(1))
    assert tokens.in_bucket(lambda x: x.shape, (), longest, rows) == (2, 8)
