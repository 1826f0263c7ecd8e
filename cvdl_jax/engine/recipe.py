"""What most experiments take from the shared sections of a config, one call for each.

    def make(config, info) -> Task:
        feedback = recipe.feedback(config)                          # config.plateau and config.early_stopping
        train = chain(
            recipe.augmentation(config, info),                      # config.augment
            recipe.descend(config, info, partial(loss, model)),     # config.optim and config.grad
            recipe.average(config, partial(loss, model)),           # config.ema; evaluate optim.ema.averaged(state)
        )
        evals = recipe.evaluations(partial(Eval, step, finalise), info.sizes)
        return Task(init, train, evals, on_eval=feedback.on_eval)   # init puts feedback.extra into "extra"

An empty section gives None, which `task.chain` leaves out. An experiment that needs something else calls what these
functions call.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from cvdl_jax.config import configs
from cvdl_jax.core import gradients, task
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import Eval, Transform
from cvdl_jax.data import load, pixels
from cvdl_jax.data.augment import policy
from cvdl_jax.errors import ConfigError
from cvdl_jax.optim import optimizer as optimizers
from cvdl_jax.optim import plateau
from cvdl_jax.optim.ema import averages

EVALUATED = ("validation", "test")


class Feedback(NamedTuple):
    """What evaluations change in a run.

    Attributes:
        extra: what `init` adds to the state's `extra`: {"feedback": memory}, or {} where both sections are empty.
        on_eval: for `Task.on_eval`; None where both sections are empty.
    """

    extra: Mapping[str, Any]
    on_eval: Callable | None


def optimizer(
    section: Mapping[str, Any], info: Info, path: str = "config.optim"
) -> optax.GradientTransformationExtraArgs:
    """The optimizer of a section, with its durations in units of the run.

    Args:
        section: `config.optim`, or a section of the same form.
        info: of the run; `total_steps`, `steps_per_epoch` and `batch_size` are those that the optimizer counts in.
        path: the section's name for messages.

    Raises:
        ConfigError: for an unknown name or key, or an impossible value.
    """
    return configs.call(
        partial(optimizers.optimizer, path=path), section, path,
        total_steps=info.total_steps, steps_per_epoch=info.steps_per_epoch, batch_size=info.batch_size,
    )  # fmt: skip


def descend(config: ConfigDict, info: Info, loss: Callable, on: str | None = None) -> Transform:
    """A step of `config.optim` on a loss, by the gradient estimator of `config.grad`.

    Args:
        config: of the run.
        info: of the run.
        loss: `(state, batch, key) -> (state, sums)`, see `task.descend`.
        on: the sub-tree of `params` to differentiate and update; None for all.

    Raises:
        ConfigError: for an unknown name or key, or an impossible value.
    """
    return task.descend(loss, optimizer(config.optim, info), on=on, grad=gradients.build(config.grad))


def players(
    config: ConfigDict, info: Info, losses: Mapping[str, Callable], updates: Mapping[str, int] = {}
) -> dict[str, Transform]:
    """A step of each of several players on its own sub-tree of `params`, by its section of `config.optim`.

    Args:
        config: of the run.
        info: of the run.
        losses: {player: `(state, batch, key) -> (state, sums)`}.
        updates: {player: its updates in a step, each on that part of the batch}, of those that make several; their
            schedules count them, and `task.repeat` makes them.

    Raises:
        ConfigError: for other sections than the players, or what `descend` refuses.
    """
    if set(config.optim) != set(losses):
        raise ConfigError(f"config.optim has {sorted(config.optim)}; expected the sections {', '.join(sorted(losses))}")
    steps = {}
    for name, loss in losses.items():
        n, path = updates.get(name, 1), f"config.optim.{name}"
        counted = info._replace(
            total_steps=info.total_steps * n, steps_per_epoch=info.steps_per_epoch * n,
            batch_size=info.batch_size // n,
        )  # fmt: skip
        made = optimizer(config.optim[name], counted, path)
        steps[name] = task.descend(loss, made, on=name, grad=gradients.build(config.grad))
    return steps


def critic_steps(config: ConfigDict, info: Info) -> int:
    """How often a critic is updated in a step: `config.critic_steps`, 1 where there is no such key.

    Raises:
        ConfigError: for a number that does not divide the batch into parts.
    """
    n = configs.check_value(config.get("critic_steps", 1), int, "config.critic_steps")
    if n < 1 or info.batch_size % n:
        raise ConfigError(f"config.critic_steps={n} must divide config.batch_size={info.batch_size} into sub-batches")
    return n


def augmentation(config: ConfigDict, info: Info) -> Transform | None:
    """The transform of `config.augment`; None for an empty policy.

    Args:
        config: of the run.
        info: tells operations that mix labels the number of classes.

    Raises:
        ConfigError: for an unknown operation or argument, or an impossible value.
    """
    return policy.build(config.augment, info.num_classes)


def average(config: ConfigDict, loss: Callable | None = None, on: str | None = None) -> Transform | None:
    """The moving average that `config.ema` asks for; None for an empty section. Evaluate `optim.ema.averaged(state)`.

    Args:
        config: of the run.
        loss: as given to `descend`; from it averaged weights get batch statistics of their own. None where none can be.
        on: the averaged sub-tree of `params`, and of the batch statistics; None for all.

    Raises:
        ConfigError: for an unknown key or a wrong type.
    """
    return configs.call(averages, config.ema, "config.ema", loss=loss, on=on) if config.ema else None


def feedback(config: ConfigDict) -> Feedback:
    """What `config.plateau` and `config.early_stopping` do after an evaluation.

    Raises:
        ConfigError: for an unknown key or an impossible value.
    """
    built = plateau.build(config.plateau, config.early_stopping)
    return Feedback({}, None) if built is None else Feedback({"feedback": built[0]}, built[1])


def without_dropout(model: nn.Module) -> nn.Module:
    """The model of an experiment whose networks learn as they predict, refused where it would drop something.

    Args:
        model: of `registry.create`.

    Raises:
        ConfigError: naming the model's field, a variant's own one too.
    """
    for name in sorted(vars(model)):
        rate = getattr(model, name)
        if "drop" in name and isinstance(rate, int | float) and rate:
            raise ConfigError(
                f"config.model.{name}={rate:g} has no effect in this experiment, whose networks learn without it; set "
                f"config.model.{name}=0.0"
            )
    return model


def normalisation(config: ConfigDict) -> Callable:
    """`config.normalise` as a function of images in 0..1, or of features, float [..., c] -> [..., c].

    Raises:
        ConfigError: for an unknown key or a wrong type.
    """
    return configs.partially(pixels.normalise, config.normalise, "config.normalise", "image")


def evaluations(evaluation: Callable[[str], Eval], splits: Container[str] = EVALUATED) -> dict[str, Eval]:
    """One evaluation for each split that there is: "validation" during training, "test" once at the end.

    Args:
        evaluation: name of a split -> its Eval, such as `partial(Eval, step, finalise)`; `final` is set here.
        splits: the splits that the run has, such as `info.sizes`; both where a task makes its own data.

    Returns:
        {split: Eval}.
    """
    return {split: evaluation(split)._replace(final=split == "test") for split in EVALUATED if split in splits}


def whole_splits(
    section: Mapping[str, Any], path: str, splits: Sequence[str], limit: int = 0
) -> tuple[load.Data, dict[str, dict[str, np.ndarray]]]:
    """The data set of a study that draws from whole splits by itself.

    Args:
        section: as `config.data`.
        path: the section's name for messages, such as "config.study.data".
        splits: those that the study needs.
        limit: only so many examples of each split, see `Split.some`; 0 for all.

    Returns:
        (the data set, {split: {entry: array [n, ...]}}).

    Raises:
        ConfigError: for a split that the section does not name, or random windows, which would be drawn only once.
        DataError: if data are missing or damaged.
    """
    data = configs.call(load.load, section, path)
    for name in splits:
        if name not in data.splits:
            raise ConfigError(f"{path}.{name} is missing; this study needs the splits {', '.join(splits)}")
        if data.splits[name].stage.random:
            raise ConfigError(f"{path}.crop would draw a window of each image only once; use 'center', 'pad' or 'none'")
    return data, {name: data.splits[name].batch(data.splits[name].some(limit)) for name in splits}
