"""Environments, exact solutions, replay, exploration and returns."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvdl_jax.config import binding
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses import td
from cvdl_jax.rl import cartpole, environment, episodes, gridworld, mdp, policies, replay
from cvdl_jax.rl.returns import discounted_returns, q_learning_errors

KEY = jax.random.key(0)

# Grid world -----------------------------------------------------------------------------------------------------------

# v_pi of the random policy: Sutton and Barto 2018, figure 4.1, k = infinity.
RANDOM_VALUES = [[0, -14, -20, -22], [-14, -18, -20, -20], [-20, -20, -18, -14], [-22, -20, -14, 0]]
BEST_VALUES = [[0, -1, -2, -3], [-1, -2, -3, -2], [-2, -3, -2, -1], [-3, -2, -1, 0]]


def grid(v):
    return np.asarray(v).reshape(4, 4)


@pytest.mark.curriculum("T6")
def test_bellman_expectation_sweeps_are_those_of_the_book():
    """One and two sweeps from zero: v_1(1, 1) = -1, v_2(1, 1) = -1 + 0.25 (4 x -1) = -2, beside a corner -1.75."""
    world = gridworld.process()
    policy, v = mdp.uniform_policy(world), jnp.zeros(16)
    tables = {}
    for k in range(1, 11):
        v = tables[k] = mdp.sweep(world, policy, v)
    assert grid(tables[1])[1, 1] == -1 and grid(tables[2])[1, 1] == -2
    second = [[0, -1.75, -2, -2], [-1.75, -2, -2, -2], [-2, -2, -2, -1.75], [-2, -2, -1.75, 0]]
    np.testing.assert_array_equal(grid(tables[2]), second)
    inner = [[0, -1, -1, -1], [-1, -1, -1, -1], [-1, -1, -1, -1], [-1, -1, -1, 0]]
    np.testing.assert_array_equal(grid(tables[1]), inner)
    third = np.array([[0, -2.4375, -2.9375, -3], [-2.4375, -2.875, -3, -2.9375]])  # the book: -2.4 -2.9 -3.0
    np.testing.assert_array_equal(grid(tables[3]), np.concatenate([third, third[::-1, ::-1]]))
    np.testing.assert_allclose(grid(tables[10])[0], [0, -6.13797, -8.35236, -8.96732], atol=5e-6)  # -6.1 -8.4 -9.0


@pytest.mark.curriculum("T4", "T6")
def test_values_of_the_random_policy_exact_and_iterated():
    with jax.enable_x64(True):  # the 173rd change is 0.989e-4, which float32 rounds to more than 1e-4
        world = gridworld.process()
        exact = mdp.evaluate_policy(world, mdp.uniform_policy(world))
        np.testing.assert_allclose(grid(exact), RANDOM_VALUES, atol=1e-12)
        v, sweeps = mdp.iterate_policy_values(world, mdp.uniform_policy(world), tolerance=1e-4)
    assert int(sweeps) == 173
    np.testing.assert_allclose(v, exact, atol=2e-3)


@pytest.mark.curriculum("T8")
def test_value_iteration_reaches_the_fixed_point():
    world = gridworld.process()
    v, sweeps = mdp.value_iteration(world)
    np.testing.assert_array_equal(grid(v), BEST_VALUES)
    np.testing.assert_array_equal(mdp.optimality_sweep(world, v), v)
    assert int(sweeps) == 4  # three to the farthest field, one that changes nothing


@pytest.mark.curriculum("T7")
def test_greedy_improvement_and_policy_iteration():
    """The greedy policy of the random policy's values is already the best one; iteration finds the values of it."""
    world = gridworld.process()
    better = mdp.greedy(world, mdp.evaluate_policy(world, mdp.uniform_policy(world)), tolerance=0.01)
    np.testing.assert_allclose(grid(mdp.evaluate_policy(world, better)), BEST_VALUES, atol=1e-4)
    v, policy = mdp.policy_iteration(world, mdp.uniform_policy(world))
    np.testing.assert_allclose(grid(v), BEST_VALUES, atol=1e-4)
    np.testing.assert_allclose(policy.sum(1), 1)
    left = gridworld.ACTIONS.index("left")
    assert policy[1, left] == 1 and policy[2, left] == 1  # along the top row to the corner


