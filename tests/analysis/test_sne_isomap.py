"""SNE against its worked gradient and finite differences, Isomap against SciPy and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.embedding import isomap, sne, tsne
from cvdl_jax.errors import ConfigError

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("V4")
def test_neighbours_have_the_perplexity_and_gaussians_by_hand():
    x = jnp.asarray(RNG.normal(size=(25, 4)), jnp.float32)
    p = sne.affinities(x, 6.0)
    np.testing.assert_allclose(tsne.perplexities(p), 6.0, rtol=1e-4)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    assert not np.allclose(p, p.T)  # conditional: every point has a sum of its own
    q = sne.gaussian(jnp.asarray([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]))
    e = np.exp
    np.testing.assert_allclose(q[0], [0, e(-1) / (e(-1) + e(-4)), e(-4) / (e(-1) + e(-4))], rtol=1e-5)
    np.testing.assert_allclose(q[1], [e(-1) / (e(-1) + e(-5)), 0, e(-5) / (e(-1) + e(-5))], rtol=1e-5)


@pytest.mark.curriculum("V5", "V6")
def test_points_that_are_equally_far_from_all_others_have_all_as_neighbours():
    """Corners of a simplex, or one place: no precision tells neighbours apart, and infinite ones gave NaN."""
    even = (1 - np.eye(9)) / 8
    for x in (3 * jnp.eye(9), jnp.ones((9, 2)), 1e-15 * jnp.eye(9)):
        np.testing.assert_allclose(sne.affinities(x, 4.0), even, rtol=1e-5)
        np.testing.assert_allclose(tsne.joint(x, 4.0), even / 9, rtol=1e-5)
    half = jnp.concatenate([3 * jnp.eye(9), jnp.zeros((1, 9))])  # the last one is nearer: of these nothing changes
    np.testing.assert_allclose(tsne.perplexities(sne.affinities(half, 4.0))[:9], 4.0, rtol=1e-4)


@pytest.mark.curriculum("V4")
def test_gradient_of_sne_is_the_worked_formula_and_the_finite_difference():
    with jax.enable_x64(True):
        x, y = RNG.normal(size=(20, 5)), RNG.normal(size=(20, 2))
        p, q = (np.asarray(v) for v in (sne.affinities(jnp.asarray(x), 5.0), sne.gaussian(jnp.asarray(y))))
        off = ~np.eye(20, dtype=bool)
        value = (p[off] * np.log(p[off] / q[off])).sum()
        cost = jax.jit(lambda y: sne.divergence(y, jnp.asarray(p)))
        np.testing.assert_allclose(cost(y), value, rtol=1e-10)
        slope = np.asarray(jax.grad(cost)(jnp.asarray(y)))
        worked = np.zeros_like(y)
        for i in range(20):
            for j in range(20):
                worked[i] += 2 * (y[i] - y[j]) * (p[i, j] - q[i, j] + p[j, i] - q[j, i])
        np.testing.assert_allclose(slope, worked, atol=1e-10)
        step = np.zeros_like(y)
        step[3, 1] = 1e-5
        np.testing.assert_allclose(slope[3, 1], (cost(y + step) - cost(y - step)) / 2e-5, atol=1e-7)


@pytest.mark.curriculum("V8")
def test_paths_are_those_of_scipy_and_a_bent_line_is_unrolled():
    from scipy.sparse.csgraph import shortest_path
    from sklearn.neighbors import kneighbors_graph

    x = RNG.normal(size=(30, 3))
    graph = isomap.neighbour_graph(x, 4)
    theirs = kneighbors_graph(x, 4, mode="distance").toarray()
    theirs = np.maximum(theirs, theirs.T)
    np.testing.assert_allclose(np.where(np.isfinite(graph), graph, 0), theirs, rtol=1e-12)
    np.testing.assert_allclose(isomap.geodesics(graph), shortest_path(theirs, directed=False), rtol=1e-12)
    angle = np.linspace(0, 1.6 * np.pi, 40)
    y, rest = isomap.isomap(np.stack([np.cos(angle), np.sin(angle)], 1), 2)
    chord = 2 * np.sin(angle[1] / 2)
    # The arc becomes straight; an end is linked with the second point too, which shortens the way a little.
    np.testing.assert_allclose(np.abs(np.diff(y[:, 0])), chord, rtol=5e-3)
    assert np.abs(y[:, 1]).max() < 0.02 and rest < 1e-5


@pytest.mark.curriculum("V8")
def test_embedding_is_scikit_learns():
    from sklearn.manifold import Isomap

    angle, height = 1.5 * np.pi * (1 + RNG.random(80)), RNG.random(80) * 4
    x = np.stack([angle * np.cos(angle), height, angle * np.sin(angle)], 1)
    ours, _ = isomap.isomap(x, 8)
    theirs = Isomap(n_neighbors=8, n_components=2, eigen_solver="dense").fit_transform(x)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-6)
    assert (ours[np.abs(ours).argmax(0), [0, 1]] > 0).all()
    assert abs(np.corrcoef(ours[:, 0], angle)[0, 1]) > 0.95


@pytest.mark.curriculum("V8")
def test_scaling_of_a_triangle_by_hand_and_what_is_refused():
    y, values = isomap.classical_scaling(np.asarray([[0, 3, 4], [3, 0, 5], [4, 5, 0.0]]))
    away = np.sqrt(np.square(y[:, None] - y[None]).sum(-1))
    np.testing.assert_allclose(away[np.triu_indices(3, 1)], [3, 4, 5])
    np.testing.assert_allclose(
        values.sum(), (9 + 16 + 25) / 3
    )  # the trace of B, half the mean squared distance times n
    np.testing.assert_allclose(y.sum(0), 0, atol=1e-12)
    with pytest.raises(ConfigError, match=r"k=4 coordinates of 3 points; k must be in 1\.\.3"):
        isomap.classical_scaling(np.ones((3, 3)), 4)
    y, rest = isomap.isomap(np.ones((5, 2)), 2)  # points at one place have no distances to correlate
    assert rest == 0 and not y.any() and isomap.residual_variance(np.ones((3, 3)), np.eye(3)[:, :1]) == 1
    lumps = np.concatenate([RNG.normal(m, 0.1, size=(6, 2)) for m in (0, 10, 20)])
    with pytest.raises(ConfigError, match="has 3 parts without a path between them; use more neighbours"):
        isomap.isomap(lumps, 3)
    with pytest.raises(ConfigError, match=r"neighbours=18 must be in 1\.\.17"):
        isomap.isomap(lumps, 18)
