"""Measures of spaces of codes by hand, and the study that compares autoencoders with and without the KL divergence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis import latent_space
from cvdl_jax.analysis.figures import autoencoders as figures
from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import create_state, step_function
from cvdl_jax.errors import ConfigError, DataError
from experiments.studies import autoencoders

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("Q10", "Q4")
def test_the_empty_share_of_a_space():
    grid = np.stack(np.meshgrid(np.arange(40), np.arange(40)), -1).reshape(-1, 2).astype(float)
    assert latent_space.empty_space(grid, bins=10) == 0
    corners = np.repeat([[0.0, 0.0], [1.0, 1.0]], 50, 0)
    assert latent_space.empty_space(corners, bins=10) == 0.98  # two of a hundred cells are taken
    far = np.concatenate([grid, [[1e6, 1e6]]])  # one code far away is no space
    assert latent_space.empty_space(far, bins=10) < 0.05
    turned = np.concatenate([corners, np.zeros((100, 1))], 1) @ np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    assert latent_space.empty_space(turned, bins=10) >= 0.9  # of three numbers, their principal plane
    clusters = RNG.normal(size=(2000, 2)) * 0.1 + RNG.integers(0, 2, (2000, 1)) * 4
    assert latent_space.empty_space(clusters) > 2 * latent_space.empty_space(RNG.normal(size=(2000, 2)))
    with pytest.raises(DataError, match="of two examples or more"):
        latent_space.empty_space(np.zeros((1, 2)))


@pytest.mark.curriculum("Q10")
def test_the_separation_of_classes():
    x = np.array([[0.0], [2.0], [10.0], [12.0], [11.0]])
    labels = np.array([0, 0, 1, 1, 1])
    # means 1 and 11 around 7: 2 * 36 + 3 * 16; within 2 + 2
    assert latent_space.separation(x, labels) == pytest.approx(120 / 4)
    assert latent_space.separation(x, np.array([0, 1, 1, 1, 0])) < 1
    assert latent_space.separation(np.array([[1.0], [2.0]]), np.array([0, 1])) == np.inf


@pytest.mark.curriculum("Q4")
def test_a_steady_walk_has_no_jumps():
    steady = jnp.linspace(0, 1, 5).reshape(1, 5, 1, 1, 1)
    sudden = jnp.array([0.0, 0.0, 0.0, 1.0, 1.0]).reshape(1, 5, 1, 1, 1)
    still = jnp.zeros((1, 5, 1, 1, 1))
    np.testing.assert_allclose(latent_space.jumps(jnp.concatenate([steady, sudden, still])), [1, 4, 1], rtol=1e-6)


@pytest.mark.curriculum("F8")
def test_the_spread_of_weights():
    kernel = jnp.array([[1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], [1.0, 3.0, 0.0], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(latent_space.spread_of_weights(kernel), [1, 0.25, 0.5])


SHAPE = (8, 8, 1)
IMAGES = jnp.asarray(RNG.random((4, *SHAPE)), jnp.float32)
BATCH = {"image": IMAGES, "label": jnp.array([0, 1, 1, 2]), "mask": jnp.array([1.0, 1.0, 1.0, 0.0])}
SPEC = {"image": jax.ShapeDtypeStruct((4, *SHAPE), jnp.float32), "label": jax.ShapeDtypeStruct((4,), jnp.int32)}
INFO = Info(10, (), SPEC, {"train": 4, "validation": 4}, 4, 10, 1.0, 0)


@pytest.fixture(scope="module")
def study():
    config = configs.load("configs/studies/dropout_features.py:data=digits,smoke")
    task = autoencoders.make(config, INFO)
    batch = {name: x for name, x in BATCH.items() if name != "mask"}
    return task, create_state(task, jax.random.key(0), batch), batch


@pytest.mark.curriculum("F8", "Q4", "Q10")
def test_autoencoders_are_trained_apart_and_measured_on_the_same_images(study):
    task, state, batch = study
    after, sums = jax.jit(step_function(task, 0), compiler_options={"xla_backend_optimization_level": 0})(state, batch)
    assert set(after.params) == {"plain", "dropout"}
    for name in after.params:
        assert (
            jnp.abs(after.params[name]["code_layer"]["kernel"] - state.params[name]["code_layer"]["kernel"]).max() > 0
        )
        assert sums[f"{name}/loss"][1] == 4
    assert sums["plain/loss"][0] != sums["dropout/loss"][0]
    rows = task.evals["validation"].step(after, BATCH, jax.random.key(1))
    kernel, code = (np.asarray(x) for x in (after.params["plain"]["code_layer"]["kernel"], rows["plain_code"]))
    bias = np.asarray(after.params["plain"]["code_layer"]["bias"])
    by_hand = np.maximum(np.asarray(IMAGES).reshape(4, -1) @ kernel + bias, 0)
    np.testing.assert_allclose(code, by_hand, atol=1e-4)
    np.testing.assert_allclose(rows["plain_zero"][0], (by_hand[:3] == 0).mean(1).sum(), rtol=1e-5)  # not the padding
    np.testing.assert_allclose(rows["plain_activation"][0] / rows["plain_activation"][1], by_hand[:3].mean(), rtol=1e-4)
    assert np.asarray(rows["plain_apart"]).tolist() == [True, True, False, True]  # of the row before
    given = {name: np.asarray(x) for name, x in rows.items() if not isinstance(x, tuple)}
    metrics = task.evals["validation"].finalize({}, given)
    assert {f"{n}_{m}" for n in after.params for m in ("empty", "separation", "sample", "midway")} <= set(metrics)
    assert "image" not in given and not [name for name in given if name.endswith(("_sample", "_midway", "_apart"))]


def test_halfway_images_are_those_of_the_mean_code(study):
    task, state, _ = study
    rows = task.evals["validation"].step(state, BATCH, jax.random.key(1))
    params = state.params["dropout"]
    z = (rows["dropout_code"] + jnp.roll(rows["dropout_code"], 1, 0)) / 2
    logits = z @ params["image_layer"]["kernel"] + params["image_layer"]["bias"][None]
    np.testing.assert_allclose(rows["dropout_midway"], jax.nn.sigmoid(logits).reshape(4, *SHAPE), atol=1e-5)


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({}, r"config\.study\.models=\{\} is empty"),
        ({"a": {"latent": {}}}, r"config\.study\.models\.a has \['latent'\]; expected 'model'"),
        (
            {"a": {"model": {"name": "autoencoder_tiny", "num_classes": 10}}},
            "is conditional, and the study tells no label",
        ),
    ],
)
def test_studies_that_cannot_be_are_refused(models, said):
    config = configs.load("configs/studies/latent_space.py:data=digits,smoke")
    config.study.models = models
    with pytest.raises(ConfigError, match=said):
        autoencoders.make(config, INFO)


def test_samples_and_halfway_images_are_measured_against_real_ones_and_reconstructions():
    real = np.zeros((3, 1, 1, 1)) + np.array([0.0, 4.0, 8.0]).reshape(3, 1, 1, 1)
    rows = {
        "image": real,
        "label": np.array([0, 1, 1]),
        "a_code": real.reshape(3, 1),
        "a_apart": np.array([True, True, False]),
    }
    rows |= {
        "a_reconstruction": real + 0.5,
        "a_sample": real + 1.0,
        "a_midway": real + np.array([2.0, 1, 9]).reshape(real.shape),
    }
    metrics = latent_space.finalised(("a",), {"loss": 3.0}, rows)
    assert metrics["a_sample"] == pytest.approx(2) and metrics["a_midway"] == pytest.approx(3) and metrics["loss"] == 3
    assert set(rows) == {"label", "a_code"}


def test_features_are_shown_unit_by_unit(monkeypatch):
    shown = {}
    monkeypatch.setattr(figures.images, "mosaic", lambda x, columns: shown.update(x=x))
    kernel = np.arange(12.0).reshape(4, 3) ** 2
    figures.features(kernel, (2, 2, 1))
    assert shown["x"].shape == (3, 2, 2, 1)
    first = kernel[:, 0]
    np.testing.assert_allclose(shown["x"][0].ravel(), (first - first.min()) / (first.max() - first.min()))
