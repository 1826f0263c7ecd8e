"""Evaluation sees every example exactly once, whatever the batch size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.core import parallel
from cvdl_jax.core.task import Added, Eval, Task
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

    split = Split(n)
    weights = np.linspace(-1, 1, 4).astype(np.float32)

    def step(state, batch, key):
        value = batch["image"] @ state.params
        hits = jax.nn.one_hot(batch["label"], 10, dtype=jnp.int32) * batch["mask"].astype(jnp.int32)[:, None]
        return {
            "value": ((value * batch["mask"]).sum(), batch["mask"].sum()), "each": value, "label": batch["label"],
            "labels": Added(hits.sum(0)), "large": Added(hits.sum(0) * 40_000_001),
            "values": Added((value * batch["mask"]).sum()[None]),
        }  # fmt: skip

    def finalise(means, rows):
        return {**means, "zeros": rows["labels"][0]}

    task = Task(lambda key, batch: {"params": jnp.asarray(weights)}, None, {"all": Eval(step, finalise, data="all")})
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
    counts = np.bincount(split.arrays["label"], minlength=10)  # what is added is a sum over the split, exact
    np.testing.assert_array_equal(rows["labels"].value, counts)
    np.testing.assert_array_equal(rows["large"].value, np.int64(40_000_001) * counts)
    np.testing.assert_allclose(rows["values"].value, [expected.sum()], rtol=1e-5, atol=1e-5)
    assert metrics["zeros"] == counts[0]
    assert program.traces == {"eval": 1}
    assert evaluate(program, "all", program.create(), split, 0, interrupted=lambda: True) is None
    evaluate(program, "all", program.create(), split, 7)
    assert program.traces == {"eval": 1}  # no second trace for another step
