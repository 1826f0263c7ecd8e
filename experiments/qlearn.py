"""Q-learning in a table or with a network (DQN), in environments that live inside the compiled step.

Each step acts once in every environment (`batch_size` of them), stores what happened, draws past transitions and
descends on their temporal-difference errors. A table is a linear model of one-hot states; with a ring of one
transition and a target copied at every step this is Watkins' rule, Q += lr (r + gamma max Q' - Q).
There are no data: `recall` makes the batch, {"before", "after": observations, "action", "reward", "discount"}, rows
[b * draws, ...]. `extra`: {"target": parameters, "feedback"?}; `rows`: {"environment": its state, "replay": rings
[b, capacity, ...] of such transitions}. Mnih et al. 2015, algorithm 1; Watkins and Dayan 1992.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.figures.episodes import episode
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Count, Probability, Size
from cvdl_jax.core.parallel import row_keys
from cvdl_jax.core.task import Eval, Task, chain, copy_to, every
from cvdl_jax.engine import recipe
from cvdl_jax.models import registry
from cvdl_jax.nn import observe
from cvdl_jax.nn.apply import apply_params
from cvdl_jax.ops.losses import td
from cvdl_jax.rl import environment, episodes, policies, replay
from cvdl_jax.rl.returns import q_learning_errors

READS = (
    "model", "loss", "grad", "optim", "plateau", "early_stopping", "compute_dtype", "remat", "environment", "agent",
    "exploration",
)  # fmt: skip


class Agent(NamedTuple):
    """The arguments of `config.agent`."""

    discount: Probability = 0.99  # gamma
    capacity: Size = 1000  # transitions that each environment keeps
    draws: Size = 4  # transitions drawn from each at a step
    target_every: Count = 100  # steps between copies to the target network
    double: bool = False  # the trained network chooses the next action, the target network values it
    episodes: Size = 100  # of an evaluation


def values(model, params, observations):
    """Action values [b, m] of observations [b, d]."""
    return apply_params(model, params, observations, False)[0]


def act(model, env, explore, discount, state, batch, key):
    """One step of every environment, recorded; an environment whose episode ended begins a new one."""
    now = state.rows["environment"]
    keys = jax.vmap(lambda k: jax.random.split(k, 3))(row_keys(key, len(now["time"])))  # [b, 3]
    before = jax.vmap(env.observe)(now)
    actions, randomness = explore(keys[:, 0], values(model, state.params, before), state.step)
    new, reward, terminated, truncated = jax.vmap(env.step)(now, actions, keys[:, 1])
    happened = {
        "before": before,
        "action": actions,
        "reward": reward,
        "discount": discount * (1 - terminated.astype(reward.dtype)),
        "after": jax.vmap(env.observe)(new),
    }
    ended = terminated | truncated
    rows = {
        "environment": environment.where(ended, jax.vmap(env.reset)(keys[:, 2]), new),
        "replay": replay.record(state.rows["replay"], happened, state.step),
    }
    weight = jnp.full((), len(reward), reward.dtype)
    sums = {"reward": reward.sum(), "ended": ended.sum(dtype=reward.dtype), "exploration": randomness * weight}
    return state._replace(rows=rows), batch, {name: (total, weight) for name, total in sums.items()}


def recall(draws, state, batch, key):
    """Replaces the batch by transitions from the rings."""
    return state, replay.sample(state.rows["replay"], key, draws, state.step + 1), {}


def training_loss(model, loss, double, state, batch, key):
    """Temporal-difference errors against the target network."""
    q_tm1 = values(model, state.params, batch["before"])
    q_t = values(model, state.extra["target"], batch["after"])
    chooser = values(model, state.params, batch["after"]) if double else q_t
    errors = q_learning_errors(q_tm1, batch["action"], batch["reward"], batch["discount"], q_t, chooser)
    weight = jnp.full((), len(errors), errors.dtype)
    return state, {"loss": (loss(errors).sum(), weight), "value": (q_tm1.max(1).sum(), weight)}


def greedy(model, params):
    """The policy that takes the best action."""
    return lambda observations, key: jnp.argmax(values(model, params, observations), 1)


def evaluation_step(model, env, count, state, batch, key):
    """Returns and lengths of greedy episodes, all played here."""
    if observe.looking():  # the loop over time hides what the model does; where training stands now is shown instead
        observe.apply(model, {"params": state.params}, jax.vmap(env.observe)(state.rows["environment"]), False)
    played = episodes.play(env, greedy(model, state.params), key, count)
    weight = jnp.full((), count, played["return"].dtype)
    sums = {name: (of_episodes.sum(dtype=weight.dtype), weight) for name, of_episodes in played.items()}
    return {**sums, "returns": played["return"]}


def finalise(means, rows):
    """The mean return with the worst and the best episode."""
    returns = np.asarray(rows["returns"])
    return {**means, "worst": float(returns.min()), "best": float(returns.max()), "episodes": len(returns)}


def report(model, env, state, batch, key):
    """One greedy episode, step by step."""
    played = jax.jit(partial(episodes.history, env, greedy(model, state.params)))(key)
    return {"episode": episode(played)}


def make(config, info) -> Task:
    """The Q-learning task of a configuration."""
    env = environment.create(config.environment)
    agent = configs.call(Agent, config.agent, "config.agent")
    model = recipe.without_dropout(registry.create(
        config.model, "config.model", kinds=("backbones",),
        num_classes=env.actions, dtype=config.compute_dtype, remat=config.remat,
    ))  # fmt: skip
    explore = configs.named(policies, config.exploration, "config.exploration", "keys", "values", "step")
    loss = configs.named(td, config.loss, "config.loss", "errors")
    feedback = recipe.feedback(config)

    def init(key: jax.Array, batch: dict) -> dict:
        state = jax.vmap(env.reset)(row_keys(jax.random.fold_in(key, 1), info.batch_size))
        seen = jax.vmap(env.observe)(state)
        params = model.init(key, seen[:1], False)["params"]
        number = jnp.zeros(info.batch_size)
        happened = {"before": seen, "action": number.astype(jnp.int32), "reward": number, "discount": number}
        rows = {"environment": state, "replay": replay.empty({**happened, "after": seen}, agent.capacity)}
        return {"params": params, "extra": dict(feedback.extra), "rows": rows}

    step = partial(evaluation_step, model, env, agent.episodes)
    train = chain(
        partial(act, model, env, explore, agent.discount),
        partial(recall, agent.draws),
        recipe.descend(config, info, partial(training_loss, model, loss, agent.double)),
        every(agent.target_every, copy_to("target")),
    )
    evals = recipe.evaluations(lambda split: Eval(step, finalise, data=1))
    return Task(init, train, evals, partial(report, model, env), feedback.on_eval)
