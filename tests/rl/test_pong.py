"""Pong: the ball against a loop in NumPy, who gets the points, and players of known strength."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.rl import environment, episodes, pong

KEY = jax.random.key(0)


def flown(place, velocity, paddles):
    """One step by cases."""
    (x, y), (across, along) = place + velocity, velocity
    if y < 0:
        y, along = -y, -along
    elif y > 1:
        y, along = 2 - y, -along
    if 0 <= x <= 1:
        return (x, y), (across, along), 0
    side = -1 if x < 0 else 1
    off = (y - paddles[0 if side < 0 else 1]) / pong.HALF
    if abs(off) > 1:
        return (x, y), (across, along), side
    return (-x if side < 0 else 2 - x, y), (-across, pong.SPIN * off), 0


@pytest.mark.curriculum("T15")
def test_the_ball_flies_as_in_a_loop():
    rng = np.random.default_rng(0)
    n = 4000
    place = rng.uniform(-0.0, 1, (n, 2))
    place[: n // 2, 0] = rng.choice([0.02, 0.98], n // 2)  # near the paddles
    velocity = np.stack([rng.choice([-0.04, 0.04], n), rng.uniform(-0.05, 0.05, n)], 1)
    paddles = rng.uniform(0.1, 0.9, (n, 2))
    paddles[: n // 4] = np.clip(place[: n // 4, 1:] + rng.uniform(-0.12, 0.12, (n // 4, 2)), 0, 1)
    got = jax.jit(jax.vmap(pong.fly))(*(jnp.asarray(x, jnp.float32) for x in (place, velocity, paddles)))
    want = [flown(*row) for row in zip(place, velocity, paddles, strict=True)]
    missed = np.asarray([w[2] for w in want])
    assert {-1, 0, 1} == set(missed.tolist())
    for i in range(2):
        np.testing.assert_allclose(got[i], [w[i] for w in want], atol=1e-5)
    np.testing.assert_array_equal(got[2], missed)
    turned = np.sign(velocity[:, 0]) != np.sign([w[1][0] for w in want])
    assert turned.sum() > 100  # hits are among them


def follow(observations, key):
    """Moves towards the ball's height where it is off by more than half a move."""
    off = (observations[:, 1] - observations[:, 5]) / 2
    return jnp.where(off < -0.03, 1, jnp.where(off > 0.03, 2, 0))


def aim(observations, key):
    """Hits the ball with the edge of the paddle that sends it away from the opponent."""
    goal = (observations[:, 1] + 1) / 2 + jnp.where(observations[:, 4] < 0, -0.06, 0.06)
    off = goal - (observations[:, 5] + 1) / 2
    return jnp.where(off < -0.03, 1, jnp.where(off > 0.03, 2, 0))


def away(observations, key):
    return jnp.where(observations[:, 1] > 0, 1, 2)


@pytest.mark.curriculum("T15")
def test_players_of_known_strength():
    """Who follows every ball loses no point, who aims wins, who runs away loses all; a fast opponent loses none."""
    env = environment.create({"name": "pong", "points": 3, "max_steps": 400})
    play = jax.jit(lambda key: [episodes.play(env, player, key, 40) for player in (follow, aim, away)])
    good, best, bad = play(KEY)
    assert (np.asarray(good["return"]) >= 0).all() and np.asarray(good["return"]).mean() > 0.3
    assert np.asarray(best["return"]).mean() > 1.2
    assert np.asarray(bad["return"]).mean() < -2.7
    fast = environment.create({"name": "pong", "points": 3, "opponent": 0.05, "max_steps": 300})
    draw = jax.jit(lambda key: episodes.play(fast, follow, key, 20))(KEY)
    np.testing.assert_array_equal(draw["return"], np.zeros(20))
    np.testing.assert_array_equal(draw["length"], np.full(20, 300))


def test_points_are_counted_for_both_and_end_the_game():
    env = environment.create({"name": "pong", "points": 2, "max_steps": 500})
    step = jax.jit(env.step)
    state, rewards, over = env.reset(KEY), [], False
    while not over:
        state["paddles"] = state["paddles"].at[0].set(0.1)  # the left one stays in a corner
        state, reward, over, truncated = step(state, follow(env.observe(state)[None], KEY)[0], KEY)
        rewards.append(float(reward))
        assert not truncated
    assert state["points"].tolist() == [rewards.count(-1.0), rewards.count(1.0)] and max(state["points"].tolist()) == 2
    state = env.reset(KEY) | {"time": jnp.int32(499)}
    after = step(state, 0, KEY)
    assert after.truncated and not after.terminated


def test_what_a_player_sees():
    env = environment.create({"name": "pong"})
    state = env.reset(KEY) | {
        "place": jnp.asarray([1.0, 0.25]), "velocity": jnp.asarray([-0.04, 0.025]), "paddles": jnp.asarray([0.1, 0.9]),
    }  # fmt: skip
    np.testing.assert_allclose(env.observe(state), [1, -0.5, -1, 0.5, -0.8, 0.8], rtol=1e-5)
    seen = environment.create({"name": "pong", "observation": "pixels"}).observe(
        state | {"before": jnp.asarray([0.5, 0.25]), "paddles_before": jnp.asarray([0.1, 0.9])}
    )
    now, change = seen.reshape(2, pong.ROWS, pong.COLUMNS)
    assert now[4, -2] == 1 and now[:, 1:-1].sum() == 1  # the ball is in the fourth of 16 rows
    np.testing.assert_array_equal(np.flatnonzero(now[:, 0]), [0, 1, 2])  # middles within 0.1 of the height
    np.testing.assert_array_equal(np.flatnonzero(now[:, -1]), [13, 14, 15])
    assert change[4, -2] == 1 and change[4, 10] == -1 and np.abs(change).sum() == 2


def test_actions_move_the_agents_paddle_within_the_field():
    env = environment.create({"name": "pong"})
    step = jax.jit(env.step)
    state = env.reset(KEY)
    heights = {a: float(step(state, a, KEY).state["paddles"][1]) for a in range(3)}
    np.testing.assert_allclose([heights[a] for a in range(3)], [0.5, 0.45, 0.55], rtol=1e-6)
    low = state | {"paddles": jnp.asarray([0.5, 0.12])}
    np.testing.assert_allclose(step(low, 1, KEY).state["paddles"][1], 0.1, rtol=1e-6)
