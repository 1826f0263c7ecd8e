"""Nearest neighbours against a loop, least squares against NumPy and scikit-learn, and what must not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import probes


def drawn(n=60, d=5, c=3, seed=0):
    """Features of unlike scales, of which the class moves two."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, c, n)
    x = rng.normal(size=(n, d)) * np.asarray([1, 10, 0.1, 3, 1])[:d]
    x[:, 0] += y
    x[:, 2] += 0.3 * (y == 1)
    return x.astype(np.float32), y.astype(np.int32)


def test_neighbours_by_hand():
    """Cosines 1, 0.8, 0 and -1 to the query; with t = 0.5 the votes are e^0, e^-0.4 and e^-2."""
    bank = np.asarray([[2, 0], [0.8, 0.6], [0, 5], [-1, 0]], np.float32)
    scores = probes.knn(np.asarray([[3.0, 0.0]], np.float32), bank, jnp.asarray([0, 1, 1, 2]), 3, k=3, temperature=0.5)
    np.testing.assert_allclose(scores, [[1, np.exp(-0.4) + np.exp(-2.0), 0]], rtol=1e-5)


@pytest.mark.curriculum("I18")
@pytest.mark.parametrize("k", [1, 4, 20])
def test_neighbours_are_those_of_a_loop(k):
    x, y = drawn()
    queries = drawn(n=11, seed=1)[0]
    expected = np.zeros((11, 3))
    for i, q in enumerate(queries):
        cosines = [q @ v / np.linalg.norm(q) / np.linalg.norm(v) for v in x]
        for j in np.argsort(cosines)[::-1][:k]:
            expected[i, y[j]] += np.exp((cosines[j] - max(cosines)) / 0.07)
    np.testing.assert_allclose(probes.knn(queries, x, y, 3, k), expected, rtol=1e-3, atol=1e-6)


def test_rows_of_the_bank_that_are_none_do_not_vote():
    x, y = drawn(n=12)
    real = np.arange(12) < 5
    with_all = probes.knn(x, np.where(real[:, None], x, 100 * x), y, 3, 7, real=jnp.asarray(real))
    np.testing.assert_allclose(with_all, probes.knn(x, x[:5], y[:5], 3, 5), rtol=1e-5)


def test_more_neighbours_than_examples_are_refused():
    x, y = drawn(n=12)
    with pytest.raises(ConfigError, match="k=20 nearest neighbours are asked of 12 examples; choose at most 12"):
        probes.knn(x, x, y, 3)


@pytest.mark.curriculum("I17")
@pytest.mark.parametrize("strength", [1e-3, 0.5])
def test_ridge_is_that_of_scikit_learn_on_standardised_features(strength):
    from sklearn.linear_model import Ridge

    x, y = drawn()
    linear = probes.ridge(probes.moments(x, y, np.ones(len(x)), 3), strength)
    standard = (x - x.mean(0)) / x.std(0)
    oracle = Ridge(alpha=strength * len(x)).fit(standard, np.eye(3)[y])
    np.testing.assert_allclose(probes.linear_scores(linear, x), oracle.predict(standard), atol=2e-5)


def test_neither_scale_nor_shift_nor_a_constant_feature_changes_the_scores():
    x, y = drawn()
    changed = np.concatenate([x * np.asarray([3, 0.1, 20, 1, 1]) + 2, np.full((len(x), 1), 4.0)], 1).astype(np.float32)
    one, other = (probes.ridge(probes.moments(z, y, np.ones(len(x)), 3), 0.1) for z in (x, changed))
    np.testing.assert_allclose(probes.linear_scores(one, x), probes.linear_scores(other, changed), atol=1e-4)
    np.testing.assert_array_equal(other.kernel[5], 0)


