"""Losses of embeddings: worked numbers, and loops over pairs and triplets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.ops import distances, prototypes
from cvdl_jax.ops.losses import embedding, metric

X = np.asarray([[0, 0], [3, 4], [0, 1], [3, 3]], np.float32)  # distances 5, 1, sqrt 18; sqrt 18, 1; sqrt 13
LABELS = np.asarray([0, 0, 1, 1])


def rows_of(x, labels, start=0, stop=None, draws=None, judge=None):
    x, labels, n = jnp.asarray(x, jnp.float32), jnp.asarray(labels), len(x)
    draws = jnp.full((n, n), 0.5) if draws is None else jnp.asarray(draws, jnp.float32)
    part = slice(start, stop)
    return metric.Rows(x[part], labels[part], jnp.arange(n)[part], x, labels, draws[part], judge or {})


@pytest.fixture(scope="module")
def batch():
    """Twelve rows of four classes, one of them twice in the batch, and draws."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(12, 3)).astype(np.float32), np.asarray([0, 1, 2, 3, 0, 1, 2, 0, 0, 1, 2, 0])
    x[7] = x[0]
    return x, labels, rng.uniform(size=(12, 12)).astype(np.float32)


@pytest.mark.curriculum("I15")
def test_worked_pairs_of_the_contrastive_loss():
    """Row 0: 1 is of its class, 5 away, and it draws row 2, 1 away: 25 / 2 and (2 - 1)^2 / 2. Others likewise."""
    draws = np.asarray([[0, 0, 0.9, 0.1], [0, 0, 0.1, 0.9], [0.1, 0.9, 0, 0], [0.9, 0.1, 0, 0]])
    losses, weights = metric.contrastive(rows_of(X, LABELS, draws=draws), margin=2.0)
    np.testing.assert_allclose(losses, [[12.5, 0.5], [12.5, 0.5], [6.5, 0], [6.5, 0]], rtol=1e-6)
    np.testing.assert_array_equal(weights, np.ones((4, 2)))


