"""The studies of crowding and of clusters, and SNE and Isomap in the experiment of embeddings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.embedding import isomap, pca, sne, tsne
from cvdl_jax.config import configs
from cvdl_jax.core.task import create_state
from cvdl_jax.engine import build as engine_build
from cvdl_jax.errors import ConfigError, DataError
from experiments import embed
from experiments.studies import clusters, crowding

SNE, ISOMAP = "configs/explain/tsne.py:method=sne,smoke", "configs/explain/pca.py:method=isomap,smoke"


@pytest.mark.curriculum("V4")
def test_the_experiment_descends_the_mean_divergence_of_sne():
    built = engine_build.build(configs.load(SNE))
    state = create_state(built.task, jax.random.key(0), {})
    p = sne.affinities(state.extra["features"], 5.0)
    np.testing.assert_allclose(state.extra["affinities"], p, atol=1e-6)
    y = jnp.asarray(np.random.default_rng(0).normal(size=(40, 2)), jnp.float32)
    state = state._replace(params={"points": y})
    total, weight = embed.training_loss(embed.Embed(method="sne"), state, {}, None)[1]["loss"]
    assert weight == 40
    np.testing.assert_allclose(total, sne.divergence(y, p), rtol=1e-4)
    sums = built.task.evals["embedding"].step(state, {}, None)
    np.testing.assert_allclose(sums["kl"][0] / sums["kl"][1], total / 40, rtol=1e-6)
    assert "variance" not in sums


@pytest.mark.curriculum("V8")
def test_the_experiment_shows_isomap_without_a_step():
    built = engine_build.build(configs.load(ISOMAP))
    state = create_state(built.task, jax.random.key(0), {})
    assert built.info.total_steps == 0 and built.task.train is None
    points, rest = isomap.isomap(np.asarray(state.extra["features"]), 10)
    sums = built.task.evals["embedding"].step(state, {}, None)
    np.testing.assert_allclose(sums["points"], points, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sums["residual_variance"][0], rest, rtol=1e-4)


@pytest.mark.parametrize(("config", "override", "message"), [
    (SNE, "--config.embed.exaggeration=4.0", "exaggeration has no effect with method='sne' but of t-SNE; leave"),
    (SNE, "--config.embed.perplexity=40.0", "config.embed.perplexity=40.0 must be between 1 and 39"),
    (ISOMAP, "--config.embed.perplexity=4.0", "has no effect with method='isomap' but of SNE and t-SNE"),
    (ISOMAP, "--config.total_steps=2", "Isomap takes no step"),
    (ISOMAP, "--config.embed.neighbours=1", "use more neighbours"),
    (ISOMAP, "--config.embed.neighbours=40", "neighbours=40 must be in 1..39"),
])  # fmt: skip
def test_mistakes_of_methods_are_named(config, override, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        engine_build.build(configs.load(config, [override]))


@pytest.mark.curriculum("V7")
def test_room_between_clusters_by_hand():
    """Pairs at 0, 1 and at 4, 6: own distances 1, 1, 2, 2, mean distances to the others 5, 4, 3.5, 5.5."""
    y, label = np.asarray([[0.0, 0], [1, 0], [4, 0], [6, 0]]), np.asarray([0, 0, 1, 1])
    measures = crowding.room(y, label)
    assert measures["silhouette"] == pytest.approx(np.mean([4 / 5, 3 / 4, 1.5 / 3.5, 3.5 / 5.5]))
    assert measures["gap"] == pytest.approx(np.median([4 / 1, 3 / 1, 3 / 2, 5 / 2])) and measures["agreement"] == 1
    assert crowding.room(y, np.asarray([0, 1, 1, 0]))["agreement"] == 0
    alone = crowding.room(y, np.asarray([0, 0, 1, 2]))  # Rousseeuw 1987: 0 for a point alone in its cluster
    assert alone["silhouette"] == pytest.approx((3 / 4 + 2 / 3 + 0 + 0) / 4)
    assert alone["gap"] == pytest.approx(np.median([4 / 1, 3 / 1]))


@pytest.mark.curriculum("V4", "V5", "V7")
def test_both_maps_begin_at_the_components_and_descend_a_mean_over_points():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(12, 4)) * [3, 2, 1, 1], jnp.float32)
    fitted = pca.fit(x, 2)
    start = pca.transform(fitted.mean, fitted.components, x)
    start = start / start[:, 0].std() * 1e-2
    mean = lambda y, p: sne.divergence(y, p) / 12  # noqa: E731
    for method, p, cost in (("sne", sne.affinities(x, 4.0), mean), ("tsne", tsne.joint(x, 4.0), tsne.divergence)):
        y, values = crowding.embedded(x, method, 4.0, 1, 0.1)
        np.testing.assert_allclose(values[0], cost(start, p), rtol=1e-4)
        np.testing.assert_allclose(y, start - 0.1 * 12 * jax.grad(cost)(start, p), rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(values[1], cost(y, p), rtol=1e-4)


@pytest.mark.curriculum("V7")
def test_student_leaves_room_between_clusters_that_sne_crowds():
    study = crowding.Crowding(clusters=6, points=8, perplexity=6.0, steps=250, apart=5.0)
    x, label = crowding.equidistant(study, 0)
    centres = np.stack([x[label == c].mean(0) for c in range(6)])
    away = np.sqrt(np.square(centres[:, None] - centres[None]).sum(-1))[np.triu_indices(6, 1)]
    assert away.mean() == pytest.approx(5, abs=0.5)
    metrics, shown = crowding.measure(study, 0)
    assert metrics["tsne_silhouette"] > metrics["sne_silhouette"] + 0.1
    assert metrics["tsne_gap"] > 1.3 * metrics["sne_gap"]
    assert metrics["tsne_agreement"] > 0.85
    assert crowding.draw(shown).keys() == {"crowding"}
    with pytest.raises(ConfigError, match=r"config.study.perplexity=48.0 must be between 1 and 47"):
        crowding.measure(study._replace(perplexity=48.0), 0)
    with pytest.raises(ConfigError, match="needs two clusters and one of two points"):
        crowding.measure(study._replace(points=1, perplexity=3.0), 0)
    with pytest.raises(ConfigError, match=r"config.study.apart has no effect on data"):
        engine_build.build(configs.load("configs/studies/crowding.py:data=digits,smoke", ["--config.study.apart=3.0"]))


@pytest.mark.curriculum("V1", "V2")
def test_clusters_of_digits_agree_with_their_classes():
    data = {"name": "digits", "train": "", "test": "test"}
    study = clusters.Clusters(data=data, limit=120, iterations=12, restarts=2, clusters=10)
    metrics, shown = clusters.measure(study, 0)
    assert metrics["kmeans_rand"] > 0.45 and metrics["ward_rand"] > 0.45
    assert metrics["single_rand"] < metrics["ward_rand"]  # chains
    assert {name.rsplit("_", 1)[0] for name in metrics if name.endswith("_rand")} == {
        "kmeans", "gmm_diag", "gmm_full", "single", "complete", "average", "ward"
    }  # fmt: skip
    assert len(shown[2]["kmeans"]) == 120 and clusters.draw(shown).keys() == {"clusters", "iterations"}
    with pytest.raises(ConfigError, match=r"config.study.components=65 is more than 64, which there are"):
        clusters.measure(study._replace(components=65), 0)
    # Ten clusters of 24 points in twelve dimensions: no full covariance is regular without a floor.
    with pytest.raises(DataError, match=r"singular; take a larger floor of variances than 0.0"):
        clusters.measure(study._replace(limit=24, components=12, floor=0.0, iterations=2, restarts=1), 0)
