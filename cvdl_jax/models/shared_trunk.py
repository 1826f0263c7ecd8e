"""Several tasks by one network: the tasks of `config.tasks`, a trunk that they share with a head for each, their sums.

    tasks = jobs(config.tasks, info.spec)                   # {name: Job}
    model = make_model(config, tasks)                       # (x, train) -> ({name: outputs [b, n]}, out)
    views = looks(tasks, outputs, batch, real)              # {name: Look}, labels and which of them there are
    sums = measures(tasks, views, progress)                 # {"name/loss": (sum, weight), "name/accuracy": ...}

The network is a backbone without its head and one linear layer for each task, or a variant of the folder `multi_task`,
which says itself where its tasks branch off.
"""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cvdl_jax.config import configs
from cvdl_jax.config.binding import NotNegative, functions
from cvdl_jax.config.parsing import parse_calls
from cvdl_jax.data.augment import photometric, policy
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.models import registry, task_heads
from cvdl_jax.models.task_heads import Head
from cvdl_jax.nn.common import head
from cvdl_jax.ops.losses.multi_task import masked

KIND = "multi_task"  # of the variants that have heads for tasks of their own


class _Common(NamedTuple):
    """What the section of any task says."""

    entry: str
    mask: str = ""
    weight: NotNegative = 1.0


class Job(NamedTuple):
    """One task of a run.

    Attributes:
        head: see `task_heads.py`.
        entry: with the labels.
        mask: the entry that is 0 where an example has none; "" where all have one.
        weight: lambda.
    """

    head: Head
    entry: str
    mask: str
    weight: float


class Look(NamedTuple):
    """One task in one batch.

    Attributes:
        outputs: of the network, float [b, n].
        truth: labels [b, ...]; 0 where there are none.
        beside: what says more of them [b, ...], or None.
        known: 1 where there is a label of a real example, else 0, float [b].
    """

    outputs: jax.Array
    truth: jax.Array
    beside: jax.Array | None
    known: jax.Array


def jobs(section: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Job]:
    """The tasks that a section names.

    Args:
        section: `config.tasks`.
        spec: {entry: shape and dtype [b, ...]} of a batch.

    Raises:
        ConfigError: for no task, an unknown kind, argument or entry, or labels of another shape.
    """
    configs.check_section(section, "config.tasks")
    if not section:
        raise ConfigError(
            "config.tasks is empty; name a task, such as --config.tasks.digit=\"{'name': 'classification', "
            "'entry': 'label', 'classes': 10}\""
        )
    return {name: _job(part, f"config.tasks.{name}", spec) for name, part in section.items()}


def _job(section: Mapping[str, Any], path: str, spec: Mapping[str, Any]) -> Job:
    configs.check_section(section, path)
    common = configs.call(_Common, {k: v for k, v in section.items() if k in _Common._fields}, path)
    own = {key: value for key, value in section.items() if key not in _Common._fields}
    make = configs.named(task_heads, own, path, "shape")
    for key, entry in (("entry", common.entry), ("mask", common.mask)):
        if (entry or key == "entry") and entry not in spec:
            raise ConfigError(f"{path}.{key}={entry!r} is not an entry of the data; {nearest(entry, spec)}")
    if common.mask and spec[common.mask].ndim != 1:
        raise ConfigError(f"{path}.mask={common.mask!r} must be one number for each example, 0 or 1")
    try:
        made = make(tuple(spec[common.entry].shape[1:]))
    except ConfigError as error:
        raise ConfigError(f"{path}.entry={common.entry!r}: {error}") from None
    if made.beside and (made.beside not in spec or spec[made.beside].shape[1:] != spec[common.entry].shape[1:2]):
        raise ConfigError(
            f"{path}.visible={made.beside!r} must be an entry with one number for each of the points of "
            f"{common.entry!r}; {nearest(made.beside, spec)}"
        )
    return Job(made, common.entry, common.mask, common.weight)


