"""Invariance: consistency by hand, on masked batches, and what training with augmentation does for it."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import make_model

import launch
from cvdl_jax.config import configs
from cvdl_jax.data.augment import policy
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import invariance

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


@pytest.mark.curriculum("F37")
def test_consistency_by_hand():
    """Logits (0, log 3) and their mirror image: one of two predictions stays, and KL = 3/4 log 3 - 1/4 log 3."""
    logits = jnp.log(jnp.asarray([[1.0, 3.0], [2.0, 2.0]]))
    same, divergence = invariance.agreement(logits, logits[:, ::-1])
    np.testing.assert_array_equal(same, [0, 1])
    np.testing.assert_allclose(divergence, [np.log(3) / 2, 0], atol=1e-6)
    image = jnp.arange(8.0).reshape(2, 2, 2, 1)
    share, mean = invariance.consistency(lambda x: logits if x[0, 0, 0, 0] == 0 else logits[:, ::-1], flip, image, KEY)
    assert share == 0.5 and mean == pytest.approx(np.log(3) / 4, rel=1e-5)


def flip(images, key):
    return images[:, :, ::-1]


@pytest.mark.curriculum("F37")
def test_an_invariant_classifier_is_consistent_and_another_is_not():
    images = jnp.asarray(RNG.normal(size=(64, 4, 4, 1)).astype(np.float32))
    invariant = lambda x: jnp.concatenate([x.mean((1, 2)), -x.mean((1, 2))], -1)  # noqa: E731
    share, divergence = invariance.consistency(invariant, flip, images, KEY)
    assert share == 1 and divergence == pytest.approx(0, abs=1e-6)
    left = lambda x: jnp.concatenate([x[:, 0, 0], -x[:, 0, 0]], -1)  # noqa: E731
    share, divergence = invariance.consistency(left, flip, images, KEY)
    assert 0.3 < share < 0.7 and divergence > 0.1


@pytest.mark.curriculum("F37")
def test_the_evaluation_leaves_padding_out_and_transforms_every_image_once():
    """Two classifiers, on the same transformed images; the masked row would have been inconsistent."""
    scores = lambda state, x: state * jnp.concatenate([x[:, 0, 0], -x[:, 0, 0]], -1)  # noqa: E731
    image = jnp.asarray([[[[1.0], [1.0]]], [[[1.0], [-1.0]]], [[[1.0], [-1.0]]]])  # [3, 1, 2, 1]
    batch = {"image": image, "label": jnp.asarray([0, 0, 0]), "mask": jnp.asarray([1.0, 1.0, 0.0])}
    names = {"one": scores, "other": lambda state, x: scores(-state, x)}
    evaluation = invariance.evaluation(names, flip, "test")
    assert evaluation.data == "test"
    sums = {name: (float(s), float(w)) for name, (s, w) in evaluation.step(1.0, batch, KEY).items()}
    assert sums["one_consistency"] == (1, 2) and sums["one_accuracy"] == (2, 2)
    assert sums["one_accuracy_transformed"] == (1, 2) and sums["other_accuracy"] == (0, 2)
    p = 1 / (1 + np.exp(-2))
    assert sums["one_kl"][0] == pytest.approx(2 * (2 * p - 1), rel=1e-5)  # KL = (p - q) (logit p - logit q) / 2


@pytest.mark.curriculum("F37")
def test_augmentation_makes_a_network_invariant():
    """A perceptron that must tell a bright column from a dark one, trained with and without the column moved."""
    import optax

    label = RNG.integers(0, 2, 128).astype(np.int32)
    image = 0.1 * RNG.normal(size=(128, 6, 6, 1)).astype(np.float32)
    image[:, :, 2, 0] += np.where(label == 1, 1, -1)[:, None]
    x, y = jnp.asarray(image), jnp.asarray(label)
    model = make_model("mlp", 2, "float32", hidden=(16,))
    move = invariance.of_images(policy.build("padded_crop(padding=2)"))
    optimizer = optax.adam(1e-2)

    def train(augment):
        def step(carry, key):
            params, opt = carry
            seen = move(x, key) if augment else x
            score = lambda p: model.apply({"params": p}, seen, True)[0]  # noqa: E731
            each = lambda p: optax.softmax_cross_entropy_with_integer_labels(score(p), y).mean()  # noqa: E731
            updates, opt = optimizer.update(jax.grad(each)(params), opt)
            return (optax.apply_updates(params, updates), opt), None

        params = model.init(KEY, x[:1], True)["params"]
        (trained, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(KEY, 60))
        return params, trained

    @jax.jit
    def measure():
        (initial, plain), (_, augmented) = train(False), train(True)
        of = lambda p: partial(lambda p, x: model.apply({"params": p}, x, False)[0], p)  # noqa: E731
        return [invariance.consistency(of(p), move, x, jax.random.key(1)) for p in (initial, plain, augmented)]

    (before, _), (without, kl_without), (after, kl_with) = measure()
    assert after > 0.95 > without and after > before and kl_with < kl_without


@pytest.mark.curriculum("F37")
@pytest.mark.long
def test_the_study_reports_consistency_before_and_after(tmp_path, capsys):
    workdir = tmp_path / "run"
    flags = ["--config.total_steps=60", "--config.eval.every_percent=100"]
    command = ["--config=configs/studies/invariance.py:smoke", f"--workdir={workdir}", *flags]
    assert launch.main(command) == 0, capsys.readouterr().err
    metrics = json.loads((workdir / "results.json").read_text())["metrics"]
    names = {f"test/{name}_consistency" for name in ("initial", "plain", "augmented")}
    assert names <= metrics.keys() and all(0 <= metrics[name] <= 1 for name in names)
    assert metrics["test/augmented_accuracy_transformed"] > metrics["test/initial_accuracy_transformed"]
    assert (workdir / "figures" / "turned.png").exists()


def test_a_study_without_augmentation_is_refused(tmp_path):
    from experiments.studies import invariance as study

    config = configs.load("configs/studies/invariance.py", ["--config.augment="])
    with pytest.raises(ConfigError, match=r"set config.augment='rotate\(30\)'"):
        study.make(config, None)
