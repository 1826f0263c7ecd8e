"""Classification losses: worked numbers, NumPy and SciPy oracles, properties, and errors at trace time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from cvdl_jax import models_index
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops import losses

# Scores of (cat, boat, shark) for an image of each, from a lecture on loss functions
SCORES = np.array([[3.2, -5, 10], [0.1, 14, 5], [0.3, 8, 14]], np.float32)
LABELS = np.array([0, 1, 2])

LOSSES = {
    "softmax_cross_entropy": losses.softmax_cross_entropy,
    "multiclass_hinge": losses.multiclass_hinge,
    "squared_error": losses.squared_error,
}
STATIC = {"softmax_cross_entropy": "label_smoothing", "multiclass_hinge": "margin", "squared_error": None}
COMPILED = {name: jax.jit(f, static_argnames=STATIC[name]) for name, f in LOSSES.items()}


def numpy_loss(name, scores, label, margin=1.0):
    """The loss of one example by a loop."""
    scores = scores.astype(np.float64)
    if name == "multiclass_hinge":
        return sum(max(0.0, s - scores[label] + margin) for j, s in enumerate(scores) if j != label)
    if name == "squared_error":
        return sum((s - (j == label)) ** 2 for j, s in enumerate(scores))
    return special.logsumexp(scores) - scores[label]


BATCHES = hnp.arrays(np.float32, (5, 4), elements=st.floats(-30, 30, width=32))


@pytest.mark.curriculum("C1")
def test_hinge_worked_example():
    each = COMPILED["multiclass_hinge"](SCORES, LABELS)
    np.testing.assert_allclose(each, [7.8, 0, 0], atol=1e-5)
    np.testing.assert_allclose(each.mean(), 2.6, atol=1e-5)
    wide = COMPILED["multiclass_hinge"](SCORES, LABELS, margin=8.0)
    np.testing.assert_allclose(wide, [14.8, 0, 2], atol=1e-5)  # 10 - 3.2 + 8, max(0, -8.2 + 8); ...; 8 - 14 + 8
    assert COMPILED["multiclass_hinge"](1e6 * SCORES, LABELS)[0] > 1e6  # no upper bound


@pytest.mark.curriculum("C4")
def test_softmax_cross_entropy_worked_example():
    cross_entropy = COMPILED["softmax_cross_entropy"]
    expected = [6.8011135, 0.0001243211, 0.0024768048]
    np.testing.assert_allclose(cross_entropy(SCORES, LABELS), expected, rtol=1e-3)
    one_hot = np.eye(3, dtype=np.float32)[LABELS]
    np.testing.assert_allclose(cross_entropy(SCORES, one_hot), expected, rtol=1e-3)
    np.testing.assert_allclose(cross_entropy(SCORES[[0, 0]], np.array([1, 2])), [15.0011135, 0.0011135], rtol=1e-4)


@pytest.mark.curriculum("C16")
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_losses_at_initialisation(classes):
    """Equal scores: c - 1 for the hinge, log c for softmax; and so, nearly, for a fresh model with small weights."""
    labels = np.arange(4) % classes
    equal = np.full((4, classes), 0.7, np.float32)
    np.testing.assert_allclose(losses.multiclass_hinge(equal, labels), classes - 1, rtol=1e-6)
    np.testing.assert_allclose(losses.softmax_cross_entropy(equal, labels), np.log(classes), rtol=1e-5)
    model = models_index.create("linear_tiny", classes, "float32")
    x = 0.01 * np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    logits, _ = model.apply(model.init(jax.random.key(0), x, False), x, False)
    np.testing.assert_allclose(losses.multiclass_hinge(logits, labels).mean(), classes - 1, rtol=0.05)
    np.testing.assert_allclose(losses.softmax_cross_entropy(logits, labels).mean(), np.log(classes), rtol=0.05)


@pytest.mark.curriculum("B14", "B15")
def test_softmax_worked_example_and_stability():
    """exp(-loss) over all labels is the softmax; shifting scores, even by 10,000, changes nothing."""
    softmax = lambda s: np.exp(-COMPILED["softmax_cross_entropy"](np.repeat(s[None], 3, 0), np.arange(3)))  # noqa: E731
    p = softmax(SCORES[0])
    np.testing.assert_allclose(p, [0.00111253, 3.0556e-7, 0.99888716], rtol=1e-3)
    np.testing.assert_allclose(p.sum(), 1, atol=1e-6)
    np.testing.assert_allclose(p, np.exp(SCORES[0]) / np.exp(SCORES[0]).sum(), rtol=1e-3)  # the naive form
    np.testing.assert_allclose(
        softmax(np.array([10_000, 10_001, 9_999], np.float32)), softmax(np.float32([1, 2, 0])), rtol=1e-5
    )
    far = COMPILED["softmax_cross_entropy"](np.array([[0, 1e4, -1e4]] * 3, np.float32), np.arange(3))
    np.testing.assert_allclose(far, [1e4, 0, 2e4])


@pytest.mark.parametrize("name", LOSSES)
@given(scores=BATCHES, labels=hnp.arrays(np.int32, 5, elements=st.integers(0, 3)))
def test_losses_equal_a_numpy_loop(name, scores, labels):
    each = COMPILED[name](scores, labels)
    expected = [numpy_loss(name, s, label) for s, label in zip(scores, labels, strict=True)]
    np.testing.assert_allclose(each, expected, rtol=1e-5, atol=1e-5)
    assert each.shape == (5,) and each.dtype == jnp.float32


@given(scores=BATCHES, smoothing=st.sampled_from([0.1, 0.5]), data=st.data())
def test_soft_labels_and_smoothing(scores, smoothing, data):
    """Cross-entropy is linear in the target: mixing labels mixes losses, smoothing mixes in the uniform label."""
    first, second = (data.draw(hnp.arrays(np.int32, 5, elements=st.integers(0, 3))) for _ in range(2))
    cross_entropy = COMPILED["softmax_cross_entropy"]
    log_p = special.log_softmax(scores.astype(np.float64), axis=1)
    eye, rows = np.eye(4, dtype=np.float32), np.arange(5)
    mixed = 0.3 * eye[first] + 0.7 * eye[second]
    expected = -0.3 * log_p[rows, first] - 0.7 * log_p[rows, second]
    np.testing.assert_allclose(cross_entropy(scores, mixed), expected, rtol=1e-4, atol=1e-4)
    smooth = (1 - smoothing) * -log_p[rows, first] - smoothing * log_p.mean(1)
    for labels in (first, eye[first]):
        np.testing.assert_allclose(
            cross_entropy(scores, labels, label_smoothing=smoothing), smooth, rtol=1e-4, atol=1e-4
        )


def test_squared_error_takes_soft_labels():
    soft = np.float32([[0.5, 0.5, 0]])
    np.testing.assert_allclose(losses.squared_error(np.float32([[1, 2, 3]]), soft), [0.25 + 2.25 + 9])


def test_gradient_of_softmax_cross_entropy_is_p_minus_y():
    gradient = jax.grad(lambda s: losses.softmax_cross_entropy(s, LABELS).mean())(SCORES)
    expected = (special.softmax(SCORES.astype(np.float64), axis=1) - np.eye(3)[LABELS]) / 3
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_gradient_of_hinge_counts_the_violations():
    gradient = jax.grad(lambda s: losses.multiclass_hinge(s, LABELS, margin=10.0).sum())(SCORES)
    np.testing.assert_array_equal(gradient, [[-2, 1, 1], [0, -1, 1], [0, 1, -1]])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("label", [-1, 3, 255])
def test_a_label_that_is_no_class_is_never_a_plausible_number(name, label):
    each = COMPILED[name](SCORES, np.array([0, label, 2]))
    assert np.isnan(each[1]) and np.isfinite(each[0]) and np.isfinite(each[2])


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16_scores_give_float32_losses(name):
    scores = jnp.asarray(SCORES, jnp.bfloat16)
    each = COMPILED[name](scores, LABELS)
    assert each.dtype == jnp.float32
    np.testing.assert_allclose(each, COMPILED[name](scores.astype(jnp.float32), LABELS), rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.zeros((3, 4), np.float32), np.zeros(2, np.int32)),
        (np.zeros((3, 4), np.float32), np.zeros((3, 5), np.float32)),
        (np.zeros((3, 4), np.float32), np.zeros((3, 1), np.int32)),
        (np.zeros((3, 4), np.float32), np.zeros(3, np.float32)),
        (np.zeros((3, 4), np.float32), np.zeros((3, 4), np.int32)),
        (np.zeros(4, np.float32), np.zeros(4, np.int32)),
    ],
)
def test_shapes_that_do_not_fit_are_refused_at_trace_time(name, logits, labels):
    with pytest.raises(ConfigError, match=f"{name} takes"):
        jax.eval_shape(LOSSES[name], logits, labels)


def test_hinge_refuses_soft_labels():
    with pytest.raises(
        ConfigError, match=r"needs integer labels \[b\], got soft labels .* mixup out of config\.augment"
    ):
        losses.multiclass_hinge(SCORES, np.eye(3, dtype=np.float32))


def test_impossible_parameters_are_refused():
    with pytest.raises(ConfigError, match=r"config\.loss\.margin=0"):
        losses.multiclass_hinge(SCORES, LABELS, margin=0)
    for smoothing in (1.0, -0.1):
        with pytest.raises(ConfigError, match=r"config\.loss\.label_smoothing"):
            losses.softmax_cross_entropy(SCORES, LABELS, label_smoothing=smoothing)