@pytest.mark.curriculum("T7")
def test_equal_actions_share_the_greedy_policy():
    """From zero values every move is as good as another; on the diagonal two moves lead as quickly to a corner."""
    world = gridworld.process()
    np.testing.assert_array_equal(mdp.greedy(world, jnp.zeros(16)), np.full((16, 4), 0.25))
    policy = np.asarray(mdp.greedy(world, jnp.float32(BEST_VALUES).ravel()))
    move = {name: gridworld.ACTIONS.index(name) for name in ("up", "left", "down", "right")}
    for field, best in ((5, ("up", "left")), (10, ("down", "right")), (1, ("left",)), (3, ("left", "down"))):
        expected = np.zeros(4)
        expected[[move[name] for name in best]] = 1 / len(best)
        np.testing.assert_array_equal(policy[field], expected)
    near = mdp.Mdp(jnp.zeros((1, 3, 1)), jnp.float32([[1.0, 0.95, 0.8]]), jnp.array([False]), 1.0)
    for tolerance, expected in ((0.0, [1, 0, 0]), (0.01, [1, 0, 0]), (0.1, [0.5, 0.5, 0]), (0.5, [1 / 3] * 3)):
        np.testing.assert_allclose(mdp.greedy(near, jnp.zeros(1), tolerance)[0], expected, rtol=1e-6)


@pytest.mark.curriculum("T5", "T2")
def test_action_values_agree_with_state_values():
    """v_pi = sum_a pi q_pi, and q_pi = R + gamma P v_pi, on a random process with discount."""
    rng = np.random.default_rng(0)
    p = rng.random((6, 3, 6))
    terminal = jnp.arange(6) == 2
    world = mdp.Mdp(jnp.asarray(p / p.sum(-1, keepdims=True)), jnp.asarray(rng.normal(size=(6, 3))), terminal, 0.8)
    policy = rng.random((6, 3))
    policy = jnp.asarray(policy / policy.sum(1, keepdims=True))
    v = mdp.evaluate_policy(world, policy)
    q = mdp.action_values(world, v)
    np.testing.assert_allclose((policy * q).sum(1), v, atol=1e-5)
    assert v[2] == 0 and (q[2] == 0).all()
    s, a = 4, 1
    by_hand = world.reward[s, a] + 0.8 * sum(world.transition[s, a, t] * v[t] for t in range(6))
    np.testing.assert_allclose(q[s, a], by_hand, rtol=1e-5)
    iterated, _ = mdp.iterate_policy_values(world, policy, tolerance=1e-7)
    np.testing.assert_allclose(iterated, v, atol=1e-5)
    best, _ = mdp.value_iteration(world, tolerance=1e-7)
    assert (best >= v - 1e-5).all()


@pytest.mark.curriculum("T1", "T2")
def test_grid_environment_moves_as_its_arrays_say():
    world, env = gridworld.process(), gridworld.make(max_steps=7)
    for field in range(1, 15):
        for action in range(4):
            state = {"field": jnp.int32(field), "time": jnp.int32(2)}
            after = env.step(state, jnp.int32(action), KEY)
            row = np.asarray(world.transition[field, action])
            assert row.sum() == 1 and row[int(after.state["field"])] == 1
            assert after.reward == world.reward[field, action] == -1
            assert after.terminated == world.terminal[after.state["field"]] and not after.truncated
    assert env.step({"field": jnp.int32(5), "time": jnp.int32(6)}, jnp.int32(0), KEY).truncated
    starts = jax.vmap(env.reset)(jax.random.split(KEY, 500))["field"]
    assert set(np.asarray(starts).tolist()) == set(range(1, 15))
    np.testing.assert_array_equal(env.observe({"field": jnp.int32(3)}), np.eye(16)[3])


