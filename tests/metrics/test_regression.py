"""Measures of predicted numbers against scikit-learn, as sums over padded batches, and top-k errors."""

import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as oracle

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics import regression
from cvdl_jax.metrics.classification import top_k_error

NUMBERS = hnp.arrays(np.float64, (2, 9), elements=st.floats(-100, 100).map(lambda x: round(x, 3)))


@pytest.mark.curriculum("N31")
def test_worked_example():
    found = regression.report([3, -0.5, 2, 7], [2.5, 0.0, 2, 8])
    expected = {"mae": 0.5, "mse": 0.375, "rmse": math.sqrt(0.375), "r2": 0.948608, "max_error": 1.0}
    assert found == pytest.approx(expected, abs=5e-7)


@pytest.mark.curriculum("N31")
@given(NUMBERS)
def test_report_equals_scikit_learn(numbers):
    t, y = numbers
    theirs = {
        "mae": oracle.mean_absolute_error(t, y), "mse": oracle.mean_squared_error(t, y),
        "rmse": oracle.root_mean_squared_error(t, y), "max_error": oracle.max_error(t, y),
    }  # fmt: skip
    found = regression.report(t, y)
    r2 = found.pop("r2")
    assert found == pytest.approx(theirs)
    if len(set(t)) == 1:
        assert math.isnan(r2)  # nothing varies that could be explained
    else:
        assert r2 == pytest.approx(oracle.r2_score(t, y))


@pytest.mark.curriculum("N31")
def test_r2_of_several_numbers_is_the_mean_over_columns():
    """As scikit-learn's; pooled, a column of large numbers would decide alone, and a common mean explains too much."""
    rng = np.random.default_rng(0)
    t = rng.normal(size=(12, 3)) * [1, 10, 100] + [0, 500, -30]
    y = t + rng.normal(size=(12, 3)) * [0.5, 9, 20]
    assert regression.r2(t, y) == pytest.approx(oracle.r2_score(t, y), rel=1e-9)
    assert regression.report(t, y)["r2"] == regression.r2(t, y)
    assert regression.r2(t, y, pooled=True) == pytest.approx(1 - ((t - y) ** 2).sum() / ((t - t.mean()) ** 2).sum())
    assert regression.r2(t, y, pooled=True) == pytest.approx(regression.r2(t.ravel(), y.ravel()))
    assert regression.r2(t[:, :1], y[:, :1]) == pytest.approx(regression.r2(t[:, 0], y[:, 0]))
    assert regression.r2(t.reshape(12, 3, 1), y.reshape(12, 3, 1)) == pytest.approx(regression.r2(t, y))
    still = np.concatenate([t, np.full((12, 1), 0.1)], 1)  # a column in which nothing varies has no share
    assert regression.r2(still, np.concatenate([y, t[:, :1]], 1)) == pytest.approx(regression.r2(t, y))
    assert math.isnan(regression.r2(np.ones((4, 2)), rng.normal(size=(4, 2))))


@pytest.mark.curriculum("N31")
def test_sums_over_padded_batches_are_the_whole():
    rng = np.random.default_rng(0)
    t, y = rng.normal(size=(2, 11, 3)).astype(np.float32)
    sums, total = jax.jit(regression.regression_sums), {"mae": np.zeros(2), "mse": np.zeros(2)}
    for start in range(0, 11, 4):
        rows = np.arange(start, start + 4)
        mask, rows = (rows < 11).astype(np.float32), np.minimum(rows, 10)  # padding repeats the last example
        for name, pair in sums(t[rows], y[rows], mask).items():
            total[name] += np.asarray(pair)
    for name in total:
        assert total[name][0] / total[name][1] == pytest.approx(getattr(regression, name)(t, y), rel=1e-6)
    assert total["mae"][1] == 33


@pytest.mark.curriculum("N31")
def test_nonsense_is_refused_by_name():
    for t, y, said in [
        ([], [], r"targets has shape \[0\]"),
        ([1.0], [np.nan], r"predictions\[0\]=nan is not finite"),
        ([1.0, 2.0], [1.0], "differ in shape"),
    ]:
        for call in (regression.mae, regression.r2, regression.report):
            with pytest.raises(DataError, match=said):
                call(t, y)
    with pytest.raises(DataError, match="differ in shape"):
        regression.regression_sums(np.zeros(2), np.zeros((2, 1)))
    assert math.isnan(regression.r2([0.1] * 3, [0.1, 0.2, 0.3]))


@pytest.mark.curriculum("N3")
@pytest.mark.parametrize("k", [1, 5])
def test_top_k_error_is_what_scikit_learn_leaves(k):
    rng = np.random.default_rng(k)
    scores, labels = rng.normal(size=(50, 8)).astype(np.float32), rng.integers(0, 8, 50)
    expected = 1 - oracle.top_k_accuracy_score(labels, scores, k=k, labels=range(8))
    assert top_k_error(scores, labels, k) == pytest.approx(expected, abs=1e-6)
    tied = np.zeros((8, 8), np.float32)
    assert top_k_error(tied, np.arange(8), k) == 1 - k / 8  # of equal scores the first k classes count
    with pytest.raises(DataError, match="top-1 error needs at least one example"):
        top_k_error(scores[:0], labels[:0])
    with pytest.raises(ConfigError, match="top-9 accuracy"):
        top_k_error(scores, labels, 9)
