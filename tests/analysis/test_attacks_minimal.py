"""The smallest changes, changes for many images, images of nothing, and what is defended and measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.attacks import defences, fooling, linearity, minimal, pgd, robustness, threat, universal
from cvdl_jax.analysis.attacks.access import BlackBox
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.stats.intervals import wilson
from cvdl_jax.ops.images.hog import hog

RNG = np.random.default_rng(11)
W = RNG.normal(size=(16, 4))
X = RNG.uniform(0.35, 0.65, size=(12, 4, 4, 1))
Z = jnp.asarray(X, jnp.float32)


def linear(x):
    return (x.reshape(len(x), -1) - 0.5) @ W.astype(np.float32)


def scores(x):
    return (np.asarray(x, np.float64).reshape(len(x), -1) - 0.5) @ W


Y = scores(X).argmax(1)
# Distance to the nearest boundary of a linear model: min_k (f_y - f_k) / |w_y - w_k|, while no pixel meets 0 or 1.
GAPS = scores(X)[np.arange(12), Y][:, None] - scores(X)
LENGTHS = np.linalg.norm(W[:, Y].T[:, :, None] - W[None], axis=1)
NEAREST = np.where(LENGTHS > 0, GAPS / np.where(LENGTHS > 0, LENGTHS, 1), np.inf).min(1)


# The smallest change --------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("P18")
def test_deepfool_is_exact_of_a_linear_model():
    z = minimal.deepfool(linear, Z, Y)
    lengths = np.asarray(threat.distance(Z, z, "l2"))
    assert threat.fooled(linear(z), Y).all()
    np.testing.assert_allclose(lengths, 1.02 * NEAREST, rtol=0.01, atol=1e-4)


@pytest.mark.curriculum("P18")
def test_carlini_wagner_comes_near_the_smallest_change():
    z = minimal.carlini_wagner(linear, Z, Y, steps=80, searches=8, c=0.1)
    lengths = np.asarray(threat.distance(Z, z, "l2"))
    assert threat.fooled(linear(z), Y).all() and 0 <= z.min() and z.max() <= 1
    assert (lengths >= NEAREST - 1e-4).all() and (lengths <= 1.15 * NEAREST + 0.01).all()
    target = (Y + 1) % 4
    z = minimal.carlini_wagner(linear, Z, Y, target=target, steps=80, searches=3, c=10.0, confidence=0.5)
    assert (threat.margin(linear(z), jnp.asarray(target)) >= 0.5).all()


@pytest.mark.curriculum("P18")
def test_lbfgs_makes_everything_the_target_with_a_small_change():
    some, y = Z[:3], Y[:3]
    target = (y + 1) % 4
    z = minimal.lbfgs(linear, some, target)
    assert threat.reached(linear(z), jnp.asarray(target)).all() and 0 <= z.min() and z.max() <= 1
    lengths = np.asarray(threat.distance(some, z, "l2"))
    other = minimal.carlini_wagner(linear, some, y, target=target, steps=80, searches=8, c=0.1)
    near = np.asarray(threat.distance(some, other, "l2"))
    assert (lengths >= NEAREST[:3] - 1e-4).all() and (lengths <= 1.1 * near + 0.01).all()
    with pytest.raises(DataError, match="the target of image 0 is its own class"):
        minimal.lbfgs(linear, some, y)


# Many images ----------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("P10")
def test_one_perturbation_fools_most_images_better_than_noise_does():
    """Of images of one class of a linear model the best perturbation is known to the sign."""
    x = Z[np.bincount(Y).argmax() == Y]
    v = universal.universal(linear, x, eps=0.12, epochs=3, batch=4)
    assert v.shape == (4, 4, 1) and jnp.abs(v).max() <= 0.12 + 1e-6
    noise = 0.12 * jax.random.rademacher(jax.random.key(0), v.shape, jnp.float32)
    rate = universal.fooling_rate(linear, x, v)
    assert rate > universal.fooling_rate(linear, x, noise) and rate >= 0.8
    short = universal.universal(linear, x, eps=0.3, norm="l2", epochs=12)
    assert 0.29 < jnp.linalg.norm(short) <= 0.3 + 1e-6


def test_the_fooling_rate_counts_changed_answers():
    v = jnp.zeros((4, 4, 1))
    assert universal.fooling_rate(linear, Z, v) == 0
    toward = 0.35 * np.sign(W[:, 1] - W.mean(1)).reshape(4, 4, 1)
    changed = scores(np.clip(X + toward, 0, 1)).argmax(1) != Y
    assert universal.fooling_rate(linear, Z, toward) == pytest.approx(changed.mean())
    for bad in (np.full((4, 4, 1), np.nan), toward[:3], toward[..., 0]):
        with pytest.raises(DataError, match=r"give finite numbers, one for each of \[4, 4, 1\]"):
            universal.fooling_rate(linear, Z, bad)


def bright(x):
    """Says 1 where the mean of 3 x 3 pixels is above 0.75 anywhere."""
    kernel = np.full((3, 3, 1, 1), 1 / 9, np.float32)
    maps = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    top = maps.reshape(len(x), -1).max(1)
    return 10 * jnp.stack([0.75 - top, top - 0.75], 1)


@pytest.mark.curriculum("P15", "P16")
def test_a_patch_works_wherever_it_is_put():
    x = jnp.asarray(RNG.uniform(0.3, 0.5, size=(16, 12, 12, 1)), jnp.float32)
    assert (bright(x).argmax(1) == 0).all()
    p = universal.patch(bright, x, 1, share=0.4, steps=40, batch=8, degrees=0.0, scale=0.0)
    assert p.shape == (5, 5, 1) and 0 <= p.min() and p.max() <= 1
    for seed in (101, 102):
        z, cover = universal.with_patch(jax.random.key(seed), x, p, 0.0, 0.0)
        assert (bright(z).argmax(1) == 1).mean() >= 0.9
        np.testing.assert_allclose(jnp.where(cover == 0, z - x, 0), 0, atol=1e-6)
        np.testing.assert_allclose(cover.sum((1, 2, 3)), 25, rtol=1e-4)  # whole, and inside
    places = [np.asarray(universal.with_patch(jax.random.key(s), x, p, 0.0, 0.0)[1]).argmax() for s in range(4)]
    assert len(set(places)) > 1


@pytest.mark.curriculum("P16")
def test_expectation_over_transformations_makes_examples_that_stay_adversarial():
    def moved(key, x):
        """By 0 or 1 pixels to the right, as a camera that shakes."""
        shift = jax.random.bernoulli(key, 0.5, (len(x), 1, 1, 1))
        return jnp.where(shift, jnp.roll(x, 1, 2), x)

    seen = universal.expectation(linear, moved, jax.random.key(0), 16)
    p = np.exp(np.asarray(seen(Z)))
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    views = jnp.stack([moved(k, Z) for k in jax.random.split(jax.random.key(0), 16)])
    expected = np.mean([jax.nn.softmax(linear(v)) for v in views], 0)
    np.testing.assert_allclose(p, expected, rtol=1e-4)

    def worst(z):
        """The mean margin over both views."""
        return float((threat.margin(linear(z), Y) + threat.margin(linear(jnp.roll(z, 1, 2)), Y)).mean())

    robust = pgd.fgsm(seen, Z, Y, eps=0.1)
    assert threat.distance(Z, robust).max() <= 0.1 + 1e-6
    assert worst(robust) < worst(pgd.fgsm(linear, Z, Y, eps=0.1)) - 0.1


def test_a_random_view_is_an_image_and_depends_on_its_row_and_key_only():
    view = universal.placed_anywhere()
    x = jnp.asarray(RNG.uniform(size=(3, 8, 8, 1)), jnp.float32)
    one, other = view(jax.random.key(0), x), view(jax.random.key(1), x)
    assert 0 <= one.min() and one.max() <= 1 and jnp.abs(one - other).max() > 0.05
    np.testing.assert_array_equal(view(jax.random.key(0), x[:2]), one[:2])
    still = universal.placed_anywhere(0.0, 0.0, 0.0, 0.0)(jax.random.key(0), x)
    np.testing.assert_allclose(still, x, atol=1e-5)


# Nothing, and other models --------------------------------------------------------------------------------------------


@pytest.mark.curriculum("P17")
def test_images_of_nothing_are_classified_with_confidence():
    sure = lambda x: 4 * linear(x)  # noqa: E731
    x = fooling.sure_of_nothing(sure, (4, 4, 1), np.arange(4), step_size=0.1, steps=60)
    p = np.asarray(jax.nn.softmax(sure(x)))
    assert x.shape == (4, 4, 4, 1) and (np.diag(p) >= 0.99).all() and 0 <= x.min() and x.max() <= 1
    box = BlackBox(sure, "scores")
    best, confidence = fooling.evolved(box, (4, 4, 1), 4, jax.random.key(0), generations=60, children=16)
    assert box.queries == 60 * 16
    np.testing.assert_allclose(np.diag(jax.nn.softmax(sure(best))), confidence, rtol=1e-4)
    assert confidence.min() > 0.9
    for classes in (3, 5):
        with pytest.raises(ConfigError, match=rf"num_classes={classes}\): the model gives scores of 4 classes"):
            fooling.evolved(sure, (4, 4, 1), classes, generations=1, children=2)


@pytest.mark.curriculum("P19")
def test_linear_classifiers_of_pixels_and_of_gradient_histograms_are_fooled_too():
    """Both attacked: the histograms by their own derivative, a support vector machine of scikit-learn by its labels."""
    from sklearn.datasets import load_digits
    from sklearn.svm import LinearSVC

    digits = load_digits(n_class=2)
    x = np.kron(digits.images[:80] / 16, np.ones((1, 2, 2)))[..., None].astype(np.float32)  # 16 x 16
    y = digits.target[:80]
    features = jax.jit(lambda x: hog(x, 4, 9, 2).reshape(len(x), -1))
    machine = LinearSVC(C=1.0).fit(np.asarray(features(jnp.asarray(x))), y)
    w, b = np.float32(machine.coef_[0]), np.float32(machine.intercept_[0])

    def of_histograms(x):
        f = features(x) @ w + b
        return jnp.stack([-f, f], 1)

    some, label = jnp.asarray(x[:10]), y[:10]
    assert not threat.fooled(of_histograms(some), label).any()
    z = pgd.projected(of_histograms, some, label, eps=0.2, steps=15, objective="margin")
    assert threat.fooled(of_histograms(z), label).mean() >= 0.8
    assert threat.distance(some, z).max() <= 0.2 + 1e-6
    pixels = LinearSVC(C=1.0).fit(x.reshape(80, -1), y)
    change, rise = linearity.worst_change(pixels.coef_[0], 0.3)
    np.testing.assert_allclose(rise, 0.3 * np.abs(pixels.coef_[0]).sum(), rtol=1e-5)
    toward = np.where(label == 1, -1, 1)[:, None] * np.asarray(change)
    flat, signs = x[:10].reshape(10, -1), RNG.choice([-0.3, 0.3], size=(10, 256))
    rates = [(pixels.predict(np.clip(flat + d, 0, 1)) != label).mean() for d in (toward, signs)]
    assert rates[0] >= 0.5 and rates[1] == 0  # noise of the same size does nothing


@pytest.mark.curriculum("P20")
def test_the_linear_response_grows_with_the_dimension():
    found = linearity.response([16, 256, 4096], 0.1, jax.random.key(0), 64)
    np.testing.assert_allclose(found.worst, 0.1 * np.sqrt(2 / np.pi) * found.dimensions, rtol=0.05)
    np.testing.assert_allclose(found.chance, 0.1 * np.sqrt(found.dimensions), rtol=0.05)


@pytest.mark.curriculum("P20")
def test_a_cross_section_of_a_linear_model_is_cut_by_straight_lines():
    u = linearity.adversarial_direction(linear, Z[0], int(Y[0]))
    v = RNG.normal(size=(4, 4, 1))
    s, classes = linearity.cross_section(linear, Z[0], u, v, reach=2.0, points=9)
    assert classes.shape == (9, 9) and classes[4, 4] == Y[0] and s[4] == 0
    u, v = np.asarray(u, np.float64), v - (v * np.asarray(u)).sum() * np.asarray(u)
    v /= np.linalg.norm(v)
    expected = [[scores((X[0] + a * u + b * v)[None]).argmax() for a in s] for b in s]
    assert (classes == expected).mean() > 0.98
    margins = threat.margin(linear(Z[:1] + 0.05 * jnp.asarray(u, jnp.float32)[None]), jnp.asarray(Y[:1]))
    assert margins[0] < threat.margin(linear(Z[:1]), jnp.asarray(Y[:1]))[0]


# Defences -------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("P23")
def test_a_quantised_input_hides_the_gradient_and_the_adaptive_attack_goes_through():
    squeeze = defences.named("quantise(bits=2)")
    np.testing.assert_allclose(squeeze(jnp.asarray([0.0, 0.16, 0.17, 0.5001, 1.0])), [0, 0, 1 / 3, 2 / 3, 1], atol=1e-6)
    behind, through = defences.defended(linear, squeeze), defences.through(linear, squeeze)
    y = np.asarray(behind(Z)).argmax(1)
    np.testing.assert_allclose(behind(Z), through(Z), rtol=1e-5, atol=1e-6)
    assert jnp.abs(jax.grad(lambda x: behind(x).sum())(Z)).max() == 0
    slope = jax.grad(lambda x: through(x)[:, 1].sum())(Z)
    np.testing.assert_allclose(slope[0].reshape(-1), W[:, 1], rtol=1e-5)
    unaware = pgd.fgsm(behind, Z, y, eps=0.2)  # sign of a gradient of zero
    np.testing.assert_array_equal(unaware, Z)
    adaptive = pgd.projected(through, Z, y, eps=0.2, steps=20)
    assert threat.fooled(behind(adaptive), y).mean() > 0.5
    with pytest.raises(ConfigError, match="there is no 'quantize': did you mean 'quantise'"):
        defences.named("quantize(bits=2)")
    with pytest.raises(ConfigError, match="bits=9 must be from 1 to 8"):
        defences.named("quantise(bits=9)")


@pytest.mark.curriculum("P22")
def test_detection_scores_the_change_of_the_answer():
    """A model that answers to the finest bit of a pixel: quantisation changes the answer of attacked images only."""

    def brittle(x):
        fine = 400 * (x - jnp.round(x * 3) / 3).mean((1, 2, 3))
        return jnp.stack([jnp.full_like(fine, 1.0), fine], 1)

    clean = jnp.round(Z * 3) / 3
    z = pgd.projected(brittle, clean, np.zeros(12, int), eps=0.02, steps=5, objective="margin")
    assert threat.fooled(brittle(z), np.zeros(12, int)).all()
    squeeze = [defences.quantise(bits=2)]
    by_hand = jnp.abs(jax.nn.softmax(brittle(z)) - jax.nn.softmax(brittle(squeeze[0](z)))).sum(1)
    np.testing.assert_allclose(defences.suspicion(brittle, z, squeeze), by_hand, rtol=1e-5)
    curve, area = defences.detection(brittle, clean, z, squeeze)
    assert area == 1.0 and curve.tpr[curve.fpr == 0].max() == 1
    same = defences.detection(brittle, clean, clean, squeeze)[1]
    assert same == 0.5


# Robust accuracy ------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("P21")
def test_robust_accuracy_is_exact_of_a_linear_model_and_every_attack_has_to_fail():
    """Two classes: the margin of an image falls by eps |w_y - w_k|_1 at most, where no pixel meets 0 or 1."""
    two = lambda x: linear(x)[:, :2]  # noqa: E731
    f, size = scores(X)[:, :2], np.abs(W[:, 0] - W[:, 1]).sum()
    y = f.argmax(1)
    y[0] = 1 - y[0]  # wrong already
    margins = np.abs(f[:, 0] - f[:, 1])
    eps = float(np.median(margins) / size)
    expected = (margins > eps * size) & (np.arange(12) > 0)
    text = f"fgsm(eps={eps}) | pgd(eps={eps}, steps=5) | square(eps={eps}, queries=3)"
    report = robustness.measure(two, X.astype(np.float32), y, robustness.methods(text), jax.random.key(0), batch=5)
    assert report.clean.tolist() == (np.arange(12) > 0).tolist()
    for outcome in report.outcomes[:2]:
        assert outcome.robust.tolist() == expected.tolist()
    weak = report.outcomes[2]
    assert weak.robust[expected].all() and 11 <= weak.queries <= 33 and report.outcomes[0].queries == 0
    assert report.robust.tolist() == expected.tolist()
    metrics = report.metrics()
    assert metrics["clean_accuracy"] == pytest.approx(11 / 12)
    assert metrics["robust_accuracy_low"] == pytest.approx(wilson(int(expected.sum()), 12)[0])
    places, changed = report.outcomes[1].example
    assert (~expected)[places].all() and 0 not in places
    assert threat.fooled(two(jnp.asarray(changed)), jnp.asarray(y[places])).all()
    halves = [
        robustness.measure(two, X[a:b].astype(np.float32), y[a:b], robustness.methods(text), jax.random.key(0), batch=5)
        for a, b in ((0, 7), (7, 12))
    ]
    whole = robustness.merge(halves)
    assert whole.robust.tolist() == expected.tolist() and len(whole.outcomes) == 3
    assert (~expected)[whole.outcomes[1].example[0]].all()


def test_a_change_beyond_the_radius_does_not_count():
    far = robustness.methods(f"deepfool(eps={NEAREST.max() * 1.1}) | deepfool(eps={np.median(NEAREST)})")
    report = robustness.measure(linear, X.astype(np.float32), Y, far, jax.random.key(0), batch=12)
    assert not report.outcomes[0].robust.any()
    assert report.outcomes[1].robust.tolist() == (1.02 * NEAREST > np.median(NEAREST)).tolist()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (Y + 9, "label has classes from"),
        (-1 - Y, "label has classes from"),
        (Y[:2], r"label has the shape \[2\]"),
        (Y.astype(float), "the type float64; give"),
        (Y[:, None], "label has the shape"),
    ],
)
@pytest.mark.parametrize("attack", ["pgd(eps=0.1)", "square(eps=0.1, queries=2)"])
def test_labels_that_do_not_exist_are_no_failures_of_the_model(labels, words, attack):
    with pytest.raises(DataError, match=words):
        robustness.measure(linear, X.astype(np.float32), labels, robustness.methods(attack), jax.random.key(0), batch=4)


def test_a_model_with_one_score_is_refused_by_every_attack():
    one = lambda x: linear(x)[:, :1]  # noqa: E731
    for attack in ("square(eps=0.1, queries=2)", "deepfool(eps=1.0)", "boundary(eps=1.0)"):
        with pytest.raises(DataError, match=r"one score for each image, .* two classes or more"):
            robustness.measure(
                one, X.astype(np.float32), 0 * Y, robustness.methods(attack), jax.random.key(0), batch=12
            )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "--method names no attack; known: apgd, apgd_t"),
        ("pdg(eps=0.1)", "there is no attack 'pdg'; did you mean 'pgd'"),
        ("pgd(0.1)", r"pgd\(0.1\): settings have names, as in pgd\(eps=0.1\)"),
        ("pgd(eps=0)", "--method: pgd.eps=0.* must be positive"),
        ("pgd(eps=8)", "--method: pgd.eps=8.0 is more than the whole range"),
        ("pgd(epss=0.1)", "epss is not an argument of projected: did you mean 'eps'"),
        ("pgd(label=1)", "pgd.label is given by the data"),
        ("deepfool", "deepfool has no radius of its own"),
        ("deepfool(eps=-1.0)", "deepfool.eps=-1.0 must be above 0"),
        ("pgd(eps=0.1) | pgd(eps=0.1)", r"names pgd\(eps=0.1\) twice"),
    ],
)
def test_methods_are_named_or_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        robustness.methods(text)


def test_settings_reach_the_attack():
    pgd_, deep, pixel = robustness.methods(
        "pgd(eps=0.2, steps=3, norm='l2') | deepfool(eps=1, norm='linf') | one_pixel"
    )
    assert (pgd_.eps, pgd_.norm, pgd_.settings["steps"]) == (0.2, "l2", 3)
    assert (deep.eps, deep.norm, deep.settings) == (1.0, "linf", {})
    assert (pixel.eps, pixel.norm, pixel.access) == (1.0, "l0", "scores")
    assert robustness.methods("square(eps=0.1, start=0.5)")[0].settings["start"] == 0.5
    with pytest.raises(ConfigError, match=r"boundary.start is given by the data"):
        robustness.methods("boundary(eps=0.1, start=0.5)")
