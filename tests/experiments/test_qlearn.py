"""Q-learning: one step taken apart, the table against value iteration, the network in Gymnasium's own CartPole."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from models_for_tests import make_model

import launch
from cvdl_jax.config import configs
from cvdl_jax.core.task import State, create_state, step_function
from cvdl_jax.engine import runs
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses import td
from cvdl_jax.rl import cartpole, gridworld, mdp
from experiments import qlearn

KEY = jax.random.key(0)
GRID, CARTPOLE = "configs/rl/qlearn.py", "configs/rl/dqn.py"


@pytest.fixture(scope="module")
def agent():
    """A small DQN after nine steps, and the states on the way."""
    built = build(configs.load(f"{CARTPOLE}:smoke", [
        "--config.batch_size=6", "--config.agent.capacity=5", "--config.agent.draws=2",
        "--config.agent.target_every=4", "--config.model.hidden=(8,)",
    ]))  # fmt: skip
    step = jax.jit(step_function(built.task, 0))
    states, sums = [create_state(built.task, KEY, {})], []
    for _ in range(9):
        state, new = step(states[-1], {})
        states.append(state)
        sums.append(new)
    return states, sums


@pytest.mark.curriculum("T10")
def test_target_is_copied_every_k_steps(agent):
    states, _ = agent
    for k, state in enumerate(states):
        copied = states[k // 4 * 4].params
        jax.tree.map(np.testing.assert_array_equal, state.extra["target"], copied)
        if k % 4:
            assert not np.array_equal(state.params["head"]["kernel"], state.extra["target"]["head"]["kernel"])


@pytest.mark.curriculum("T11")
def test_what_happened_is_in_the_rings(agent):
    """Each transition follows from the physics, and the next one begins where it ended, or anew."""
    states, _ = agent
    for k in range(1, len(states)):
        old, ring = states[k - 1].rows, jax.tree.map(lambda x, k=k: x[:, (k - 1) % 5], states[k].rows["replay"])
        np.testing.assert_array_equal(ring["before"], old["environment"]["body"])
        moved = jax.vmap(cartpole.move)(ring["before"], ring["action"])
        np.testing.assert_allclose(ring["after"], moved, atol=1e-6)
        ended = np.asarray((jnp.abs(moved[:, 0]) > 2.4) | (jnp.abs(moved[:, 2]) > cartpole.MOST_ANGLE))
        np.testing.assert_allclose(ring["discount"], 0.99 * (1 - ended))
        now = states[k].rows["environment"]
        # equal but for the last bit: XLA may compute it anew for either place
        np.testing.assert_allclose(np.asarray(now["body"])[~ended], np.asarray(ring["after"])[~ended], atol=1e-7)
        np.testing.assert_array_equal(now["time"], np.where(ended, 0, old["environment"]["time"] + 1))
    assert states[-1].rows["replay"]["before"].shape == (6, 5, 4)


def test_sums_of_a_step(agent):
    _, sums = agent
    for new in sums:
        assert new["reward"] == (6, 6) and new["loss"][1] == 12
    exploration = [float(new["exploration"][0] / new["exploration"][1]) for new in sums]
    np.testing.assert_allclose(exploration, 1 - 0.95 * np.arange(9) / 15_000, rtol=1e-6)


def test_steps_repeat_themselves(agent):
    """All randomness comes from the seed and the step."""
    states, _ = agent
    built = build(configs.load(f"{CARTPOLE}:smoke", [
        "--config.batch_size=6", "--config.agent.capacity=5", "--config.agent.draws=2",
        "--config.agent.target_every=4", "--config.model.hidden=(8,)",
    ]))  # fmt: skip
    again, _ = jax.jit(step_function(built.task, 0))(states[4], {})
    jax.tree.map(np.testing.assert_array_equal, again, states[5])
    other, _ = jax.jit(step_function(built.task, 1))(states[4], {})
    assert not np.array_equal(other.rows["replay"]["action"], states[5].rows["replay"]["action"])


@pytest.mark.curriculum("T9")
def test_a_table_with_a_ring_of_one_follows_watkins_rule():
    """One environment: Q(s, a) += lr (r + max Q(s') - Q(s, a)) for what just happened, nothing else moves."""
    config = configs.load(GRID, ["--config.batch_size=1", "--config.optim.lr=0.3", "--config.environment.max_steps=9"])
    built = build(config)
    step = jax.jit(step_function(built.task, 0))
    state = create_state(built.task, KEY, {})
    expected = np.array(state.params["head"]["kernel"], np.float64)
    ends = 0
    for _ in range(40):
        field = int(state.rows["environment"]["field"][0])
        state, _ = step(state, {})
        action = int(state.rows["replay"]["action"][0, 0])
        after = int(gridworld._next_fields(4)[field, action])
        terminal = after in (0, 15)
        ends += terminal
        target = -1 + (0 if terminal else expected[after].max())
        expected[field, action] += 0.3 * (target - expected[field, action])
        np.testing.assert_allclose(state.params["head"]["kernel"], expected, atol=1e-5)
    assert ends > 0


@pytest.mark.curriculum("T10")
@pytest.mark.parametrize(("double", "best"), [(False, 9.0), (True, -4.0)])
def test_targets_are_valued_by_the_target_network(double, best):
    """y = r + gamma q'(s', a*): q' is the target network's, which also chooses a* unless `double` lets the trained one.

    In s' the trained network prefers action 0 (2 over 1), the target network action 1 (9 over -4).
    """
    model = make_model("linear", 2, "float32", bias=False)
    table = lambda *rows: {"head": {"kernel": jnp.float32(rows)}}  # noqa: E731
    params, target = table([5, 7], [2, 1]), table([100, 100], [-4, 9])
    state = State(jnp.int32(0), params, {}, {"target": target}, {})
    states = jnp.eye(2)
    batch = {
        "before": states[:1], "after": states[1:], "action": jnp.int32([1]), "reward": jnp.float32([3]),
        "discount": jnp.float32([0.5]),
    }  # fmt: skip

    def loss(params):
        _, sums = qlearn.training_loss(model, td.squared, double, state._replace(params=params), batch, KEY)
        return sums["loss"][0], sums

    (value, sums), slopes = jax.value_and_grad(loss, has_aux=True)(params)
    error = 3 + 0.5 * best - 7
    assert value == error**2 / 2 and sums["loss"][1] == 1 and sums["value"] == (7, 1)
    np.testing.assert_array_equal(slopes["head"]["kernel"], [[0, -error], [0, 0]])  # nothing through the target
    if double:  # the last transition of an episode has no next value
        last = {**batch, "discount": jnp.zeros(1)}
        _, sums = qlearn.training_loss(model, td.squared, double, state, last, KEY)
        assert sums["loss"][0] == (3 - 7) ** 2 / 2


@pytest.mark.parametrize("double", [True, False])
def test_the_switch_of_a_config_reaches_the_loss(double, monkeypatch):
    seen = []
    loss = qlearn.training_loss
    monkeypatch.setattr(qlearn, "training_loss", lambda *a: seen.append(a[2]) or loss(*a))
    built = build(configs.load(f"{CARTPOLE}:smoke", [f"--config.agent.double={double}"]))
    jax.eval_shape(step_function(built.task, 0), create_state(built.task, KEY, {}), {})
    assert seen and set(seen) == {double}


@pytest.mark.curriculum("T9", "T8")
def test_the_table_becomes_that_of_value_iteration(tmp_path, capsys):
    assert launch.main([f"--config={GRID}", f"--workdir={tmp_path}", "--config.log.tensorboard=False"]) == 0
    _, state, _ = runs.load(tmp_path)
    world = gridworld.process()
    v, _ = mdp.value_iteration(world)
    best = mdp.action_values(world, v)
    learnt = np.asarray(state.params["head"]["kernel"])
    inner = ~np.asarray(world.terminal)
    np.testing.assert_allclose(learnt[inner], best[inner], atol=1e-4)
    metrics = json.loads((tmp_path / "results.json").read_text())["metrics"]
    assert metrics["test/episodes"] == 100 and metrics["test/worst"] >= -3
    with np.load(tmp_path / "predictions" / "test.npz") as rows:
        assert rows["returns"].mean() == pytest.approx(metrics["test/return"])
    assert (tmp_path / "figures" / "episode.png").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.environment.name=cartpool", "did you mean 'cartpole'"),
        ("--config.agent.drawz=3", "did you mean 'draws'"),
        ("--config.agent.draws=0", "draws=0 must be from 1 to"),
        ("--config.agent.discount=1.5", r"discount=1.5 must be in \[0, 1\]"),
        ("--config.exploration.name=greedy", "config.exploration.name='greedy' is not known"),
        ("--config.model={'name': 'mlp', 'hidden': (8,), 'dropout': 0.5}", "dropout=0.5 has no effect"),
        ("--config.loss.name=hubert", "did you mean 'huber'"),
        ("--config.ema.decay=0.9", "no use for config.ema"),
        ("--config.data.name=digits", "no use for config.data; leave it empty"),
    ],
)
def test_mistakes_are_named(override, message):
    with pytest.raises(ConfigError, match=message):
        build(configs.load(f"{CARTPOLE}:smoke", [override]))


@pytest.mark.long
@pytest.mark.curriculum("T10", "T11", "T12")
def test_dqn_solves_gymnasiums_cartpole(tmp_path):
    """Trained in our environment, played in Gymnasium's: a mean return of at least 475 over 100 episodes."""
    gymnasium = pytest.importorskip("gymnasium")
    assert launch.main([f"--config={CARTPOLE}", f"--workdir={tmp_path}", "--config.log.tensorboard=False"]) == 0
    metrics = json.loads((tmp_path / "results.json").read_text())["metrics"]
    assert metrics["test/return"] >= 475
    _, state, config = runs.load(tmp_path)
    model = make_model("mlp", 2, "float32", hidden=tuple(config.model.hidden))
    policy = jax.jit(qlearn.greedy(model, state.params))
    games = gymnasium.make_vec("CartPole-v1", num_envs=100, vectorization_mode="sync")
    observations, _ = games.reset(seed=0)
    returns, alive = np.zeros(100), np.ones(100, bool)
    while alive.any():
        observations, reward, terminated, truncated, _ = games.step(np.asarray(policy(observations, None)))
        returns += reward * alive
        alive &= ~(terminated | truncated)
    assert returns.mean() >= 475, returns
    assert returns.max() <= 500