@pytest.mark.parametrize("factor", [1e-4, 1.0, 1e4])
def test_an_informative_feature_counts_at_any_scale_and_behind_any_shift(factor):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    x = rng.normal(size=(200, 5)).astype(np.float32)
    x[:, 0] = factor * (y + 0.1 * rng.normal(size=200))
    linear = probes.ridge(probes.moments(x, y, np.ones(200), 2), 1e-3)
    assert (probes.linear_scores(linear, x).argmax(1) == y).mean() > 0.98
    far = x + np.float32(1000 * factor) * (np.arange(5) == 0)
    probe = probes.ridge_probe(jnp.asarray(far[:100]), y[:100], jnp.asarray(far[100:]), y[100:], 2)
    assert (probes.linear_scores(probe, far).argmax(1) == y).mean() > 0.95


def test_votes_do_not_vanish_at_a_low_temperature():
    bank = jnp.asarray([[-1, -0.01], [-1, 0.01]])
    scores = probes.knn(jnp.asarray([[1.0, 0]]), bank, jnp.asarray([2, 2]), 3, k=2, temperature=0.001)
    assert scores.argmax(1).tolist() == [2] and float(scores[0, 2]) == pytest.approx(2)


def test_features_that_have_collapsed_predict_the_shares_of_the_classes():
    y = np.asarray([0, 0, 1, 2], np.int32)
    linear = probes.ridge(probes.moments(np.ones((4, 3), np.float32), y, np.ones(4), 3), 0.1)
    scores = probes.linear_scores(linear, np.ones((2, 3), np.float32))
    np.testing.assert_allclose(scores, [[0.5, 0.25, 0.25]] * 2, atol=1e-6)


def test_padding_and_batches_do_not_change_the_sums():
    x, y = drawn(n=10)
    whole = probes.moments(x, y, np.ones(10), 3)
    padded = np.concatenate([x[6:], 9 * x[:2]]), np.concatenate([y[6:], y[:2]]), np.asarray([1, 1, 1, 1, 0, 0])
    parts = jax.tree.map(jnp.add, probes.moments(x[:6], y[:6], np.ones(6), 3), probes.moments(*padded, 3))
    for name, value in whole.items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-5, atol=1e-4, err_msg=name)


def test_the_squared_error_from_sums_is_that_of_the_scores():
    (x, y), (z, t) = drawn(), drawn(n=25, seed=3)
    linear = probes.ridge(probes.moments(x, y, np.ones(len(x)), 3), 0.01)
    error = ((probes.linear_scores(linear, z) - np.eye(3)[t]) ** 2).sum(1).mean()
    np.testing.assert_allclose(probes.squared_error(probes.moments(z, t, np.ones(25), 3), linear), error, rtol=1e-4)


def test_the_strength_is_chosen_on_other_examples():
    """With as many features as examples a weak penalty fits the noise; the choice is that of a loop."""
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, 90).astype(np.int32)
    x = rng.normal(size=(90, 30)).astype(np.float32)
    x[:, 0] += 2 * y
    fitted, held_out = (probes.moments(x[a], y[a], np.ones(len(y[a])), 2) for a in (slice(0, 40), slice(40, 90)))
    errors = [float(probes.squared_error(held_out, probes.ridge(fitted, s))) for s in probes.STRENGTHS]
    linear = probes.chosen_ridge(fitted, held_out)
    assert float(linear.strength) == pytest.approx(probes.STRENGTHS[int(np.argmin(errors))])
    assert np.argmin(errors) > 0  # not the weakest
    whole = probes.ridge(jax.tree.map(jnp.add, fitted, held_out), float(linear.strength))
    np.testing.assert_allclose(linear.kernel, whole.kernel, atol=1e-5)


def test_a_probe_of_arrays_is_chosen_by_the_accuracy_on_validation():
    (x, y), (z, t) = drawn(), drawn(n=40, seed=3)
    made = [probes.ridge(probes.moments(x, y, np.ones(len(x)), 3), s) for s in (1e-3, 30.0)]
    hits = [(np.asarray(probes.linear_scores(m, z)).argmax(1) == t).mean() for m in made]
    best = probes.ridge_probe(x, y, z, t, 3, (1e-3, 30.0))
    np.testing.assert_allclose(best.kernel, made[int(np.argmax(hits))].kernel, rtol=1e-4, atol=1e-5)