def test_a_move_against_the_border_stays():
    env = gridworld.make()
    up, right = gridworld.ACTIONS.index("up"), gridworld.ACTIONS.index("right")
    for field, action in ((2, up), (7, right)):
        after = env.step({"field": jnp.int32(field), "time": jnp.int32(0)}, jnp.int32(action), KEY)
        assert int(after.state["field"]) == field


# CartPole -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gym_cartpole():
    return pytest.importorskip("gymnasium").make("CartPole-v1")


def follow(gym, seed, choose):
    """Plays one episode in Gymnasium and repeats each of its steps in ours, from the same state.

    Two episodes beside each other would drift apart: a falling pole doubles a rounding error every few steps.
    """
    rng = np.random.default_rng(seed)
    gym.reset(seed=seed)
    env = cartpole.make()
    step = jax.jit(env.step)
    state = {"body": jnp.asarray(gym.unwrapped.state, jnp.float64), "time": jnp.int32(0)}
    for _ in range(600):
        action = choose(np.asarray(state["body"]), rng)
        _, reward, terminated, truncated, _ = gym.step(action)
        after = step(state, jnp.int32(action), KEY)
        body = np.array(gym.unwrapped.state)
        np.testing.assert_allclose(after.state["body"], body, rtol=1e-13, atol=1e-15)
        assert (float(after.reward), bool(after.terminated), bool(after.truncated)) == (reward, terminated, truncated)
        state = {"body": jnp.asarray(body), "time": after.state["time"]}
        if terminated or truncated:
            return int(state["time"]), terminated, truncated
    raise AssertionError("the episode does not end")


@pytest.mark.curriculum("T1")
def test_cartpole_is_gymnasiums_step_by_step(gym_cartpole):
    """In float64, whole episodes: random actions end by falling, a balancing rule is cut off at 500, pushing to one
    side with a balanced pole leaves the track."""
    with jax.enable_x64(True):
        ends = [follow(gym_cartpole, seed, lambda body, rng: int(rng.integers(2))) for seed in range(6)]
        assert all(terminated and not truncated for _, terminated, truncated in ends)
        assert len({time for time, *_ in ends}) > 3

        def balance(body, rng):
            return int(body[2] + 0.5 * body[3] + 0.05 * body[0] + 0.1 * body[1] > 0)

        assert follow(gym_cartpole, 0, balance) == (500, False, True)

        def drift(body, rng):
            return int(body[2] + 0.5 * body[3] - 0.04 > 0)

        time, terminated, _ = follow(gym_cartpole, 1, drift)
        assert terminated and time > 100


def test_cartpole_in_float32_is_close_to_gymnasium(gym_cartpole):
    gym_cartpole.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(50):
        body = rng.uniform(-1, 1, 4) * [2, 2, 0.2, 2]
        gym_cartpole.unwrapped.state, gym_cartpole.unwrapped.steps_beyond_terminated = tuple(body), None
        action = int(rng.integers(2))
        gym_cartpole.unwrapped.step(action)
        new = cartpole.move(jnp.asarray(body, jnp.float32), jnp.int32(action))
        np.testing.assert_allclose(new, gym_cartpole.unwrapped.state, rtol=1e-5, atol=1e-6)


def test_cartpole_begins_near_the_middle():
    env = cartpole.make()
    body = np.asarray(jax.vmap(env.reset)(jax.random.split(KEY, 400))["body"])
    assert np.abs(body).max() <= 0.05 and body.min(0).max() < -0.045 and body.max(0).min() > 0.045


def test_unknown_environments_and_arguments_are_refused():
    assert {"cartpole", "gridworld"} <= set(environment.environments())
    with pytest.raises(ConfigError, match=r"config\.environment\.name='cartpol' is not known"):
        environment.create({"name": "cartpol"})
    with pytest.raises(ConfigError, match=r"config\.environment\.sise"):
        environment.create({"name": "gridworld", "sise": 3})
    with pytest.raises(ConfigError, match=r"config\.environment\.name is missing"):
        environment.create({})
    with pytest.raises(ConfigError, match="size=1 must be at least 2"):
        environment.create({"name": "gridworld", "size": 1})


