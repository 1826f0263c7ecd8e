"""Linear models and learning theory as runs: what reports show, what trained units reach, what studies measure."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from cvdl_jax.config import configs
from cvdl_jax.core.task import State, create_state, step_function
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.textbook import linear
from experiments.studies import bias_variance, learning_theory, memorise


def run(folder, spec, *overrides):
    """The metrics of a run, and its folder of figures."""
    workdir = folder / "run"
    assert launch.main([f"--config={spec}", f"--workdir={workdir}", *overrides]) == 0
    return json.loads((workdir / "results.json").read_text())["metrics"], workdir / "figures"


def toy_batch(spec, places):
    """Examples of the training set of a config: (config, built, {"features", "label"})."""
    config = configs.load(spec)
    built = build(config)
    batch = built.data.splits["train"].batch(places)
    return built, {name: jnp.asarray(value) for name, value in batch.items()}


@pytest.mark.curriculum("A12")
def test_a_run_of_batch_one_makes_the_iterates_of_the_perceptron_rule():
    """The compiled step that the loop runs, three times through the training set, bit for bit."""
    rows = np.concatenate([np.random.default_rng(i).permutation(1000) for i in range(3)])
    built, batch = toy_batch("configs/toy/perceptron.py", rows)
    state = create_state(built.task, jax.random.key(0), batch)
    assert built.config.batch_size == 1 and not any(p.any() for p in jax.tree.leaves(state.params))
    step = step_function(built.task, 0)

    def one(state, example):
        state, _ = step(state, jax.tree.map(lambda x: x[None], example))
        return state, state.params

    final, params = jax.jit(lambda state: jax.lax.scan(one, state, batch))(state)
    start = linear.Fit(jnp.zeros(2), jnp.zeros(()))
    (w, b), wrong = linear.perceptron_pass(start, batch["features"], 2.0 * batch["label"] - 1)
    np.testing.assert_array_equal(params["w"], w)
    np.testing.assert_array_equal(params["b"], b)
    assert int(final.extra["mistakes"]) == int(wrong.sum()) > 3


@pytest.mark.curriculum("A7")
@pytest.mark.parametrize("bias", [True, False])
def test_a_run_of_linear_regression_steps_as_by_hand_and_reaches_the_closed_form(bias):
    built, batch = toy_batch(f"configs/toy/linear_regression.py:bias={bias}", np.arange(1000))
    x, y = batch["features"], 2.0 * batch["label"] - 1
    state = create_state(built.task, jax.random.key(0), batch)
    step = jax.jit(step_function(built.task, 0))
    first, _ = step(state, batch)
    start = linear.Fit(jnp.zeros(2), jnp.zeros(()))
    by_hand = linear.step(start, linear.squared_error_gradient(x, *start, y), built.config.optim.lr)
    assert ("b" in first.params) == bias
    np.testing.assert_allclose(first.params["w"], by_hand.w, rtol=1e-5)
    for _ in range(100):
        state, _ = step(state, batch)
    best = linear.least_squares(x, y, bias=bias)
    np.testing.assert_allclose(state.params["w"], best.w, atol=1e-5)
    np.testing.assert_allclose(state.params.get("b", 0.0), best.b, atol=1e-5)


@pytest.mark.curriculum("A8")
def test_a_run_of_logistic_regression_steps_as_by_hand():
    built, batch = toy_batch("configs/toy/logistic.py", np.arange(1000))
    params = {"w": jnp.float32([0.5, -1]), "b": jnp.float32(0.2)}
    state = create_state(built.task, jax.random.key(0), batch)._replace(params=params)
    state, sums = jax.jit(step_function(built.task, 0))(state, batch)
    start = linear.Fit(params["w"], params["b"])
    gradient = linear.logistic_gradient(batch["features"], *start, batch["label"])
    by_hand = linear.step(start, gradient, built.config.optim.lr)
    np.testing.assert_allclose(state.params["w"], by_hand.w, rtol=1e-4)
    np.testing.assert_allclose(state.params["b"], by_hand.b, rtol=1e-4)
    p = np.asarray(linear.logistic_probability(batch["features"], *start), np.float64)
    expected = -np.log(np.where(batch["label"] == 1, p, 1 - p)).mean()
    np.testing.assert_allclose(sums["loss"][0] / sums["loss"][1], expected, rtol=1e-5)


@pytest.mark.long
@pytest.mark.curriculum("A6", "A8")
def test_a_whole_run_of_logistic_regression_ends_at_the_optimum(tmp_path):
    metrics, figures = run(tmp_path, "configs/toy/logistic.py", "--config.total_epochs=150")
    assert metrics["sample/gradient_norm"] < 2e-3 and metrics["test/accuracy"] > 0.93
    assert (figures / "decision_regions.png").stat().st_size > 5000
    score = np.load(tmp_path / "run" / "predictions" / "test.npz")["score"]
    assert score.shape == (500,)


def test_a_linear_unit_refuses_what_it_would_not_read():
    for override, words in (
        ("config.data.name=spirals(num_classes=3)", "needs a set of 2 classes"),
        ("config.loss.name=multiclass_hinge", r"no use for config\.loss"),
    ):
        config = configs.load("configs/toy/logistic.py", [override])
        with pytest.raises(ConfigError, match=words):
            build(config)


@pytest.mark.curriculum("A5")
def test_the_report_of_a_linear_classifier_shows_its_templates(tmp_path):
    _, figures = run(tmp_path, "configs/classify/softmax.py:smoke")
    assert (figures / "templates.png").exists() and (figures / "predictions.png").exists()
    assert not (figures / "decision_regions.png").exists()


@pytest.mark.curriculum("A6")
def test_the_report_of_any_classifier_of_the_plane_shows_its_regions(tmp_path):
    _, figures = run(tmp_path, "configs/toy/mlp.py:data=spirals,smoke")
    assert (figures / "decision_regions.png").exists() and not (figures / "templates.png").exists()


# Theory ----------------------------------------------------------------------------------------------------------


def brute_force_deviation(x, label, e_out):
    """The largest |E_in - E_out| of rays whose ends lie on a fine grid and on both sides of every example."""
    ends = np.concatenate([np.linspace(0, 1, 2001), x - 1e-9, x + 1e-9]).clip(0, 1)
    e_in = ((x[None] > ends[:, None]) != label[None]).mean(1)
    return np.abs(e_in - e_out(ends)).max()


@pytest.mark.curriculum("A15")
def test_deviations_of_rays_are_the_largest():
    rng = np.random.default_rng(0)
    for _ in range(10):
        x = np.sort(rng.uniform(size=20))
        label = (x > 0.5) ^ (rng.uniform(size=20) < 0.2)
        e_out = lambda a: 0.2 + 0.6 * np.abs(a - 0.5)  # noqa: E731
        found = learning_theory.ray_deviations(x[None], ~label[None], label[None], e_out)
        np.testing.assert_allclose(found, brute_force_deviation(x, label, e_out), atol=1e-6)


@pytest.mark.curriculum("A13", "A15")
def test_the_vc_bound_holds_in_1000_resamples():
    study = learning_theory.Theory(points=2, population=2000)
    rng = np.random.default_rng(0)
    learned, gaps, worst = learning_theory.learning_problem(study, rng)
    assert learned.e_in[learned.final] == learned.e_in.min() and len(gaps) == len(worst) == 1000
    assert gaps.mean() > 0  # who is chosen on a sample looks better there than elsewhere
    assert (gaps <= worst + 1e-12).all()
    hoeffding = np.sqrt(np.log(2 * study.hypotheses / study.delta) / (2 * study.sample))
    assert (worst > hoeffding).mean() <= study.delta


@pytest.mark.curriculum("A15")
def test_the_vc_inequality_holds_for_rays_and_fails_for_functions_that_memorise():
    """Where the bound is below 1, for it says nothing elsewhere: with 2,000 examples from epsilon = 0.2 on."""
    study, bounds = learning_theory.Theory(resamples=200), learning_theory.bounds
    n, grid = study.examples, np.linspace(0.2, 0.3, 11)
    of_rays = [bounds.vc_bound(n, epsilon, 2 * n + 1) for epsilon in grid]
    assert of_rays[0] < 0.75 and of_rays[5] == pytest.approx(16004 * np.exp(-15.625)) and of_rays[-1] < 3e-6
    deviations = learning_theory.vc_inequality(study, np.random.default_rng(0))
    assert 0 < deviations.min() and all((deviations > e).mean() <= b for e, b in zip(grid, of_rays, strict=True))
    allowed = bounds.vc_epsilon(n, study.delta, 2 * n + 1)
    assert 0.22 < allowed < 0.23 and (deviations > allowed).mean() <= study.delta
    few = learning_theory.vc_inequality(study._replace(examples=n // 16), np.random.default_rng(0))
    assert np.median(few) / np.median(deviations) == pytest.approx(4, rel=0.25)  # it falls as the bound's epsilon does
    # a function that knows the labels of the sample and gets everything else wrong: E_in = 0, E_out = 1
    memorised = np.ones(study.resamples)
    assert all((memorised > e).mean() > b for e, b in zip(grid, of_rays, strict=True))
    assert bounds.vc_bound(n, 0.3, 2 ** (2 * n)) > 1  # its growth function promises nothing


@pytest.mark.curriculum("A16")
def test_bias_falls_and_variance_rises_with_the_degree():
    study = bias_variance.Study(degrees=(0, 1, 3, 9), repeats=60)
    metrics, shown = bias_variance.measure(study, 0)
    bias2 = [metrics[f"bias2_degree{d}"] for d in (0, 1, 3)]
    variance = [metrics[f"variance_degree{d}"] for d in study.degrees]
    assert bias2 == sorted(bias2, reverse=True) and variance == sorted(variance)
    assert metrics["best_degree"] == 3
    advice = bias_variance.draw(shown)["advice"].splitlines()
    assert "high bias: try a larger model" in advice[0] and "variance" not in advice[0]
    assert advice[2].endswith("neither") and "high variance: try more data" in advice[3]


@pytest.mark.long
@pytest.mark.curriculum("A17")
def test_random_labels_are_memorised_and_true_ones_generalise(tmp_path):
    metrics, _ = run(
        tmp_path, "configs/studies/memorise.py", "--config.total_steps=500", "--config.study.examples=100",
        "--config.eval.every_percent=100", "--config.model.hidden=(128, 128)", "--config.batch_size=64",
    )  # fmt: skip
    get = lambda name: metrics[f"risk/{name}"]  # noqa: E731
    assert get("true_train_accuracy") == get("random_train_accuracy") == 1
    assert get("true_validation_accuracy") > 0.8 and get("random_validation_accuracy") < 0.25
    for labels in memorise.LABELS:
        gap = get(f"{labels}_validation_loss") - get(f"{labels}_train_loss")
        np.testing.assert_allclose(get(f"{labels}_loss_gap"), gap, rtol=1e-4)
    assert get("random_loss_gap") > 3 > get("true_loss_gap") > 0


@pytest.mark.long
@pytest.mark.curriculum("A19")
def test_wider_networks_fit_the_curve_better_and_a_perfect_fit_of_few_points_does_not_generalise(tmp_path):
    metrics, figures = run(
        tmp_path, "configs/studies/approximation.py", "--config.total_steps=6000", "--config.eval.every_percent=100"
    )
    errors = [metrics[f"curve/error_units{k}"] for k in (1, 4, 16, 64)]
    assert errors == sorted(errors, reverse=True) and errors[0] > 0.3 and errors[-1] < 0.08
    assert metrics["curve/error_few_on_its_points"] < 0.05 < 0.15 < metrics["curve/error_few"]
    assert (figures / "approximation.png").exists()


@pytest.mark.long
def test_the_state_of_the_studies_is_a_plain_state():
    config = configs.load("configs/studies/memorise.py:smoke")
    state = create_state(build(config).task, jax.random.key(0), {})
    assert isinstance(state, State)
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(state.params))
    same = jax.tree.map(lambda a, b: bool((a == b).all()), state.params["true"], state.params["random"])
    assert all(jax.tree.leaves(same))  # both begin at the same weights
