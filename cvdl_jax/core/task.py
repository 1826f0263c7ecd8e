"""Tasks and transforms: how an experiment tells the one training loop what to do. The developer's manual.

An experiment is a file with `make(config, info) -> Task`. A Task is a bundle of pure functions; the loop in
`engine/train.py` knows nothing else about it. `engine/recipe.py` makes what most tasks take from the shared sections
of a config: the optimizer, the augmentation, the averaged weights, the feedback, an evaluation of each split.

**State** is one tree of arrays: `step`, `params`, `opt` (optimizer states, keyed by the name of their `descend`),
`extra` (the same on every device: batch statistics, EMA, target network), `rows` (one leading row per example or
environment, split over devices: hidden states, replay buffers).

**Transform**: `update(state, batch, key) -> (state, batch, sums)`, chained as Optax chains its own. A plain function
of that form is a transform. One training step is one transform, usually
`chain(augment, descend(loss, optimizer), ema(d))`.

**Sums**: every metric is a pair `(sum, weight)`, added over steps, batches, devices and hosts, and divided once on the
host. A loss returns `{"loss": (total, weight), ...}`; the objective is `total / weight` with the *global* weight, so
that masks, micro-batches and devices agree with one big batch.

**Randomness**: everything at step k comes from the key `fold_in(seed, k)`; what is drawn per example comes from
`parallel.row_keys`. Nothing random is stored, so a resumed run repeats itself bit for bit.

**Pure** means: a function of its arguments and of the one context that `core/trace_context.py` describes.

    def loss(model, state, batch, key):                       # image [b, h, w, c], label [b]
        logits, state = apply(model, state, batch["image"], key)
        losses = cross_entropy(logits, batch["label"])        # [b]
        return state, {"loss": (losses.sum(), len(losses))}

    train = chain(
        recipe.augmentation(config, info),                    # None for an empty section
        recipe.descend(config, info, partial(loss, model)),
        recipe.average(config, partial(loss, model)),
    )
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from cvdl_jax.config.binding import Share
from cvdl_jax.core.gradients import layer_norms, plain, select, slice_rows, substitute, zeros_like
from cvdl_jax.core.parallel import backend, sum_devices
from cvdl_jax.core.prng import root

Sums = dict[str, tuple[jax.Array, jax.Array]]


class State(NamedTuple):
    """All that training changes, as one tree of arrays."""

    step: jax.Array  # int32 [], number of completed steps
    params: Any
    opt: Any = {}  # {descend's name: optimizer state}
    extra: Any = {}  # {name: tree}, the same on every device
    rows: Any = {}  # {name: tree of [b, ...]}, split over devices


class Transform(NamedTuple):
    """A piece of a training step.

    Attributes:
        update: `(state, batch, key) -> (state, batch, sums)`.
        init: `state -> state`, adds the transform's entries to `opt` and `extra`.
    """

    update: Callable[..., tuple[State, Any, Sums]]
    init: Callable[[State], State] = lambda state: state


class Pass(NamedTuple):
    """One look at every example of a split, which prepares the state that an evaluation sees.

    Attributes:
        step: `(state, batch, key) -> tree of sums`, added over the batches in float64; `batch["mask"]` [b] is 0 on
            padding. The examples come in order and not augmented.
        apply: `(state, sums) -> state`, array operations alone; its result is forgotten after the evaluation.
        data: the name of the split.
    """

    step: Callable[..., Any]
    apply: Callable[..., Any]
    data: str = "train"


class Added(NamedTuple):
    """An array that an evaluation adds over batches, devices and hosts, such as a confusion matrix.

    Attributes:
        value: [k, ...], an axis or more, of the real rows of one batch. Whole numbers are added in int64, exactly; they
            must not exceed their own type within a batch. Others are added in float64.
    """

    value: Any


class Eval(NamedTuple):
    """One evaluation.

    Attributes:
        step: `(state, batch, key) -> {name: (sum, weight), array [b, ...] or Added}`. `batch["mask"]` [b] is 0 on
            padding.
        finalize: `(means, rows) -> {metric: float}` on the host; `means` {name: float}, `rows` {name: NumPy array of
            exactly the split's examples, in its order, or the sum of what was `Added`}. By default the means are the
            metrics.
        data: the name of a split of the config's data section ("validation"), or a number of empty batches to run.
        final: evaluated once, after training, on the selected checkpoint, and never during training.
        before: a pass over a split that prepares the state first; evaluations that share one make it once.
        draw: `(metrics, rows) -> {name: figure or text}` on the host, once, when the run ends, of what `finalize`
            returned and the arrays it was given. What an evaluation measured reaches a figure in this way alone: an
            evaluation keeps nothing for `Task.report`.
    """

    step: Callable[..., Mapping[str, Any]]
    finalize: Callable[[dict, dict], dict[str, float]] = lambda means, rows: means
    data: str | int = "validation"
    final: bool = False
    before: Pass | None = None
    draw: Callable[[dict, dict], Mapping[str, Any]] | None = None


class Task(NamedTuple):
    """What an experiment hands to the loop; every field is pure.

    Attributes:
        init: `(key, batch) -> {"params", "extra"?, "rows"?}`, arrays only.
        train: the transform that is one training step; None for runs of zero steps.
        evals: {name: Eval}; metrics are reported as "name/metric".
        report: `(state, batch, key) -> {name: figure or text}`, drawn once at the end.
        on_eval: `(state, metrics) -> (state, stop)`, once an evaluation: plateau learning rate, early stopping.
        predict: `(state, batch) -> {name: array [b, ...]}` for inputs without labels.
        features: `(state, batch) -> float [b, d]`, what the network has learned to see, of images alone, where that is
            not among what `predict` gives.
    """

    init: Callable[..., dict[str, Any]]
    train: Transform | Callable | None
    evals: Mapping[str, Eval] = {}
    report: Callable[..., Mapping[str, Any]] | None = None
    on_eval: Callable[..., tuple[State, jax.Array]] | None = None
    predict: Callable[..., Mapping[str, jax.Array]] | None = None
    features: Callable[..., jax.Array] | None = None


def unwrapped(rows: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of an evaluation, and the sums of what was `Added` without their mark."""
    return {name: x.value if isinstance(x, Added) else x for name, x in rows.items()}


def as_transform(transform: Transform | Callable) -> Transform:
    """A plain function `(state, batch, key) -> (state, batch, sums)` as a Transform without init."""
    if isinstance(transform, Transform):
        return transform
    if not callable(transform):
        raise TypeError(
            f"expected a Transform or a function (state, batch, key) -> (state, batch, sums), got {transform!r}"
        )
    return Transform(transform)


def merge(first: Sums, second: Sums) -> Sums:
    """The sums of two transforms together.

    Raises:
        ValueError: if both report the same name.
    """
    twice = first.keys() & second.keys()
    if twice:
        raise ValueError(f"two transforms report {sorted(twice)}; tell them apart with descend(..., prefix=)")
    return {**first, **second}


def chain(*transforms: Transform | Callable | None) -> Transform:
    """Applies transforms in order; the i-th one gets `fold_in(key, i)`.

    Args:
        *transforms: those that are None, such as the augmentation of a config that has none, are left out and not
            counted: the others draw the same numbers as without them.

    Returns:
        One transform, whose sums are those of all.

    Raises:
        TypeError: for what is neither a transform nor None.
        ValueError: in a step, if two transforms report the same name.
    """
    parts = [as_transform(t) for t in transforms if t is not None]

    def init(state: State) -> State:
        for part in parts:
            state = part.init(state)
        return state

    def update(state: State, batch: Any, key: jax.Array):
        sums: Sums = {}
        for i, part in enumerate(parts):
            state, batch, new = part.update(state, batch, jax.random.fold_in(key, i))
            sums = merge(sums, new)
        return state, batch, sums

    return Transform(update, init)


def repeat(transform: Transform | Callable, n: int) -> Transform:
    """Applies a transform n times, unrolled, each time to a fresh n-th of the batch's rows.

    The batch passes on unchanged; the sums are added. `state.rows` is not split.
    """
    part = as_transform(transform)

    def update(state: State, batch: Any, key: jax.Array):
        total: Sums | None = None
        for i in range(n):
            state, _, sums = part.update(state, slice_rows(batch, n, i), jax.random.fold_in(key, i))
            total = sums if total is None else jax.tree.map(jnp.add, total, sums)
        return state, batch, total

    return Transform(update, part.init)


def every(k: int, transform: Transform | Callable) -> Transform:
    """Applies a transform after every k-th step only; otherwise its sums are zero."""
    part = as_transform(transform)

    def update(state: State, batch: Any, key: jax.Array):
        shapes = jax.eval_shape(part.update, state, batch, key)[2]
        return lax.cond(
            (state.step + 1) % k == 0,
            lambda: part.update(state, batch, key),
            lambda: (state, batch, zeros_like(shapes)),
        )

    return Transform(update, part.init)


def descend(
    loss: Callable[..., tuple[State, Sums]],
    optimizer: optax.GradientTransformation,
    on: str | None = None,
    grad: Callable = plain,
    name: str | None = None,
    prefix: str | None = None,
) -> Transform:
    """One optimizer step on a loss.

    Args:
        loss: `(state, batch, key) -> (state, sums)`; `sums["loss"] = (total, weight)` is the objective.
        optimizer: an Optax transformation.
        on: the sub-tree of `params` to differentiate and update; None for all.
        grad: the gradient estimator: `plain`, `accumulate(n)`, `sam(rho)` of `core/gradients.py`.
        name: key in `state.opt`; two descends of one name share the optimizer state. Default: `on`, else "model".
        prefix: of the sums' names, followed by "/"; default: `on`, else none.

    Returns:
        A Transform whose sums are those of the loss, the gradient's global norm and, where the optimizer keeps one,
        the learning rate it used.
    """
    prefix = prefix or on
    key_in_opt = name or on or "model"
    estimate = grad(loss, on)
    optimizer = optax.with_extra_args_support(optimizer)

    def init(state: State) -> State:
        if key_in_opt in state.opt:
            return state
        return state._replace(opt={**state.opt, key_in_opt: optimizer.init(select(state.params, on))})

    def update(state: State, batch: Any, key: jax.Array):
        grads, state, sums = estimate(state, batch, key)
        old = select(state.params, on)
        updates, opt = optimizer.update(grads, state.opt[key_in_opt], old, key=key)
        params = substitute(state.params, on, optax.apply_updates(old, updates))
        sums = merge(sums, _statistics(grads, opt))
        if prefix is not None:
            sums = {f"{prefix}/{metric}": pair for metric, pair in sums.items()}
        return state._replace(params=params, opt={**state.opt, key_in_opt: opt}), batch, sums

    return Transform(update, init)


def _statistics(grads: Any, opt: Any) -> Sums:
    share = 1 / sum_devices(jnp.ones((), jnp.float32))  # every device adds its part of what all of them know
    norms = {"gradient_norm": optax.tree.norm(grads)}
    norms |= {f"{layer}/gradient_norm": norm for layer, norm in layer_norms(grads).items()}
    sums = {name: (norm.astype(jnp.float32) * share, share) for name, norm in norms.items()}
    rates = optax.tree_utils.tree_get_all_with_path(opt, "learning_rate")
    if rates:
        sums["learning_rate"] = (jnp.asarray(rates[0][1], jnp.float32) * share, share)
    return sums


def ema(decay: Share, on: str | None = None, to: str = "ema", warmup: bool = False) -> Transform:
    """Keeps an exponential moving average of parameters in `extra[to]`: `a <- d a + (1 - d) p`.

    Args:
        decay: d in [0, 1).
        on: the averaged sub-tree of `params`; None for all.
        to: the key in `extra`.
        warmup: use `min(d, (1 + k) / (10 + k))` at step k, so that short runs do not average their initial values.
    """

    def init(state: State) -> State:
        return state._replace(extra={**state.extra, to: jax.tree.map(jnp.copy, select(state.params, on))})

    def update(state: State, batch: Any, key: jax.Array):
        k = state.step.astype(jnp.float32)
        d = jnp.minimum(decay, (1 + k) / (10 + k)) if warmup else decay
        new = jax.tree.map(
            lambda a, p: (a * d + p * (1 - d)).astype(a.dtype), state.extra[to], select(state.params, on)
        )
        return state._replace(extra={**state.extra, to: new}), batch, {}

    return Transform(update, init)


def copy_to(to: str, on: str | None = None) -> Transform:
    """Copies parameters to `extra[to]`; `every(k, copy_to("target"))` is a target network."""

    def copy(state: State) -> State:
        return state._replace(extra={**state.extra, to: jax.tree.map(jnp.copy, select(state.params, on))})

    return Transform(lambda state, batch, key: (copy(state), batch, {}), copy)


def create_state(task: Task, key: jax.Array, batch: Any) -> State:
    """The state before the first step, from `task.init` and the transforms' own entries.

    Args:
        task: the task.
        key: a typed key.
        batch: an example batch [b, ...]; only shapes and dtypes should matter.
    """
    parts = task.init(key, batch)
    unknown = parts.keys() - {"params", "extra", "rows"}
    if unknown:
        raise ValueError(f"task.init returned {sorted(unknown)}; expected params, extra and rows")
    state = State(jnp.zeros((), jnp.int32), parts["params"], {}, parts.get("extra", {}), parts.get("rows", {}))
    return as_transform(task.train).init(state) if task.train is not None else state


def step_function(task: Task, seed: int) -> Callable[[State, Any], tuple[State, Sums]]:
    """One training step as `(state, batch) -> (state, sums)`, all randomness from `fold_in(seed, state.step)`."""
    train = as_transform(task.train)

    def step(state: State, batch: Any) -> tuple[State, Sums]:
        state, _, sums = train.update(state, batch, jax.random.fold_in(root(seed, backend()), state.step))
        return state._replace(step=state.step + 1), sums

    return step
