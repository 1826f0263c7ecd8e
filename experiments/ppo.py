"""Proximal policy optimisation, and with one pass over each batch and no clipping an advantage actor-critic.

Each step acts `horizon` times in every environment (`batch_size` of them), then descends on the clipped objective, the
squared errors of the values and the entropy, `epochs` times over all decisions, each time in `parts` random parts of
the times. There are no data: `collect` makes the batch, {"observation" [b, t, d], "action", "log_p", "advantage",
"target" [b, t]}. `extra`: {"feedback"?}; `rows`: {"environment": its state}.

Reference: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", algorithm 1; Mnih et al. 2016,
"Asynchronous Methods for Deep Reinforcement Learning".
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import NotNegative, Positive, Probability, Size
from cvdl_jax.core.parallel import row_keys, sum_devices
from cvdl_jax.core.task import Eval, Task, Transform, chain
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses import policy
from cvdl_jax.rl import environment
from cvdl_jax.rl.returns import generalised_advantages
from experiments import qlearn, reinforce

READS = ("model", "grad", "optim", "plateau", "early_stopping", "compute_dtype", "remat", "environment", "agent")


class Agent(NamedTuple):
    """The arguments of `config.agent`."""

    discount: Probability = 0.99  # gamma
    trace: Probability = 0.95  # lambda of the advantages
    horizon: Size = 128  # decisions in each environment at a step
    epochs: Size = 4  # passes over them
    parts: Size = 4  # of the decisions of a pass, each a descent; they divide the horizon
    clip: Positive = 0.2  # of the ratio to the policy that acted
    value: NotNegative = 0.5  # factor of the values' squared errors
    entropy: NotNegative = 0.01  # factor of the entropy
    normalise: bool = True  # advantages of mean 0 and deviation 1
    episodes: Size = 100  # of an evaluation


def collect(model, value, env, agent, state, batch, key):
    """Decisions by the present policy with their advantages; an environment whose episode ended begins a new one."""
    environments = len(state.rows["environment"]["time"])

    def body(now, time):
        keys = row_keys(jax.random.fold_in(key, time), environments)
        act, move, anew = jnp.moveaxis(jax.vmap(lambda k: jax.random.split(k, 3))(keys), 1, 0)
        seen = jax.vmap(env.observe)(now)
        logits = qlearn.values(model, state.params["policy"], seen)
        actions = jax.vmap(jax.random.categorical)(act, logits).astype(jnp.int32)
        new, reward, terminated, truncated = jax.vmap(env.step)(now, actions, move)
        ended = terminated | truncated
        row = {"observation": seen, "action": actions, "reward": reward, "terminated": terminated, "ended": ended}
        row |= {"log_p": policy.log_probability(logits, actions), "after": jax.vmap(env.observe)(new)}
        return environment.where(ended, jax.vmap(env.reset)(anew), new), row

    now, rows = jax.lax.scan(body, state.rows["environment"], jnp.arange(agent.horizon))  # [t, b, ...]
    before, after = (
        qlearn.values(value, state.params["value"], rows[name].reshape(-1, rows[name].shape[-1])).reshape(
            -1, environments
        )
        for name in ("observation", "after")
    )
    advantages = generalised_advantages(
        rows["reward"], before, after, rows["terminated"], rows["ended"], agent.discount, agent.trace
    )
    kept = {name: rows[name] for name in ("observation", "action", "log_p")}
    batch = {
        **kept,
        "advantage": normalised(advantages) if agent.normalise else advantages,
        "target": before + advantages,
    }
    weight = jnp.full((), advantages.size, advantages.dtype)
    sums = {"reward": (rows["reward"].sum(), weight), "ended": (rows["ended"].sum(dtype=weight.dtype), weight)}
    batch = {name: jnp.swapaxes(x, 0, 1) for name, x in batch.items()}  # [b, t, ...]
    return state._replace(rows={"environment": now}), batch, sums


def normalised(x):
    """Of mean 0 and deviation 1 over all rows of all devices."""
    count = sum_devices(jnp.ones_like(x).sum())
    mean = sum_devices(x.sum()) / count
    return (x - mean) / (jnp.sqrt(sum_devices(jnp.square(x - mean).sum()) / count) + 1e-8)


def training_loss(model, value, agent, state, batch, key):
    """Sums of the three terms over the decisions of a part."""
    b, t = batch["action"].shape
    seen = batch["observation"].reshape(b * t, -1)
    logits = qlearn.values(model, state.params["policy"], seen).reshape(b, t, -1)
    values = qlearn.values(value, state.params["value"], seen).reshape(b, t)
    log_p, entropy = policy.log_probability(logits, batch["action"]), policy.entropy(logits)
    chosen = policy.clipped(log_p, batch["log_p"], batch["advantage"], agent.clip)
    error = jnp.square(values - batch["target"]) / 2
    losses = chosen + agent.value * error - agent.entropy * entropy
    weight = jnp.full((), losses.size, losses.dtype)
    outside = (jnp.abs(jnp.exp(log_p - batch["log_p"]) - 1) > agent.clip).sum(dtype=losses.dtype)
    sums = {"loss": losses, "value_loss": error, "entropy": entropy, "clipped": outside}
    return state, {name: (x.sum(), weight) for name, x in sums.items()}


def passes(descend, agent):
    """The descents of a step: parts of the times in a random order, the same in every environment."""

    def update(state, batch, key):
        orders = [jax.random.permutation(jax.random.fold_in(key, i), agent.horizon) for i in range(agent.epochs)]
        parts = jnp.concatenate(orders).reshape(agent.epochs * agent.parts, -1)  # [n, horizon / parts]

        def body(state, part):
            state, _, sums = descend.update(state, {name: x[:, part] for name, x in batch.items()}, key)
            return state, sums

        state, sums = jax.lax.scan(body, state, parts)
        return state, batch, jax.tree.map(lambda x: x.sum(0), sums)

    return Transform(update, descend.init)


def make(config, info) -> Task:
    """The task of a configuration."""
    env, agent = environment.create(config.environment), configs.call(Agent, config.agent, "config.agent")
    if agent.horizon % agent.parts:
        raise ConfigError(
            f"config.agent.parts={agent.parts} do not divide config.agent.horizon={agent.horizon}; "
            f"take parts=1 or horizon={agent.parts * max(agent.horizon // agent.parts, 1)}"
        )
    model, value, init_params = reinforce.players(config, env, True)
    feedback = recipe.feedback(config)

    def init(key: jax.Array, batch: dict) -> dict:
        rows = {"environment": jax.vmap(env.reset)(row_keys(jax.random.fold_in(key, 1), info.batch_size))}
        return {"params": init_params(key), "extra": dict(feedback.extra), "rows": rows}

    step = reinforce.on_policy(partial(qlearn.evaluation_step, model, env, agent.episodes))
    descents = info._replace(total_steps=info.total_steps * agent.epochs * agent.parts)  # that the optimizer counts
    descend = recipe.descend(config, descents, partial(training_loss, model, value, agent))
    train = chain(partial(collect, model, value, env, agent), passes(descend, agent))
    evals = recipe.evaluations(lambda split: Eval(step, qlearn.finalise, data=1))
    return Task(init, train, evals, reinforce.on_policy(partial(qlearn.report, model, env)), feedback.on_eval)
