"""Linear models by hand: worked numbers, closed forms, analytic gradients, labels, images as vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from models_for_tests import make_model
from sklearn import linear_model

from cvdl_jax.analysis.figures import decision_regions
from cvdl_jax.ops.losses import classification
from cvdl_jax.ops.losses.binary import binary_cross_entropy_with_logits, perceptron
from cvdl_jax.ops.textbook import labels, linear
from cvdl_jax.ops.textbook.linear import Fit
from cvdl_jax.optim import optimizer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype(np.float32)
Y = (X @ np.float32([1, -2, 0.5]) + 0.7 + 0.3 * RNG.normal(size=40)).astype(np.float32)
BITS = (Y > 0).astype(np.int32)
CLASSES = RNG.integers(4, size=40).astype(np.int32)
W, B = RNG.normal(size=(3, 4)).astype(np.float32), RNG.normal(size=4).astype(np.float32)

# An image of four pixels and the scores of (cat, boat, shark), from a lecture on linear classification
PIXELS = np.float32([[57, 77, 200, 128]])
WEIGHTS = np.float32([[0.7, -0.3, 0], [-0.3, 0.5, 0.25], [2.5, 3.1, 0.4], [1, -3, 0.1]])
BIAS = np.float32([1.7, -2, 3])
EXPECTED = [[646.5, 255.4, 115.05]]


def close(fit, expected, **kwargs):
    for got, want in zip(fit, expected, strict=True):
        np.testing.assert_allclose(got, want, **kwargs)


# Scores ----------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("A2")
def test_linear_scores_of_the_lecture():
    np.testing.assert_allclose(linear.scores(PIXELS, WEIGHTS, BIAS), EXPECTED, rtol=1e-6)
    model = make_model("linear", 3, "float32")
    params = {"head": {"kernel": WEIGHTS, "bias": BIAS}}
    np.testing.assert_allclose(
        model.apply({"params": params}, PIXELS.reshape(1, 2, 2, 1), False)[0], EXPECTED, rtol=1e-6
    )


@pytest.mark.curriculum("A3")
def test_bias_trick_of_the_lecture():
    """[x, 1] [W; b] = x W + b, the same three scores; and a model without bias learns what one with it does."""
    x, w = linear.append_one(PIXELS), linear.append_bias(WEIGHTS, BIAS)
    assert x.shape == (1, 5) and w.shape == (5, 3)
    np.testing.assert_array_equal(x[:, -1], [1])
    np.testing.assert_array_equal(w[-1], BIAS)
    np.testing.assert_allclose(linear.scores(x, w, np.zeros(3, np.float32)), EXPECTED, rtol=1e-6)
    model = make_model("linear", 3, "float32", bias=False)
    np.testing.assert_allclose(model.apply({"params": {"head": {"kernel": w}}}, x, False)[0], EXPECTED, rtol=1e-6)


@pytest.mark.curriculum("A3")
@settings(max_examples=10)
@given(x=hnp.arrays(np.float32, (5, 3), elements=st.floats(-100, 100, width=32)))
def test_bias_trick(x):
    trick = linear.scores(linear.append_one(x), linear.append_bias(W, B), np.zeros(4, np.float32))
    np.testing.assert_allclose(trick, linear.scores(x, W, B), rtol=1e-5, atol=1e-3)
    one = linear.scores(linear.append_one(x), linear.append_bias(W[:, 0], B[0]), 0.0)
    np.testing.assert_allclose(one, linear.scores(x, W[:, 0], B[0]), rtol=1e-5, atol=1e-3)


def test_shapes_that_do_not_fit_are_refused():
    for x, w, b in ((X[0], W, B), (X, W[:2], B), (X, W, B[:2]), (X, W[:, 0], B)):
        with pytest.raises(ValueError, match="x, w and b must be"):
            linear.scores(x, w, b)
    with pytest.raises(ValueError, match="x and y must be"):
        linear.least_squares(X, Y[:-1])
    with pytest.raises(ValueError, match="ridge=-1"):
        linear.least_squares(X, Y, ridge=-1)
    with pytest.raises(ValueError, match="must have one shape"):
        linear.squared_error_gradient(X, W[:, 0], 0.0, Y[:, None])


# Linear regression -----------------------------------------------------------------------------------------------


@pytest.mark.curriculum("A7")
@pytest.mark.parametrize("bias", [True, False])
def test_least_squares_equals_scikit_learn(bias):
    theirs = linear_model.LinearRegression(fit_intercept=bias).fit(X, Y)
    close(linear.least_squares(X, Y, bias=bias), (theirs.coef_, theirs.intercept_), atol=1e-5)
    ridge = linear_model.Ridge(alpha=0.3 * len(X), fit_intercept=bias).fit(X, Y)  # sum of squares + alpha |w|^2
    close(linear.least_squares(X, Y, ridge=0.3, bias=bias), (ridge.coef_, ridge.intercept_), atol=1e-5)
    several = linear.least_squares(X, np.stack([Y, 2 * Y], 1), bias=bias)
    np.testing.assert_allclose(several.w[:, 1], 2 * theirs.coef_, atol=1e-5)


def test_least_squares_takes_the_smallest_of_many_minima():
    twice = np.concatenate([X[:, :1], X[:, :1]], 1)
    fit = linear.least_squares(twice, Y)
    np.testing.assert_allclose(fit.w[0], fit.w[1], atol=1e-5)


@pytest.mark.curriculum("A7")
def test_a_step_of_linear_regression_by_hand():
    """Two points, from w = 0, b = 0 at rate 0.1: the errors are (-1, -3), so dw = 2/2 (-1*1 - 3*2) = -7, db = -4."""
    x, y = np.float32([[1], [2]]), np.float32([1, 3])
    start = Fit(np.float32([0]), np.float32(0))
    gradient = linear.squared_error_gradient(x, *start, y)
    close(gradient, ([-7], -4))
    close(linear.step(start, gradient, 0.1), ([0.7], 0.4), rtol=1e-6)
    close(linear.step(start, Fit(gradient.w, 0.0), 0.1), ([0.7], 0))  # without bias


@pytest.mark.curriculum("A7")
@pytest.mark.parametrize("bias", [True, False])
def test_gradient_descent_reaches_the_closed_form(bias):
    def one(_, fit):
        gradient = linear.squared_error_gradient(X, *fit, Y)
        return linear.step(fit, gradient if bias else Fit(gradient.w, jnp.zeros(())), 0.2)

    fitted = jax.jit(lambda: jax.lax.fori_loop(0, 300, one, Fit(jnp.zeros(3), jnp.zeros(()))))()
    close(fitted, linear.least_squares(X, Y, bias=bias), atol=1e-5)


# Gradients by hand -----------------------------------------------------------------------------------------------


@pytest.mark.curriculum("A8")
def test_a_step_of_logistic_regression_by_hand():
    """From zero every p is 1/2, so points of labels (1, 0) give dw = 1/2 (-1/2 * 1 + 1/2 * 3) = 1/2 and db = 0."""
    x, y = np.float32([[1], [3]]), np.array([1, 0])
    start = Fit(np.float32([0]), np.float32(0))
    np.testing.assert_array_equal(linear.logistic_probability(x, *start), [0.5, 0.5])
    gradient = linear.logistic_gradient(x, *start, y)
    close(gradient, ([0.5], 0))
    close(linear.step(start, gradient, 2.0), ([-1], 0))
    np.testing.assert_allclose(linear.logistic_probability(x, [-1.0], 0.0), 1 / (1 + np.exp([1, 3])), rtol=1e-6)


@pytest.mark.curriculum("A8")
def test_logistic_gradient_is_that_of_autodiff_and_zero_at_the_optimum():
    def mean(fit):
        return binary_cross_entropy_with_logits(linear.scores(X, *fit), BITS).mean()

    fit = Fit(W[:, 0], B[0])
    close(linear.logistic_gradient(X, *fit, BITS), jax.grad(mean)(fit), atol=1e-6)
    noisy = (np.random.default_rng(1).uniform(size=40) < 0.3) ^ (BITS == 1)
    theirs = linear_model.LogisticRegression(C=np.inf, tol=1e-8).fit(X, noisy)
    fit = Fit(theirs.coef_[0].astype(np.float32), theirs.intercept_[0].astype(np.float32))
    close(linear.logistic_gradient(X, *fit, noisy), (np.zeros(3), 0), atol=1e-4)
    np.testing.assert_allclose(linear.logistic_probability(X, *fit), theirs.predict_proba(X)[:, 1], atol=1e-5)


@pytest.mark.curriculum("A9")
def test_softmax_gradient_by_hand_is_that_of_autodiff():
    def mean(fit):
        return classification.softmax_cross_entropy(linear.scores(X, *fit), CLASSES).mean()

    close(linear.softmax_gradient(X, W, B, CLASSES), jax.grad(mean)(Fit(W, B)), atol=1e-6)


@pytest.mark.curriculum("A9")
def test_mini_batch_descent_on_softmax_reaches_the_optimum():
    """Mini-batches with a falling rate, against the solver of scikit-learn, both with a small penalty."""
    penalty = 0.05
    theirs = linear_model.LogisticRegression(C=1 / (40 * penalty), tol=1e-8, fit_intercept=False).fit(X, CLASSES)

    def one(i, w):
        rows = jax.random.randint(jax.random.fold_in(jax.random.key(0), i), (10,), 0, 40)
        gradient = linear.softmax_gradient(jnp.asarray(X)[rows], w, jnp.zeros(4), jnp.asarray(CLASSES)[rows]).w
        return w - (gradient + penalty * w) * (1.0 / (1 + 0.02 * i))

    w = jax.jit(lambda: jax.lax.fori_loop(0, 5000, one, jnp.zeros((3, 4))))()
    np.testing.assert_allclose(w, theirs.coef_.T, atol=0.03)


@pytest.mark.curriculum("A10")
@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_svm_gradient_by_hand_is_that_of_autodiff(penalty):
    def objective(fit):
        losses = classification.multiclass_hinge(linear.scores(X, *fit), CLASSES)
        return losses.mean() + penalty * (fit.w**2).sum()

    gradient = linear.multiclass_hinge_gradient(X, W, B, CLASSES, penalty=penalty)
    close(gradient, jax.grad(objective)(Fit(W, B)), atol=1e-6)


@pytest.mark.curriculum("A10")
def test_svm_is_trained_by_the_optimizer_of_a_config():
    """`weight_decay = 2 lambda` is the penalty lambda |W|^2: each step is that by hand, and the classes are learned."""
    centres = np.float32([[2, 0], [-1, 2], [-1, -2]])
    y = np.arange(60, dtype=np.int32) % 3
    x = centres[y] + 0.3 * np.random.default_rng(1).normal(size=(60, 2)).astype(np.float32)
    sgd = optimizer.optimizer("sgd", 0.1, total_steps=50, weight_decay=0.02, decay="kernel")

    def objective(params):
        return classification.multiclass_hinge(linear.scores(x, params["kernel"], params["bias"]), y).mean()

    @jax.jit
    def step(params, state):
        updates, state = sgd.update(jax.grad(objective)(params), state, params)
        return jax.tree.map(jnp.add, params, updates), state

    params, fit = {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}, Fit(jnp.zeros((2, 3)), jnp.zeros(3))
    state = sgd.init(params)
    hand = jax.jit(lambda fit: linear.step(fit, linear.multiclass_hinge_gradient(x, *fit, y, penalty=0.01), 0.1))
    start = float(objective(params))
    for _ in range(50):
        params, state = step(params, state)
        fit = hand(fit)
    close((params["kernel"], params["bias"]), fit, atol=1e-4)
    assert start == pytest.approx(2) and float(objective(params)) < 0.1
    assert (np.asarray(linear.scores(x, *fit)).argmax(1) == y).all()


# The perceptron --------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("A12")
def test_perceptron_rule_by_hand():
    """Score 0 is a mistake: w = (1, 2), b = 1. Right: nothing. Wrong, s = 4: w = (1, 2) - (3, 0) = (-2, 2), b = 0."""
    x, y = np.float32([[1, 2], [0, 1], [3, 0]]), np.float32([1, 1, -1])
    (w, b), wrong = linear.perceptron_pass(Fit(np.zeros(2, np.float32), np.float32(0)), x, y)
    np.testing.assert_array_equal(w, [[1, 2], [1, 2], [-2, 2]])
    np.testing.assert_array_equal(b, [1, 1, 0])
    np.testing.assert_array_equal(wrong, [True, False, True])


@pytest.mark.curriculum("A12")
@given(
    x=hnp.arrays(np.float32, (12, 2), elements=st.integers(-4, 4).map(float)),
    y=hnp.arrays(np.float32, 12, elements=st.sampled_from([-1.0, 1.0])),
)
def test_descent_on_the_perceptron_loss_is_the_rule(x, y):
    """A batch of one at rate 1, from zero: the same weights after every example, bit for bit."""
    start = Fit(jnp.zeros(2), jnp.zeros(()))
    (w, b), _ = RULE(start, x, y)
    descended = DESCENT(start, x, y)
    np.testing.assert_array_equal(descended.w, w)
    np.testing.assert_array_equal(descended.b, b)


def _descend(start, x, y):
    def one(fit, example):
        x, y = example
        gradient = jax.grad(lambda fit: perceptron(x @ fit.w + fit.b, y))(fit)
        fit = linear.step(fit, gradient, 1.0)
        return fit, fit

    return jax.lax.scan(one, start, (x, y))[1]


RULE, DESCENT = jax.jit(linear.perceptron_pass), jax.jit(_descend)


@pytest.mark.curriculum("A12")
def test_perceptron_converges_on_separable_data_within_novikoffs_bound():
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, size=(400, 2)).astype(np.float32)
    side = x @ np.float32([0.6, 0.8]) - 0.1
    x, y = x[np.abs(side) > 0.1], np.sign(side[np.abs(side) > 0.1])  # a margin of at least 0.1
    margin = (np.abs(x @ [0.6, 0.8] - 0.1) / np.sqrt(1 + 0.1**2)).min()  # of (w, b), as the bias is trained too
    fit, mistakes = Fit(jnp.zeros(2), jnp.zeros(())), 0
    for _ in range(30):
        path, wrong = RULE(fit, x, y.astype(np.float32))
        fit, mistakes = Fit(path.w[-1], path.b[-1]), mistakes + int(wrong.sum())
        if not wrong.any():
            break
    assert not wrong.any()
    assert (np.sign(linear.scores(x, *fit)) == y).all()
    assert 0 < mistakes <= ((x**2).sum(1) + 1).max() / margin**2


def test_perceptron_refuses_other_labels():
    with pytest.raises(ValueError, match=r"y\[0\]=2.0 must be one of"):
        linear.perceptron_pass(Fit(np.zeros(2), 0.0), np.zeros((1, 2)), np.array([2]))


# Labels and images -----------------------------------------------------------------------------------------------


@pytest.mark.curriculum("A11")
def test_label_conventions():
    np.testing.assert_array_equal(labels.one_hot([0, 2, 1], 3), [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(labels.signs([0, 1, 1]), [-1, 1, 1])
    np.testing.assert_array_equal(labels.bits([-1, 1, 1]), [0, 1, 1])
    np.testing.assert_array_equal(labels.hardmax([[3.2, 5.1, -1.7], [1, 0, 1]]), [[0, 1, 0], [1, 0, 0]])
    assert labels.bits([-1, 1]).dtype == labels.classes(np.eye(2)).dtype == jnp.int32


@pytest.mark.curriculum("A11")
@settings(max_examples=10)
@given(y=hnp.arrays(np.int32, (2, 5), elements=st.integers(0, 1)), c=st.sampled_from([2, 5]))
def test_conversions_are_inverse(y, c):
    rows = labels.one_hot(y, c)
    np.testing.assert_array_equal(labels.bits(labels.signs(y)), y)
    np.testing.assert_array_equal(rows, np.eye(c)[y])
    np.testing.assert_array_equal(labels.classes(rows), y)
    np.testing.assert_array_equal(labels.hardmax(rows), rows)


@pytest.mark.curriculum("A11")
def test_labels_of_another_convention_are_refused():
    for convert, bad in (
        (labels.signs, [0, -1]),
        (labels.bits, [1, 0]),
        (lambda y: labels.one_hot(y, 3), [0, 3]),
        (lambda y: labels.one_hot(y, 3), [0, -1]),
        (lambda y: labels.one_hot(y, 3), [0.0, 1.0]),
        (labels.classes, [[0.3, 0.7]]),
        (labels.classes, [[1, 1, 0]]),
        (labels.classes, [[0, 0, 0]]),
        (labels.hardmax, [[np.nan, 1]]),
    ):
        with pytest.raises(ValueError, match="must be"):
            convert(np.array(bad))
    assert np.isnan(jax.jit(labels.signs)(np.array([0, -1]))[1])
    assert np.isnan(jax.jit(labels.one_hot, static_argnums=1)(np.array([0, 3]), 3)[1]).all()
    np.testing.assert_array_equal(jax.jit(labels.classes)(np.array([[0, 1], [1, 1]])), [1, -1])


@pytest.mark.curriculum("A4")
def test_an_image_as_a_vector_and_back():
    """32 x 32 x 3 = 3,072 and 512 x 512 x 3 = 786,432 numbers; every byte comes back."""
    image = np.random.default_rng(0).integers(256, size=(2, 32, 32, 3)).astype(np.uint8)
    vector = labels.image_to_vector(image)
    assert vector.shape == (2, 3072) and vector.dtype == jnp.float32
    assert float(vector[1, 32 * 3 * 4 + 3 * 5 + 2]) == np.float32(image[1, 4, 5, 2] / 255)
    np.testing.assert_array_equal(labels.vector_to_image(vector, (32, 32, 3), np.uint8), image)
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    np.testing.assert_array_equal(labels.vector_to_image(labels.image_to_vector(every), (16, 16, 1), np.uint8), every)
    assert jax.eval_shape(labels.image_to_vector, jnp.zeros((512, 512, 3), jnp.uint8)).shape == (786_432,)
    pixels = np.float32([[[-1.5], [0.25]]])
    np.testing.assert_array_equal(labels.vector_to_image(labels.image_to_vector(pixels), (1, 2, 1)), pixels)


@pytest.mark.curriculum("A4")
def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"must be \[\.\.\., h, w, c\]"):
        labels.image_to_vector(np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match="got dtype int32"):
        labels.image_to_vector(np.zeros((8, 8, 1), np.int32))
    with pytest.raises(ValueError, match="cannot be an image"):
        labels.vector_to_image(np.zeros(10), (3, 3, 1))
    with pytest.raises(ValueError, match=r"vector\[1\]=1.5 must be in \[0.0, 1.0\]"):
        labels.vector_to_image(np.float32([0.5, 1.5]), (1, 2, 1), np.uint8)


# What a linear model has learned ---------------------------------------------------------------------------------


@pytest.mark.curriculum("A5")
def test_templates_are_the_columns_of_w():
    """In the layout x W; a score is the inner product of image and template, plus the bias."""
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(2 * 3 * 3, 5)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    templates = decision_regions.templates(w, (2, 3, 3))
    assert templates.shape == (5, 2, 3, 3)
    np.testing.assert_array_equal(templates[4].ravel(), w[:, 4])
    image = rng.uniform(size=(1, 2, 3, 3)).astype(np.float32)
    model = make_model("linear", 5, "float32")
    scores = model.apply({"params": {"head": {"kernel": w, "bias": b}}}, image, False)[0]
    np.testing.assert_allclose(
        scores[0], [(image[0] * t).sum() + c for t, c in zip(templates, b, strict=True)], rtol=1e-5
    )
    with pytest.raises(ValueError, match="does not fit images"):
        decision_regions.templates(w.T, (2, 3, 3))


@pytest.mark.curriculum("A5")
@pytest.mark.parametrize("channels", [1, 3])
def test_one_template_is_drawn_per_class(channels):
    w = np.random.default_rng(0).normal(size=(16 * channels, 7))
    figure = decision_regions.template_grid(w, (4, 4, channels), "abcdefg")
    shown = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in shown] == list("abcdefg")
    third = np.asarray(shown[2].images[0].get_array())
    expected = w[:, 2].reshape(4, 4, channels)
    assert np.corrcoef(third.ravel(), expected.ravel())[0, 1] > 0.999


@pytest.mark.curriculum("A6")
def test_the_regions_of_a_linear_classifier_are_half_planes():
    """Class 1 exactly where w x + b > 0, for one score and for two."""
    w, b = np.float32([1, -2]), np.float32(0.3)
    points = np.float32([[-1, -1], [1, 1]])
    grid, extent = decision_regions.plane(points, size=50)
    np.testing.assert_allclose(extent, [-1.1, 1.1, -1.1, 1.1], rtol=1e-6)
    np.testing.assert_allclose(grid[0, 0], [-1.1, -1.1], rtol=1e-6)
    np.testing.assert_allclose(grid[-1, 0], [-1.1, 1.1], rtol=1e-6)  # rows go up, as the picture's do
    expected = (grid @ w + b > 0).astype(int)
    one = decision_regions.classify(lambda x: linear.scores(x, w, b), grid)
    two = decision_regions.classify(lambda x: linear.scores(x, np.stack([-w, w], 1) / 2, np.stack([-b, b]) / 2), grid)
    np.testing.assert_array_equal(one, expected)
    np.testing.assert_array_equal(two, expected)
    assert 0.2 < expected.mean() < 0.8
    figure = decision_regions.regions(lambda x: linear.scores(x, w, b), points, np.array([0, 1]))
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array()[::199, ::199], [[1, 1], [0, 0]])
