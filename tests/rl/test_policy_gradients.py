"""Policy gradients against the exact gradient of a small process, whose every episode is enumerated."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvdl_jax.ops.losses import policy
from cvdl_jax.rl.returns import discounted_returns, episode_weights, generalised_advantages, others_mean

DISCOUNT = 0.8
REWARDS = np.asarray([[[1.0, -2.0], [0.5, 3.0]], [[2.0, 0.0], [-1.0, 1.5]]])  # of (first, second action), by time
LOGITS = jnp.asarray([0.3, -0.4]), jnp.asarray([[0.1, 0.7], [-0.2, 0.4]])  # of the first action; of the second, by it


def episodes():
    """All four: actions [4, 2] and rewards [4, 2]; the second state is the first action."""
    actions = np.asarray(list(itertools.product((0, 1), (0, 1))))
    rewards = np.stack([[REWARDS[0, a, 0], REWARDS[1, a, b]] for a, b in actions])
    return actions, rewards


def log_p(logits, actions):
    """[n, 2]."""
    first, second = logits
    seen = jnp.stack([jnp.broadcast_to(first, (len(actions), 2)), second[actions[:, 0]]], 1)  # [n, 2, 2]
    return policy.log_probability(seen, jnp.asarray(actions))


def objective(logits):
    actions, rewards = episodes()
    p = jnp.exp(log_p(logits, actions).sum(1))
    return (p * (rewards * DISCOUNT ** np.arange(2)).sum(1)).sum()


EXACT = jax.grad(objective)(LOGITS)


def close(first, second):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), first, second)


@pytest.mark.curriculum("T13")
@pytest.mark.parametrize("to_go", [False, True])
@pytest.mark.parametrize("baseline", [0.0, "states"])
def test_the_estimate_has_the_exact_mean(to_go, baseline):
    """Over all episodes, weighed by their probability; also less a baseline that depends on the state alone."""
    actions, rewards = episodes()
    weights = episode_weights(jnp.asarray(rewards), DISCOUNT, to_go)
    less = np.stack([[2.5, [0.7, -1.1][a]] for a in actions[:, 0]]) if baseline == "states" else 0.0
    p = jax.lax.stop_gradient(jnp.exp(log_p(LOGITS, actions).sum(1)))
    slopes = jax.grad(lambda logits: -(p[:, None] * policy.plain(log_p(logits, actions), weights - less)).sum())(LOGITS)
    close(slopes, EXACT)


@pytest.mark.curriculum("T13", "T14")
@pytest.mark.parametrize("to_go", [False, True])
def test_the_mean_of_the_other_episodes_leaves_the_mean_as_it_is(to_go):
    """Over all triples of episodes; with its own return in the mean an estimate is too short by a third."""
    actions, rewards = episodes()
    weights = episode_weights(jnp.asarray(rewards), DISCOUNT, to_go)
    p = np.asarray(jnp.exp(log_p(LOGITS, actions).sum(1)))
    triples = np.asarray(list(itertools.product(range(4), repeat=3)))
    chance = p[triples].prod(1)
    of = weights[triples]  # [64, 3, 2]
    less = jax.vmap(lambda w: others_mean(w, w.sum(0), 3))(of)
    own = jnp.broadcast_to(of.mean(1, keepdims=True), of.shape)

    def estimate(logits, less):
        scores = log_p(logits, actions)[triples]
        return -(chance[:, None, None] * policy.plain(scores, of - less)).sum() / 3

    close(jax.grad(estimate)(LOGITS, less), EXACT)
    short = jax.grad(estimate)(LOGITS, own)
    close(short, jax.tree.map(lambda x: 2 / 3 * x, EXACT))


@pytest.mark.curriculum("T14")
def test_rewards_to_go_and_a_baseline_lessen_the_variance():
    actions, rewards = episodes()
    p = np.asarray(jnp.exp(log_p(LOGITS, actions).sum(1)))

    def variance(weights):
        one = jax.vmap(
            jax.grad(lambda logits, a, w: -policy.plain(log_p(logits, a[None]), w[None]).sum()), (None, 0, 0)
        )
        rows = np.concatenate(
            [np.asarray(x).reshape(4, -1) for x in jax.tree.leaves(one(LOGITS, jnp.asarray(actions), weights))], 1
        )
        return (p[:, None] * (rows - (p[:, None] * rows).sum(0)) ** 2).sum()

    whole, to_go = (episode_weights(jnp.asarray(rewards + 5), DISCOUNT, g) for g in (False, True))
    mean = (p[:, None] * np.asarray(to_go)).sum(0)
    assert variance(whole) > variance(to_go) > 3 * variance(to_go - mean[None])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_weights_are_those_of_loops(seed):
    rng = np.random.default_rng(seed)
    rewards = rng.normal(size=(3, 5))
    terms = rewards * DISCOUNT ** np.arange(5)
    whole, to_go = (np.asarray(episode_weights(jnp.asarray(rewards), DISCOUNT, g)) for g in (False, True))
    np.testing.assert_allclose(whole, np.repeat(terms.sum(1)[:, None], 5, 1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(to_go, [[row[t:].sum() for t in range(5)] for row in terms], rtol=1e-4, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_advantages_are_those_of_a_loop(seed):
    """A loop by equation 16 that stops where an episode ends; a truncated one keeps the value of its last state."""
    rng = np.random.default_rng(seed)
    rewards, values, after = rng.normal(size=(3, 6))
    terminated = rng.random(6) < 0.3
    ended = terminated | (rng.random(6) < 0.3)
    want = np.zeros(6)
    for t in range(6):
        factor = 1.0
        for k in range(t, 6):
            want[t] += factor * (rewards[k] + 0.9 * (0 if terminated[k] else after[k]) - values[k])
            factor *= 0.9 * 0.7
            if ended[k]:
                break
    got = generalised_advantages(*(jnp.asarray(x) for x in (rewards, values, after, terminated, ended)), 0.9, 0.7)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_the_ends_of_lambda():
    """0: the temporal-difference error; 1: the discounted return to the end, with the last value, less the value."""
    rewards, values = jnp.asarray([1.0, 2.0, 3.0]), jnp.asarray([0.5, -0.5, 1.0])
    after, never = jnp.asarray([-0.5, 1.0, 4.0]), jnp.zeros(3, bool)
    error = generalised_advantages(rewards, values, after, never, never, 0.9, 0.0)
    np.testing.assert_allclose(error, rewards + 0.9 * after - values, rtol=1e-6)
    whole = generalised_advantages(rewards, values, after, never, never, 0.9, 1.0)
    np.testing.assert_allclose(whole, discounted_returns(rewards, 0.9, 4.0) - values, rtol=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0), (1.5, 2.0, -2.4, 0.0), (0.5, 2.0, -1.0, -1.0),
        (0.5, -2.0, 1.6, 0.0), (1.5, -2.0, 3.0, 3.0),
    ],
)  # fmt: skip
def test_the_clipped_objective_by_hand(ratio, advantage, loss, slope):
    """No gain beyond 1 + c for a good decision or below 1 - c for a bad one; steps back are never stopped."""
    value, gradient = jax.value_and_grad(policy.clipped)(jnp.log(ratio), jnp.asarray(0.0), jnp.asarray(advantage), 0.2)
    np.testing.assert_allclose([value, gradient], [loss, slope], rtol=1e-5)


def test_entropy_and_probabilities():
    logits = jnp.log(jnp.asarray([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3]])) + jnp.asarray([[3.0], [-1.0]])
    np.testing.assert_allclose(policy.entropy(logits), [1.5 * np.log(2), np.log(3)], rtol=1e-5)
    np.testing.assert_allclose(policy.log_probability(logits, jnp.asarray([0, 2])), np.log([0.5, 1 / 3]), rtol=1e-5)
