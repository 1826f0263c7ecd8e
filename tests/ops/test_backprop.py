"""Back-propagation written out, and gradient checks: worked numbers, PyTorch's layout, automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvdl_jax.nn.activations import activation, derivative
from cvdl_jax.ops.losses import classification
from cvdl_jax.ops.textbook import backprop, gradient_check
from cvdl_jax.ops.textbook.backprop import Dense

SIZES = (5, 7, 6, 4)
LABELS = np.array([0, 3, 1, 2, 2, 0])


def values(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def close(a, b, rtol=1e-9):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-12), a, b)


@pytest.mark.curriculum("B1")
def test_one_neuron_worked_by_hand():
    """z = 2 * -1 + -3 * -2 - 3 = 1, a = sigmoid(1); it is one column of a layer."""
    x, w = jnp.array([-1.0, -2.0]), jnp.array([2.0, -3.0])
    assert float(backprop.neuron(x, w, -3.0, activation("identity"))) == 1
    assert float(backprop.neuron(x, w, -3.0, activation("sigmoid"))) == pytest.approx(0.7310586)
    layer = Dense(jnp.array([[2.0, -3.0], [1.0, 1.0]]), jnp.array([-3.0, 0.5]))
    np.testing.assert_allclose(backprop.dense(layer, x[None]), [[1, -2.5]])


@pytest.mark.curriculum("B2")
def test_a_dense_layer_has_the_layout_of_torch():
    """y = x A' + b with A [n_out, n_in], which begins uniform in +-1 / sqrt(n_in); the bias is optional."""
    layer = backprop.init_dense(jax.random.key(0), 400, 50)
    assert layer.w.shape == (50, 400) and layer.b.shape == (50,)
    for part in layer:
        assert 0.045 < np.abs(part).max() <= 0.05
    x = values(3, 400).astype(np.float32)
    loop = [[sum(layer.w[j] * row) + layer.b[j] for j in range(3)] for row in x]
    np.testing.assert_allclose(backprop.dense(layer, x)[:, :3], loop, atol=1e-4)
    plain = backprop.init_dense(jax.random.key(0), 400, 50, bias=False)
    assert plain.b is None
    np.testing.assert_allclose(backprop.dense(plain, x), x @ plain.w.T, atol=1e-5)


@pytest.mark.curriculum("B3")
def test_3_4_1_network_has_21_parameters_and_shows_every_node():
    """W1 (4, 3), b1 (4,), W2 (1, 4), b2 (1,): a2 has one number per example, not four."""
    params = backprop.init_mlp(jax.random.key(0), (3, 4, 1))
    assert [p.shape for p in jax.tree.leaves(params)] == [(4, 3), (4,), (1, 4), (1,)]
    assert sum(p.size for p in jax.tree.leaves(params)) == 21
    x = values(2, 3).astype(np.float32)
    y, caches = backprop.forward(params, x, [activation("sigmoid")] * 2)
    assert [c.a.shape for c in caches] == [(2, 4), (2, 1)]
    # a_k of layer l + 1 has the bias b_k of layer l + 1
    z = sum(params[0].w[2, j] * x[1, j] for j in range(3)) + params[0].b[2]
    np.testing.assert_allclose(caches[0].a[1, 2], 1 / (1 + np.exp(-z)), rtol=1e-5)
    np.testing.assert_array_equal(y, caches[1].a)


@pytest.mark.curriculum("B4")
def test_linear_layers_collapse_to_one():
    """W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2); with a ReLU between them nothing of that kind holds."""
    first, second = backprop.init_mlp(jax.random.key(0), (3, 8, 2))
    x = values(20, 3).astype(np.float32)
    one = Dense(second.w @ first.w, second.w @ first.b + second.b)
    y, _ = backprop.forward([first, second], x, [activation("identity")] * 2)
    np.testing.assert_allclose(y, backprop.dense(one, x), atol=1e-6)
    bent, _ = backprop.forward([first, second], x, [activation("relu"), activation("identity")])
    assert np.abs(bent - backprop.dense(one, x)).max() > 0.05


