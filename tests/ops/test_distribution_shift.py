"""Importance weights against integrals, sums by hand and scikit-learn's or SciPy's densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cvdl_jax.ops import distribution_shift as shift


@pytest.mark.curriculum("U1", "U4")
def test_the_weighted_risk_is_that_of_the_test_distribution():
    """By quadrature over the training density: E_tr[w l] = E_te[l]."""
    x = np.linspace(-12, 12, 20001)
    tested, trained = (1.2, 0.5), (0.0, 1.0)
    p = stats.norm(*trained).pdf(x) * (x[1] - x[0])
    loss = np.abs(np.sin(3 * x)) + x**2
    w = np.asarray(shift.ratio_of_normals(jnp.asarray(x), tested, trained))
    np.testing.assert_allclose(w, stats.norm(*tested).pdf(x) / stats.norm(*trained).pdf(x), rtol=1e-3, atol=1e-6)
    want = (stats.norm(*tested).pdf(x) * loss).sum() * (x[1] - x[0])
    np.testing.assert_allclose((p * w * loss).sum(), want, rtol=1e-4)
    assert abs((p * loss).sum() - want) > 0.3
    np.testing.assert_allclose(shift.weighted_risk(jnp.asarray([1.0, 2.0, 4.0]), jnp.asarray([3.0, 0.0, 0.5])), 5 / 3)


@pytest.mark.curriculum("U5")
@pytest.mark.parametrize(("trained", "tested"), [(100, 100), (300, 100)])
def test_a_classifier_of_the_distributions_gives_their_ratio(trained, tested):
    """The best one's log odds are log(n_te p_te / (n_tr p_tr))."""
    x = np.linspace(-2, 2, 9)
    p_te, p_tr = stats.norm(0.5, 0.8).pdf(x), stats.norm(0, 1).pdf(x)
    logits = jnp.asarray(np.log(tested * p_te / (trained * p_tr)))
    np.testing.assert_allclose(shift.ratio_from_logits(logits, trained, tested), p_te / p_tr, rtol=1e-5)


@pytest.mark.curriculum("U2")
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_label_shift_is_found_by_both_ways(seed):
    """A classifier with known errors: the exact shares of its predictions give the exact ratio of the classes."""
    rng = np.random.default_rng(seed)
    c = 3
    errors = 0.7 * np.eye(c) + 0.3 * rng.dirichlet(np.ones(c), c).T  # p(predicted | true), by columns
    prior, new = rng.dirichlet(np.full(c, 5.0)), rng.dirichlet(np.full(c, 5.0))
    ratio = shift.label_ratio(jnp.asarray(errors * prior), jnp.asarray(errors @ new))
    np.testing.assert_allclose(ratio, new / prior, rtol=2e-3, atol=1e-4)


@pytest.mark.curriculum("U2")
def test_expectation_maximisation_finds_the_prior():
    """Of exact posteriors on a grid that is weighed by repetition; at the training prior it stays."""
    rng = np.random.default_rng(0)
    prior, new = np.asarray([0.5, 0.5]), np.asarray([0.85, 0.15])
    label = (rng.random(20000) > new[0]).astype(int)
    x = rng.normal(2.0 * label - 1, 1.0)
    joint = np.stack([stats.norm(-1, 1).pdf(x), stats.norm(1, 1).pdf(x)], 1) * prior
    posterior = jnp.asarray(joint / joint.sum(1, keepdims=True), jnp.float32)
    np.testing.assert_allclose(shift.label_prior(posterior, jnp.asarray(prior)), new, atol=0.02)
    one = shift.label_prior(posterior, jnp.asarray(prior), 1)
    np.testing.assert_allclose(one, posterior.mean(0), rtol=1e-4)  # the first step


def test_negative_ratios_are_none():
    ratio = shift.label_ratio(jnp.asarray([[0.4, 0.2], [0.1, 0.3]]), jnp.asarray([0.1, 0.9]))
    want = np.linalg.solve([[0.4, 0.2], [0.1, 0.3]], [0.1, 0.9])
    assert want[0] < 0
    np.testing.assert_allclose(ratio, np.maximum(want, 0), rtol=1e-5)


def test_the_effective_size_by_hand():
    assert shift.effective_size(jnp.full(7, 0.3)) == pytest.approx(7)
    assert shift.effective_size(jnp.asarray([5.0, 0.0, 0.0])) == pytest.approx(1)
    assert shift.effective_size(jnp.asarray([1.0, 2.0])) == pytest.approx(9 / 5)


@pytest.mark.curriculum("U1")
def test_the_discrepancy_is_that_of_a_loop_and_sees_a_shift():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(5, 2)), rng.normal(size=(4, 2)) + 1

    def k(u, v):
        return np.exp(-((u - v) ** 2).sum() / (2 * 0.7**2))

    want = np.mean([k(a[i], a[j]) for i in range(5) for j in range(5) if i != j])
    want += np.mean([k(b[i], b[j]) for i in range(4) for j in range(4) if i != j])
    want -= 2 * np.mean([k(u, v) for u in a for v in b])
    np.testing.assert_allclose(shift.mean_discrepancy(jnp.asarray(a), jnp.asarray(b), 0.7), want, rtol=1e-4)
    same, moved = (jnp.asarray(rng.normal(size=(200, 2)) + by) for by in (0, 0.5))
    base = jnp.asarray(rng.normal(size=(200, 2)))
    first, second = (float(jax.jit(shift.mean_discrepancy)(base, x, 1.0)) for x in (same, moved))
    assert abs(first) < 0.01 < second
