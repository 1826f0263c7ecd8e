"""Probes of runs of other experiments: which features are read, and the accuracies of given ones."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core.task import State, Task, create_state
from cvdl_jax.engine import runs
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import probes
from cvdl_jax.models import players
from experiments.studies import downstream

CONFIG = "configs/studies/downstream.py"
IMAGES = np.random.default_rng(0).uniform(size=(3, 16, 16, 1)).astype(np.float32)


@pytest.mark.curriculum("I22")
def test_maps_are_pooled_by_maxima_of_a_grid():
    maps = np.random.default_rng(1).normal(size=(2, 9, 4, 3)).astype(np.float32)
    pooled = np.asarray(players.pooled(jnp.asarray(maps)))
    cells = np.stack([np.stack([maps[:, 3 * i : 3 * i + 3, j].max(1) for j in range(4)], 1) for i in range(3)], 1)
    np.testing.assert_array_equal(pooled, cells.reshape(2, -1))
    np.testing.assert_array_equal(players.pooled(jnp.asarray(maps[:, :2, :3])), maps[:, :2, :3].reshape(2, -1))


def shown(path, *overrides):
    """What is read of a run at its first weights, and its state."""
    run = build(configs.load(path, list(overrides)))
    spec = run.data.splits["train"].batch(np.arange(3))
    batch = {key: jnp.asarray(x) for key, x in spec.items()}
    size = batch["image"].shape[1:]
    batch["image"] = jax.random.uniform(jax.random.key(0), (3, *size))
    state = jax.jit(lambda b: create_state(run.task, jax.random.key(0), b))(batch)
    return runs.features_of(run, state, "config.study.runs['a']"), state, batch, run


@pytest.mark.curriculum("I19", "I22")
def test_of_an_autoencoder_the_code_is_read():
    small = "--config.model={'name': 'autoencoder_tiny', 'latent': 3, 'channels': (4,), 'variational': False}"
    function, state, batch, run = shown("configs/generate/autoencoder.py:data=digits,smoke", small, "--config.ema={}")
    codes = function(state, batch)
    from cvdl_jax.models.autoencoding import make_autoencoder

    model = make_autoencoder(run.config, run.info).model
    _, out = model.apply({"params": state.params, "batch_stats": state.extra["batch_stats"]}, batch["image"], False)
    np.testing.assert_allclose(codes, out["code"], atol=1e-6)
    assert codes.shape == (3, 3)


@pytest.mark.curriculum("I22")
def test_of_a_gan_the_discriminators_maps_are_read():
    function, state, batch, _ = shown("configs/generate/dcgan.py:smoke", "--config.model.discriminator.widths=(4,8)")
    seen = function(state, batch)
    side = batch["image"].shape[1] // 2
    cells = [min(side, 4) ** 2 * 4, min(side // 2, 4) ** 2 * 8]
    assert seen.shape == (3, sum(cells))
    alone = function(state, {"image": batch["image"][:1]})  # in evaluation mode, rows do not meet
    np.testing.assert_allclose(seen[:1], alone, rtol=1e-4, atol=1e-5)


def test_what_a_self_supervised_run_predicts_is_read_and_others_are_refused():
    spec = {"image": jax.ShapeDtypeStruct((2, 3), np.float32)}
    task = Task(None, None, predict=lambda state, batch: {"features": batch["image"] + state})
    run = SimpleNamespace(config=SimpleNamespace(experiment="mine"), info=SimpleNamespace(spec=spec), task=task)
    np.testing.assert_array_equal(runs.features_of(run, 1.0, "")(1.0, {"image": np.full((2, 3), 2.0)}), 3.0)
    run.task = task._replace(predict=lambda state, batch: {"scores": batch["image"]})
    with pytest.raises(ConfigError, match=r"runs\['a'\] is a run of experiment 'mine' whose features nobody"):
        runs.features_of(run, 1.0, "config.study.runs['a']")


@pytest.mark.parametrize(
    "path",
    ["configs/generate/vae.py:data=digits,form=conditional,smoke", "configs/generate/cgan.py:model=conv,smoke"],
)
def test_networks_that_are_told_labels_have_no_features_of_images_alone(path):
    assert build(configs.load(path)).task.features is None


@pytest.mark.curriculum("I22")
def test_a_run_is_compared_with_other_first_weights_and_its_pixels(monkeypatch):
    """Of images that are spread over each split, as they are and in order."""
    model = "--config.model={'name': 'mlp_tiny', 'norm': 'batch'}"
    built = build(configs.load("configs/regimes/simclr.py:smoke", [model, "--config.probe={}"]))
    batch = {"image": jnp.zeros((1, 16, 16, 1))}
    state = jax.jit(lambda b: create_state(built.task, jax.random.key(0), b))(batch)
    monkeypatch.setattr(downstream.runs, "load_evaluated", lambda *given, **more: (built, state, 7))
    made, labels, classes = downstream.of_run(downstream.Study(runs={"a": "x"}, limit=40), "a")
    assert classes == 10 and made.keys() == {"trained", "untrained", "pixels"}
    other = built.task.init(jax.random.key(built.config.seed + 1), batch)
    untrained = state._replace(params=other["params"], extra=other["extra"])
    for split in ("train", "validation", "test"):
        arrays = built.data.splits[split].arrays
        places = [i * len(arrays["label"]) // 40 for i in range(40)]
        np.testing.assert_array_equal(labels[split], arrays["label"][places])
        images = arrays["image"][places].astype(np.float32) / 255
        np.testing.assert_allclose(made["pixels"][split], images.reshape(40, -1), rtol=1e-6)
        for kind, weights in (("trained", state), ("untrained", untrained)):
            seen = built.task.predict(weights, {"image": jnp.asarray(images)})["features"]
            np.testing.assert_allclose(made[kind][split], seen, rtol=1e-4, atol=1e-5)
    assert not np.allclose(made["trained"]["test"], made["untrained"]["test"])


@pytest.mark.curriculum("I22", "I19", "I20")
def test_the_validation_images_choose_and_the_test_images_measure():
    rng = np.random.default_rng(0)
    labels = {
        split: rng.integers(0, 3, n).astype(np.int32) for split, n in (("train", 60), ("validation", 30), ("test", 40))
    }
    kinds = {
        kind: {
            s: (rng.normal(size=(len(y), 4)) + scale * np.eye(3, 4)[y]).astype(np.float32) for s, y in labels.items()
        }
        for kind, scale in (("trained", 3.0), ("pixels", 0.0))
    }
    state = State(0, {}, {}, {"features": {"a_b": kinds}, "labels": {"a_b": labels}})
    study = downstream.Study(neighbours=7)
    for split in ("validation", "test"):
        sums = downstream.evaluation_step(study, {"a_b": 3}, split, state, {}, None)
        for kind, x in kinds.items():
            linear = probes.ridge_probe(x["train"], labels["train"], x["validation"], labels["validation"], 3)
            hits = (probes.linear_scores(linear, x[split]).argmax(1) == labels[split]).mean()
            assert sums[f"a_b_{kind}_linear_accuracy"] == (pytest.approx(float(hits)), 1)
            near = probes.knn(x[split], x["train"], labels["train"], 3, 7).argmax(1)
            assert sums[f"a_b_{kind}_knn_accuracy"] == (pytest.approx(float((near == labels[split]).mean())), 1)
    assert sums["a_b_trained_linear_accuracy"][0] > 0.8 > sums["a_b_pixels_linear_accuracy"][0]
    metrics = downstream.finalise({"a": 10, "a_b": 40}, {"a_b_trained_linear_accuracy": 0.9}, {})
    assert metrics["a_b_trained_linear_accuracy_low"] == pytest.approx(0.7695, abs=1e-3)  # Wilson, 36 of 40


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--config.total_steps=3"], "takes no step; set config.total_steps=0"),
        (["--config.study.runs.a=runs/x"], "takes either runs, .* or data, a section for pixels; set one"),
        (["--config.study.data.test="], "config.study.data.test is missing"),
    ],
)
def test_mistakes_of_the_study_are_named(overrides, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(f"{CONFIG}:smoke", overrides))
