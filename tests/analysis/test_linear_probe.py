"""Linear probes: the closed form against least squares, the choice of a strength, and which examples are drawn."""

import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis import linear_probe
from cvdl_jax.ops.textbook.linear import least_squares

RNG = np.random.default_rng(0)


def examples(n=60, d=5, classes=3, apart=1.5):
    labels = RNG.permutation(np.arange(n) % classes)
    centres = np.arange(classes * d).reshape(classes, d) % 3 * apart
    x = RNG.normal(size=(n, d)) + centres[labels]
    return (x * [1, 10, 0.1, 1, 1] + [0, 5, 0, 0, -3]).astype(np.float32), labels


@pytest.mark.curriculum("I4")
def test_a_probe_is_ridge_regression_on_standardised_features():
    (x, labels), (x2, _) = examples(), examples()
    strengths = (1e-2, 0.3, 5.0)
    probe = linear_probe.fit(x, labels, 3, strengths)
    mean, std = np.asarray(x, np.float64).mean(0), np.asarray(x, np.float64).std(0)
    z, z2 = ((np.asarray(a, np.float64) - mean) / std for a in (x, x2))
    y = np.eye(3)[np.asarray(labels)]
    for i, strength in enumerate(strengths):
        w = np.linalg.solve(z.T @ z / 60 + strength * np.eye(5), z.T @ (y - y.mean(0)) / 60)
        np.testing.assert_allclose(probe.kernel[i], w, atol=1e-12)
        np.testing.assert_allclose(linear_probe.scores(probe, x2)[i], z2 @ w + y.mean(0), atol=1e-9)
        fit = least_squares(jnp.asarray(z, jnp.float32), jnp.asarray(y, jnp.float32), strength)
        np.testing.assert_allclose(probe.kernel[i], fit.w, atol=1e-4)
    expected = [(np.asarray(s).argmax(-1) == np.asarray(labels)).mean() for s in linear_probe.scores(probe, x2)]
    np.testing.assert_allclose(linear_probe.accuracies(probe, x2, labels), expected, rtol=1e-6)


@pytest.mark.curriculum("I4")
def test_features_that_are_constant_or_more_than_the_examples_do_no_harm():
    x, labels = examples(n=6)
    wide = np.concatenate([x, np.full((6, 2), 7.0), x * 2], 1)  # 12 features of 6 examples, two of them constant
    probe = linear_probe.fit(wide, labels, 3, (1e-3,))
    assert np.isfinite(probe.kernel).all() and np.abs(probe.kernel[0, 5:7]).max() < 1e-9
    assert linear_probe.accuracies(probe, wide, labels)[0] == 1


@pytest.mark.curriculum("I4")
def test_features_that_are_no_numbers_are_never_right():
    x, y = np.eye(4), np.array([0, 0, 1, 1])
    probe = linear_probe.fit(x, y, 2, (0.1, 1.0))
    assert linear_probe.accuracies(probe, np.full((4, 4), np.nan), y).tolist() == [0, 0]


def test_the_strength_is_the_best_on_validation_and_of_equals_the_strongest():
    assert linear_probe.chosen([0.5, 0.9, 0.9, 0.2]) == 2 and linear_probe.chosen([0.9, 0.5, 0.2]) == 0
    data = {name: examples(30, apart=0.7) for name in ("fitted", "validation", "tested")}
    strengths = (1e-3, 1e-1, 1.0, 30.0)
    probe = linear_probe.fit(*data["fitted"], 3, strengths)
    on_validation, on_test = (linear_probe.accuracies(probe, *data[k]) for k in ("validation", "tested"))
    best = np.flatnonzero(on_validation == on_validation.max())[-1]
    assert len(set(on_test)) > 1  # it would show
    value = linear_probe.accuracy(*data.values(), 3, strengths)
    assert value == pytest.approx(on_test[best])
    swapped = linear_probe.accuracy(data["fitted"], data["tested"], data["validation"], 3, strengths)
    assert swapped in on_validation.tolist()


@pytest.mark.curriculum("I5")
def test_every_draw_has_k_different_examples_of_each_class():
    labels = RNG.permutation([0] * 4 + [1] * 9 + [2] * 30)
    rows = np.stack([linear_probe.draw_shots(np.random.default_rng(i), labels, 3, 4) for i in range(200)])
    np.testing.assert_array_equal(labels[rows], [[0] * 4 + [1] * 4 + [2] * 4] * 200)
    assert all(len(set(one)) == 12 for one in rows.tolist())
    counts = np.bincount(rows[:, 8:].ravel(), minlength=43)[labels == 2]
    assert counts.min() > 10 and counts.max() < 50  # each of 30 about 200 * 4 / 30 = 27 times


@pytest.mark.curriculum("I5")
def test_few_shot_accuracy_is_the_mean_over_draws_at_one_strength():
    data, strengths = [examples(40, apart=0.8) for _ in range(3)], (1e-2, 1.0)
    (x, labels), validation, tested = data
    on_validation, on_test, rng = [], [], np.random.default_rng(3)
    for _ in range(4):
        rows = linear_probe.draw_shots(rng, labels, 3, 2)
        probe = linear_probe.fit(x[rows], labels[rows], 3, strengths)
        on_validation.append(linear_probe.accuracies(probe, *validation))
        on_test.append(linear_probe.accuracies(probe, *tested))
    best = linear_probe.chosen(np.mean(on_validation, 0))
    value = linear_probe.few_shot_accuracy(np.random.default_rng(3), 2, 4, *data, 3, strengths)
    assert value == pytest.approx(np.mean(on_test, 0)[best])
    assert np.ptp(on_test, 0).max() > 0 and on_test[0][0] != on_test[0][1]  # draws and strengths differ


@pytest.mark.curriculum("I4")
def test_maps_are_averaged_over_cells_and_vectors_stay():
    maps = jnp.asarray(RNG.normal(size=(2, 4, 4, 3)), jnp.float32)
    out = {"stages": (maps, maps[:, :1, :1]), "pre_logits": jnp.ones((2, 7), jnp.bfloat16), "tokens": maps[:, 0]}
    vectors = linear_probe.features(out)
    assert {name: x.shape[1] for name, x in vectors.items()} == {
        "stage0": 12, "stage1": 3, "pre_logits": 7, "tokens": 6
    }  # fmt: skip
    np.testing.assert_allclose(vectors["stage0"][0, :3], np.asarray(maps[0, :2, :2]).mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(vectors["stage0"][1, 9:], np.asarray(maps[1, 2:, 2:]).mean((0, 1)), rtol=1e-5)
    assert all(x.dtype == jnp.float32 for x in vectors.values())
