"""PCA and t-SNE against scikit-learn and closed forms, and their experiment."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from cvdl_jax.analysis.embedding import pca, tsne
from cvdl_jax.config import configs
from cvdl_jax.core.task import State, create_state
from cvdl_jax.engine import runs
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from experiments import embed

PCA, TSNE = "configs/explain/pca.py", "configs/explain/tsne.py"
X = np.random.default_rng(0).normal(size=(60, 7)).astype(np.float32) * np.arange(1, 8, dtype=np.float32)


@pytest.mark.curriculum("V3")
def test_pca_equals_scikit_learn():
    from sklearn.decomposition import PCA as Reference

    theirs, ours = Reference(3, svd_solver="full").fit(X.astype(np.float64)), pca.fit(jnp.asarray(X), 3)
    sign = np.sign((theirs.components_ * ours.components).sum(1))
    np.testing.assert_allclose(ours.components, theirs.components_ * sign[:, None], atol=2e-5)
    np.testing.assert_allclose(ours.variance, theirs.explained_variance_, rtol=1e-5)
    np.testing.assert_allclose(ours.ratio, theirs.explained_variance_ratio_, rtol=1e-5)
    z = pca.transform(ours.mean, ours.components, jnp.asarray(X))
    np.testing.assert_allclose(z, theirs.transform(X) * sign, atol=2e-3)
    back = pca.inverse_transform(ours.mean, ours.components, z)
    np.testing.assert_allclose(back, theirs.inverse_transform(theirs.transform(X)), atol=2e-3)
    largest = np.abs(ours.components).argmax(1)
    assert (np.asarray(ours.components)[np.arange(3), largest] > 0).all()


@pytest.mark.curriculum("V6")
@pytest.mark.parametrize("perplexity", [2.0, 10.0, 40.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_bisection_reaches_the_perplexity(perplexity, scale):
    distances = tsne.squared_distances(jnp.asarray(X * scale))
    p = tsne.conditional(distances, tsne.precisions(distances, perplexity))
    np.testing.assert_allclose(tsne.perplexities(p), perplexity, rtol=1e-4)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("perplexity", [0.5, 59.0])
def test_impossible_perplexity_is_refused(perplexity):
    with pytest.raises(ValueError, match="between 1 and 59"):
        tsne.joint(jnp.asarray(X), perplexity)


@pytest.mark.curriculum("V5")
def test_joint_affinities_are_symmetric_and_sum_to_one():
    p = np.asarray(tsne.joint(jnp.asarray(X), 10.0))
    np.testing.assert_array_equal(p, p.T)
    np.testing.assert_array_equal(np.diag(p), 0)
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)
    distances = tsne.squared_distances(jnp.asarray(X))
    one = np.asarray(tsne.conditional(distances, tsne.precisions(distances, 10.0)))
    np.testing.assert_allclose(p, (one + one.T) / (2 * len(X)), rtol=1e-6)


@pytest.mark.curriculum("V5")
@pytest.mark.parametrize("exaggeration", [1.0, 12.0])
def test_gradient_is_the_closed_form_and_the_finite_difference(exaggeration):
    with jax.enable_x64(True):
        y = np.random.default_rng(1).normal(size=(60, 2))
        p = np.asarray(tsne.joint(jnp.asarray(X, jnp.float64), 10.0))
        gradient = np.asarray(jax.grad(tsne.divergence)(jnp.asarray(y), jnp.asarray(p), exaggeration))
        kernel = 1 / (1 + ((y[:, None] - y[None]) ** 2).sum(-1))
        np.fill_diagonal(kernel, 0)
        q = kernel / kernel.sum()
        np.testing.assert_allclose(tsne.student(jnp.asarray(y)), q, rtol=1e-9)
        pull = (exaggeration * p - q) * kernel
        np.testing.assert_allclose(gradient, 4 * (pull[..., None] * (y[:, None] - y[None])).sum(1), atol=1e-10)
        off = ~np.eye(60, dtype=bool)
        value = (p[off] * np.log(p[off] / q[off])).sum()
        np.testing.assert_allclose(tsne.divergence(jnp.asarray(y), jnp.asarray(p)), value, rtol=1e-9)
        for i, k in ((0, 0), (31, 1)):
            step = np.zeros_like(y)
            step[i, k] = 1e-5
            up, down = (float(tsne.divergence(jnp.asarray(y + s), jnp.asarray(p), exaggeration)) for s in (step, -step))
            np.testing.assert_allclose(gradient[i, k], (up - down) / 2e-5, atol=1e-8)


@pytest.mark.curriculum("V5")
def test_the_first_steps_exaggerate_the_affinities():
    """Before `exaggeration_steps` points are pulled with 12 p, later with p; the divergence shown is the true one."""
    rng = np.random.default_rng(0)
    y, p = rng.normal(size=(9, 2)).astype(np.float32), rng.random((9, 9)).astype(np.float32)
    p = (p + p.T) * (1 - np.eye(9, dtype=np.float32))
    p /= p.sum()
    settings = embed.Embed(exaggeration=12.0, exaggeration_steps=3)
    extra = {"affinities": p, "label": jnp.arange(9), "features": jnp.asarray(y)}
    state = State(jnp.int32(0), {"points": jnp.asarray(y)}, {}, extra, {})

    @jax.jit
    def slope_and_kl(step):
        def loss(points):
            now = state._replace(params={"points": points}, step=step)
            return embed.training_loss(settings, now, {}, None)[1]["loss"][0]

        return jax.grad(loss)(state.params["points"]), embed.evaluation_step(
            "tsne", state._replace(step=step), {}, None
        )["kl"]

    kernel = 1 / (1 + ((y[:, None] - y[None]) ** 2).sum(-1)) * (1 - np.eye(9))
    q, off = kernel / kernel.sum(), ~np.eye(9, dtype=bool)
    for step, factor in ((0, 12), (2, 12), (3, 1)):
        slope, (kl, weight) = slope_and_kl(step)
        pull = (factor * p - q) * kernel
        np.testing.assert_allclose(slope, 4 * (pull[..., None] * (y[:, None] - y[None])).sum(1), atol=1e-5)
        np.testing.assert_allclose(kl / weight, (p[off] * np.log(p[off] / q[off])).sum(), rtol=1e-5)


def test_pca_experiment_projects_without_a_step():
    built = build(configs.load(f"{PCA}:smoke"))
    state = create_state(built.task, jax.random.key(0), {})
    assert built.info.total_steps == 0 and built.task.train is None
    out = built.task.evals["embedding"].step(state, {}, None)
    assert out["points"].shape == (40, 2) and out["label"].shape == (40,)
    centred = np.asarray(state.extra["features"]) - np.asarray(state.params["mean"])
    share = (np.asarray(out["points"]) ** 2).sum() / (centred**2).sum()
    np.testing.assert_allclose(out["variance"][0], share, rtol=1e-4)


@pytest.mark.parametrize(("path", "override", "message"), [
    (PCA, "--config.total_steps=3", "PCA takes no step"),
    (TSNE, "--config.embed.perplexity=40.0", "config.embed.perplexity=40.0 must be between 1 and 39"),
    (TSNE, "--config.embed.splits=('train',)", "expected splits of"),
    (TSNE, "--config.augment=flip", "no use for config.augment"),
])  # fmt: skip
def test_mistakes_are_named(path, override, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        build(configs.load(f"{path}:smoke", [override]))


@pytest.mark.long
@pytest.mark.curriculum("V5")
def test_divergence_on_digits_is_scikit_learns(tmp_path):
    """500 images, 500 steps, half of them exaggerated: KL within 5 %, and the digits lie apart."""
    from sklearn.manifold import TSNE as Reference

    assert launch.main([
        f"--config={TSNE}", f"--workdir={tmp_path}", "--config.total_steps=500", "--config.embed.limit=500",
        "--config.optim.lr=20.0", "--config.log.tensorboard=False",
    ]) == 0  # fmt: skip
    metrics = json.loads((tmp_path / "results.json").read_text())["metrics"]
    _, state, _ = runs.load(tmp_path)
    reference = Reference(2, perplexity=30, method="exact", init="pca", max_iter=500, random_state=0)
    theirs = reference.fit(np.asarray(state.extra["features"])).kl_divergence_
    print(f"KL {metrics['embedding/kl']:.4f}, scikit-learn's {theirs:.4f}")
    assert abs(metrics["embedding/kl"] / theirs - 1) < 0.05
    assert metrics["embedding/agreement"] > 0.93


@pytest.mark.long
@pytest.mark.curriculum("V9")
@pytest.mark.parametrize("layer", ["pre_logits", "stages.1"])
def test_features_of_a_trained_network_are_embedded(layer, tmp_path):
    trained, workdir = tmp_path / "lenet5", tmp_path / "tsne"
    assert launch.main([
        "--config=configs/classify/lenet5.py", f"--workdir={trained}", "--config.total_steps=40",
        "--config.log.tensorboard=False",
    ]) == 0  # fmt: skip
    flags = [f"--config.embed.workdir={trained}", f"--config.embed.layer={layer}", "--config.embed.limit=60"]
    assert launch.main([f"--config={TSNE}:smoke", f"--workdir={workdir}", *flags]) == 0
    task, state, _ = runs.load(trained)
    _, embedded, _ = runs.load(workdir)
    split = build(configs.load("configs/classify/lenet5.py")).data.splits["validation"].batch(np.arange(60))
    np.testing.assert_array_equal(embedded.extra["label"], split["label"])
    if layer == "pre_logits":  # the scores follow from them by the last layer
        last = state.extra["ema"]["head"]
        scores = np.asarray(embedded.extra["features"]) @ np.asarray(last["kernel"]) + np.asarray(last["bias"])
        theirs = task.predict(state, {"image": split["image"].astype(np.float32) / 255})["scores"]
        np.testing.assert_allclose(scores, theirs, atol=1e-3)
    assert (workdir / "figures" / "embedding.png").exists()
    with pytest.raises(ConfigError, match="is not one of"):
        build(configs.load(f"{TSNE}:smoke", [flags[0], "--config.embed.layer=logits"]))


def test_settings_of_tsne_are_refused_for_pca(capsys, tmp_path):
    flags = ["--config=configs/explain/pca.py:smoke", f"--workdir={tmp_path}", "--config.embed.perplexity=5.0"]
    assert launch.main(flags) == 2
    assert "config.embed.perplexity has no effect with method='pca'" in capsys.readouterr().err
