"""Clusters and mixtures against worked numbers, SciPy and scikit-learn, and what their iterations may never do."""

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.embedding import clustering, gaussian_mixture
from cvdl_jax.errors import DataError
from cvdl_jax.metrics import clusters

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(m, s, size=(n, 2)) for m, s, n in ((0, 1, 40), (4, 0.5, 25), ((-3, 4), 0.8, 15))])
KMEANS = jax.jit(partial(clustering.kmeans, k=3, iterations=20))
LLOYD = jax.jit(clustering.lloyd)


@pytest.mark.curriculum("V1")
def test_an_iteration_by_hand():
    x = jnp.asarray([[0.0], [2.0], [10.0], [14.0]])
    centres, inertia = clustering.lloyd(x, jnp.asarray([[0.0], [9.0]]))
    np.testing.assert_allclose(centres, [[1.0], [12.0]])
    assert inertia == 0 + 4 + 1 + 25
    # Two centres lost all their points: the first takes the farthest point (14), the second the next one (10).
    centres, inertia = clustering.lloyd(x, jnp.asarray([[100.0], [1.0], [200.0]]))
    np.testing.assert_allclose(centres, [[14.0], [6.5], [10.0]])
    assert inertia == 1 + 1 + 81 + 169


@pytest.mark.curriculum("V1")
def test_inertia_never_increases_and_is_that_of_scikit_learn():
    from sklearn.cluster import KMeans as Reference

    x = jnp.asarray(X, jnp.float32)
    for seed in range(4):
        ours = KMEANS(jax.random.key(seed), x)
        history = np.asarray(ours.inertia)
        assert history[0] > history[-1] and (np.diff(history) <= 1e-5 * history[0]).all()
        first = clustering.plus_plus(jax.random.split(jax.random.key(seed), 1)[0], x, 3)
        theirs = Reference(3, init=np.asarray(first, np.float64), n_init=1, max_iter=20, tol=0).fit(X)
        np.testing.assert_allclose(history[-1], theirs.inertia_, rtol=1e-4)
        np.testing.assert_array_equal(ours.label, theirs.labels_)
    a, b = (KMEANS(jax.random.key(7), x) for _ in range(2))
    np.testing.assert_array_equal(a.centres, b.centres)


@pytest.mark.curriculum("V1")
def test_restarts_keep_the_best_and_duplicates_do_not_stop_it():
    x, key = jnp.asarray(RNG.normal(size=(60, 2)), jnp.float32), jax.random.key(1)
    several = jax.jit(partial(clustering.kmeans, k=8, iterations=15, restarts=6))(key, x)
    starts = [clustering.plus_plus(k, x, 8) for k in jax.random.split(key, 6)]
    ends = []
    for centres in starts:
        for _ in range(15):
            centres, _ = LLOYD(x, centres)
        ends.append(float(LLOYD(x, centres)[1]))
    assert max(ends) > 1.02 * min(ends)
    np.testing.assert_allclose(several.inertia[-1], min(ends), rtol=1e-5)
    same = clustering.kmeans(jax.random.key(0), jnp.ones((5, 2)), 3, 2)
    assert float(same.inertia[-1]) == 0 and np.isfinite(same.centres).all()
    with pytest.raises(ValueError, match=r"k=6 clusters of 5 points; k must be in 1\.\.5"):
        clustering.kmeans(jax.random.key(0), jnp.ones((5, 2)), 6)


@pytest.mark.curriculum("V1")
def test_first_centres_are_drawn_by_squared_distance():
    """Points at 0, 1 and 3: after 0 is drawn, 3 follows with probability 9 / 10; after 1, 0 with 1 / 5."""
    x = jnp.asarray([[0.0], [1.0], [3.0]])
    pairs = np.asarray(jax.vmap(lambda k: clustering.plus_plus(k, x, 2))(jax.random.split(jax.random.key(0), 6000)))
    first, second = pairs[:, 0, 0], pairs[:, 1, 0]
    np.testing.assert_allclose([(first == v).mean() for v in (0, 1, 3)], [1 / 3] * 3, atol=0.03)
    assert (second[first == 0] == 3).mean() == pytest.approx(0.9, abs=0.03)
    assert (second[first == 1] == 0).mean() == pytest.approx(0.2, abs=0.03)
    assert (first != second).all()


@pytest.mark.curriculum("V2")
@pytest.mark.parametrize("linkage", clustering.LINKAGES)
def test_joins_are_those_of_scipy(linkage):
    from scipy.cluster import hierarchy

    theirs, ours = hierarchy.linkage(X[::3], linkage), clustering.agglomerate(X[::3], linkage)
    np.testing.assert_array_equal(ours.pairs, theirs[:, :2])
    np.testing.assert_allclose(ours.heights, theirs[:, 2], rtol=1e-9)
    np.testing.assert_array_equal(ours.sizes, theirs[:, 3])
    groups = hierarchy.fcluster(theirs, 4, "maxclust")
    assert clusters.adjusted_rand(groups, clustering.cut(ours, 4)) == 1
    assert clustering.cut(ours, 4)[0] == 0 and clustering.cut(ours, 1).max() == 0
    assert (clustering.cut(ours, len(X[::3])) == np.arange(len(X[::3]))).all()


