"""REINFORCE: a policy that climbs the gradient of its expected return, estimated from whole episodes.

Each step plays one episode in every environment (`batch_size` of them) and weighs the log probability of each decision
with what followed, as `config.agent` says; with `baseline="value"` a second network of the same form learns the mean
of it. There are no data: `play` and `weigh` make the batch, {"observation" [b, t, d], "action", "reward", "alive",
"weight" [b, t]}. `extra`: {"feedback"?}; `rows`: {"environment": how the last episodes began}.

Reference: Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning".
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import NotNegative, Probability, Size
from cvdl_jax.core.parallel import row_keys, sum_devices
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.ops.losses import policy
from cvdl_jax.rl import environment
from cvdl_jax.rl.returns import episode_weights, others_mean
from experiments import qlearn

READS = ("model", "grad", "optim", "plateau", "early_stopping", "compute_dtype", "remat", "environment", "agent")


class Agent(NamedTuple):
    """The arguments of `config.agent`."""

    discount: Probability = 1.0  # gamma
    to_go: bool = True  # weigh a decision with the rewards after it, not with those of the whole episode
    baseline: Literal["none", "mean", "value"] = "mean"  # what the weight is lessened by
    entropy: NotNegative = 0.0  # factor of the policy's entropy, which keeps it from deciding too early
    episodes: Size = 100  # of an evaluation


def whole_episodes(model, env, params, keys):
    """An episode for each key by a policy; an environment that has ended stands still. See `play`."""
    first = jax.vmap(env.reset)(jax.vmap(lambda k: jax.random.fold_in(k, 0))(keys))

    def body(carry, time):
        now, alive = carry
        act, move = jnp.moveaxis(jax.vmap(lambda k: jax.random.split(jax.random.fold_in(k, time)))(keys), 1, 0)
        seen = jax.vmap(env.observe)(now)
        actions = jax.vmap(jax.random.categorical)(act, qlearn.values(model, params, seen)).astype(jnp.int32)
        new, reward, terminated, truncated = jax.vmap(env.step)(now, actions, move)
        row = {"observation": seen, "action": actions, "reward": jnp.where(alive, reward, 0), "alive": alive}
        return (environment.where(alive, new, now), alive & ~(terminated | truncated)), row

    times = jnp.arange(1, env.max_steps + 1)
    _, played = jax.lax.scan(body, (first, jnp.ones(len(keys), bool)), times)
    return first, {name: jnp.swapaxes(x, 0, 1) for name, x in played.items()}  # [b, t, ...]


def play(model, env, state, batch, key):
    """An episode in every environment by the present policy."""
    keys = row_keys(key, len(state.rows["environment"]["time"]))  # [b]
    first, batch = whole_episodes(model, env, state.params["policy"], keys)
    returns, count = batch["reward"].sum(1), jnp.ones(len(keys)).sum()
    sums = {"return": (returns.sum(), count), "length": (batch["alive"].sum(dtype=returns.dtype), count)}
    return state._replace(rows={"environment": first}), batch, sums


def weigh(agent, state, batch, key):
    """Adds the weights of the decisions, less the mean of the other episodes if that is the baseline."""
    weights = episode_weights(batch["reward"], agent.discount, agent.to_go)
    if agent.baseline == "mean":
        count = sum_devices(jnp.ones(len(weights)).sum())
        weights = weights - others_mean(weights, sum_devices(weights.sum(0)), count)
    return state, {**batch, "weight": weights}, {}


def training_loss(model, value, agent, state, batch, key):
    """The policy's loss, summed over the decisions of an episode, less its entropy; plus the value's squared error."""
    alive, seen = batch["alive"], batch["observation"]
    b, t = alive.shape
    logits = qlearn.values(model, state.params["policy"], seen.reshape(b * t, -1)).reshape(b, t, -1)
    weights, error = batch["weight"], jnp.zeros(())
    if agent.baseline == "value":
        less = qlearn.values(value, state.params["value"], seen.reshape(b * t, -1)).reshape(b, t)
        error = jnp.square(weights - less) * alive  # [b, t]
        weights = weights - less
    log_p = policy.log_probability(logits, batch["action"])
    losses = (policy.plain(log_p, weights) - agent.entropy * policy.entropy(logits)) * alive
    count = jnp.ones(b).sum()
    entropy = ((policy.entropy(logits) * alive).sum(), alive.sum(dtype=losses.dtype))
    return state, {"loss": ((losses + error).sum(), count), "entropy": entropy}


def on_policy(step):
    """An evaluation or a report of `qlearn`, of the policy alone."""
    return lambda state, batch, key: step(state._replace(params=state.params["policy"]), batch, key)


def players(config, env, with_value):
    """The policy's network, that of the value (None without), and a function that initialises both."""
    about = {"kinds": ("backbones",), "dtype": config.compute_dtype, "remat": config.remat}
    model = recipe.without_dropout(registry.create(config.model, "config.model", num_classes=env.actions, **about))
    value = registry.create(config.model, "config.model", num_classes=1, **about) if with_value else None

    def init(key):
        seen = env.observe(env.reset(key))[None]
        networks = {"policy": model} | ({"value": value} if with_value else {})
        return {
            name: network.init(jax.random.fold_in(key, i), seen, False)["params"]
            for i, (name, network) in enumerate(networks.items())
        }

    return model, value, init


def make(config, info) -> Task:
    """The REINFORCE task of a configuration."""
    env, agent = environment.create(config.environment), configs.call(Agent, config.agent, "config.agent")
    if agent.baseline == "mean" and info.batch_size < 2:
        raise ConfigError(
            f"config.agent.baseline='mean' is that of the other episodes of a batch, and config.batch_size="
            f"{info.batch_size} has none; take 'value', or more environments"
        )
    model, value, init_params = players(config, env, agent.baseline == "value")
    feedback = recipe.feedback(config)

    def init(key: jax.Array, batch: dict) -> dict:
        rows = {"environment": jax.vmap(env.reset)(row_keys(jax.random.fold_in(key, 1), info.batch_size))}
        return {"params": init_params(key), "extra": dict(feedback.extra), "rows": rows}

    step = on_policy(partial(qlearn.evaluation_step, model, env, agent.episodes))
    train = chain(
        partial(play, model, env),
        partial(weigh, agent),
        recipe.descend(config, info, partial(training_loss, model, value, agent)),
    )
    evals = recipe.evaluations(lambda split: Eval(step, qlearn.finalise, data=1))
    return Task(init, train, evals, on_policy(partial(qlearn.report, model, env)), feedback.on_eval)
