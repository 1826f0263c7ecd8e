"""Losses of two classes: worked numbers, SciPy and scikit-learn oracles, likelihoods, bad values in and out of jit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special, stats

from cvdl_jax.ops.losses import binary as b
from cvdl_jax.ops.losses import classification

SIGNED = {name: jax.jit(getattr(b, name)) for name in ("binary_hinge", "perceptron", "zero_one")}
LOGISTIC = {
    name: jax.jit(getattr(b, name))
    for name in ("binary_cross_entropy", "binary_cross_entropy_with_logits", "binary_focal")
}
SCORES = hnp.arrays(np.float32, 6, elements=st.floats(-60, 60, width=32))
SIGNS = hnp.arrays(np.int32, 6, elements=st.sampled_from([-1, 1]))


@pytest.mark.curriculum("C2")
@given(SCORES, SIGNS)
def test_hinge_equals_a_loop(s, y):
    np.testing.assert_allclose(
        SIGNED["binary_hinge"](s, y), [max(0.0, 1 - yi * si) for si, yi in zip(s, y, strict=True)], rtol=1e-6
    )


@pytest.mark.curriculum("C2")
def test_hinge_worked_numbers():
    """Right by the margin: 0; right within it: what is missing; wrong: 1 + |s|. The slope is -y inside the margin."""
    s, y = np.float32([2, 1, 0.25, 0, -3, 3]), np.array([1, 1, 1, -1, 1, -1])
    np.testing.assert_allclose(SIGNED["binary_hinge"](s, y), [0, 0, 0.75, 1, 4, 4])
    np.testing.assert_allclose(b.binary_hinge(s, y, reduction="mean"), 9.75 / 6, rtol=1e-6)
    slopes = jax.grad(lambda s: b.binary_hinge(s, y, reduction="sum"))(s)
    np.testing.assert_allclose(slopes[jnp.array([0, 2, 3, 4, 5])], [0, -1, 1, -1, 1])


@pytest.mark.curriculum("C3")
@given(SCORES, SIGNS)
def test_zero_one_is_bounded_by_the_hinge_and_does_not_train(s, y):
    errors = SIGNED["zero_one"](s, y)
    np.testing.assert_array_equal(errors, [float(np.sign(si) != yi) for si, yi in zip(s, y, strict=True)])
    assert (errors <= SIGNED["binary_hinge"](s, y)).all()


@pytest.mark.curriculum("C3")
def test_zero_one_counts_errors():
    s, y = np.float32([3, -2, 0, 0, 1e-30]), np.array([1, 1, 1, -1, 1])
    np.testing.assert_array_equal(SIGNED["zero_one"](s, y), [0, 1, 1, 1, 0])  # no sign, no answer
    np.testing.assert_allclose(b.zero_one(s, y, reduction="mean"), 0.6, rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(lambda s: b.zero_one(s, y, reduction="sum"))(s), np.zeros(5))


def test_a_step_on_the_perceptron_loss_is_rosenblatts_rule():
    """w += lr y x for mistakes, nothing else."""
    x, y, w = np.float32([[1, 2], [3, -1], [-1, 1]]), np.array([1, -1, 1]), np.float32([1, 0.5])
    np.testing.assert_allclose(SIGNED["perceptron"](x @ w, y), [0, 2.5, 0.5])
    step = -jax.grad(lambda w: b.perceptron(jnp.asarray(x) @ w, y, reduction="sum"))(w)
    np.testing.assert_allclose(step, y[1] * x[1] + y[2] * x[2])
    assert jax.grad(b.perceptron)(0.0, 1) == -1  # a score of 0 is a mistake, and counts as a whole one


@pytest.mark.curriculum("C5")
def test_binary_cross_entropy_worked_numbers():
    """-log of the probability of what happened, for both outcomes (ER9: the minus stands before the whole bracket)."""
    p, y = np.float32([0.9, 0.9, 0.5, 0.2]), np.array([1, 0, 1, 0])
    expected = -np.log([0.9, 0.1, 0.5, 0.8])
    np.testing.assert_allclose(LOGISTIC["binary_cross_entropy"](p, y), expected, rtol=1e-5)
    np.testing.assert_allclose(b.binary_cross_entropy(p, y, reduction="sum"), expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(b.binary_cross_entropy(p, y, reduction="mean"), expected.mean(), rtol=1e-5)
    logits = special.logit(p)
    np.testing.assert_allclose(LOGISTIC["binary_cross_entropy_with_logits"](logits, y), expected, rtol=1e-5)
    np.testing.assert_allclose(
        b.binary_cross_entropy_with_logits(logits, y, reduction="mean"), expected.mean(), rtol=1e-5
    )
    assert LOGISTIC["binary_cross_entropy_with_logits"](np.zeros(1, np.float32), np.ones(1)) == pytest.approx(np.log(2))


@pytest.mark.curriculum("C5")
@given(SCORES, hnp.arrays(np.float32, 6, elements=st.floats(0, 1, width=32)))
def test_logistic_loss_is_stable_and_equals_scipy(s, y):
    losses = LOGISTIC["binary_cross_entropy_with_logits"](s, y)
    s64, y64 = s.astype(np.float64), y.astype(np.float64)
    expected = -y64 * special.log_expit(s64) - (1 - y64) * special.log_expit(-s64)
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-30)


@pytest.mark.curriculum("C5")
def test_soft_labels_weigh_both_outcomes():
    """-y log p - (1 - y) log(1 - p): worked at p = 1/4, where log p = -2 log 2; its slope is 0 at p = y."""
    p, y = np.float32([0.25, 0.25, 0.75, 0.5]), np.float32([0.5, 0.75, 0.75, 0.1])
    log2, log4_3 = np.log(2), np.log(4 / 3)
    expected = [log2 + log4_3 / 2, 1.5 * log2 + log4_3 / 4, 0.75 * log4_3 + 0.5 * log2, log2]
    np.testing.assert_allclose(LOGISTIC["binary_cross_entropy"](p, y), expected, rtol=1e-6)
    np.testing.assert_allclose(LOGISTIC["binary_cross_entropy_with_logits"](special.logit(p), y), expected, rtol=1e-6)
    slope = jax.grad(lambda p: b.binary_cross_entropy(p, y, reduction="sum"))(p)
    np.testing.assert_allclose(slope, (p - y) / (p * (1 - p)), rtol=1e-5, atol=1e-6)


@pytest.mark.curriculum("C5")
def test_extreme_scores_and_certain_probabilities():
    loss = LOGISTIC["binary_cross_entropy_with_logits"]
    np.testing.assert_allclose(loss(np.float32([1e4, -1e4, 1e4]), np.array([0, 1, 1])), [1e4, 1e4, 0])
    slope = jax.jit(jax.grad(lambda p, y: b.binary_cross_entropy(p, y, reduction="sum")))
    p, y = np.float32([0, 1, 0.25]), np.float32([0, 1, 1])
    np.testing.assert_array_equal(LOGISTIC["binary_cross_entropy"](p[:2], y[:2]), [0, 0])
    np.testing.assert_allclose(slope(p, y), [1, -1, -4])  # 0 log 0 has a gradient
    # Certain and wrong is infinitely wrong; nothing is clipped.
    assert np.isposinf(LOGISTIC["binary_cross_entropy"](p[:2], 1 - y[:2])).all()


@pytest.mark.curriculum("C6")
def test_cross_entropy_is_the_negative_log_likelihood():
    """Of the data under Bernoulli and categorical distributions, to the constant."""
    rng = np.random.default_rng(0)
    s, y = rng.normal(size=7).astype(np.float32), rng.integers(0, 2, 7)
    likelihood = np.prod(stats.bernoulli(special.expit(s)).pmf(y))
    total = b.binary_cross_entropy_with_logits(s, y, reduction="sum")
    np.testing.assert_allclose(total, -np.log(likelihood), rtol=1e-5)
    s, y = rng.normal(size=(7, 3)).astype(np.float32), rng.integers(0, 3, 7)
    rows = zip(special.softmax(s.astype(np.float64), axis=1), np.eye(3, dtype=int)[y], strict=True)
    likelihood = np.prod([stats.multinomial(1, p).pmf(one_hot) for p, one_hot in rows])
    np.testing.assert_allclose(
        classification.softmax_cross_entropy(s, y, reduction="sum"), -np.log(likelihood), rtol=1e-5
    )


@pytest.mark.curriculum("C9")
def test_binary_focal_worked_numbers():
    """p_t = 0.9 for both classes: OR84; alpha_t is alpha for class 1 and 1 - alpha for class 0 (ER19)."""
    s, y = special.logit(np.float32([0.9, 0.1])), np.array([1, 0])
    np.testing.assert_allclose(LOGISTIC["binary_focal"](s, y), 0.0010536052, rtol=1e-4)
    np.testing.assert_allclose(b.binary_focal(s, y, gamma=0), 0.1053605157, rtol=1e-5)
    weighted = b.binary_focal(s, y, alpha=0.25)
    np.testing.assert_allclose(weighted, [0.25 * 0.0010536052, 0.75 * 0.0010536052], rtol=1e-4)


@pytest.mark.curriculum("C9")
@given(SCORES, hnp.arrays(np.int32, 6, elements=st.integers(0, 1)))
def test_binary_focal_equals_numpy(s, y):
    losses = LOGISTIC["binary_focal"](s, y)
    s_t = np.where(y == 1, s, -s).astype(np.float64)
    np.testing.assert_allclose(losses, -(special.expit(-s_t) ** 2) * special.log_expit(s_t), rtol=1e-4, atol=1e-30)


@pytest.mark.curriculum("C9")
def test_binary_focal_of_a_soft_label():
    """p_t = y p + (1 - y) (1 - p) and both terms of the cross-entropy: worked at p = 3/4, y = 1/2, where p_t = 1/2."""
    cross_entropy = -(np.log(0.75) + np.log(0.25)) / 2
    logits, labels = np.float32([np.log(3)]), np.float32([0.5])
    np.testing.assert_allclose(b.binary_focal(logits, labels, gamma=2.0), cross_entropy / 4, rtol=1e-6)
    np.testing.assert_allclose(b.binary_focal(logits, labels, gamma=2.0, alpha=0.2), cross_entropy / 8, rtol=1e-6)


# Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SIGNED, *LOGISTIC])
def test_bad_values_are_named_or_nan(name):
    loss, compiled = getattr(b, name), (SIGNED | LOGISTIC)[name]
    first = {"binary_cross_entropy": "probabilities"}.get(name, "scores" if name in SIGNED else "logits")
    s, y = np.float32([0.5, 0.25, 0.75]), np.array([1, 1, 1])
    wrong_label = np.array([1, 1, 0 if name in SIGNED else 2])
    expected = r"one of \(-1, 1\)" if name in SIGNED else r"in \[0\.0, 1\.0\]"
    with pytest.raises(
        ValueError, match=rf"labels\[2\]={wrong_label[2]}\.0 must be {expected} \(1 of 3 values are not"
    ):
        loss(s, wrong_label)
    assert np.isnan(compiled(s, wrong_label)).tolist() == [False, False, True]
    nan = np.float32([0.5, np.nan, 0.75])
    with pytest.raises(ValueError, match=rf"{first}\[1\]=nan must be a number, not NaN"):
        loss(nan, y)
    assert np.isnan(compiled(nan, y)).tolist() == [False, True, False]
    with pytest.raises(ValueError, match=rf"{first} and labels must have one shape, got {first} \[3\], labels \[2\]"):
        jax.eval_shape(loss, s, y[:2])
    with pytest.raises(ValueError, match=rf"{first} must hold real numbers, got dtype complex64"):
        loss(s.astype(np.complex64), y)
    assert loss(s.astype(jnp.bfloat16), y).dtype == jnp.float32


def test_probabilities_outside_the_unit_interval():
    y = np.array([1, 1, 0])
    with pytest.raises(
        ValueError, match=r"probabilities\[0\]=1\.5 must be in \[0\.0, 1\.0\] \(2 of 3 values are not\)"
    ):
        b.binary_cross_entropy(np.float32([1.5, -0.5, 0.5]), y)
    assert np.isnan(LOGISTIC["binary_cross_entropy"](np.float32([1.5, -0.5, 0.5]), y)).tolist() == [True, True, False]


def test_impossible_parameters():
    for gamma in (-1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=rf"gamma={gamma} must be at least 0\.0 and finite"):
            b.binary_focal(np.zeros(1), np.zeros(1), gamma=gamma)
    with pytest.raises(ValueError, match=r"alpha=2 must be in \[0\.0, 1\.0\]"):
        b.binary_focal(np.zeros(1), np.zeros(1), alpha=2)
