"""REINFORCE and PPO: one step taken apart, which network is moved by what, and learning."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from cvdl_jax.config import configs
from cvdl_jax.core.task import create_state, step_function
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.ops.losses import policy
from cvdl_jax.rl import cartpole, environment
from experiments import ppo, qlearn, reinforce
from experiments.studies import policy_gradient_variance

KEY = jax.random.key(0)
SMALL = ["--config.batch_size=4", "--config.model.hidden=(8,)", "--config.agent.episodes=3"]
MLP = registry.create({"name": "mlp", "hidden": (8,)}, "config.model", kinds=("backbones",), num_classes=2)


@pytest.fixture(scope="module")
def players():
    """Networks of a policy and a value, a short CartPole, and a state with four environments."""
    env = environment.create({"name": "cartpole", "max_steps": 12})
    value = MLP.clone(num_classes=1)
    keys = jax.random.split(KEY, 2)
    params = {
        name: network.init(key, jnp.zeros((1, 4)), False)["params"]
        for name, network, key in zip(("policy", "value"), (MLP, value), keys, strict=True)
    }
    config = build(configs.load("configs/rl/ppo.py:smoke", SMALL))
    state = create_state(config.task, KEY, {})
    return env, value, state._replace(params=params)


def unbalanced(state):
    """Poles that fall after a few steps, at different times."""
    body = jnp.asarray([[0, 0, 0.19, 1.0], [0, 0, 0.1, 1.0], [0, 0, 0.0, 0.0], [2.3, 2.0, 0, 0]])
    return state._replace(rows={"environment": {"body": body, "time": jnp.zeros(4, jnp.int32)}})


@pytest.mark.curriculum("T13")
def test_an_episode_follows_the_physics_and_nothing_counts_after_its_end(players, monkeypatch):
    env, _, state = players
    env = env._replace(reset=lambda key: {"body": jnp.asarray([0, 0, 0.12, 1.0]) * jax.random.uniform(key, (4,)),
                                          "time": jnp.zeros((), jnp.int32)})  # fmt: skip
    state, batch, sums = jax.jit(lambda s: reinforce.play(MLP, env, s, {}, KEY))(state)
    batch = jax.device_get(batch)
    alive, seen = batch["alive"], batch["observation"]
    assert alive.shape == (4, 12) and alive[:, 0].all() and not alive.all()
    np.testing.assert_array_equal(seen[:, 0], state.rows["environment"]["body"])
    for i in range(4):
        length = int(alive[i].sum())
        assert alive[i, :length].all() and not alive[i, length:].any()
        moved = jax.vmap(cartpole.move)(seen[i, : length - 1], batch["action"][i, : length - 1])
        np.testing.assert_allclose(seen[i, 1:length], moved, atol=1e-6)
        last = cartpole.move(seen[i, length - 1], batch["action"][i, length - 1])
        assert length == 12 or abs(last[2]) > cartpole.MOST_ANGLE or abs(last[0]) > cartpole.MOST_X
        np.testing.assert_array_equal(batch["reward"][i], alive[i])
    assert float(sums["return"][0]) == alive.sum() == float(sums["length"][0]) and float(sums["return"][1]) == 4


@pytest.mark.curriculum("T13", "T14")
@pytest.mark.parametrize("baseline", ["none", "mean", "value"])
def test_the_loss_by_hand(players, baseline):
    _, value, state = players
    rng = np.random.default_rng(0)
    alive = np.arange(5)[None] < np.asarray([5, 3, 1])[:, None]
    batch = {
        "observation": rng.normal(size=(3, 5, 4)).astype(np.float32), "action": rng.integers(0, 2, (3, 5)),
        "reward": np.where(alive, rng.normal(size=(3, 5)), 0).astype(np.float32), "alive": alive,
    }  # fmt: skip
    agent = reinforce.Agent(discount=0.9, baseline=baseline, entropy=0.3)
    networks = (MLP, value if baseline == "value" else None)

    @jax.jit
    def run(params, batch):
        one = state._replace(params=params)
        return reinforce.training_loss(*networks, agent, one, reinforce.weigh(agent, one, batch, KEY)[1], KEY)[1][
            "loss"
        ]

    total, count = run(state.params, jax.tree.map(jnp.asarray, batch))
    logits = qlearn.values(MLP, state.params["policy"], batch["observation"].reshape(15, 4)).reshape(3, 5, 2)
    log_p = np.asarray(jax.nn.log_softmax(logits))
    values = np.asarray(qlearn.values(value, state.params["value"], batch["observation"].reshape(15, 4))).reshape(3, 5)
    terms = batch["reward"] * 0.9 ** np.arange(5)
    to_go = np.stack([terms[:, t:].sum(1) for t in range(5)], 1)
    want = 0.0
    for i in range(3):
        for t in range(int(alive[i].sum())):
            others = np.mean([to_go[j, t] for j in range(3) if j != i])
            less = {"none": 0.0, "mean": others, "value": values[i, t]}[baseline]
            want -= (to_go[i, t] - less) * log_p[i, t, batch["action"][i, t]]
            want += 0.3 * (np.exp(log_p[i, t]) * log_p[i, t]).sum()
            want += (to_go[i, t] - values[i, t]) ** 2 if baseline == "value" else 0
    np.testing.assert_allclose(total, want, rtol=1e-4)
    assert count == 3
    slopes = jax.jit(jax.grad(lambda p: run(p, batch)[0]))(state.params)
    moved = {name: max(float(jnp.abs(x).max()) for x in jax.tree.leaves(slopes[name])) > 0 for name in slopes}
    assert moved == {"policy": True, "value": baseline == "value"}


@pytest.fixture(scope="module")
def collected(players):
    """A batch of PPO from environments of which some end."""
    env, value, state = players
    agent = ppo.Agent(discount=0.9, trace=0.7, horizon=8, normalise=False)
    state = unbalanced(state)
    after, batch, _ = jax.jit(lambda s: ppo.collect(MLP, value, env, agent, s, {}, KEY))(state)
    return env, value, agent, state, after, jax.device_get(batch)


@pytest.mark.curriculum("T13")
def test_decisions_are_those_of_the_policy_that_acted_and_environments_go_on(collected):
    _, _, _, before, after, batch = collected
    seen = batch["observation"]
    np.testing.assert_array_equal(seen[:, 0], before.rows["environment"]["body"])
    logits = qlearn.values(MLP, before.params["policy"], seen.reshape(32, 4)).reshape(4, 8, 2)
    np.testing.assert_allclose(batch["log_p"], policy.log_probability(logits, batch["action"]), atol=1e-5)
    moved = jax.vmap(jax.vmap(cartpole.move))(seen, batch["action"])
    ended = np.asarray((jnp.abs(moved[..., 0]) > cartpole.MOST_X) | (jnp.abs(moved[..., 2]) > cartpole.MOST_ANGLE))
    assert ended[[0, 3]].any(1).all()
    following = np.concatenate([seen[:, 1:], np.asarray(after.rows["environment"]["body"])[:, None]], 1)
    np.testing.assert_allclose(following[~ended], np.asarray(moved)[~ended], atol=1e-6)
    assert np.abs(following[ended]).max() <= 0.05  # a new episode


@pytest.mark.curriculum("T14")
def test_advantages_do_not_cross_the_end_of_an_episode(collected):
    _, value, _, before, _, batch = collected
    seen, params = batch["observation"], before.params["value"]
    moved = jax.vmap(jax.vmap(cartpole.move))(seen, batch["action"])
    ended = np.asarray((jnp.abs(moved[..., 0]) > cartpole.MOST_X) | (jnp.abs(moved[..., 2]) > cartpole.MOST_ANGLE))
    now, then = (np.asarray(qlearn.values(value, params, x.reshape(32, 4))).reshape(4, 8) for x in (seen, moved))
    want = np.zeros((4, 9))
    for t in reversed(range(8)):
        error = 1 + 0.9 * np.where(ended[:, t], 0, then[:, t]) - now[:, t]
        want[:, t] = error + 0.9 * 0.7 * np.where(ended[:, t], 0, want[:, t + 1])
    np.testing.assert_allclose(batch["advantage"], want[:, :8], atol=1e-5)
    np.testing.assert_allclose(batch["target"], want[:, :8] + now, atol=1e-5)


def test_the_terms_of_the_clipped_loss_by_hand(collected):
    _, value, agent, state, _, batch = collected
    agent = agent._replace(value=0.5, entropy=0.1)
    old = batch["log_p"] + np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32) * 0.5
    sums = jax.jit(lambda s, b: ppo.training_loss(MLP, value, agent, s, b, KEY)[1])(state, {**batch, "log_p": old})
    values = np.asarray(qlearn.values(value, state.params["value"], batch["observation"].reshape(32, 4))).reshape(4, 8)
    logits = qlearn.values(MLP, state.params["policy"], batch["observation"].reshape(32, 4)).reshape(4, 8, 2)
    p = np.asarray(jax.nn.softmax(logits))
    ratio, a = np.exp(batch["log_p"] - old), batch["advantage"]
    chosen = -np.minimum(ratio * a, np.clip(ratio, 0.8, 1.2) * a)
    error, entropy = (values - batch["target"]) ** 2 / 2, -(p * np.log(p)).sum(-1)
    np.testing.assert_allclose(sums["loss"][0], (chosen + 0.5 * error - 0.1 * entropy).sum(), rtol=1e-4)
    np.testing.assert_allclose(sums["clipped"][0], ((ratio < 0.8) | (ratio > 1.2)).sum())
    assert sums["loss"][1] == 32


def test_every_decision_is_used_once_a_pass_and_passes_differ():
    seen = []

    def update(state, part, key):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), part["time"][0], ordered=True)
        return state, part, {"loss": (jnp.ones(()), jnp.ones(()))}

    from cvdl_jax.core.task import Transform

    agent = ppo.Agent(horizon=6, epochs=3, parts=2)
    batch = {"time": jnp.tile(jnp.arange(6), (2, 1))}
    *_, sums = ppo.passes(Transform(update), agent).update(jnp.zeros(()), batch, KEY)
    assert [len(x) for x in seen] == [3] * 6 and sums["loss"] == (6, 6)
    passes = np.concatenate(seen).reshape(3, 6)
    assert (np.sort(passes, 1) == np.arange(6)).all() and len({tuple(x) for x in passes.tolist()}) == 3


def test_a_schedule_counts_descents():
    """The linear schedule of the recipe ends with the run, not after its sixteenth part."""
    built = build(configs.load("configs/rl/ppo.py:smoke", [*SMALL, "--config.total_steps=2"]))
    step, state = jax.jit(step_function(built.task, 0)), create_state(built.task, KEY, {})
    rates = []
    for _ in range(2):
        state, sums = step(state, {})
        rates.append(float(sums["learning_rate"][0] / sums["learning_rate"][1]))
    np.testing.assert_allclose(rates, [2.5e-3 * (1 - 7.5 / 32), 2.5e-3 * (1 - 23.5 / 32)], rtol=1e-5)


@pytest.mark.curriculum("T14")
def test_variances_are_of_one_gradient_an_episode(players):
    env, value, state = players
    agent = reinforce.Agent(discount=0.9, baseline="value")
    _, played = jax.jit(lambda keys: reinforce.whole_episodes(MLP, env, state.params["policy"], keys))(
        jax.random.split(KEY, 6)
    )
    batch, others = (jax.tree.map(lambda x, i=i: x[i::2], played) for i in range(2))
    of = policy_gradient_variance.weights(agent, value, state.params["value"], batch, others)
    terms = np.asarray(played["reward"]) * 0.9 ** np.arange(12)
    to_go = np.stack([terms[:, t:].sum(1) for t in range(12)], 1)
    np.testing.assert_allclose(of["whole"], np.repeat(terms[::2].sum(1)[:, None], 12, 1), rtol=1e-4)
    np.testing.assert_allclose(of["to_go"], to_go[::2], rtol=1e-4)
    np.testing.assert_allclose(of["mean"], to_go[::2] - to_go[1::2].mean(0), rtol=1e-4, atol=1e-5)
    seen = batch["observation"].reshape(36, 4)
    learned = np.asarray(qlearn.values(value, state.params["value"], seen)).reshape(3, 12)
    np.testing.assert_allclose(of["value"], to_go[::2] - learned, rtol=1e-4, atol=1e-5)
    rows = jax.jit(policy_gradient_variance.estimates, static_argnums=0)(MLP, state.params["policy"], batch, of["mean"])

    def whole(params):
        one = state._replace(params={"policy": params})
        total, count = reinforce.training_loss(
            MLP, None, agent._replace(baseline="none"), one, {**batch, "weight": of["mean"]}, KEY
        )[1]["loss"]
        return total / count

    slopes = jax.jit(jax.grad(whole))(state.params["policy"])
    mean = np.concatenate([np.asarray(x).ravel() for x in jax.tree.leaves(slopes)])
    np.testing.assert_allclose(np.asarray(rows).mean(0), mean, rtol=1e-3, atol=1e-5)
    trace = policy_gradient_variance.variance(rows)
    np.testing.assert_allclose(trace, np.asarray(rows).var(0, ddof=1).sum(), rtol=1e-4)


@pytest.mark.curriculum("T16")
def test_the_table_compares_agents_on_one_task():
    from configs.tables import cartpole as table

    rows = table.get_table()["rows"]
    tasks = {configs.load(row["config"]).environment.to_json() for row in rows}
    assert len(rows) == 3 and len(tasks) == 1
    assert {configs.load(row["config"]).agent.get("episodes", 100) for row in rows} == {100}


@pytest.mark.parametrize(
    ("config", "override", "message"),
    [
        ("reinforce", "--config.batch_size=1", "has none; take 'value', or more environments"),
        ("reinforce", "--config.agent.baseline=best", "baseline"),
        ("reinforce", "--config.agent.discount=1.5", r"config.agent.discount=1.5 must be in \[0, 1\]"),
        ("ppo", "--config.agent.parts=3", r"parts=3 do not divide config.agent.horizon=8; take parts=1 or horizon=6"),
        ("ppo", "--config.agent.clip=0.0", "clip"),
        ("ppo", "--config.model.dropout=0.9", "config.model.dropout=0.9 has no effect in this experiment"),
        ("ppo", "--config.environment.name=pongg", "pong"),
    ],
)  # fmt: skip
def test_mistakes_name_the_thing_and_the_fix(config, override, message):
    with pytest.raises(ConfigError, match=message) as error:
        build(configs.load(f"configs/rl/{config}.py:smoke", [override]))
    assert "\n" not in str(error.value)


@pytest.mark.long
@pytest.mark.curriculum("T13", "T16")
@pytest.mark.parametrize(("config", "steps", "least"), [("reinforce", 60, 120.0), ("ppo", 40, 200.0)])
def test_it_learns_to_balance(tmp_path, config, steps, least):
    """A random policy holds the pole for 20 steps."""
    flags = [f"--config=configs/rl/{config}.py", f"--workdir={tmp_path / 'run'}", f"--config.total_steps={steps}",
             "--config.log.tensorboard=False", "--config.agent.episodes=30"]  # fmt: skip
    assert launch.main(flags) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert max(row.get("validation/return", 0) for row in rows) >= least