@pytest.mark.curriculum("V2")
def test_linkages_by_hand():
    """Points 0, 1 and 5: {0, 1} at 1, then 5 at 4 (single), 5 (complete), 4.5 (average), sqrt(2 2 / 3) 4.5 (Ward)."""
    x = np.asarray([[0.0], [1.0], [5.0]])
    last = {"single": 4, "complete": 5, "average": 4.5, "ward": np.sqrt(4 / 3) * 4.5}
    for linkage, height in last.items():
        np.testing.assert_allclose(clustering.agglomerate(x, linkage).heights, [1, height])
    with pytest.raises(ValueError, match="linkage='centroid' is not one of single, complete, average, ward"):
        clustering.agglomerate(x, "centroid")
    with pytest.raises(ValueError, match="1 of 3 points are NaN or infinite"):
        clustering.agglomerate(np.asarray([[0.0], [np.nan], [5.0]]))


@pytest.mark.curriculum("V2")
@pytest.mark.parametrize("kind", ["diag", "full"])
def test_mixtures_never_lose_likelihood_and_are_scikit_learns(kind):
    from sklearn.mixture import GaussianMixture

    mixed = X * 0.4 + np.random.default_rng(1).normal(size=X.shape)  # that overlap
    with jax.enable_x64(True):
        fit = jax.jit(partial(gaussian_mixture.fit, k=3, iterations=40, kind=kind, floor=0.0))
        mixture, values = jax.device_get(fit(jax.random.key(0), jnp.asarray(mixed)))
    assert (np.diff(values) > -1e-12).all() and values[-1] > values[0] + 1e-3
    theirs = GaussianMixture(
        3, covariance_type=kind, reg_covar=0, tol=0, max_iter=1, weights_init=mixture.weights,
        means_init=mixture.means,
        precisions_init=1 / mixture.covariances if kind == "diag" else np.linalg.inv(mixture.covariances),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one step of theirs does not converge, as it says
        theirs.fit(mixed)
    np.testing.assert_allclose(theirs.lower_bound_, values[-1], rtol=1e-9)
    np.testing.assert_allclose(theirs.means_, mixture.means, atol=0.1)  # nothing moves far any more
    np.testing.assert_allclose(theirs.covariances_, mixture.covariances, atol=0.1)


@pytest.mark.curriculum("V2")
def test_density_and_responsibilities_by_hand():
    """Two Gaussians on a line, N(0, 1) of weight 3/4 and N(2, 1) of 1/4: at 1 they are as likely but for the weight."""
    x = jnp.asarray([[1.0]])
    for shape in ((2, 1), (2, 1, 1)):
        mixture = gaussian_mixture.Mixture(jnp.asarray([0.75, 0.25]), jnp.asarray([[0.0], [2.0]]), jnp.ones(shape))
        r, value = gaussian_mixture.responsibilities(mixture, x)
        np.testing.assert_allclose(r, [[0.75, 0.25]], rtol=1e-6)
        np.testing.assert_allclose(value, -0.5 - np.log(2 * np.pi) / 2, rtol=1e-6)


@pytest.mark.curriculum("V2")
def test_a_step_of_maximisation_by_hand():
    """Three points to the first component, one to the second: weights 3/4 and 1/4, means 2 and 9, variance 8/3."""
    x, r = jnp.asarray([[0.0], [2.0], [4.0], [9.0]]), jnp.asarray([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    for kind, shape in (("diag", (2, 1)), ("full", (2, 1, 1))):
        mixture = gaussian_mixture.maximise(x, r, kind, 0.5)
        np.testing.assert_allclose(mixture.weights, [0.75, 0.25], rtol=1e-5)
        np.testing.assert_allclose(mixture.means, [[2], [9]], rtol=1e-5)
        np.testing.assert_allclose(mixture.covariances, np.reshape([8 / 3 + 0.5, 0.5], shape), rtol=1e-5)


@pytest.mark.curriculum("V2")
@pytest.mark.parametrize("kind", ["diag", "full"])
def test_the_floor_gives_a_component_of_one_point_a_density(kind):
    x = jnp.asarray([[0.0, 0.0], [1.0, 0.0], [50.0, 50.0]])
    mixture, values = gaussian_mixture.fit(jax.random.key(0), x, 2, 5, kind, 0.01)
    lone = int(np.asarray(mixture.means)[:, 0].argmax())
    spread = mixture.covariances[lone]
    np.testing.assert_allclose(spread if kind == "diag" else np.diag(spread), 0.01, rtol=1e-3)
    assert np.isfinite(values).all()
    gaussian_mixture.check_fit(values, 0.01)
    _, values = gaussian_mixture.fit(jax.random.key(0), x, 2, 5, kind, 0.0)
    with pytest.raises(DataError, match=r"no likelihood from iteration 0 on: .* a larger floor of variances than 0.0"):
        gaussian_mixture.check_fit(values, 0.0)
    with pytest.raises(ValueError, match="kind='tied' is not one of diag, full"):
        gaussian_mixture.fit(jax.random.key(0), x, 2, 5, "tied")


def test_agreement_of_partitions_is_scikit_learns():
    from sklearn.metrics import adjusted_rand_score

    label, cluster = RNG.integers(4, size=50), RNG.integers(3, size=50)
    cluster[:20] = label[:20] % 3
    assert clusters.adjusted_rand(label, cluster) == pytest.approx(adjusted_rand_score(label, cluster))
    assert clusters.adjusted_rand(label, (label + 1) % 4) == 1
    assert clusters.purity(np.asarray([0, 0, 1, 1, 2]), np.asarray([5, 5, 5, 7, 7])) == pytest.approx(3 / 5)
    assert clusters.adjusted_rand(np.zeros(4), np.zeros(4)) == 1