def check_augmentation(text: str, tasks: Mapping[str, Job]) -> None:
    """Refuses operations that would change what a label says of the image: no label here is moved, or blended.

    Args:
        text: `config.augment`.
        tasks: of the run.

    Raises:
        ConfigError: naming the operation and a task.
    """
    moved = next((name for name, job in tasks.items() if job.head.moves), None)
    for operation, *_ in parse_calls(text, "config.augment"):
        if "num_classes" in inspect.signature(policy.find(operation)).parameters:
            raise ConfigError(
                f"config.augment: {operation!r} blends images, and would leave the labels of task "
                f"{next(iter(tasks))!r} as they are; remove it"
            )
        if moved and operation not in functions(photometric):
            raise ConfigError(
                f"config.augment: {operation!r} may move the image and would leave the labels of task {moved!r} as "
                f"they are; use operations on colours alone: {', '.join(functions(photometric))}"
            )


# The network ----------------------------------------------------------------------------------------------------------


class SharedTrunk(nn.Module):
    """A network of features and a linear layer for each task.

    Attributes:
        trunk: `(x, train) -> (features [b, d], out)`, a backbone without classes.
        heads: (name, outputs) of each task.
        dtype: of the trunk; heads are at least float32.
    """

    trunk: nn.Module
    heads: tuple[tuple[str, int], ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[dict[str, jax.Array], dict[str, Any]]:
        """Args: x: [b, ...]; train. Returns: {task: [b, outputs]}, and what the trunk returns beside its features."""
        features, out = self.trunk(x, train)
        return {name: head(features, n, self.dtype, name=f"head_{name}") for name, n in self.heads}, out


def make_model(config: ConfigDict, tasks: Mapping[str, Job]) -> nn.Module:
    """The network of `config.model` with a head for each task.

    Args:
        config: of the run; its model is a backbone, or a variant with heads of its own.
        tasks: of the run.

    Raises:
        ConfigError: see `registry.create`.
    """
    heads = tuple((name, job.head.outputs) for name, job in tasks.items())
    how = {"dtype": config.compute_dtype, "remat": config.remat}
    variant = registry.variants().get(config.model.get("name"))
    if variant is not None and variant.kind == KIND:
        return registry.create(config.model, "config.model", kinds=(KIND,), heads=heads, **how)
    trunk = registry.create(config.model, "config.model", kinds=("backbones",), num_classes=0, **how)
    return SharedTrunk(trunk, heads, jnp.dtype(config.compute_dtype))


# Sums -----------------------------------------------------------------------------------------------------------------


def looks(
    tasks: Mapping[str, Job], outputs: Mapping[str, jax.Array], batch: Mapping[str, jax.Array], real: jax.Array
) -> dict[str, Look]:
    """The outputs of each task beside their labels.

    Args:
        tasks: of the run.
        outputs: of the network.
        batch: entries [b, ...]; whatever stands in the place of a missing label.
        real: 1 for examples, 0 for padding, float [b].
    """
    views = {}
    for name, job in tasks.items():
        known = real if not job.mask else real * (batch[job.mask] != 0)
        truth, beside = (batch[entry] if entry else None for entry in (job.entry, job.head.beside))
        # A missing label becomes 0, so that neither its loss nor the gradient of it can be NaN.
        truth, beside = (
            None if x is None else jnp.where(known.reshape(-1, *(1,) * (x.ndim - 1)) != 0, x, jnp.zeros((), x.dtype))
            for x in (truth, beside)
        )
        views[name] = Look(outputs[name], truth, beside, known)
    return views


def losses_of(tasks: Mapping[str, Job], views: Mapping[str, Look], progress: Any) -> dict[str, jax.Array]:
    """The loss of every example and task, {task: [b]}; progress is the share of the run that is over."""
    return {
        name: job.head.losses(views[name].outputs, views[name].truth, views[name].beside, progress)
        for name, job in tasks.items()
    }


def measures(
    tasks: Mapping[str, Job], views: Mapping[str, Look], losses: Mapping[str, jax.Array]
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """{"task/loss", "task/MEASURE": (sum, weight)} over the examples with a label."""
    sums = {}
    for name, job in tasks.items():
        outputs, truth, beside, known = views[name]
        value, weight = job.head.measured(job.head.read(outputs), truth, beside)
        sums[f"{name}/loss"] = masked(losses[name], known).sum(), known.sum()
        sums[f"{name}/{job.head.measure}"] = masked(value, known).sum(), (weight * known).sum()
    return sums
