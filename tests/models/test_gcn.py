"""Graph convolution: by hand on three nodes, by a loop over neighbours, and what a node does not see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.data import graphs
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.graph import gcn
from cvdl_jax.ops.graphs import propagation

PATH = jnp.asarray([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])  # 0 - 1 - 2


@pytest.mark.curriculum("X13")
def test_three_nodes_by_hand():
    """Degrees with loops are 2, 3, 2."""
    r = 6**-0.5
    want = [[1 / 2, r, 0], [r, 1 / 3, r], [0, r, 1 / 2]]
    np.testing.assert_allclose(propagation(PATH), want, rtol=1e-6)
    np.testing.assert_allclose(propagation(jnp.zeros((2, 3, 3))), np.stack([np.eye(3)] * 2))
    assert abs(np.linalg.eigvalsh(propagation(PATH))).max() == pytest.approx(1)
    # X = (6, 0, 0), W = 1 (and -1): the first layer gives 3, sqrt(6), 0, the second 2.5, 5 / sqrt(6), 1 of them
    model = gcn.build("gcn", num_classes=1, hidden=(1,))
    params = {"layer0": {"kernel": jnp.ones((1, 1))}, "layer0_bias": jnp.zeros(1)}
    params |= {"head": {"kernel": jnp.ones((1, 1))}, "head_bias": jnp.full(1, 10.0)}
    x = jnp.asarray([[[6.0], [0], [0]]])
    logits, out = model.apply({"params": params}, x, PATH[None], False)
    np.testing.assert_allclose(out["nodes"][0, :, 0], [3, 6**0.5, 0], rtol=1e-6)
    np.testing.assert_allclose(logits[0, :, 0], [10 + 2.5, 10 + 5 / 6**0.5, 10 + 1], rtol=1e-6)
    params["layer0"]["kernel"] = -jnp.ones((1, 1))
    np.testing.assert_allclose(model.apply({"params": params}, x, PATH[None], False)[0][0, :, 0], [10, 10, 10])


@pytest.mark.curriculum("X13")
def test_a_loop_over_neighbours_and_nodes_without_edges_between():
    rng = np.random.default_rng(0)
    adjacency = np.triu(rng.random((6, 6)) < 0.5, 1).astype(np.float32)
    adjacency += adjacency.T
    degrees = adjacency.sum(1) + 1
    want = np.zeros((6, 6))
    for i in range(6):
        for j in range(6):
            want[i, j] = (adjacency[i, j] or i == j) / np.sqrt(degrees[i] * degrees[j])
    np.testing.assert_allclose(propagation(jnp.asarray(adjacency)), want, rtol=1e-6)
    model = gcn.build("gcn_tiny", num_classes=3)
    x = jnp.asarray(rng.normal(size=(1, 6, 5)), jnp.float32)
    chain = jnp.asarray(np.eye(6, k=1) + np.eye(6, k=-1), jnp.float32)[None]
    run = jax.jit(lambda p, x, a: model.apply({"params": p}, x, a, False)[0])
    params = model.init(jax.random.key(0), x, chain, False)["params"]
    moved = run(params, x.at[0, 0].add(3.0), chain) != run(params, x, chain)
    assert not moved[0, 3:].any()  # two layers see two edges far
    alone = run(params, x, 0 * chain)
    order = np.asarray([3, 0, 5, 1, 4, 2])
    np.testing.assert_allclose(run(params, x[:, order], 0 * chain), alone[:, order], rtol=1e-5, atol=1e-6)
    mixed = run(params, x[:, order], chain[:, order][:, :, order])
    np.testing.assert_allclose(mixed, run(params, x, chain)[:, order], rtol=1e-5, atol=1e-6)


@pytest.mark.curriculum("X13")
def test_the_karate_club_as_it_was_published():
    adjacency, sides = graphs.karate_club()
    assert adjacency.sum() == 2 * 78 and (adjacency == adjacency.T).all() and np.trace(adjacency) == 0
    degrees = adjacency.sum(1).astype(int)
    assert degrees[[0, 32, 33, 2, 1]].tolist() == [16, 12, 17, 10, 9] and degrees.min() == 1 and degrees[11] == 1
    assert np.bincount(sides).tolist() == [17, 17] and sides[0] == 0 and sides[33] == 1
    assert np.trace(np.linalg.matrix_power(adjacency, 3)) == 6 * 45  # triangles


@pytest.mark.curriculum("X13")
def test_a_block_model_has_its_densities():
    labels = jnp.repeat(jnp.arange(2), 100)
    a = np.asarray(graphs.block_model(jax.random.key(0), labels, 0.3, 0.05))
    assert (a == a.T).all() and np.trace(a) == 0
    assert a[:100, :100].sum() / 9900 == pytest.approx(0.3, abs=0.02)
    assert a[:100, 100:].mean() == pytest.approx(0.05, abs=0.01)


def test_shapes_must_agree():
    with pytest.raises(ConfigError, match=r"got \(3, 2\)"):
        propagation(jnp.zeros((3, 2)))
    model = gcn.build("gcn_tiny", num_classes=3)
    with pytest.raises(ConfigError, match=r"features \[b, n, d\] and edges \[b, n, n\]"):
        jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 4, 5)), jnp.zeros((1, 5, 5)), False))
