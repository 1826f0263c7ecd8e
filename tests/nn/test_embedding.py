"""Vectors of symbols: rows of the table, zeros for none, and what is no symbol."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.nn.embedding import Embedding


def test_vectors_are_rows_and_scores_are_their_products():
    module = Embedding(5, 3, dtype=jnp.bfloat16)
    table = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    params = {"params": {"table": table}}
    symbols = np.asarray([[4, 0], [-1, 2]])
    vectors = module.apply(params, symbols)
    assert vectors.dtype == jnp.bfloat16
    expected = np.stack([table[[4, 0]], [np.zeros(3), table[2]]])
    np.testing.assert_allclose(vectors.astype(np.float32), expected, rtol=1e-2)
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    scores = module.apply(params, x, method="scores")
    assert scores.dtype == jnp.float32
    np.testing.assert_allclose(scores, x @ table.T, rtol=1e-5)


@pytest.mark.parametrize("wrong", [5, -2])
def test_what_is_no_symbol_is_an_error_or_nan(wrong):
    module, params = Embedding(5, 3), {"params": {"table": np.ones((5, 3), np.float32)}}
    symbols = np.asarray([[1, 2, wrong]])
    with pytest.raises(ValueError, match=rf"symbols\[0, 2\]={wrong} must be in \[-1, 4\]"):
        module.apply(params, symbols)
    vectors = jax.jit(module.apply)(params, symbols)
    assert np.isnan(vectors[0, 2]).all() and np.isfinite(vectors[0, :2]).all()
