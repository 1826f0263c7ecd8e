"""Classification losses: worked numbers, NumPy and SciPy oracles, properties, and errors at trace time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from models_for_tests import make_model
from scipy import special

from cvdl_jax.config import configs
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses import binary, classification
from cvdl_jax.ops.textbook import initial_loss

# Scores of (cat, boat, shark) for an image of each, from a lecture on loss functions
SCORES = np.array([[3.2, -5, 10], [0.1, 14, 5], [0.3, 8, 14]], np.float32)
LABELS = np.array([0, 1, 2])

STATIC = {
    "softmax_cross_entropy": "label_smoothing",
    "multiclass_hinge": "margin",
    "squared_error": None,
    "focal": ("gamma", "alpha"),
    "cosine": None,
    "sigmoid_cross_entropy": None,
}
LOSSES = {name: getattr(classification, name) for name in STATIC}
COMPILED = {name: jax.jit(f, static_argnames=STATIC[name]) for name, f in LOSSES.items()}
BINARY = ("binary_cross_entropy", "binary_focal", "binary_hinge", "perceptron")
COMPILED_BINARY = {name: jax.jit(getattr(classification, name)) for name in BINARY}


def numpy_loss(name, scores, label, margin=1.0):
    """The loss of one example by a loop."""
    scores = scores.astype(np.float64)
    if name == "multiclass_hinge":
        return sum(max(0.0, s - scores[label] + margin) for j, s in enumerate(scores) if j != label)
    if name == "squared_error":
        return sum((s - (j == label)) ** 2 for j, s in enumerate(scores))
    if name == "focal":
        log_p = special.log_softmax(scores)
        return -((special.softmax(scores)[np.arange(len(scores)) != label].sum()) ** 2) * log_p[label]
    if name == "cosine":
        return 1 - scores[label] / max(np.sqrt(sum(s**2 for s in scores)), 1e-6)
    if name == "sigmoid_cross_entropy":
        return sum(-special.log_expit(s if j == label else -s) for j, s in enumerate(scores))
    return special.logsumexp(scores) - scores[label]


BATCHES = hnp.arrays(np.float32, (5, 4), elements=st.floats(-30, 30, width=32))


@pytest.mark.curriculum("C1")
def test_hinge_worked_example():
    losses = COMPILED["multiclass_hinge"](SCORES, LABELS)
    np.testing.assert_allclose(losses, [7.8, 0, 0], atol=1e-5)
    np.testing.assert_allclose(losses.mean(), 2.6, atol=1e-5)
    np.testing.assert_allclose(classification.multiclass_hinge(SCORES, LABELS, reduction="mean"), 2.6, atol=1e-5)
    wide = COMPILED["multiclass_hinge"](SCORES, LABELS, margin=8.0)
    np.testing.assert_allclose(wide, [14.8, 0, 2], atol=1e-5)  # 10 - 3.2 + 8, max(0, -8.2 + 8); ...; 8 - 14 + 8 (ER14)
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
    np.testing.assert_allclose(classification.multiclass_hinge(equal, labels), classes - 1, rtol=1e-6)
    np.testing.assert_allclose(classification.softmax_cross_entropy(equal, labels), np.log(classes), rtol=1e-5)
    model = make_model("linear_tiny", classes, "float32")
    x = 0.01 * np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    logits, _ = model.apply(model.init(jax.random.key(0), x, False), x, False)
    np.testing.assert_allclose(classification.multiclass_hinge(logits, labels).mean(), classes - 1, rtol=0.05)
    np.testing.assert_allclose(classification.softmax_cross_entropy(logits, labels).mean(), np.log(classes), rtol=0.05)


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
    losses = COMPILED[name](scores, labels)
    expected = [numpy_loss(name, s, label) for s, label in zip(scores, labels, strict=True)]
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-5)
    assert losses.shape == (5,) and losses.dtype == jnp.float32


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
    np.testing.assert_allclose(classification.squared_error(np.float32([[1, 2, 3]]), soft), [0.25 + 2.25 + 9])


def test_gradient_of_softmax_cross_entropy_is_p_minus_y():
    gradient = jax.grad(lambda s: classification.softmax_cross_entropy(s, LABELS).mean())(SCORES)
    expected = (special.softmax(SCORES.astype(np.float64), axis=1) - np.eye(3)[LABELS]) / 3
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_gradient_of_hinge_counts_the_violations():
    gradient = jax.grad(lambda s: classification.multiclass_hinge(s, LABELS, margin=10.0).sum())(SCORES)
    np.testing.assert_array_equal(gradient, [[-2, 1, 1], [0, -1, 1], [0, 1, -1]])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("label", [-1, 3, 255])
def test_a_label_that_is_no_class_is_never_a_plausible_number(name, label):
    losses = COMPILED[name](SCORES, np.array([0, label, 2]))
    assert np.isnan(losses[1]) and np.isfinite(losses[0]) and np.isfinite(losses[2])


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16_scores_give_float32_losses(name):
    scores = jnp.asarray(SCORES, jnp.bfloat16)
    losses = COMPILED[name](scores, LABELS)
    assert losses.dtype == jnp.float32 and LOSSES[name](SCORES.astype(np.float64), LABELS).dtype == jnp.float32
    np.testing.assert_allclose(losses, COMPILED[name](scores.astype(jnp.float32), LABELS), rtol=1e-6)


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
    with pytest.raises(ConfigError, match=rf"{name} takes arrays, got labels of type list"):
        LOSSES[name](logits, labels.tolist())


@pytest.mark.parametrize("name", ["multiclass_hinge", "focal"])
def test_losses_of_one_right_class_refuse_soft_labels(name):
    with pytest.raises(
        ConfigError, match=rf"{name} needs integer labels \[b\], got soft labels .* mixup out of config\.augment"
    ):
        LOSSES[name](SCORES, np.eye(3, dtype=np.float32))


def test_impossible_parameters_are_refused():
    with pytest.raises(ConfigError, match=r"config\.loss\.margin=0"):
        classification.multiclass_hinge(SCORES, LABELS, margin=0)
    with pytest.raises(ConfigError, match=r"config\.loss\.margin=nan"):
        classification.multiclass_hinge(SCORES, LABELS, margin=float("nan"))
    for gamma in (-1, np.inf, np.nan):
        for name, scores in (("focal", SCORES), ("binary_focal", SCORES[:, :2])):
            with pytest.raises(ConfigError, match=r"config\.loss\.gamma=.* must be 0 or more"):
                getattr(classification, name)(scores, LABELS, gamma=gamma)
    for alpha in ((1, 1), (1, 1, -1)):
        with pytest.raises(ConfigError, match=r"config\.loss\.alpha=\(1, 1.* must be 3 numbers, one per class"):
            classification.focal(SCORES, LABELS, alpha=alpha)
    with pytest.raises(ConfigError, match=r"config\.loss\.alpha=1\.5 must lie in \[0, 1\]"):
        classification.binary_focal(SCORES[:, :2], LABELS, alpha=1.5)
    with pytest.raises(ConfigError, match=r"focal needs logits of two classes .* 'binary_focal'"):
        classification.focal(SCORES[:, :1], LABELS)
    for smoothing in (1.0, -0.1):
        with pytest.raises(ConfigError, match=r"config\.loss\.label_smoothing"):
            classification.softmax_cross_entropy(SCORES, LABELS, label_smoothing=smoothing)


# Initialisation ---------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("C16")
def test_a_loss_far_from_that_of_equal_scores_is_refused():
    """N - 1 for the hinge with margin 1, log N for softmax (OR4); a model with large first weights is caught."""
    for loss, expected in ((classification.multiclass_hinge, 9), (classification.softmax_cross_entropy, np.log(10))):
        assert initial_loss.loss_at_equal_scores(loss, 10) == pytest.approx(expected, rel=1e-6)
        assert initial_loss.check_initial_loss(1.05 * expected, loss, 10) == pytest.approx(expected, rel=1e-6)
        for wrong in (1.2 * expected, 0.8 * expected, np.nan, np.inf):
            with pytest.raises(ValueError, match=r"for 10 classes with equal scores it is .* scale of the last layer"):
                initial_loss.check_initial_loss(wrong, loss, 10)
    with pytest.raises(ValueError, match="num_classes=1 must be at least 2"):
        initial_loss.loss_at_equal_scores(classification.multiclass_hinge, 1)
    with pytest.raises(ValueError, match="tolerance=0 must be positive"):
        initial_loss.check_initial_loss(9, classification.multiclass_hinge, 10, tolerance=0)


# Focal, cosine, several labels ------------------------------------------------------------------------------------


@pytest.mark.curriculum("C9")
def test_focal_loss_worked_example():
    """p_y = 0.9: a hundredth of the cross-entropy for gamma 2, all of it for gamma 0 (OR84); class weights multiply."""
    scores = np.log(np.float32([[0.05, 0.9, 0.05], [0.9, 0.06, 0.04]]))
    labels = np.array([1, 0])
    np.testing.assert_allclose(COMPILED["focal"](scores, labels), 0.0010536052, rtol=1e-4)
    np.testing.assert_allclose(COMPILED["focal"](scores, labels, gamma=0.0), 0.1053605157, rtol=1e-5)
    np.testing.assert_allclose(
        COMPILED["focal"](SCORES, LABELS, gamma=0.0), COMPILED["softmax_cross_entropy"](SCORES, LABELS), rtol=1e-6
    )
    weighted = COMPILED["focal"](scores, labels, alpha=(3.0, 0.5, 1.0))
    np.testing.assert_allclose(weighted, [0.5 * 0.0010536052, 3 * 0.0010536052], rtol=1e-4)


@pytest.mark.curriculum("C9")
def test_focal_loss_of_two_classes_is_the_binary_one():
    scores = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32) * 5
    labels = np.array([0, 1, 1, 0, 1, 0])
    expected = binary.binary_focal(scores[:, 1] - scores[:, 0], labels, gamma=1.5)
    np.testing.assert_allclose(COMPILED["focal"](scores, labels, gamma=1.5), expected, rtol=1e-4, atol=1e-7)


def test_focal_gradient_is_finite_where_the_probability_rounds_to_one():
    for gamma in (0.5, 2.0):
        gradient = jax.grad(lambda s, g=gamma: classification.focal(s, np.array([0, 1]), g).sum())(
            np.float32([[100, 0, -3], [1e4, 0, 0]])
        )
        assert np.isfinite(gradient).all()
        np.testing.assert_allclose(gradient[1], [1, -1, 0], atol=1e-6)  # a certain mistake: as cross-entropy


@pytest.mark.curriculum("C15")
def test_cosine_loss_ignores_the_length_of_the_scores():
    np.testing.assert_allclose(COMPILED["cosine"](np.float32([[3, 4, 0]] * 3), LABELS), [0.4, 0.2, 1], atol=1e-6)
    np.testing.assert_allclose(COMPILED["cosine"](7 * SCORES, LABELS), COMPILED["cosine"](SCORES, LABELS), atol=1e-6)
    assert np.isfinite(jax.grad(lambda s: classification.cosine(s, LABELS).sum())(0 * SCORES)).all()


@pytest.mark.curriculum("C19")
def test_several_labels_of_an_image_are_independent():
    """The sum of a logistic loss per attribute, whatever the number of attributes that hold."""
    labels = np.float32([[1, 0, 1], [0, 0, 0], [1, 1, 1]])
    p = special.expit(SCORES.astype(np.float64))
    expected = -special.xlogy(labels, p) - special.xlogy(1 - labels, 1 - p)
    losses = COMPILED["sigmoid_cross_entropy"](SCORES[:2], labels[:2])
    np.testing.assert_allclose(losses, expected[:2].sum(1), rtol=1e-4)
    with pytest.raises(ValueError, match=r"labels\[0, 1\]=2\.0 must be in \[0\.0, 1\.0\]"):
        classification.sigmoid_cross_entropy(SCORES[:1], np.float32([[1, 2, 0]]))
    assert np.isnan(COMPILED["sigmoid_cross_entropy"](SCORES[:2], 2 * labels[:2])[0])


# Two classes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BINARY)
def test_binary_losses_take_one_logit_or_two(name):
    """The score of two logits is their difference; labels 0 and 1 become -1 and 1 where a sign decides."""
    pairs, labels = SCORES[:, :2], np.array([0, 1, 1])
    score = pairs[:, 1] - pairs[:, 0]
    signed = name in ("binary_hinge", "perceptron")
    plain = {"binary_cross_entropy": "binary_cross_entropy_with_logits"}.get(name, name)
    expected = getattr(binary, plain)(score, 2 * labels - 1 if signed else labels)
    for logits in (pairs, score[:, None]):
        losses = COMPILED_BINARY[name](logits, labels)
        assert losses.shape == (3,) and losses.dtype == jnp.float32
        np.testing.assert_allclose(losses, expected, rtol=1e-6)
        wrong = COMPILED_BINARY[name](logits, np.array([0, 2, -1]))
        assert np.isfinite(wrong[0]) and np.isnan(wrong[1:]).all()
        with pytest.raises(ValueError, match=r"labels\[1\]=2 must be in \[0, 1\]"):
            getattr(classification, name)(logits, np.array([0, 2, 1]))
    with pytest.raises(ConfigError, match=rf"config\.loss\.name='{name}' is for two classes, got logits of 3"):
        jax.eval_shape(getattr(classification, name), SCORES, labels)


def test_logistic_loss_of_two_logits_is_softmax_cross_entropy():
    pairs, soft = SCORES[:, :2], np.float32([[0.3, 0.7], [1, 0], [0.5, 0.5]])
    for labels in (np.array([0, 1, 1]), soft):
        np.testing.assert_allclose(
            COMPILED_BINARY["binary_cross_entropy"](pairs, labels),
            COMPILED["softmax_cross_entropy"](pairs, labels),
            rtol=1e-5,
            atol=1e-6,
        )
    losses = COMPILED_BINARY["binary_cross_entropy"](pairs[:, :1], soft[:, 1:])  # one logit, one probability
    np.testing.assert_allclose(losses, binary.binary_cross_entropy_with_logits(pairs[:, 0], soft[:, 1]))
    for name in ("binary_hinge", "perceptron"):
        with pytest.raises(ConfigError, match=f"{name} needs integer labels"):
            getattr(classification, name)(pairs, soft)


# What a config and a caller may say -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LOSSES, *BINARY])
def test_every_loss_is_found_by_its_name_and_trains(name):
    loss = configs.named(classification, {"name": name}, "config.loss", "logits", "labels")
    scores = SCORES[:, :2] if name in BINARY else SCORES
    gradient = jax.grad(lambda s: loss(s, np.array([0, 1, 0])).sum())(-scores)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
    with pytest.raises(ConfigError, match=r"config\.loss\.reduction is not an argument"):
        configs.named(classification, {"name": name, "reduction": "mean"}, "config.loss", "logits", "labels")


def test_helpers_are_no_losses():
    with pytest.raises(ConfigError, match=r"config\.loss\.name='reducible' is not known"):
        configs.named(classification, {"name": "reducible"}, "config.loss", "logits", "labels")


@pytest.mark.parametrize("name", LOSSES)
def test_known_values_that_are_wrong_are_refused(name):
    bad = SCORES.copy()
    bad[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"logits\[1, 2\]=nan must be a number, not NaN \(1 of 9 values are not\)"):
        LOSSES[name](bad, LABELS)
    assert np.isnan(COMPILED[name](bad, LABELS)[1])
    with pytest.raises(ValueError, match=r"labels\[1\]=255 must be in \[0, 2\]"):
        LOSSES[name](SCORES, np.array([0, 255, 2]))


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "squared_error", "cosine"])
def test_soft_labels_are_probabilities(name):
    soft = np.float32([[0.2, 0.8, 0], [0.2, 0.7, 0], [1.5, -0.5, 0]])
    assert np.isnan(COMPILED[name](SCORES, soft)).tolist() == [False, True, True]
    with pytest.raises(ValueError, match=r"sum\(labels, axis=-1\)\[1\]=0\.[89].* must be 1, to 0\.001"):
        LOSSES[name](SCORES[:2], soft[:2])
    with pytest.raises(ValueError, match=r"labels\[0, 1\]=-0\.5 must be at least 0\.0 and finite"):
        LOSSES[name](SCORES[2:], soft[2:])
