"""How noisy estimates of a policy's gradient are: by whole returns, rewards to go, and less two baselines.

A policy and a value are trained as by `experiments/reinforce.py` with the baseline "value". Each evaluation plays new
episodes with the present policy and estimates one gradient from each in four ways, which have one mean. "variance_X"
is the trace of their covariance; `share` is n times the variance of means over n episodes, over that of one: 1 where
noise averages out as 1 / n. The baseline "mean" is measured with the means of other episodes, as many as are measured.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size
from cvdl_jax.core.task import Eval, Task
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses import policy
from cvdl_jax.rl import environment
from cvdl_jax.rl.returns import episode_weights
from experiments import qlearn, reinforce

READS = (*reinforce.READS, "study")
WAYS = ("whole", "to_go", "mean", "value")


class Variance(NamedTuple):
    """The arguments of `config.study`."""

    episodes: Size = 256  # that a variance is measured on
    together: Size = 8  # episodes of a mean; they divide `episodes`


def weights(agent, value, params, batch, others):
    """{way: weights [b, t]} of the decisions of episodes; `others` are as many episodes for the means."""
    whole, to_go = (episode_weights(batch["reward"], agent.discount, after) for after in (False, True))
    mean = episode_weights(others["reward"], agent.discount, True).mean(0, keepdims=True)
    b, t, d = batch["observation"].shape
    learned = qlearn.values(value, params, batch["observation"].reshape(b * t, d)).reshape(b, t)
    return dict(zip(WAYS, (whole, to_go, to_go - mean, to_go - learned), strict=True))


def estimates(model, params, batch, of):
    """The gradient of the expected return, estimated from each episode: float [b, parameters]."""

    def loss(params, episode, weight):
        logits = qlearn.values(model, params, episode["observation"])
        return -(policy.plain(policy.log_probability(logits, episode["action"]), weight) * episode["alive"]).sum()

    slopes = jax.vmap(jax.grad(loss), (None, 0, 0))(params, batch, of)
    return jnp.concatenate([x.reshape(len(x), -1) for x in jax.tree.leaves(slopes)], 1)


def variance(rows):
    """The trace of the covariance of rows [b, n]."""
    return jnp.square(rows - rows.mean(0, keepdims=True)).sum() / (len(rows) - 1)


def evaluation_step(model, value, env, agent, study, state, batch, key):
    """The four variances and the share, the mean return, and how far the four means lie apart."""
    keys = jax.random.split(key, 2 * study.episodes)
    _, played = reinforce.whole_episodes(model, env, state.params["policy"], keys)
    batch, others = (jax.tree.map(lambda x, i=i: x[i::2], played) for i in range(2))
    gradients = {
        way: estimates(model, state.params["policy"], batch, of)
        for way, of in weights(agent, value, state.params["value"], batch, others).items()
    }
    groups = gradients["to_go"].reshape(-1, study.together, gradients["to_go"].shape[1]).mean(1)
    sums = {f"variance_{way}": variance(rows) for way, rows in gradients.items()}
    sums |= {
        "share": variance(groups) * study.together / sums["variance_to_go"],
        "return": batch["reward"].sum(1).mean(),
    }
    return {name: (x, jnp.ones((), x.dtype)) for name, x in sums.items()}


def draw(metrics, rows):
    """The four variances as bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axis = figure.subplots()
    axis.bar(WAYS, [metrics[f"variance_{way}"] for way in WAYS])
    axis.set(yscale="log", ylabel="variance of an episode's gradient", title=f"mean return {metrics['return']:.1f}")
    return {"policy_gradient_variance": figure}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Variance, config.study, "config.study")
    if study.episodes % study.together or study.episodes == study.together:
        raise ConfigError(
            f"config.study.together={study.together} must divide config.study.episodes={study.episodes} into two "
            "groups or more"
        )
    env, agent = environment.create(config.environment), configs.call(reinforce.Agent, config.agent, "config.agent")
    if agent.baseline != "value":
        raise ConfigError(
            f"config.agent.baseline={agent.baseline!r} must be 'value' in this study: it trains the value"
        )
    model, value, _ = reinforce.players(config, env, True)
    step = partial(evaluation_step, model, value, env, agent, study)
    evals = recipe.evaluations(lambda split: Eval(step, data=1, draw=draw if split == "test" else None))
    return reinforce.make(config, info)._replace(evals=evals)
