"""Batch normalisation of tokens never sees padding: against NumPy over the tokens that are there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.token_norm import TokenBatchNorm, token_norm
from cvdl_jax.nn.transformer import Block, Given

RNG = np.random.default_rng(0)
X, LENGTHS = RNG.normal(2, 3, (4, 6, 5)).astype(np.float32), np.asarray([6, 1, 4, 2])


@pytest.mark.curriculum("J14")
def test_statistics_are_of_the_tokens_that_are_there():
    tokens = np.concatenate([row[:n] for row, n in zip(X, LENGTHS, strict=True)]).astype(np.float64)  # [13, c]
    mean, var = tokens.mean(0), tokens.var(0)
    layer = TokenBatchNorm(momentum=0.25)
    variables = layer.init(jax.random.key(0), X, LENGTHS, False)
    y, new = layer.apply(variables, X, LENGTHS, True, mutable=["batch_stats"])
    np.testing.assert_allclose(y, (X - mean) / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(new["batch_stats"]["mean"], 0.25 * mean, rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], 0.75 + 0.25 * var, rtol=1e-5)
    padding = np.arange(6)[None] >= LENGTHS[:, None]
    other = np.where(padding[..., None], 1e6, X)
    again, same = layer.apply(variables, other, LENGTHS, True, mutable=["batch_stats"])
    np.testing.assert_array_equal(np.asarray(again)[~padding], np.asarray(y)[~padding])
    jax.tree.map(np.testing.assert_array_equal, new, same)
    running = {**variables, "batch_stats": {"mean": jnp.ones(5), "var": jnp.full(5, 4.0)}}
    np.testing.assert_allclose(layer.apply(running, X, LENGTHS, False), (X - 1) / np.sqrt(4 + 1e-5), rtol=1e-5)


@pytest.mark.curriculum("J14")
def test_a_block_of_either_norm_does_not_see_padding():
    padding = np.arange(6)[None] >= LENGTHS[:, None]
    x = RNG.normal(size=(4, 6, 8)).astype(np.float32)
    other = np.where(padding[..., None], 50.0, x)
    for norm in ("layer", "batch"):
        block = Block(2, 16, norm=norm)

        def run(x, block=block):
            return block.init_with_output(jax.random.key(0), x, True, Given(lengths=jnp.asarray(LENGTHS)))[0][0]

        one, two = jax.jit(lambda x, y, run=run: (run(x), run(y)))(x, other)
        np.testing.assert_allclose(np.asarray(one)[~padding], np.asarray(two)[~padding], rtol=1e-5, atol=1e-5)


def test_another_norm_is_refused():
    with pytest.raises(
        ConfigError, match=r"config.model.norm='group' of tokens with lengths must be 'layer' or 'batch'"
    ):
        token_norm("group", jnp.float32, "norm")
