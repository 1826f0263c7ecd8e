"""Evaluation sees every example exactly once, whatever the batch size."""

import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.core import parallel
from cvdl_jax.core.task import Eval, Task
from cvdl_jax.engine.evaluate import evaluate
from cvdl_jax.engine.program import Program


class Split:
    """An in-memory split."""

    def __init__(self, n):
        random = np.random.default_rng(0)
        self.size = n
        self.arrays = {
            "image": random.random((n, 4)).astype(np.float32),
            "label": random.integers(0, 10, n).astype(np.int32),
        }


@pytest.mark.parametrize(("n", "batch_size"), [(1003, 128), (128, 128), (5, 128)])
def test_means_and_rows_equal_numpy_over_all_examples(n, batch_size):
    import jax

    split = Split(n)
    weights = np.linspace(-1, 1, 4).astype(np.float32)

    def step(state, batch, key):
        value = batch["image"] @ state.params
        return {"value": ((value * batch["mask"]).sum(), batch["mask"].sum()), "each": value, "label": batch["label"]}

    task = Task(lambda key, batch: {"params": jnp.asarray(weights)}, None, {"all": Eval(step, data="all")})
    spec = {k: jax.ShapeDtypeStruct(v.shape[1:], v.dtype) for k, v in split.arrays.items()}
    program = Program(
        task, 0, parallel.make_mesh(jax.devices()[:1]), spec, batch_size, batch_size, {"all": split.arrays}
    )
    for job in program.jobs().values():
        job()
    seen = []
    metrics, rows = evaluate(program, "all", program.create(), split, 0, on_batch=seen.append)
    expected = (split.arrays["image"].astype(np.float64) * weights).sum(-1)
    assert sum(seen) == n
    np.testing.assert_allclose(metrics["value"], expected.mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rows["each"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(rows["label"], split.arrays["label"])
    assert program.traces == {"eval": 1}
    assert evaluate(program, "all", program.create(), split, 0, interrupted=lambda: True) is None
    evaluate(program, "all", program.create(), split, 7)
    assert program.traces == {"eval": 1}  # no second trace for another step
