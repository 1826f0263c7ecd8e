"""Attacks by gradients beside loops in NumPy over a small network whose derivative is written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.attacks import iterative, pgd, threat
from cvdl_jax.analysis.attacks.access import BlackBox, WhiteBox
from cvdl_jax.errors import ConfigError, DataError

RNG = np.random.default_rng(3)
FIRST, SECOND = RNG.normal(size=(16, 12)), RNG.normal(size=(12, 5))
X = RNG.uniform(0.2, 0.8, size=(6, 4, 4, 1))


def logits_fn(x):
    return jnp.tanh((x.reshape(len(x), -1) - 0.5) @ FIRST.astype(np.float32)) @ SECOND.astype(np.float32)


def scores(x):
    return np.tanh((x.reshape(-1, 16) - 0.5) @ FIRST) @ SECOND


def pulled(x, v):
    """The gradient of v.f at one image [4, 4, 1]."""
    hidden = np.tanh((x.reshape(16) - 0.5) @ FIRST)
    return (FIRST @ ((1 - hidden**2) * (SECOND @ v))).reshape(x.shape)


def one_hot(c):
    return np.eye(5)[c]


def softmax(f):
    e = np.exp(f - f.max())
    return e / e.sum()


Y = scores(X).argmax(1)
Z = jnp.asarray(X, jnp.float32)


# Definitions ----------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("P1")
def test_success_and_distance_by_hand():
    logits = jnp.asarray([[1.0, 3.0, 2.0], [2.0, 2.0, 1.0], [jnp.nan, 0.0, 0.0]])
    assert threat.margin(logits, jnp.asarray([1, 0, 1]))[0] == 1
    assert threat.reached(logits, jnp.asarray([1, 0, 0])).tolist() == [True, False, False]  # a tie is no success
    assert threat.fooled(logits, jnp.asarray([1, 0, 1])).tolist() == [False, False, True]
    assert threat.fooled(logits, jnp.asarray([2, 1, 0])).tolist() == [True, True, True]
    a, b = jnp.zeros((1, 2, 2, 3)), jnp.zeros((1, 2, 2, 3)).at[0, 0, 1].set(jnp.asarray([0.0, 0.3, -0.4]))
    found = [float(threat.distance(a, b, norm)[0]) for norm in ("linf", "l2", "l1", "l0")]
    np.testing.assert_allclose(found, [0.4, 0.5, 0.7, 1], rtol=1e-6)  # a pixel counts once


@pytest.mark.curriculum("P1")
def test_an_adversarial_example_is_near_in_range_and_misclassified():
    x, y = jnp.full((4, 1, 1, 1), 0.9), jnp.zeros(4, int)
    z = x + jnp.asarray([0.05, 0.2, 0.101, 0.05]).reshape(-1, 1, 1, 1)
    logits = jnp.asarray([[0.0, 1.0]] * 3 + [[1.0, 0.0]])
    assert threat.is_adversarial(logits, x, z, y, 0.1).tolist() == [True, False, False, False]
    assert threat.is_adversarial(logits, x, x + 0.11, y, 0.2).tolist() == [False] * 4  # beyond 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: pgd.projected(f, Z, Y, eps=0.0), ConfigError, r"projected\(eps\)=0.0 must be positive"),
        (lambda f: pgd.fgsm(f, Z, Y, eps=8.0), ConfigError, "eps=8.0 is more than the whole .* 8 of 255 is 0.03137"),
        (lambda f: pgd.fgsm(f, 255 * Z, Y), DataError, r"x has values from [\d.]+ to [\d.]+; attacks keep"),
        (lambda f: pgd.fgsm(f, np.zeros((1, 4, 4, 1), np.uint8), Y[:1]), DataError, "x is uint8; .* give x / 255"),
        (lambda f: pgd.projected(f, Z, Y, target=Y), DataError, "the target of image 0 is its own class"),
        (lambda f: iterative.targeted(f, Z, Y), DataError, "the target of image 0 is its own class"),
        (lambda f: pgd.fgsm(f, Z, np.full(6, 5)), DataError, r"label has classes from 5 to 5; the model has 0..4"),
        (lambda f: pgd.fgsm(f, Z, Y[:2]), DataError, r"label has the shape \[2\] .* give 6 whole numbers"),
        (lambda f: pgd.fgsm(lambda x: f(x)[:, :1], Z, 0 * Y), DataError, "one score for each image, .* two classes or"),
        (lambda f: pgd.fgsm(f, Z, Y, norm="l1"), ConfigError, r"fgsm\(norm\)='l1'; expected one of 'linf', 'l2'"),
        (lambda f: pgd.projected(f, Z, Y, objective="magin"), ConfigError, "objective.*='magin'.* mean 'margin'"),
        (lambda f: pgd.iterative_sign(f, Z, Y, toward="least"), ConfigError, r"iterative_sign\(toward\)='least'; exp"),
        (lambda f: pgd.projected(f, Z, Y, steps=0), ConfigError, r"projected\(steps\)=0 must be"),
        (lambda f: pgd.projected(f, Z, Y, restarts=0), ConfigError, r"projected\(restarts\)=0 must be"),
        (lambda f: pgd.projected(f, Z, Y, step_size=-0.1), ConfigError, r"projected\(step_size\)=-0.1 must be"),
        (lambda f: iterative.untargeted(f, Z, of="prob"), ConfigError, "='prob'; expected one of 'logits', 'probab"),
        (lambda f: pgd.fgsm(f, Z[:0], Y[:0]), DataError, r"x has the shape \[0, 4, 4, 1\]; .* b at least 1"),
        (lambda f: pgd.fgsm(BlackBox(f, "labels"), Z, Y), ConfigError, "needs gradients, .* use boundary or"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(logits_fn)


@pytest.mark.parametrize("eps", [0.3, 40.0, 400.0])
def test_a_large_ball_is_not_left_by_rounding_and_its_border_counts_as_inside(eps):
    """Of 300,000 pixels, by a length in float64; the length in float32 is off by more than 1e-6 of a radius of 40."""
    x = np.random.default_rng(0).uniform(0.4, 0.6, (2, 317, 317, 3)).astype(np.float32)
    away = x + np.random.default_rng(1).choice([-0.4, 0.4], x.shape).astype(np.float32)
    z = np.asarray(threat.project(jnp.asarray(away), jnp.asarray(x), eps, "l2"), np.float64)
    lengths = np.sqrt(np.square(z - x).reshape(2, -1).sum(1))
    whole = np.sqrt(np.square(np.clip(away, 0, 1).astype(np.float64) - x).reshape(2, -1).sum(1))
    assert (lengths <= eps + 1e-6).all() and (lengths > 0.9999 * np.minimum(eps, whole)).all()
    logits, label = jnp.asarray([[0.0, 1.0]] * 2), jnp.zeros(2, int)
    assert threat.is_adversarial(logits, x, jnp.asarray(z, jnp.float32), label, eps, "l2").all()


# The iterative gradient method ----------------------------------------------------------------------------------------


@pytest.mark.curriculum("P2")
def test_targeted_ascent_equals_the_loop_and_stops_when_the_target_wins():
    target = (Y + 2) % 5
    ends = []
    for x, a in zip(X, target, strict=True):
        z = x
        for _ in range(80):
            f = scores(z)[0]
            if f[a] > np.delete(f, a).max():
                break
            z = np.clip(z + 0.05 * pulled(z, one_hot(a)), 0, 1)
        ends.append(z)
    found = iterative.targeted(WhiteBox(logits_fn), Z, target, step_size=0.05, steps=80)
    np.testing.assert_allclose(found, ends, atol=2e-5)
    assert (scores(np.asarray(found)).argmax(1) == target).sum() >= 4


@pytest.mark.curriculum("P3")
def test_untargeted_descent_equals_the_loop_and_stops_at_the_first_other_class():
    ends = []
    for x, c in zip(X, Y, strict=True):
        z = x
        for _ in range(60):
            if scores(z)[0].argmax() != c:
                break
            z = np.clip(z - 0.03 * pulled(z, one_hot(c)), 0, 1)
        ends.append(z)
    found = iterative.untargeted(logits_fn, Z, step_size=0.03, steps=60)
    np.testing.assert_allclose(found, ends, atol=2e-5)
    assert (scores(np.asarray(found)).argmax(1) != Y).all()


@pytest.mark.curriculum("P4")
def test_the_least_likely_class_is_that_of_the_clean_image():
    lowest = scores(X).argmin(1)
    ends = []
    for x, a in zip(X, lowest, strict=True):
        z = x
        for _ in range(60):
            f = scores(z)[0]
            if f[a] > np.delete(f, a).max():
                break
            z = np.clip(z + 0.05 * pulled(z, one_hot(a)), 0, 1)
        ends.append(z)
    np.testing.assert_allclose(iterative.least_likely(logits_fn, Z, step_size=0.05, steps=60), ends, atol=2e-5)


@pytest.mark.curriculum("P5")
def test_the_combined_attack_ascends_the_present_runner_up():
    ends = []
    for x, c in zip(X, Y, strict=True):
        z = x
        for _ in range(60):
            f = scores(z)[0]
            if f.argmax() != c:
                break
            g = np.where(np.arange(5) == c, -np.inf, f).argmax()
            z = np.clip(z - 0.02 * pulled(z, one_hot(c)) + 0.02 * pulled(z, one_hot(g)), 0, 1)
        ends.append(z)
    np.testing.assert_allclose(iterative.combined(logits_fn, Z, step_size=0.02, steps=60), ends, atol=2e-5)


def test_a_ball_is_not_left_where_one_is_asked_for():
    z = iterative.least_likely(logits_fn, Z, step_size=0.3, steps=20, eps=0.4, norm="l2")
    lengths = np.asarray(threat.distance(Z, z, "l2"))
    assert lengths.max() <= 0.4 + 1e-6 and lengths.max() > 0.39


@pytest.mark.curriculum("P6")
def test_the_softmax_gradient_vanishes_where_the_model_is_sure():
    sure = lambda x: 40 * logits_fn(x)  # noqa: E731
    of_logit, of_probability = iterative.gradient_sizes(sure, Z, Y)
    expected, small = [], []
    for x, c in zip(X, Y, strict=True):
        p = softmax(40 * scores(x)[0])
        expected.append(np.linalg.norm(pulled(x, 40 * one_hot(c))))
        small.append(np.linalg.norm(pulled(x, 40 * p[c] * (one_hot(c) - p))))
    np.testing.assert_allclose(of_logit, expected, rtol=1e-4)
    np.testing.assert_allclose(of_probability, small, rtol=1e-3, atol=1e-4)
    assert of_probability.min() < 1e-3 * of_logit.min()
    stuck = iterative.untargeted(sure, Z, step_size=0.001, steps=20, of="probabilities")
    moved = iterative.untargeted(sure, Z, step_size=0.001, steps=20, of="logits")
    assert threat.fooled(sure(moved), Y).sum() > threat.fooled(sure(stuck), Y).sum()


# Signs and balls ------------------------------------------------------------------------------------------------------


def loss_gradient(x, c):
    """Of softmax cross-entropy."""
    return pulled(x, softmax(scores(x)[0]) - one_hot(c))


@pytest.mark.curriculum("P7")
def test_fgsm_is_one_step_along_the_sign_for_true_predicted_and_target_labels():
    other = (Y + 1) % 5
    true = [np.clip(x + 0.3 * np.sign(loss_gradient(x, c)), 0, 1) for x, c in zip(X, other, strict=True)]
    np.testing.assert_allclose(pgd.fgsm(logits_fn, Z, other, eps=0.3), true, atol=1e-6)
    predicted = [np.clip(x + 0.1 * np.sign(loss_gradient(x, c)), 0, 1) for x, c in zip(X, Y, strict=True)]
    np.testing.assert_allclose(pgd.fgsm(logits_fn, Z, eps=0.1), predicted, atol=1e-6)
    toward = [np.clip(x - 0.1 * np.sign(loss_gradient(x, c)), 0, 1) for x, c in zip(X, other, strict=True)]
    np.testing.assert_allclose(pgd.fgsm(logits_fn, Z, Y, eps=0.1, target=other), toward, atol=1e-6)


@pytest.mark.curriculum("P8")
@pytest.mark.parametrize("toward", ["away", "least_likely"])
def test_the_iterative_sign_method_has_two_directions(toward):
    lowest = scores(X).argmin(1)
    ends = []
    for x, c, low in zip(X, Y, lowest, strict=True):
        z = x
        for _ in range(8):
            f = scores(z)[0]
            if (f.argmax() != c) if toward == "away" else (f.argmax() == low):
                break
            g = loss_gradient(z, c) if toward == "away" else -loss_gradient(z, low)
            z = np.clip(np.clip(z + 0.03 * np.sign(g), x - 0.15, x + 0.15), 0, 1)
        ends.append(z)
    found = pgd.iterative_sign(logits_fn, Z, Y, eps=0.15, step_size=0.03, steps=8, toward=toward)
    np.testing.assert_allclose(found, ends, atol=2e-6)


@pytest.mark.curriculum("P9")
@pytest.mark.parametrize(("norm", "eps", "size"), [("linf", 0.1, 0.04), ("l2", 0.5, 0.2)])
@pytest.mark.parametrize("objective", ["cross_entropy", "margin"])
def test_pgd_equals_the_loop_from_the_same_start(norm, eps, size, objective):
    key = jax.random.key(7)
    starts = np.asarray(pgd.random_point(jax.random.fold_in(key, 0), Z, eps, norm), np.float64)
    ends = []
    for x, z, c in zip(X, starts, Y, strict=True):
        for _ in range(5):
            f = scores(z)[0]
            if f.argmax() != c:
                break
            runner = np.where(np.arange(5) == c, -np.inf, f).argmax()
            g = loss_gradient(z, c) if objective == "cross_entropy" else pulled(z, one_hot(runner) - one_hot(c))
            if norm == "linf":
                z = np.clip(z + size * np.sign(g), x - eps, x + eps)
            else:
                z = z + size * g / np.linalg.norm(g)
                z = x + (z - x) * min(1, eps / np.linalg.norm(z - x))
            z = np.clip(z, 0, 1)
        ends.append(z)
    settings = {"eps": eps, "step_size": size, "steps": 5, "norm": norm, "objective": objective}
    np.testing.assert_allclose(pgd.projected(logits_fn, Z, Y, key, **settings), ends, atol=2e-5)


@pytest.mark.curriculum("P9")
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.3), ("l2", 1.5)])
def test_no_attack_leaves_the_ball_or_the_box(norm, eps):
    x = jnp.asarray(RNG.integers(0, 2, size=(6, 4, 4, 1)), jnp.float32)  # corners, where both bind
    start = pgd.random_point(jax.random.key(1), x, eps, norm)
    z = pgd.projected(logits_fn, x, (Y + 1) % 5, jax.random.key(2), eps=eps, steps=6, norm=norm, target=Y)
    for changed in (start, z):
        assert threat.distance(x, changed, norm).max() <= eps + 1e-6
        assert 0 <= changed.min() and changed.max() <= 1


def test_a_start_in_l2_is_uniform_in_the_ball():
    x = jnp.full((4000, 1, 2, 1), 0.5)
    change = np.asarray(pgd.random_point(jax.random.key(0), x, 0.4, "l2") - x).reshape(-1, 2)
    share = (np.linalg.norm(change, axis=1) < 0.2).mean()
    assert abs(share - 0.25) < 0.03  # area of half the radius


@pytest.mark.curriculum("P9")
def test_later_starts_are_of_the_images_that_are_left():
    """A model that is fooled in a small part of the ball only: more starts find it for more images, and lose none."""

    def needle(x):
        hit = (jnp.abs(x.reshape(len(x), -1).mean(1) - 0.53) < 0.004).astype(x.dtype)
        return jnp.stack([1 - hit + 0 * x.sum((1, 2, 3)), hit], 1)

    x, y = jnp.full((64, 2, 2, 1), 0.5), jnp.zeros(64, int)
    found = [
        threat.fooled(needle(pgd.projected(needle, x, y, jax.random.key(0), eps=0.1, steps=1, restarts=n)), y)
        for n in (1, 8)
    ]
    assert 0 < found[0].sum() < found[1].sum() and found[1][found[0]].all()


def test_rows_of_a_mixed_batch_are_clean_or_attacked():
    loss = lambda z: logits_fn(z)[:, 0]  # noqa: E731
    x = jnp.tile(Z, (20, 1, 1, 1))
    z = pgd.pgd(loss, x, jax.random.key(0), 0.1, 0.05, 2, share=0.3)
    whole = pgd.pgd(loss, x, jax.random.key(0), 0.1, 0.05, 2)
    changed = np.asarray(jnp.abs(z - x).max((1, 2, 3)) > 0)
    assert 0.18 < changed.mean() < 0.42
    np.testing.assert_array_equal(z[changed], whole[changed])
    half = pgd.pgd(loss, x, jax.random.key(0), 0.1, 0.05, 2, scale=0.5)
    assert 0.04 < jnp.abs(half - x).max() <= 0.05 + 1e-6


# Gradients that are too small, or infinite, and attacks that are to carry over ---------------------------------------


def test_a_step_in_l2_has_length_one_however_small_the_gradient_is():
    g = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 4, 1)), jnp.float32)
    for scale in (1.0, 1e-15, 1e-30, 1e30):
        np.testing.assert_allclose(threat.steepest(scale * g, "l2"), threat.steepest(g, "l2"), rtol=1e-5)
    np.testing.assert_array_equal(threat.steepest(0 * g, "l2"), 0)


def test_derivatives_that_are_no_finite_numbers_do_not_stop_an_attack():
    g = jnp.asarray([[1.0, -3.0, jnp.nan, jnp.inf], [0.0, -jnp.inf, 0.0, jnp.nan]])
    np.testing.assert_array_equal(threat.finite(g), [[1, -3, 0, 3], [0, -1, 0, 0]])
    w = jnp.asarray(np.random.default_rng(1).normal(size=(16, 3)), jnp.float32)
    x = np.random.default_rng(2).uniform(0.2, 0.8, (8, 4, 4, 1)).astype(np.float32)
    x[:, :2] = 0  # where the square root has no finite derivative
    f = lambda x: jnp.sqrt(x).reshape(len(x), -1) @ w  # noqa: E731
    y = np.asarray(f(jnp.asarray(x))).argmax(1)
    for z in (
        pgd.fgsm(f, x, y, eps=2.0, norm="l2"),
        iterative.untargeted(f, x, y, eps=2.0),
        iterative.combined(f, x, y, eps=2.0),
    ):
        assert threat.fooled(f(z), y).mean() > 0.7


def test_without_a_stop_all_steps_are_taken():
    z = pgd.projected(logits_fn, Z, Y, eps=0.3, steps=20)
    through = pgd.projected(logits_fn, Z, Y, eps=0.3, steps=20, stop=False)
    assert threat.fooled(logits_fn(z), Y).all() and threat.fooled(logits_fn(through), Y).all()
    assert threat.distance(Z, through).max() <= 0.3 + 1e-6
    assert threat.margin(logits_fn(through), Y).mean() < threat.margin(logits_fn(z), Y).mean() - 0.1


def test_the_least_likely_class_is_never_the_label():
    two = lambda x: logits_fn(x)[:, :2]  # noqa: E731
    wrong = two(jnp.asarray(Z)).argmin(1)  # each image is misclassified, and its label is the less likely of two
    z = pgd.iterative_sign(two, Z, wrong, eps=0.3, toward="least_likely")
    assert (two(z).argmax(1) != wrong).all()