# Returns, errors, losses ----------------------------------------------------------------------------------------------


@pytest.mark.curriculum("T3")
def test_discounted_returns_of_worked_rewards():
    np.testing.assert_array_equal(discounted_returns(jnp.array([1.0, 2.0, 3.0]), 0.5), [2.75, 3.5, 3.0])
    np.testing.assert_allclose(discounted_returns(jnp.array([1.0, 2.0, 4.0]), 0.5), [3.0, 4.0, 4.0])
    # an episode that ends after the second reward; 10 is what follows the last
    returns = discounted_returns(jnp.array([1.0, 2.0, 4.0]), jnp.array([0.5, 0.0, 0.5]), 10.0)
    np.testing.assert_allclose(returns, [2.0, 2.0, 9.0])


@pytest.mark.curriculum("T3")
@given(
    rewards=st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=20), gamma=st.sampled_from([0.0, 0.3, 0.9, 1.0])
)
def test_discounted_return_is_its_sum(rewards, gamma):
    expected = [sum(gamma**k * r for k, r in enumerate(rewards[t:])) for t in range(len(rewards))]
    np.testing.assert_allclose(discounted_returns(jnp.float32(rewards), gamma), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.curriculum("T9", "T10")
def test_errors_of_q_learning_worked_by_hand():
    q_tm1, a, r = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([0, 1]), jnp.array([-1.0, 5.0])
    q_t, discount = jnp.array([[10.0, 20.0], [7.0, 8.0]]), jnp.array([0.5, 0.0])
    errors = q_learning_errors(q_tm1, a, r, discount, q_t, q_t)
    np.testing.assert_allclose(errors, [-1 + 0.5 * 20 - 1, 5 - 4])
    double = q_learning_errors(q_tm1, a, r, discount, q_t, jnp.array([[1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(double, [-1 + 0.5 * 10 - 1, 5 - 4])

    def loss(q, q_t):
        return td.squared(q_learning_errors(q, a, r, discount, q_t, q_t)).sum()

    to_q, to_target = jax.grad(loss, (0, 1))(q_tm1, q_t)
    np.testing.assert_allclose(to_q, [[-8, 0], [0, -1]])  # descent with rate alpha is Q += alpha (target - Q)
    assert (to_target == 0).all()


def test_huber_loss_is_squared_then_linear():
    np.testing.assert_allclose(td.huber(jnp.array([0.5, -1.0, 3.0])), [0.125, 0.5, 2.5])
    with pytest.raises(ConfigError, match="delta=0"):
        td.huber(jnp.zeros(1), delta=0)


# Replay and exploration -----------------------------------------------------------------------------------------------


@pytest.mark.curriculum("T11")
def test_rings_hold_the_newest_transitions():
    rings = replay.empty({"reward": jnp.zeros(2), "before": jnp.zeros((2, 3))}, 4)
    for step in range(6):
        x = jnp.array([step, 10 + step], jnp.float32)
        rings = replay.record(rings, {"reward": x, "before": jnp.tile(x[:, None], 3)}, jnp.int32(step))
    np.testing.assert_array_equal(rings["reward"], [[4, 5, 2, 3], [14, 15, 12, 13]])
    assert rings["before"].shape == (2, 4, 3)


@pytest.mark.curriculum("T11")
def test_samples_are_uniform_over_what_was_written_and_keep_together():
    rows, capacity, count = 3, 8, 4000
    reward = jnp.arange(rows * capacity, dtype=jnp.float32).reshape(rows, capacity)
    rings = {"reward": reward, "before": jnp.stack([reward, -reward], -1)}
    drawn = jax.jit(partial(replay.sample, count=count))(rings, KEY, written=jnp.int32(5))
    assert drawn["reward"].shape == (rows * count,) and drawn["before"].shape == (rows * count, 2)
    np.testing.assert_array_equal(drawn["before"], np.stack([drawn["reward"], -drawn["reward"]], -1))
    for row, rewards in enumerate(np.asarray(drawn["reward"]).reshape(rows, count)):
        places, counts = np.unique(rewards - row * capacity, return_counts=True)
        np.testing.assert_array_equal(places, range(5))  # never what was not written yet
        assert np.abs(counts - count / 5).max() < 5 * np.sqrt(count * 0.2 * 0.8)
    full = replay.sample(rings, KEY, 200, jnp.int32(100))["reward"]
    assert len(np.unique(full)) == rows * capacity


@pytest.mark.curriculum("T12")
def test_epsilon_greedy_explores_as_often_as_it_says():
    n = 4000
    values = jnp.tile(jnp.array([[0.0, 3.0, 1.0, 2.0]]), (n, 1))
    keys = jax.random.split(KEY, n)
    for step, epsilon in ((0, 0.8), (50, 0.5), (100, 0.2), (900, 0.2)):
        actions, used = policies.epsilon_greedy(keys, values, jnp.int32(step), start=0.8, end=0.2, steps=100)
        np.testing.assert_allclose(used, epsilon, rtol=1e-6)
        share = np.bincount(actions, minlength=4) / n
        np.testing.assert_allclose(share, epsilon / 4 + (1 - epsilon) * np.eye(4)[1], atol=0.04)


@pytest.mark.curriculum("T12")
def test_softmax_exploration_follows_the_values():
    n = 4000
    values = jnp.tile(jnp.array([[0.0, 1.0, -1.0]]), (n, 1))
    actions, used = policies.softmax(jax.random.split(KEY, n), values, jnp.int32(10), start=2.0, end=0.5, steps=10)
    assert used == 0.5
    expected = np.exp([0, 2, -2]) / np.exp([0, 2, -2]).sum()
    np.testing.assert_allclose(np.bincount(actions, minlength=3) / n, expected, atol=0.03)
    with pytest.raises(ConfigError, match=r"config\.exploration\.end=0\.0 must be positive and finite"):
        binding.bind(policies.softmax, {"end": 0.0}, "config.exploration", keys=None, values=None, step=None)


def test_exploration_without_steps_is_constant():
    assert policies._anneal(jnp.int32(0), 1.0, 0.1, 0) == pytest.approx(0.1)
    with pytest.raises(ConfigError, match="steps=-1 must be 0 or more"):
        binding.bind(policies.epsilon_greedy, {"steps": -1}, "config.exploration", keys=None, values=None, step=None)


# Episodes -------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("T1")
def test_episodes_are_played_to_their_ends():
    """Going left in the grid: home from the top row, cut off elsewhere."""
    env = gridworld.make(max_steps=9)
    left = gridworld.ACTIONS.index("left")
    played = jax.jit(partial(episodes.play, env, lambda o, key: jnp.full(len(o), left), episodes=200))(KEY)
    fields = jax.vmap(env.reset)(jax.random.split(jax.random.split(KEY)[0], 200))["field"]
    length = np.where(np.asarray(fields) < 4, fields, 9)
    np.testing.assert_array_equal(played["length"], length)
    np.testing.assert_array_equal(played["return"], -length)


@pytest.mark.curriculum("T1")
def test_history_of_one_episode():
    """Observation, action, reward, one after the other, and what comes after the end is marked."""
    env = cartpole.make(max_steps=60)
    played = episodes.history(env, lambda o, key: jnp.ones(len(o), jnp.int32), KEY)
    alive = np.asarray(played["alive"])
    end = alive.sum()
    assert 5 < end < 15 and alive[:end].all() and not alive[end:].any()
    body = jax.vmap(cartpole.move)(played["observation"][: end - 1], played["action"][: end - 1])
    np.testing.assert_allclose(body, played["observation"][1:end], atol=1e-6)
