"""What goes on inside a model while it trains: drift, saturation, dead units, gradient flow. Any run can switch it on.

    config.diagnostics = {"activations": True, "gradients": True}

An evaluation then reports, for each dense, convolution and normalisation layer, `output_mean`, `output_std` and
`output_drift`, how far its outputs have moved since the first evaluation; and for each activation function `saturated`,
the share of its inputs where `|g'(z)|` is small, and `dead`, the share of its units that are saturated for every
example. Training reports each layer's `gradient_norm`. The report draws the curves, and the last state's histograms.

The drift is the 2-Wasserstein distance between normal distributions with the two pairs of moments, in units of the
first standard deviation: `sqrt((mean - mean_1)^2 + (std - std_1)^2) / std_1`. `extra["diagnostics"]` keeps the first
moments, {layer: [mean_1, std_1]}, so that a resumed run goes on as it would have.

Reference: Glorot and Bengio 2010, "Understanding the Difficulty of Training Deep Feedforward Neural Networks", sections
3 and 4; Ioffe and Szegedy 2015, "Batch Normalization", section 1, for the drift of a layer's inputs.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config.binding import Inside
from cvdl_jax.core import trace_context
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import Eval, State, Task, Transform, as_transform
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.observe import Seen, observing

PREFIX = "diagnostics/"  # of the arrays that an evaluation hands to its `finalize`; they are not predictions


def diagnosed(
    task: Task, info: Info, *, activations: bool = False, gradients: bool = False, saturation: Inside = 0.01
) -> Task:
    """A task that reports what its models do inside; what it trains is unchanged.

    Args:
        task: of an experiment whose models run through `nn/apply.py`.
        info: of the run.
        activations: drift, saturation and dead units, in the first periodic evaluation.
        gradients: the gradient norm of every layer, in every `descend`.
        saturation: an input z is saturated where `|g'(z)|` is below this, in (0, 1).

    Raises:
        ConfigError: if nothing is switched on or nothing could be seen.
    """
    if not (activations or gradients):
        raise ConfigError("config.diagnostics switches nothing on; set activations=True or gradients=True in it")
    if gradients:
        if task.train is None:
            raise ConfigError("config.diagnostics.gradients=True: this experiment takes no steps; set it to False")
        task = task._replace(train=_with_norms(as_transform(task.train)))
    return _with_activations(task, info, saturation) if activations else task


def _with_norms(train: Transform) -> Transform:
    def update(state: State, batch: Any, key: jax.Array):
        with trace_context.within(layer_norms=True):
            return train.update(state, batch, key)

    return Transform(update, train.init)


def _with_activations(task: Task, info: Info, saturation: float) -> Task:
    names = [name for name, evaluation in task.evals.items() if not evaluation.final] or list(task.evals)
    if not names:
        raise ConfigError("config.diagnostics.activations=True: this experiment evaluates nothing; set it to False")
    name = names[0]
    inner = task.evals[name]
    look = partial(_look, inner, name)

    def step(state: State, batch: Any, key: jax.Array) -> Mapping[str, Any]:
        outputs, seen = look(state, batch, key)
        measured = measure(seen, batch.get("mask"), saturation)
        first = state.extra.get("diagnostics", {})
        measured |= {f"{layer}/first": first[layer][None] for layer in first}  # [1, 2]
        return {**outputs, **{f"{PREFIX}{key}": value for key, value in measured.items()}}

    def finalise(means: dict, rows: dict) -> dict[str, float]:
        parts = {key.removeprefix(PREFIX): rows.pop(key) for key in list(rows) if key.startswith(PREFIX)}
        return {**inner.finalize(means, rows), **summarise(parts)}

    evals = {**task.evals, name: inner._replace(step=step, finalize=finalise)}
    new = task._replace(evals=evals, report=partial(_report, task.report, look, saturation))
    if task.train is None or inner.final:
        return new
    train = as_transform(task.train)
    return new._replace(
        train=Transform(train.update, partial(_init, train.init, look, info)),
        on_eval=partial(_on_eval, task.on_eval, name),
    )


def _look(evaluation: Eval, name: str, state: State, batch: Any, key: jax.Array) -> tuple[Mapping[str, Any], Seen]:
    with observing() as seen:
        outputs = evaluation.step(state, batch, key)
    if not seen:
        raise ConfigError(
            f"config.diagnostics.activations=True: the evaluation {name!r} runs no model through nn/apply.py, or only "
            "inside a loop; set it to False"
        )
    return outputs, {name: parts for name, parts in seen.items() if "weights" not in parts}  # which are not shown


def _init(init: Callable[[State], State], look: Callable, info: Info, state: State) -> State:
    state = init(state)
    batch = dict(info.spec)
    if batch:
        batch["mask"] = jax.ShapeDtypeStruct((info.batch_size,), jnp.float32)
    seen = jax.eval_shape(lambda *args: look(*args)[1], state, batch, jax.random.key(0))
    unknown = jnp.full(2, jnp.nan)
    first = {layer: unknown for layer, arrays in seen.items() if "output" in arrays}
    return state._replace(extra={**state.extra, "diagnostics": first})


def _on_eval(inner: Callable | None, name: str, state: State, metrics: Mapping[str, Any]) -> tuple[State, jax.Array]:
    """Keeps the moments of the first evaluation, then does what the task does."""
    new = {}
    for layer, first in state.extra["diagnostics"].items():
        moments = jnp.stack([metrics[f"{name}/{layer}/output_{moment}"] for moment in ("mean", "std")])
        new[layer] = jnp.where(jnp.isnan(first), moments.astype(first.dtype), first)
    state = state._replace(extra={**state.extra, "diagnostics": new})
    return inner(state, metrics) if inner is not None else (state, jnp.zeros((), bool))


def measure(seen: Seen, mask: jax.Array | None, saturation: float) -> dict[str, jax.Array]:
    """Sums over one batch, each [1, ...] so that those of several batches can be laid one after the other.

    Args:
        seen: from `nn.observe.observing`.
        mask: [b], 0 on padding; None without.
        saturation: threshold of `|g'(z)|`.

    Returns:
        {"LAYER/output": [1, 3], count, mean and sum of squared deviations; "LAYER/saturated": [1, 2], saturated
        inputs and all; "LAYER/alive": [1, units], examples for which a unit is not saturated}.
    """
    sums = {}
    for layer, arrays in seen.items():
        for kind, parts in arrays.items():
            x = jnp.concatenate([part.reshape(-1, part.shape[-1]).astype(jnp.float32) for part in parts])  # [n, units]
            w = jnp.concatenate([_weights(part, mask) for part in parts])[:, None]  # [n, 1]
            count = w.sum() * x.shape[1]
            if kind == "output":
                mean = (x * w).sum() / count
                sums[f"{layer}/output"] = jnp.stack([count, mean, (jnp.square(x - mean) * w).sum()])[None]
            if kind == "slope":
                small = (jnp.abs(x) < saturation) * w
                sums[f"{layer}/saturated"] = jnp.stack([small.sum(), count])[None]
                sums[f"{layer}/alive"] = (w - small).sum(0)[None]
    return sums


def _weights(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """The mask of each row of `x.reshape(-1, units)`; ones where the rows are not those of the batch."""
    rows = x.size // x.shape[-1]
    return jnp.ones(rows) if mask is None or len(mask) != len(x) else jnp.repeat(mask, rows // len(x))


def summarise(parts: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The metrics of a whole evaluation, from `measure` of its batches.

    Args:
        parts: arrays of `measure`, [batches, ...], and "LAYER/first" [batches, 2].
    """
    metrics = {}
    for name, values in parts.items():
        layer, _, kind = name.rpartition("/")
        values = np.asarray(values, np.float64)
        if kind == "output":
            count, mean, deviations = values.T
            whole = (count * mean).sum() / count.sum()
            std = np.sqrt((deviations + count * (mean - whole) ** 2).sum() / count.sum())
            metrics |= {f"{layer}/output_mean": whole, f"{layer}/output_std": std}
            if f"{layer}/first" in parts:
                first = np.asarray(parts[f"{layer}/first"][0], np.float64)
                metrics[f"{layer}/output_drift"] = drift(first, np.array([whole, std]))
        if kind == "saturated":
            metrics[f"{layer}/saturated"] = values[:, 0].sum() / values[:, 1].sum()
        if kind == "alive":
            metrics[f"{layer}/dead"] = (values.sum(0) == 0).mean()
    return {name: float(value) for name, value in metrics.items()}


def drift(first: np.ndarray, now: np.ndarray) -> float:
    """How far [mean, std] has moved, in first standard deviations; 0 at the first evaluation, NaN if that std was 0."""
    if np.isnan(first).any():
        return 0.0
    return float(np.hypot(*(now - first)) / first[1]) if first[1] > 0 else float("nan")


def _report(inner: Callable | None, look: Callable, saturation: float, state: State, batch: Any, key: jax.Array):
    from cvdl_jax.analysis.figures import diagnostics

    drawn = dict(inner(state, batch, key)) if inner is not None else {}
    masked = {**batch, "mask": jnp.ones(len(next(iter(batch.values()))))} if batch else {}
    seen = jax.jit(lambda *args: look(*args)[1])(state, masked, key)
    parts = jax.jit(partial(measure, saturation=saturation))(seen, None)
    return {**drawn, "diagnostics": diagnostics.draw(jax.device_get(seen), summarise(jax.device_get(parts)))}