@pytest.mark.curriculum("I15")
@pytest.mark.parametrize(
    ("mining", "losses", "weights"),
    [
        # anchors 0 ... 3: the positive is 5, 5, sqrt 13, sqrt 13 away, the negatives 1 and sqrt 18
        ("hard", [[4.5], [4.5], [13**0.5 - 0.5], [13**0.5 - 0.5]], np.ones((4, 1))),
        # of anchors 0 and 1 no negative is beyond 5, so the farthest, sqrt 18; of 2 and 3 it is sqrt 18
        (
            "semi_hard",
            [[0, 5.5 - 18**0.5, 0, 0], [5.5 - 18**0.5, 0, 0, 0], [0] * 4, [0] * 4],
            [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]],
        ),
    ],
)
def test_worked_triplets(mining, losses, weights):
    value, weight = metric.triplet(rows_of(X, LABELS), margin=0.5, mining=mining)
    np.testing.assert_allclose(value, losses, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(weight, weights)


@pytest.mark.curriculum("I16")
def test_worked_pair_of_the_learned_distance():
    """|(0, 0) - (3, 4)| = (3, 4); w = (-1, 0.5), b = 0.25: the index of w runs with that of the difference."""
    judge = {"weight": jnp.asarray([-1.0, 0.5]), "bias": jnp.asarray(0.25)}
    draws = np.tile([0.1, 0.1, 0.9, 0.2], (4, 1))
    losses, weights = metric.weighted_l1(rows_of(X, LABELS, 0, 1, draws, judge))
    same, other = -3 + 2 + 0.25, 0 + 0.5 + 0.25
    expected = [np.log1p(np.exp(-same)), np.log1p(np.exp(other))]
    np.testing.assert_allclose(losses[0], expected, rtol=1e-6)
    assert weights.tolist() == [[1, 1]]


def distance(a, b):
    return float(np.sqrt(np.square(a.astype(np.float64) - b).sum()))


@pytest.mark.curriculum("I15")
@pytest.mark.parametrize("mining", ["hard", "semi_hard", "all"])
def test_mining_is_that_of_loops_also_for_a_part_of_the_batch(batch, mining):
    """Class 3 has one row, which has no positive; row 7 is row 0's twin, and its positive."""
    x, labels, _ = batch
    total = count = 0.0
    for i in range(4, 12):
        positives = [j for j in range(12) if j != i and labels[j] == labels[i]]
        negatives = [j for j in range(12) if labels[j] != labels[i]]
        d = [distance(x[i], x[j]) for j in range(12)]
        if mining == "hard":
            chosen = [(max(d[p] for p in positives), min(d[n] for n in negatives))]
        elif mining == "all":
            chosen = [(d[p], d[n]) for p in positives for n in negatives]
        else:
            chosen = []
            for p in positives:
                beyond = [d[n] for n in negatives if d[n] > d[p]]
                chosen.append((d[p], min(beyond) if beyond else max(d[n] for n in negatives)))
        total += sum(max(0, p - n + 0.4) for p, n in chosen)
        count += len(chosen)
    losses, weights = metric.triplet(rows_of(x, labels, 4, 12), margin=0.4, mining=mining)
    np.testing.assert_allclose(((losses * weights).sum(), weights.sum()), (total, count), rtol=1e-5)
    assert losses.shape == weights.shape
    alone = metric.triplet(rows_of(x, labels, 3, 4), mining=mining)
    assert float(jnp.abs(alone[0]).max()) == float(alone[1].max()) == 0


def test_partners_are_those_of_the_largest_draw_and_never_the_row_itself(batch):
    x, labels, draws = batch
    draws = draws + 5 * np.eye(12, dtype=np.float32)  # the row itself would win
    losses, weights = metric.contrastive(rows_of(x, labels, 2, 12, draws), margin=1.5)
    for row, i in enumerate(range(2, 12)):
        same = [j for j in range(12) if j != i and labels[j] == labels[i]]
        other = [j for j in range(12) if labels[j] != labels[i]]
        for column, able in enumerate((same, other)):
            assert weights[row, column] == bool(able)
            if able:
                d = distance(x[i], x[max(able, key=lambda j: draws[i, j])])
                expected = d**2 / 2 if column == 0 else max(0, 1.5 - d) ** 2 / 2
                np.testing.assert_allclose(losses[row, column], expected, rtol=1e-4, atol=1e-6)


def test_gradients_are_finite_where_two_rows_are_equal(batch):
    x, labels, draws = batch
    judge = {"weight": jnp.ones(3), "bias": jnp.zeros(())}

    def total(loss, x):
        losses, weights = loss(metric.Rows(x, labels, jnp.arange(12), x, labels, draws, judge))
        return (losses * weights).sum()

    same = np.repeat(x[:1], 12, 0)
    for loss in (metric.contrastive, metric.triplet, metric.weighted_l1):
        assert np.isfinite(jax.grad(lambda v, loss=loss: total(loss, v))(jnp.asarray(same))).all()


def test_vectors_of_length_one():
    np.testing.assert_allclose(distances.unit(jnp.asarray([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert not np.any(jax.grad(lambda x: distances.unit(x).sum())(jnp.zeros((1, 2))))


def test_what_is_no_number_stays_none():
    """A network that has diverged has no embeddings of length 0, at equal distances, and no finite loss."""
    x, y = jnp.full((6, 4), jnp.nan), [0, 0, 0, 1, 1, 1]
    for f in (distances.unit, lambda x: distances.euclidean(x, x), lambda x: distances.unit(jnp.full((2, 2), 1e30))):
        assert jnp.isnan(jax.jit(f)(x)).all()
    for loss in (metric.contrastive, metric.triplet):
        losses, weights = jax.jit(lambda x, loss=loss: loss(rows_of(x, y)))(x)
        assert jnp.isnan((losses * weights).sum())
    pull = jax.jit(lambda x: embedding.discriminative(x, jnp.asarray([[[1, 1, 2, 2]]]), 2))
    terms = pull(jnp.full((1, 1, 4, 3), jnp.nan))
    assert all(jnp.isnan(term).all() for term in terms.values())


def test_prototypes_by_hand():
    """Two classes of three rows, two of them support: the means (1, 0) and (0, 3); queries (0, 0) and (0, 4)."""
    x = jnp.asarray([[0, 0], [2, 0], [0, 0], [0, 2], [0, 4], [0, 4]], jnp.float32)
    centres = prototypes.of_support(prototypes.support(x, 3, 2))
    np.testing.assert_allclose(centres, [[1, 0], [0, 3]])
    which, asked = prototypes.episode(jnp.arange(1, 6), 3, 2)
    assert which.tolist() == [0, 0, 1, 1, 1] and asked.tolist() == [False, True, False, False, True]
    np.testing.assert_allclose(prototypes.scores(x[2::3], centres), [[-1, -9], [-17, -1]])