@pytest.mark.curriculum("B22")
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "leaky_relu(slope=0.1)", "elu", "gelu", "sine"])
def test_the_whole_network_equals_automatic_differentiation(name):
    """Softmax cross-entropy of a batch through four layers: every W, b, and the input."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda p: p.astype(jnp.float64), backprop.init_mlp(jax.random.key(1), SIZES))
        params = jax.tree.map(lambda p: 2 * p, params)
        x = jnp.asarray(values(6, 5))
        functions = [activation(name)] * 2 + [activation("identity")]
        slopes = [derivative(name)] * 2 + [derivative("identity")]

        def written(params, x):
            scores, caches = backprop.forward(params, x, functions)
            return backprop.backward(params, caches, backprop.softmax_cross_entropy_gradient(scores, LABELS), slopes)

        def cost(params, x):
            scores, _ = backprop.forward(params, x, functions)
            return classification.softmax_cross_entropy(scores, LABELS).mean()

        close(jax.jit(written)(params, x), jax.jit(jax.grad(cost, (0, 1)))(params, x))


@pytest.mark.curriculum("B22")
def test_the_four_equations_by_a_loop_over_examples():
    """dW = sum_i dz_i a_i', db = sum_i dz_i, da_i = W' dz_i: columns, as on paper, one example at a time."""
    layer = Dense(values(3, 4), values(3))
    x, dz = values(5, 4, seed=1), values(5, 3, seed=2)
    gradient, dx = backprop.dense_backward(layer, x, dz)
    np.testing.assert_allclose(gradient.w, sum(np.outer(dz[i], x[i]) for i in range(5)))
    np.testing.assert_allclose(gradient.b, sum(dz))
    np.testing.assert_allclose(dx, [layer.w.T @ dz[i] for i in range(5)])
    assert backprop.dense_backward(layer._replace(b=None), x, dz)[0].b is None


@pytest.mark.curriculum("B23")
def test_the_derivative_of_a_cost_with_respect_to_one_weight():
    """dC/dw = a_before sigma'(z) 2 (a - y) at a_before = 0.5, z = 0, y = 1: 0.5 * 0.25 * 2 * (0.5 - 1) = -0.125."""
    g, slope = activation("sigmoid"), derivative("sigmoid")
    assert float(backprop.single_weight_derivative(0.5, jnp.float32(0), 1.0, g, slope)) == pytest.approx(-0.125)
    a, w, b, y = 0.3, 1.7, -0.4, 0.2
    automatic = jax.grad(lambda w: (g(w * a + b) - y) ** 2)(w)
    assert float(backprop.single_weight_derivative(a, jnp.float32(w * a + b), y, g, slope)) == pytest.approx(
        float(automatic), rel=1e-5
    )


@pytest.mark.curriculum("B24")
@given(st.integers(0, 100))
def test_softmax_cross_entropy_gradient(seed):
    """(P - Y) / n equals the Jacobian of softmax applied to -1 / p_y, step by step, and automatic differentiation."""
    scores = values(6, 4, seed=seed).astype(np.float32) * 3
    got, automatic = both_gradients(scores)
    np.testing.assert_allclose(got, automatic, atol=1e-6)
    p = np.exp(scores.astype(np.float64)) / np.exp(scores.astype(np.float64)).sum(1, keepdims=True)
    for row, q, label in zip(np.asarray(got) * 6, p, LABELS, strict=True):
        jacobian = np.diag(q) - np.outer(q, q)
        np.testing.assert_allclose(row, jacobian[label] * (-1 / q[label]), atol=1e-5)
    np.testing.assert_allclose(np.asarray(got).sum(1), 0, atol=1e-6)


@jax.jit
def both_gradients(scores):
    automatic = jax.grad(lambda s: classification.softmax_cross_entropy(s, LABELS).mean())(scores)
    return backprop.softmax_cross_entropy_gradient(scores, LABELS), automatic


@pytest.mark.curriculum("B25")
def test_forward_difference_of_the_lecture():
    """(1.2331 - 1.2345) / 0.0001 = -14; the second coordinate, from the first put back, changes nothing."""
    w = np.array([0.34, -1.11])
    seen = []

    def loss(v):
        seen.append(v.copy())
        return 1.2345 - 14 * (v[0] - 0.34)

    np.testing.assert_allclose(gradient_check.forward_difference(loss, w), [-14, 0], atol=1e-8)
    np.testing.assert_allclose(seen, [w, w + [1e-4, 0], w + [0, 1e-4]], atol=1e-12)
    np.testing.assert_allclose(gradient_check.central_difference(loss, w), [-14, 0], atol=1e-8)
    np.testing.assert_array_equal(w, [0.34, -1.11])


@pytest.mark.curriculum("B25")
def test_central_differences_are_of_second_order():
    x = np.array([0.7])
    error = lambda difference, h: abs(difference(lambda v: np.exp(v[0]), x, h)[0] - np.exp(0.7))  # noqa: E731
    for difference, order in ((gradient_check.forward_difference, 1), (gradient_check.central_difference, 2)):
        assert error(difference, 1e-2) / error(difference, 1e-3) == pytest.approx(10**order, rel=0.05)
    with pytest.raises(ValueError, match=r"h=0 must be above 0"):
        gradient_check.central_difference(np.sum, x, 0)


