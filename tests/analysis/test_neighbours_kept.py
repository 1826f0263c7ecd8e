"""Trustworthiness and continuity of an embedding, by hand and beside scikit-learn's."""

import jax
import numpy as np
import pytest
from sklearn import manifold

from cvdl_jax.analysis.embedding import neighbours
from cvdl_jax.errors import ConfigError

RNG = np.random.default_rng(0)


@pytest.mark.curriculum("V9")
def test_five_points_by_hand():
    """On the line 0 1 2.2 3.7 6, the last point is moved between the first two: it becomes the nearest of both."""
    features, points = np.array([[0.0], [1.0], [2.2], [3.7], [6.0]]), np.array([[0.0], [1.0], [2.2], [3.7], [0.4]])
    np.testing.assert_array_equal(neighbours.ranks(features)[3], [4, 3, 1, 0, 2])
    np.testing.assert_array_equal(neighbours.ranks(points)[1], [2, 0, 3, 4, 1])
    trust, continuity = neighbours.kept(features, points, 1)
    # Near in the plane and not before: 4 of 0 (rank 4), 4 of 1 (rank 4), 0 of 4 (rank 4): 3 + 3 + 3; factor 2 / 30.
    assert trust == pytest.approx(1 - 9 * 2 / 30)
    # Near before and not in the plane: 1 of 0 (rank 2), 0 of 1 (rank 2), 3 of 4 (rank 4): 1 + 1 + 3.
    assert continuity == pytest.approx(1 - 5 * 2 / 30)


@pytest.mark.curriculum("V9")
@pytest.mark.parametrize("k", [1, 5, 9])
def test_they_are_those_of_scikit_learn(k):
    features = RNG.normal(size=(40, 6))
    points = features[:, :2] + 0.3 * RNG.normal(size=(40, 2))
    trust, continuity = jax.jit(neighbours.kept, static_argnums=2)(features, points, k)
    assert trust == pytest.approx(manifold.trustworthiness(features, points, n_neighbors=k), abs=1e-6)
    assert continuity == pytest.approx(manifold.trustworthiness(points, features, n_neighbors=k), abs=1e-6)
    assert np.all(np.asarray(neighbours.kept(features, 3 * features + 1, k)) == 1)  # neither distance nor place counts


def test_of_few_points_there_are_fewer_neighbours():
    x = RNG.normal(size=(7, 2))
    assert sorted(neighbours.measures(x, x)) == ["continuity_3", "trustworthiness_3"]
    assert neighbours.measures(x[:2], x[:2]) == {} and len(neighbours.measures(x[:3], x[:3])) == 2


def test_half_of_the_points_are_no_neighbours():
    with pytest.raises(ConfigError, match="5 neighbours of 10 points must be at least one and fewer than half"):
        neighbours.kept(np.zeros((10, 2)), np.zeros((10, 2)), 5)
