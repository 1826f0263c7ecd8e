"""Learning theory: risk, errors in and out of the sample, shattering, bounds, bias and variance."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cvdl_jax.ops.textbook import bias_variance, bounds, linear, risk, vc
from cvdl_jax.optim import optimizer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(23, 2)).astype(np.float32)
Y = (X @ np.float32([1, -2]) + 0.5).astype(np.float32)


def squared(s, y):
    return (s - y) ** 2


def regression(params, x):
    return linear.scores(x, params["w"], params["b"])


# Risk ------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("A1")
def test_risk_is_the_mean_loss_over_examples():
    params = {"w": np.float32([1, 0]), "b": np.float32(0)}
    expected = np.mean([(float(x[0]) - float(y)) ** 2 for x, y in zip(X, Y, strict=True)])
    np.testing.assert_allclose(risk.risk(squared, regression, params, (X, Y)), expected, rtol=1e-5)
    batches = [(X[:10], Y[:10]), (X[10:20], Y[10:20]), (X[20:], Y[20:])]  # the last is smaller
    np.testing.assert_allclose(risk.risk_of(squared, regression, params, batches), expected, rtol=1e-5)
    means = np.mean([risk.risk(squared, regression, params, batch) for batch in batches])
    assert abs(means - expected) > 1e-3
    with pytest.raises(ValueError, match="one number for each of 23 examples"):
        risk.risk(lambda s, y: squared(s, y).sum(), regression, params, (X, Y))
    with pytest.raises(ValueError, match="at least one example"):
        risk.risk_of(squared, regression, params, [])


@pytest.mark.curriculum("A1")
@pytest.mark.parametrize(("name", "lr"), [("sgd", 0.2), ("adam", 0.05), ("rmsprop", 0.02), ("adagrad", 0.5)])
def test_any_optimizer_minimises_the_risk(name, lr):
    rule = optimizer.optimizer(name, lr, total_steps=400, schedule={"name": "cosine"})
    params = {"w": jnp.zeros(2), "b": jnp.zeros(())}

    def one(_, carry):
        params, state = carry
        gradient = jax.grad(lambda p: risk.risk(squared, regression, p, (X, Y)))(params)
        updates, state = rule.update(gradient, state, params)
        return jax.tree.map(jnp.add, params, updates), state

    fitted, _ = jax.jit(lambda: jax.lax.fori_loop(0, 400, one, (params, rule.init(params))))()
    assert risk.risk(squared, regression, params, (X, Y)) > 1
    assert risk.risk(squared, regression, fitted, (X, Y)) < 1e-3
    np.testing.assert_allclose(fitted["w"], [1, -2], atol=0.05)


@pytest.mark.curriculum("A13")
def test_the_learning_problem_by_hand():
    """Thresholds 0..4 on the numbers 0..4, target 2, sample {1, 3}: two hypotheses are right on it, one everywhere."""
    hypotheses = [lambda x, a=a: x >= a for a in range(5)]
    learned = risk.learn(hypotheses, lambda x: x >= 2, np.array([1, 3]), np.arange(5))
    np.testing.assert_allclose(learned.e_in, [0.5, 0.5, 0, 0, 0.5])
    np.testing.assert_allclose(learned.e_out, [0.4, 0.2, 0, 0.2, 0.4])
    assert learned.final == 2 and learned.gap == 0
    assert learned.worst_gap == pytest.approx(0.3)
    unlucky = risk.learn(hypotheses[3:], lambda x: x >= 2, np.array([1, 3]), np.arange(5))  # the target is not in H
    assert unlucky.final == 0 and unlucky.gap == pytest.approx(0.2)
    flipped = risk.learn(hypotheses, lambda x: x >= 2, np.array([1, 3]), np.arange(5), np.arange(5) < 2)
    np.testing.assert_allclose(flipped.e_out, 1 - learned.e_out)
    with pytest.raises(ValueError, match="hypotheses is empty"):
        risk.learn([], lambda x: x, np.arange(2), np.arange(2))
    with pytest.raises(ValueError, match=r"predictions \[\.\.\., n\] and targets"):
        risk.error([1, 2], [1])


@pytest.mark.curriculum("A13", "A17")
def test_generalisation_gap():
    params = {"w": np.float32([1, -2]), "b": np.float32(0.5)}
    gap = risk.generalisation_gap(squared, regression, params, (X, Y), (X, Y + 2))
    assert gap == pytest.approx({"in_sample": 0, "out_of_sample": 4, "gap": 4}, abs=1e-5)


# Capacity --------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("A14")
@pytest.mark.parametrize(
    ("d", "realises", "expected"),
    [
        (1, vc.linear, 2),
        (2, vc.linear, 3),
        (3, vc.linear, 4),
        (2, vc.linear_through_origin, 2),
        (1, vc.rays, 1),
        (1, vc.boxes, 2),
        (2, vc.boxes, 4),
    ],
)
def test_vc_dimensions(d, realises, expected):
    """d + 1 for half-spaces, d through the origin, 1 for rays, 2 d for boxes."""
    assert vc.vc_dimension(d, realises, most=5, tries=20) == expected


@pytest.mark.curriculum("A14")
def test_shattering_by_hand():
    """Three points in general position, not on a line; never the four corners of a square (exclusive or)."""
    triangle, line = np.array([[0, 0], [1, 0], [0, 1]]), np.array([[0, 0], [1, 1], [2, 2]])
    assert vc.shatters(triangle, vc.linear) and not vc.shatters(line, vc.linear)
    square = np.array([[0, 0], [1, 1], [0, 1], [1, 0]])
    assert not vc.linear(square, [1, 1, -1, -1]) and vc.linear(square, [1, -1, -1, -1])
    assert vc.dichotomies(square, vc.linear) == 14
    diamond = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    assert vc.shatters(diamond, vc.boxes) and not vc.shatters(square, vc.boxes)
    assert vc.dichotomies(line, vc.linear) == 6
    assert not vc.rays([[0], [1]], [1, -1]) and vc.rays([[0], [1]], [-1, 1])


@pytest.mark.curriculum("A14")
def test_convex_sets_shatter_a_circle_of_any_size():
    angle = 2 * np.pi * np.arange(6) / 6
    assert vc.shatters(np.stack([np.cos(angle), np.sin(angle)], 1), vc.convex_sets)
    assert not vc.convex_sets([[1, 0], [-1, 0], [0, 0]], [1, 1, -1])
    with pytest.raises(ValueError, match="most=2: so many points are still shattered"):
        vc.vc_dimension(2, vc.convex_sets, most=2, tries=3)


@pytest.mark.curriculum("A14")
def test_growth_functions_against_their_formulas():
    for n in range(1, 6):
        assert vc.growth(n, 2, vc.linear, tries=1) == vc.cover(n, 2) <= bounds.sauer(n, 3)
        assert vc.growth(n, 1, vc.rays, tries=1) == n + 1 == bounds.sauer(n, 1)
        assert vc.growth(n, 1, vc.boxes, tries=1) == n * (n + 1) // 2 + 1 == bounds.sauer(n, 2)
    assert [vc.cover(n, 2) for n in (3, 4, 5)] == [8, 14, 22]


@pytest.mark.curriculum("A14")
@settings(max_examples=20)
@given(
    points=hnp.arrays(np.float64, (6, 2), elements=st.integers(-3, 3).map(float)),
    w=st.tuples(*[st.integers(-3, 3)] * 3),
)
def test_what_a_line_labels_is_separable(points, w):
    side = points @ np.asarray(w[:2], float) + w[2] + 0.5  # never 0
    assert vc.linear(points, np.sign(side))
    if len(np.unique(points, axis=0)) < 6:  # a point with both labels is not
        pairs = itertools.combinations(range(6), 2)
        i, _ = next((i, j) for i, j in pairs if (points[i] == points[j]).all())
        assert not vc.linear(points, np.where(np.arange(6) == i, 1, -1))


def test_what_cannot_be_decided_is_refused():
    with pytest.raises(ValueError, match=r"of -1 and 1, got \[3, 2\] and \[0.0, 1.0, 1.0\]"):
        vc.linear(np.zeros((3, 2)), [0, 1, 1])
    with pytest.raises(ValueError, match="at most 16"):
        vc.dichotomies(np.zeros((17, 2)), vc.linear)


# Bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("A15")
def test_vc_bound_against_its_formula():
    growth = bounds.sauer(2 * 1000, 3)
    assert growth == 1 + 2000 + 2000 * 1999 // 2 + 2000 * 1999 * 1998 // 6
    np.testing.assert_allclose(bounds.vc_bound(1000, 0.1, growth), 4 * growth * math.exp(-1000 * 0.01 / 8), rtol=1e-10)
    np.testing.assert_allclose(bounds.hoeffding(100, 0.1, 5), 10 * math.exp(-2), rtol=1e-12)
    for n in (100, 10_000):
        growth = bounds.sauer(2 * n, 3)
        epsilon = bounds.vc_epsilon(n, 0.05, growth)
        np.testing.assert_allclose(bounds.vc_bound(n, epsilon, growth), 0.05, rtol=1e-9)  # inverses of each other
    assert math.isfinite(bounds.vc_bound(10**6, 1e-3, bounds.sauer(2 * 10**6, 200)))
    for wrong in ({"epsilon": 0.0}, {"epsilon": -1.0}):
        with pytest.raises(ValueError, match="epsilon"):
            bounds.vc_bound(10, growth=3, **wrong)
    with pytest.raises(ValueError, match=r"delta=1.0 must be in \(0, 1\)"):
        bounds.vc_epsilon(10, 1.0, 3)


@pytest.mark.curriculum("A15")
def test_sample_sizes_of_the_textbook():
    """Abu-Mostafa et al. 2012, example 2.6: about 30,000, 40,000 and 50,000 for d = 3, 4, 5 at 0.1 and 0.1."""
    for d, about in ((3, 30_000), (4, 40_000), (5, 50_000)):
        n = bounds.sample_size(0.1, 0.1, d)
        np.testing.assert_allclose(n, about, rtol=0.03)
        assert bounds.vc_epsilon(n, 0.1, bounds.polynomial(2 * n, d)) <= 0.1
        assert bounds.vc_epsilon(n - 1, 0.1, bounds.polynomial(2 * n - 2, d)) > 0.1
        assert bounds.sample_size(0.1, 0.1, d, bounds.sauer) < n
    with pytest.raises(ValueError, match="vc_dimension=0"):
        bounds.sample_size(0.1, 0.1, 0)


# Bias and variance -----------------------------------------------------------------------------------------------


@pytest.mark.curriculum("A16")
@settings(max_examples=20)
@given(predictions=hnp.arrays(np.float64, (6, 4), elements=st.floats(-10, 10)))
def test_error_is_bias_plus_variance(predictions):
    target = np.arange(4.0)
    parts = bias_variance.decompose(predictions, target)
    np.testing.assert_allclose(parts.error, parts.bias2 + parts.variance, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(parts.variance, predictions.var(0).mean(), atol=1e-12)


@pytest.mark.curriculum("A16")
def test_bias_and_variance_of_the_textbook():
    """Two points of sin(pi x), Abu-Mostafa et al. 2012, example 2.8: 0.50, 0.25 for constants, 0.21, 1.69 for lines."""

    def draw(rng):
        x = rng.uniform(-1, 1, size=(2, 1))
        return x, np.sin(np.pi * x[:, 0])

    def constant(x, y):
        return lambda new: np.full(len(new), y.mean())

    def line(x, y):
        slope = (y[1] - y[0]) / (x[1, 0] - x[0, 0])
        return lambda new: y[0] + slope * (new[:, 0] - x[0, 0])

    grid = np.linspace(-1, 1, 201)[:, None]
    for learner, bias2, variance, training in ((constant, 0.5, 0.25, 0.25), (line, 0.21, 1.69, 0)):
        predictions, errors = bias_variance.retrain(learner, draw, grid, 10_000)
        parts = bias_variance.decompose(predictions, np.sin(np.pi * grid[:, 0]))
        np.testing.assert_allclose([parts.bias2, parts.variance], [bias2, variance], rtol=0.05)
        np.testing.assert_allclose(errors.mean(), training, atol=0.01)


@pytest.mark.curriculum("A16")
def test_diagnosis_and_remedies():
    high_bias, high_variance = bias_variance.REMEDIES["high bias"], bias_variance.REMEDIES["high variance"]
    assert "longer training" in high_bias and "more data" in high_variance
    diagnose = bias_variance.diagnose
    assert diagnose(0.15, 0.16, goal=0.0, tolerance=0.02) == {"high bias": high_bias}
    assert diagnose(0.01, 0.11, goal=0.0, tolerance=0.02) == {"high variance": high_variance}
    assert set(diagnose(0.15, 0.30, goal=0.0, tolerance=0.02)) == {"high bias", "high variance"}
    assert diagnose(0.15, 0.16, goal=0.14, tolerance=0.02) == {}  # as good as it can be
    with pytest.raises(ValueError, match="tolerance=-1"):
        diagnose(0, 0, 0, -1)
    with pytest.raises(ValueError, match="r >= 2"):
        bias_variance.decompose(np.zeros((1, 3)), np.zeros(3))