@pytest.mark.curriculum("B25")
def test_gradient_check_passes_the_right_gradient_and_finds_the_wrong_element():
    with jax.enable_x64(True):
        scores = values(6, 4)
        cost = jax.jit(lambda s: classification.softmax_cross_entropy(s, LABELS).mean())
        analytic = backprop.softmax_cross_entropy_gradient(jnp.asarray(scores), LABELS)
        report = gradient_check.check(cost, scores, analytic=analytic, autodiff=jax.grad(cost)(jnp.asarray(scores)))
        assert report.passed and max(report.errors.values()) < 1e-6
        wrong = np.array(analytic)
        wrong[2, 3] *= 1.01
        report = gradient_check.check(cost, scores, analytic=analytic, wrong=wrong)
        assert not report.passed and report.worst["wrong"] == (2, 3)
        assert report.errors["wrong"] == pytest.approx(0.01 / 1.01, rel=1e-3) and report.errors["analytic"] < 1e-6
    with pytest.raises(ValueError, match=r"g has shape \(3,\); expected that of x, \(2,\)"):
        gradient_check.check(np.sum, np.ones(2), g=np.ones(3))
    with pytest.raises(ValueError, match="needs a gradient to compare"):
        gradient_check.check(np.sum, np.ones(2))


def test_relative_error_of_zeros_is_zero():
    np.testing.assert_allclose(gradient_check.relative_error([0, 1, -1], [0, 1.1, 1]), [0, 0.1 / 1.1, 2])


@pytest.mark.curriculum("B26")
@pytest.mark.parametrize("name", ["softmax_cross_entropy", "multiclass_hinge"])
def test_regularised_linear_classifiers_equal_autodiff_and_differences(name):
    """dL/dW = (1/N) sum dL_i/dW + lambda dR/dW, with R the sum of squares of W."""
    penalty = 0.3
    with jax.enable_x64(True):
        x = jnp.asarray(values(6, 5))
        params = Dense(jnp.asarray(values(4, 5, seed=1)), jnp.asarray(values(4, seed=2)))

        @jax.jit
        def cost(params):
            scores = backprop.dense(params, x)
            return getattr(classification, name)(scores, LABELS).mean() + penalty * jnp.square(params.w).sum()

        slope = getattr(backprop, f"{name}_gradient")(backprop.dense(params, x), LABELS)
        written = backprop.linear_classifier_gradient(params, x, slope, penalty)
        automatic = jax.grad(cost)(params)
        close(written, automatic)
        report = gradient_check.check(
            lambda w: cost(params._replace(w=w)), params.w, written=written.w, automatic=automatic.w
        )
        assert report.passed, report.errors


@pytest.mark.curriculum("B26")
def test_hinge_gradient_counts_the_classes_within_the_margin():
    """Scores of (cat, boat, shark) 3.2, -5, 10 for a cat: only the shark is in the way; with margin 9 the boat too."""
    scores, label = jnp.array([[3.2, -5.0, 10.0]]), np.array([0])
    np.testing.assert_array_equal(backprop.multiclass_hinge_gradient(scores, label), [[-1, 0, 1]])
    np.testing.assert_array_equal(backprop.multiclass_hinge_gradient(scores, label, margin=9.0), [[-2, 1, 1]])


@pytest.mark.curriculum("B21")
def test_vector_derivatives_in_both_layouts():
    """Scalar by scalar [], scalar by vector [n], vector by vector [m, n], or [n, m] by the other layout."""
    a = jnp.asarray(values(3, 2).astype(np.float32))  # y = A x: J = A
    x = jnp.array([1.0, 2.0])
    derivative_of = gradient_check.vector_derivative
    np.testing.assert_allclose(derivative_of(lambda x: a @ x, x), a)
    np.testing.assert_allclose(derivative_of(lambda x: a @ x, x, layout="denominator"), a.T)
    for layout in ("numerator", "denominator"):
        np.testing.assert_allclose(derivative_of(lambda x: (x**2).sum(), x, layout), [2, 4])
        np.testing.assert_allclose(derivative_of(lambda x: x**3, jnp.float32(2), layout), 12)
    with pytest.raises(ValueError, match="layout='rows'; expected 'numerator'"):
        derivative_of(jnp.sum, x, "rows")
