"""Explanations by gradients: what a linear model and a quadratic one make of them is known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.explain import gradients
from cvdl_jax.analysis.logits import Logits
from cvdl_jax.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
W = RNG.normal(size=(3, 2, 2, 5)).astype(np.float32)
X = RNG.uniform(size=(4, 3, 2, 2)).astype(np.float32)
LABEL = np.array([3, 0, 4, 1])


def linear(x):
    return jnp.tensordot(x, jnp.asarray(W, x.dtype), 3) + jnp.arange(5.0)[None]


def cubic(x):
    """`S_c = sum w_c x^3`: gradient `3 w x^2`."""
    return linear(x**3)


def wiggly(x):
    return jnp.sin(3 * linear(x))


@pytest.mark.curriculum("O9", "O16")
def test_a_linear_score():
    """Its gradient is its weights; gradient x input adds up to the score without the bias."""
    slopes = np.moveaxis(W, -1, 0)[LABEL]
    np.testing.assert_allclose(gradients.gradient(linear, X, LABEL), slopes, rtol=1e-6)
    np.testing.assert_allclose(gradients.saliency(linear, X, LABEL)[..., 0], np.abs(slopes).max(-1), rtol=1e-6)
    terms = gradients.gradient_x_input(linear, X, LABEL)
    np.testing.assert_allclose(terms, X * slopes, rtol=1e-6)
    scores = np.asarray(linear(X))[np.arange(4), LABEL]
    np.testing.assert_allclose(terms.sum((1, 2, 3)), scores - LABEL, rtol=1e-4, atol=1e-5)


@pytest.mark.curriculum("O9", "O16")
def test_it_is_the_score_and_not_its_probability_and_the_largest_class_where_none_is_named():
    best = np.asarray(linear(X)).argmax(-1)
    np.testing.assert_array_equal(gradients.gradient(linear, X), gradients.gradient(linear, X, best))
    raised = gradients.gradient(lambda x: linear(x) + 7, X, 2)  # a softmax would not see the 7
    np.testing.assert_allclose(raised, gradients.gradient(linear, X, 2), rtol=1e-6)
    doubled = gradients.gradient(lambda x: 2 * linear(x), X, 2)
    np.testing.assert_allclose(doubled, 2 * np.asarray(gradients.gradient(linear, X, 2)), rtol=1e-6)


@pytest.mark.curriculum("O16")
def test_gradient_x_input_is_the_expansion_around_x():
    """ER105: `f(x) - f(x_0) = grad f(x) . x` for x_0 orthogonal to the gradient *at x*, to first order in x - x_0."""
    f = lambda x: linear(jnp.tanh(x))  # noqa: E731
    x = jnp.asarray(X[:1]) * 1e-3
    g = gradients.gradient(f, x, 3)
    root = RNG.normal(size=x.shape).astype(np.float32) * 1e-3
    root = root - np.asarray(g) * float((root * g).sum() / (g * g).sum())
    left = float(f(x)[0, 3] - f(jnp.asarray(root))[0, 3])
    assert left == pytest.approx(float(gradients.gradient_x_input(f, x, 3).sum()), rel=1e-3)


@pytest.mark.curriculum("O17")
@pytest.mark.parametrize("f", [cubic, wiggly])
@pytest.mark.parametrize("baseline", [0.0, 1.0, X[0], X[::-1].copy()])
def test_integrated_gradients_are_complete(f, baseline):
    total = gradients.integrated_gradients(Logits(f, 7), X, LABEL, baseline, steps=150).sum((1, 2, 3))
    ends = np.broadcast_to(baseline, X.shape).astype(np.float32)
    rise = np.asarray(f(X) - f(ends))[np.arange(4), LABEL]
    np.testing.assert_allclose(total, rise, atol=2e-3)


@pytest.mark.curriculum("O17")
def test_integrated_gradients_of_each_input_by_hand():
    """`w x^3` from 0: every input gets its own term, which neither the gradient nor gradient x input gives."""
    slopes = np.moveaxis(W, -1, 0)[LABEL]
    np.testing.assert_allclose(gradients.integrated_gradients(cubic, X, LABEL, steps=200), slopes * X**3, atol=1e-4)
    # two steps of the midpoint rule: the mean of 3 x^2 at 1/4 and 3/4
    two = gradients.integrated_gradients(cubic, X, LABEL, steps=2)
    np.testing.assert_allclose(two, slopes * X * 3 * X**2 * (1 / 16 + 9 / 16) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.curriculum("O17")
@pytest.mark.parametrize(("batch_size", "steps"), [(1, 5), (3, 5), (6, 4), (64, 5)])
def test_no_more_rows_at_once_than_the_batch_size_and_the_same_result(batch_size, steps):
    sizes = []

    def seen(x):
        sizes.append(len(x))
        return wiggly(x)

    whole = gradients.integrated_gradients(wiggly, X, LABEL, steps=steps)
    parts = gradients.integrated_gradients(Logits(seen, batch_size), X, LABEL, steps=steps)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-6)
    assert max(sizes) <= batch_size


def test_smoothgrad_is_the_mean_over_noise_of_the_width_of_each_row():
    # E[3 (x + s e)^2] = 3 (x^2 + s^2), s the share of each input's own range
    x = X * np.array([1, 0.5, 0.25, 0.1], np.float32).reshape(-1, 1, 1, 1)
    s = 0.3 * (x.max((1, 2, 3)) - x.min((1, 2, 3))).reshape(-1, 1, 1, 1)
    smooth = gradients.smoothgrad(Logits(cubic, 1000), x, LABEL, jax.random.key(1), samples=4000, noise=0.3)
    np.testing.assert_allclose(smooth / np.moveaxis(W, -1, 0)[LABEL], 3 * (x**2 + s**2), atol=0.05)


def test_the_noise_of_a_row_depends_on_its_index_and_on_the_key_alone():
    key = jax.random.key(3)
    whole = gradients.smoothgrad(Logits(cubic, 64), X, LABEL, key, samples=3)
    np.testing.assert_allclose(gradients.smoothgrad(Logits(cubic, 2), X, LABEL, key, samples=3), whole, rtol=1e-5)
    other = gradients.smoothgrad(cubic, X, LABEL, jax.random.key(4), samples=3)
    assert np.abs(np.asarray(other) - whole).max() > 0.01
    same = gradients.smoothgrad(cubic, np.repeat(X[:1], 4, 0), 0, key, samples=3)
    assert np.abs(np.asarray(same[0]) - same[1]).max() > 0.01


@pytest.mark.curriculum("O20")
def test_autocorrelation_of_gradients():
    """Two gradients in turn alternate in sign; of a straight line they do not change; NumPy agrees on a curve."""
    ends = np.zeros((1, 1, 1, 1), np.float32), np.ones((1, 1, 1, 1), np.float32)
    curve = lambda x: jnp.sin(9 * x.reshape(len(x), 1))  # noqa: E731
    r = np.asarray(gradients.gradient_autocorrelation(curve, *ends, 0, points=20))[0]
    g = 9 * np.cos(9 * np.linspace(0, 1, 20))
    d = g - g.mean()
    expected = [(d[: 20 - k] * d[k:]).sum() / (d * d).sum() for k in range(20)]
    np.testing.assert_allclose(r, expected, atol=1e-4)
    flat = gradients.gradient_autocorrelation(lambda x: 2 * x.reshape(len(x), 1), *ends, 0, points=5)
    assert np.isnan(flat).all()


@pytest.mark.curriculum("O20")
def test_gradients_of_deeper_plain_networks_are_more_shattered():
    def network(depth):
        rng = np.random.default_rng(1)
        layers = [rng.normal(size=(n, 60)) * np.sqrt(2 / n) for n in (1, *[60] * depth)]
        biases = [rng.normal(size=60) * 0.3 for _ in layers]

        def logits(x):
            x = x.reshape(len(x), 1)
            for w, b in zip(layers, biases, strict=True):
                x = jax.nn.relu(x @ jnp.asarray(w, x.dtype) + jnp.asarray(b, x.dtype)[None])
            return x

        return logits

    ends = np.full((1, 1), -2, np.float32), np.full((1, 1), 2, np.float32)
    shallow, deep = (
        np.asarray(gradients.gradient_autocorrelation(network(depth), *ends, 0, points=128))[0] for depth in (1, 24)
    )
    assert deep[4] < shallow[4]


def test_what_is_wrong_is_said():
    with pytest.raises(DataError, match=r"the baseline has the shape \[3\]; expected a number, \[3, 2, 2\] or"):
        gradients.integrated_gradients(linear, X, 0, np.zeros(3, np.float32))
    with pytest.raises(ConfigError, match="target=5 is not one of the classes"):
        gradients.saliency(linear, X, 5)
    with pytest.raises(DataError, match="floats from 2 to 2, expected 0 to 1"):
        gradients.gradient(Logits(linear), np.full_like(X, 2))
    with pytest.raises(DataError, match="x is uint8; give floats in the range of the model, such as x / 255"):
        gradients.saliency(linear, np.zeros(X.shape, np.uint8), 0)
    for explain in (gradients.saliency, gradients.smoothgrad, gradients.integrated_gradients):
        with pytest.raises(DataError, match="x holds no example; give at least one"):
            explain(linear, X[:0], 0)
    with pytest.raises(ConfigError, match=r"integrated_gradients\(steps\)=0"):
        gradients.integrated_gradients(linear, X, 0, steps=0)
    with pytest.raises(ConfigError, match=r"smoothgrad\(noise\)=-1"):
        gradients.smoothgrad(linear, X, 0, noise=-1.0)


def test_a_baseline_of_bytes_or_without_an_end_is_refused():
    for baseline, words in (
        (np.zeros(X.shape[1:], np.uint8), "the baseline is uint8; give floats"),
        (1e39, "not finite"),
        (255, r"the baseline is in 255\.\.255, and inputs are in 0\.\.1"),
        (np.where(np.arange(2) == 1, -0.01, 0.5) * np.ones(X.shape[1:]), r"in -0\.01\.\.0\.5"),
    ):
        with pytest.raises(DataError, match=words):
            gradients.integrated_gradients(Logits(lambda x: x.reshape(len(x), -1), 7), X, 0, baseline, steps=2)
