"""The function that explanations and attacks ask: batched, checked, and that of the run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.logits import Logits, in_batches, score, targets
from cvdl_jax.errors import ConfigError, DataError

W = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)


def linear(x):
    return x.reshape(len(x), -1) @ jnp.asarray(W)


@pytest.mark.parametrize("b", [1, 3, 4, 7])
def test_batches_of_one_shape_give_every_row_once(b):
    sizes = []

    @jax.jit
    def compiled(x):
        sizes.append(len(x))  # once a trace
        return {"y": linear(x)}

    x = np.random.default_rng(b).uniform(size=(b, 2, 2, 3)).astype(np.float32)
    y = in_batches(compiled, 3, x)["y"]
    np.testing.assert_allclose(y, x.reshape(b, -1) @ W, rtol=1e-5)
    assert sizes == [min(b, 3)]


def test_bytes_are_pixels_and_other_numbers_are_refused():
    f = Logits(linear, shape=(2, 2, 3))
    np.testing.assert_allclose(f(np.full((1, 2, 2, 3), 255, np.uint8)), W.sum(0)[None], rtol=1e-5)
    with pytest.raises(DataError, match=r"floats from 2 to 2, expected 0 to 1; give bytes"):
        f(np.full((1, 2, 2, 3), 2.0))
    with pytest.raises(DataError, match=r"shape \[2, 2, 3\], expected \[b, 2, 2, 3\]; one example alone is x\[None\]"):
        f(np.zeros((2, 2, 3)))
    with pytest.raises(DataError, match="x is int64; give bytes"):
        f(np.zeros((1, 2, 2, 3), int))
    with pytest.raises(DataError, match="not finite"):
        f(np.full((1, 2, 2, 3), np.nan))
    with pytest.raises(ConfigError, match="batch_size=0"):
        Logits(linear, 0)


def test_inside_of_a_transformation_it_is_the_function_itself():
    f = Logits(linear, 1)
    x = jnp.full((3, 2, 2, 3), 0.5)
    gradient = jax.grad(lambda x: f(x)[:, 2].sum())(x)
    np.testing.assert_allclose(gradient, np.broadcast_to(W[:, 2].reshape(2, 2, 3), x.shape), rtol=1e-6)


def test_targets():
    logits = jnp.asarray([[0.0, 2.0, 1.0], [3.0, 0.0, 1.0]])
    assert targets(logits).tolist() == [1, 0] and targets(logits, 2).tolist() == [2, 2]
    assert score(lambda x: logits, jnp.zeros((2, 1)), targets(logits, np.array([2, 1]))).tolist() == [1.0, 0.0]
    for wrong, message in ((3, "target=3 is not one of the classes 0 ... 2"), (np.zeros(3, int), "one for each of 2")):
        with pytest.raises(ConfigError, match=message):
            targets(logits, wrong)
