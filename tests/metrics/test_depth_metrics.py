"""Measures of depth: by hand, by a loop over pixels, and what unknown pixels and images add to them."""

import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import DataError
from cvdl_jax.metrics import depth as metrics


@pytest.mark.curriculum("X1")
def test_worked_numbers():
    """Truth 2 and 4 m, predictions 3 and 4 m: the errors are 1 m, or a half, and none; 1.5 is within 1.25^2 alone."""
    logs, depths = jnp.log(jnp.asarray([[[3.0, 4.0, 7.0]]])), jnp.asarray([[[2.0, 4.0, 0.0]]])
    got = metrics.measures(metrics.counted(logs, depths, depths > 0))
    want = {"abs_rel": 0.25, "sq_rel": 0.25, "rmse": 0.5**0.5, "delta1": 0.5, "delta2": 1.0, "delta3": 1.0}
    want |= {"rmse_log": np.log(1.5) / 2**0.5, "si_rmse_log": np.log(1.5) / 2}
    assert got == pytest.approx(want, rel=1e-5)


@pytest.mark.curriculum("X1")
def test_a_loop_over_pixels_and_too_near_counts_like_too_far():
    rng = np.random.default_rng(0)
    t, ratio = rng.uniform(1, 20, (4, 5, 6)), np.exp(rng.normal(size=(4, 5, 6)) * 0.4)
    known = rng.random((4, 5, 6)) < 0.6
    known[2] = False
    rows = np.asarray(metrics.counted(*(jnp.asarray(x) for x in (np.log(t * ratio), np.where(known, t, 0), known))))
    got = metrics.measures(rows)
    a, y = t[known], (t * ratio)[known]
    want = {
        "abs_rel": np.mean(abs(y - a) / a), "sq_rel": np.mean((y - a) ** 2 / a), "rmse": np.mean((y - a) ** 2) ** 0.5,
        "rmse_log": np.mean((np.log(y) - np.log(a)) ** 2) ** 0.5,
    }  # fmt: skip
    want |= {f"delta{k}": np.mean(np.maximum(y / a, a / y) < 1.25**k) for k in (1, 2, 3)}
    want["si_rmse_log"] = np.mean([np.var(np.log(ratio[i][known[i]])) for i in (0, 1, 3)]) ** 0.5
    assert got == pytest.approx(want, rel=1e-5)
    summary = metrics.summary({"depth": rows}, resamples=200)
    assert summary["examples"] == 4 and summary["abs_rel_low"] < summary["abs_rel"] < summary["abs_rel_high"]
    assert {"rmse_low", "delta1_high"} <= summary.keys()


def test_without_a_known_pixel_there_is_nothing_to_measure():
    rows = metrics.counted(jnp.zeros((2, 3, 3)), jnp.zeros((2, 3, 3)), jnp.zeros((2, 3, 3), bool))
    with pytest.raises(DataError, match="none of the 2 depth maps has a pixel whose depth is known"):
        metrics.summary({"depth": np.asarray(rows)})
