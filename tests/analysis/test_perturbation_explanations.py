"""Occlusion and Shapley values: games and models whose answers are known, and the axioms."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.analysis.explain import perturbation
from cvdl_jax.analysis.logits import Logits
from cvdl_jax.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
W = RNG.normal(size=(4, 6, 2, 3)).astype(np.float32)
X = RNG.uniform(size=(3, 4, 6, 2)).astype(np.float32)
LABEL = np.array([2, 0, 1])


def linear(x):
    return jnp.tensordot(x, jnp.asarray(W), 3)


def pairs(x):
    """Scores of 4 features whose effects depend on each other."""
    a, b, c, d = jnp.moveaxis(x, -1, 0)
    return jnp.stack([a * b + 2 * c, jnp.maximum(a, b) - c * a], -1) + 0 * d[:, None]


@pytest.mark.curriculum("O8")
@pytest.mark.parametrize("fill", [0.3, "mean", X[0]])
def test_scores_of_subsets_of_a_linear_model(fill):
    """`r_S = sum over S of w (x - fill)`, for any subset and fill; of probabilities it is their difference."""
    masks = RNG.uniform(size=(5, 4, 6, 1)) < 0.3
    filled = np.asarray(perturbation.filled_with(linear, jnp.asarray(X), fill))
    expected = np.einsum("bhwc,mhw,hwcb->bm", X - filled, masks[..., 0], W[..., LABEL])
    got = perturbation.subset_scores(Logits(linear, 8), X, masks, LABEL, fill)
    np.testing.assert_allclose(got, expected, atol=2e-5)
    p = jax.nn.softmax(linear(jnp.asarray(X)))[1, 0] - jax.nn.softmax(linear(jnp.where(masks[2], filled, X)))[1, 0]
    got = perturbation.subset_scores(linear, X, masks, LABEL, fill, output="probability")
    assert float(got[1, 2]) == pytest.approx(float(p), abs=1e-6)


def test_fills():
    x = jnp.asarray(X)
    np.testing.assert_allclose(perturbation.filled_with(linear, x, "mean")[1, 2, 3], X[1].mean((0, 1)), rtol=1e-5)
    assert float(perturbation.filled_with(linear, x, "blur").std()) < 0.7 * float(x.std())
    with pytest.raises(
        ConfigError, match=r"fill='black': a number, an array, or of images .* one of 'mean' and 'blur'"
    ):
        perturbation.filled_with(linear, x, "black")


@pytest.mark.curriculum("O7")
def test_the_map_of_an_occluder():
    """A loop over its places; every pixel gets the mean of the drops of the windows that cover it."""
    got = perturbation.occlusion(Logits(linear, 5), X, LABEL, size=2, stride=2, fill=0.5)
    assert got.outputs.shape == (3, 2, 3) and got.drops.shape == (3, 4, 6, 1)
    for i in range(2):
        for j in range(3):
            x = X.copy()
            x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = 0.5
            p = np.asarray(jax.nn.softmax(linear(x)))[range(3), LABEL]
            np.testing.assert_allclose(got.outputs[:, i, j], p, atol=1e-6)
            whole = np.asarray(jax.nn.softmax(linear(X)))[range(3), LABEL]
            np.testing.assert_allclose(got.drops[:, 2 * i + 1, 2 * j, 0], whole - p, atol=1e-6)
    # overlapping windows, the last of which end with the image
    overlapping = perturbation.occlusion(linear, X, LABEL, size=3, stride=2, output="score")
    assert overlapping.outputs.shape == (3, 2, 3)  # rows 0 and 1; columns 0, 2 and 3
    whole = np.asarray(linear(X))[range(3), LABEL]
    drops = whole[:, None, None] - np.asarray(overlapping.outputs)
    np.testing.assert_allclose(overlapping.drops[:, 0, 0, 0], drops[:, 0, 0], atol=1e-5)
    np.testing.assert_allclose(overlapping.drops[:, 1, 3, 0], drops[:, :, 1:].mean((1, 2)), atol=1e-5)


def test_what_does_not_fit_is_said():
    with pytest.raises(ConfigError, match=r"occlusion\(size=5\) does not fit into images of 4x6"):
        perturbation.occlusion(linear, X, size=5)
    with pytest.raises(DataError, match=r"masks are bool\[2, 4, 5, 1\]; expected bool \[m, 4, 6, 2\]"):
        perturbation.subset_scores(linear, X, np.zeros((2, 4, 5, 1), bool))
    with pytest.raises(ConfigError, match=r"subset_scores\(output\)='chance'; expected one of 'score', 'probability'"):
        perturbation.subset_scores(linear, X, np.zeros((2, 1, 1, 1), bool), output="chance")
    with pytest.raises(ConfigError, match=r"need 2\^24 coalitions; give permutations=100"):
        perturbation.shapley(linear, X, perturbation.patches((4, 6), 1))
    for players in (
        np.zeros((3, 6, 1), int),
        np.zeros((1, 4, 6, 2), int),
        np.zeros((0, 6, 1), int),
        np.zeros((4, 6, 2)),
    ):
        with pytest.raises(DataError, match=r"expected integers that broadcast against one input \[4, 6, 2\]"):
            perturbation.shapley(linear, X, players)
    for fill in (255.0, -0.1, np.full(X.shape[1:], 1.5)):
        with pytest.raises(DataError, match=r"the baseline is in .*, and inputs are in 0\.\.1; give such numbers"):
            perturbation.occlusion(Logits(linear), X, fill=fill)
    with pytest.raises(DataError, match="without a gap"):
        perturbation.shapley(pairs, np.ones((1, 4), np.float32), np.array([0, 2, 2, 0]))
    with pytest.raises(ConfigError, match="patches of 9 pixels"):
        perturbation.patches((4, 6), 9)


@pytest.mark.curriculum("O19")
def test_the_glove_game_and_the_average_over_orders():
    """Two left gloves and one right one, a pair is worth 1: 1/6, 1/6 and 4/6."""
    gloves = [0, 0, 0, 0, 0, 1, 1, 1]  # bit 2 is the right glove
    np.testing.assert_allclose(perturbation.shapley_of_game(gloves), [1 / 6, 1 / 6, 4 / 6])
    values = RNG.normal(size=(2, 16))
    expected = np.zeros((2, 4))
    for order in permutations(range(4)):
        inside = 0
        for i in order:
            expected[:, i] += (values[:, inside | 1 << i] - values[:, inside]) / 24
            inside |= 1 << i
    np.testing.assert_allclose(perturbation.shapley_of_game(values), expected, rtol=1e-9)
    with pytest.raises(ConfigError, match=r"a game of n players has 2\^n values, got 6"):
        perturbation.shapley_of_game(np.zeros(6))


@pytest.mark.curriculum("O19")
@pytest.mark.parametrize("sampled", [0, 60])
def test_the_axioms_hold_for_a_function(sampled):
    """Efficiency; the dummy d gets nothing; alike a and b get the same of `max(a, b)`; exact and sampled agree."""
    x = np.array([[0.7, 0.7, 0.4, 0.9], [0.2, 0.9, 0.5, 0.1]], np.float32)
    got = perturbation.shapley(pairs, x, np.arange(4), 0, 0.1, permutations=sampled)
    rise = np.asarray(pairs(x) - pairs(jnp.full_like(x, 0.1)))[:, 0]
    np.testing.assert_allclose(got.values.sum(-1), rise, atol=1e-6)
    np.testing.assert_allclose(got.spread, got.values)
    np.testing.assert_allclose(got.values[:, 3], 0, atol=1e-6)
    # a b from 0.1: each gets half of the rise by hand, c is linear
    a, b, c = x[:, 0], x[:, 1], x[:, 2]
    expected = np.stack([(a - 0.1) * (b + 0.1) / 2, (b - 0.1) * (a + 0.1) / 2, 2 * (c - 0.1)], -1)
    np.testing.assert_allclose(got.values[:, :3], expected, atol=1e-6)  # an order and its reverse are exact for pairs
    assert (np.asarray(got.error) < 1e-6).all()


@pytest.mark.curriculum("O19")
def test_parts_of_images_and_sampling():
    players = perturbation.patches((4, 6), 3)
    assert players[..., 0].tolist() == [[0, 0, 0, 1, 1, 1]] * 3 + [[2, 2, 2, 3, 3, 3]]

    def curved(x):
        return jnp.tanh(3 * linear(x)) + jnp.abs(linear(x))

    exact = perturbation.shapley(Logits(curved, 16), X, players, LABEL)
    rise = np.asarray(curved(X) - curved(jnp.zeros_like(X)))[range(3), LABEL]
    np.testing.assert_allclose(exact.spread.sum((1, 2, 3)), rise, atol=1e-5)
    np.testing.assert_allclose(exact.spread[:, 3, 5, 1], exact.values[:, 3] / 6, rtol=1e-6)  # 1 x 3 pixels, 2 channels
    sampled = perturbation.shapley(Logits(curved, 16), X, players, LABEL, permutations=100, seed=1)
    np.testing.assert_allclose(sampled.values.sum(-1), rise, atol=1e-5)
    error = np.asarray(sampled.error)
    assert (np.abs(np.asarray(sampled.values) - exact.values) < 4 * error + 1e-5).all() and error.max() < 0.2
