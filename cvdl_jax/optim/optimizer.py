"""From a config section to an Optax chain: rule, weight decay, clipping, groups of parameters, and the rate last.

    clip -> noise, penalty, coupled decay -> rule -> decoupled decay -> learning-rate factors -> learning rate
    -> the rule's last part -> soft-thresholding

The learning rate is a transformation of its own whose state, `LearningRateState`, says which rate was used and holds
the scale that feedback from evaluation changes (`optim/plateau.py`). There is one of it in an optimizer.

    config.optim = dict(name="sgd", lr=0.1, momentum=0.9, schedule=dict(name="cosine", warmup_epochs=5), clip_norm=1.0)
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.config.binding import Count, NotNegative, Percent, Positive, UpToOne, bind, check_name, functions
from cvdl_jax.core import trees
from cvdl_jax.errors import ConfigError
from cvdl_jax.optim import adaptive_rules, param_groups, regularisers, schedules, unfreezing, update_rules
from cvdl_jax.optim.clipping import clip_by_norm, clip_by_tensor_norm
from cvdl_jax.optim.update_rules import Rule

WHOLE_TENSORS = ("lamb", "lars", "muon", "novograd", "sm3", "adafactor")  # rules that look at the shape of an array


class LearningRateState(NamedTuple):
    """What the learning rate remembers."""

    count: jax.Array  # int32 [], updates done
    scale: jax.Array  # float32 [], multiplies the schedule
    learning_rate: jax.Array  # float32 [], what the last update used; before the first, what it will use


def scale_by_rate(schedule: Callable[[jax.Array], jax.Array]) -> optax.GradientTransformation:
    """Multiplies updates by `-schedule(count) * scale`.

    Args:
        schedule: int32 [] -> float32 [].
    """

    def init(params: Any) -> LearningRateState:
        del params
        count = jnp.zeros((), jnp.int32)
        return LearningRateState(count, jnp.ones((), jnp.float32), schedule(count))

    def update(updates: Any, state: LearningRateState, params: Any = None):
        del params
        rate = schedule(state.count) * state.scale
        updates = jax.tree.map(lambda u: (-rate).astype(u.dtype) * u, updates)
        return updates, LearningRateState(optax.safe_increment(state.count), state.scale, rate)

    return optax.GradientTransformation(init, update)


def map_rates(fn: Callable[[LearningRateState], LearningRateState], opt: Any) -> Any:
    """Changes every LearningRateState in a tree of optimizer states, and nothing else.

    By type, not by field: a norm's moments have a leaf called "scale" too.
    """

    def is_rate(node: Any) -> bool:
        return isinstance(node, LearningRateState)

    return jax.tree.map(lambda node: fn(node) if is_rate(node) else node, opt, is_leaf=is_rate)


def with_scale(optimizer: optax.GradientTransformation, scale: jax.Array) -> optax.GradientTransformation:
    """An optimizer whose learning rates are multiplied by a number, which may be traced: many rates in one program.

    Args:
        optimizer: of `optimizer`.
        scale: float [].
    """

    def init(params: Any) -> Any:
        return map_rates(lambda rate: rate._replace(scale=jnp.asarray(scale, jnp.float32)), optimizer.init(params))

    return optax.GradientTransformation(init, optimizer.update)


def schedule_free_states(opt: Any) -> list[Any]:
    """The states of schedule-free rules in a tree of optimizer states."""
    free = (optax.contrib.ScheduleFreeState,)
    return [s for s in jax.tree.leaves(opt, is_leaf=lambda s: isinstance(s, free)) if isinstance(s, free)]


def averaged_params(opt: Any, params: Any) -> Any:
    """The parameters to evaluate: the average that a schedule-free rule keeps, for other rules `params` themselves.

    Args:
        opt: the optimizer state of `params`, as in `state.opt["model"]`.
        params: as trained.

    Returns:
        A tree like `params`; frozen ones are as they were.
    """
    states = schedule_free_states(opt)
    if not states:
        return params
    y = dict(zip(trees.names(params), jax.tree.leaves(params), strict=True))
    z = trees.map_named(lambda name, z: (y[name] - (1 - states[0].b1) * z) / states[0].b1, states[0].z)
    x = dict(zip(trees.names(z), jax.tree.leaves(z), strict=True))
    return trees.map_named(lambda name, p: x[name].astype(p.dtype) if name in x else p, params)


def _add_decay(weight_decay: float, decay: str) -> optax.GradientTransformation:
    def update(updates: Any, params: Any) -> Any:
        def one(name: str, u: jax.Array, p: jax.Array) -> jax.Array:
            return u + (weight_decay * p).astype(u.dtype) if param_groups.matches(decay, name) else u

        return trees.map_named(one, updates, params)

    return optax.stateless(update)


def _scale_groups(factor_of: Callable[[Any], Mapping[str, float]]) -> optax.GradientTransformation:
    def update(updates: Any, params: Any) -> Any:
        del params
        factors = factor_of(updates)
        return trees.map_named(lambda name, u: u * factors[name], updates)

    return optax.stateless(update)


def _clips(norm: float | None, tensor_norm: float | None, value: float | None, adaptive: float | None) -> list:
    made = ((optax.adaptive_grad_clip, adaptive), (optax.clip, value), (clip_by_tensor_norm, tensor_norm))
    return [clip(bound) for clip, bound in (*made, (clip_by_norm, norm)) if bound is not None]


def _trained_only(transformation: optax.GradientTransformation, freeze: str) -> optax.GradientTransformation:
    """A transformation without updates or states for parameters that the expression `freeze` matches."""
    if not freeze:
        return transformation

    def label(name: str, _: Any) -> str:
        return "frozen" if param_groups.matches(freeze, name) else "trained"

    parts = {"trained": transformation, "frozen": optax.set_to_zero()}
    return optax.partition(parts, lambda params: trees.map_named(label, params))


def rules() -> dict[str, Callable[..., Rule]]:
    """All update rules, by the names that `config.optim.name` may have."""
    return functions(update_rules, Rule) | functions(adaptive_rules, Rule)


def _rule(name: str, hyper: Mapping[str, Any], path: str) -> Rule:
    """The named rule, its arguments checked."""
    known_rules = rules()
    check_name(name, known_rules, f"{path}.name: there is no optimizer {name!r}")
    own = {k for k, p in inspect.signature(optimizer).parameters.items() if p.kind is not p.VAR_KEYWORD}
    given = {"total_steps", "steps_per_epoch", "batch_size", "path"}  # by the program
    known = inspect.signature(known_rules[name]).parameters.keys() | own - given
    for key in hyper:
        check_name(key, known, f"{path}.{key} is not a key of the optimizer {name!r}")
    return known_rules[name](**bind(known_rules[name], hyper, path))


def _check_stacked(params: Any, name: str, clip_tensor_norm: Any, clip_adaptive: Any, path: str) -> None:
    """Refuses what treats an array as one layer where it holds several."""
    stacked = [leaf for leaf in trees.names(params) if f"{trees.STACKED}/" in leaf]
    asked = {f"{path}.name={name!r}": name in WHOLE_TENSORS, f"{path}.clip_tensor_norm": clip_tensor_norm}
    asked[f"{path}.clip_adaptive"] = clip_adaptive
    for what in (key for key, value in asked.items() if value and stacked):
        raise ConfigError(
            f"{what} looks at each layer's array as a whole, and {stacked[0]} holds those of several layers; "
            "set config.model.scan=False, or use another"
        )


def optimizer(
    name: str,
    lr: NotNegative,
    *,
    total_steps: int | None,
    steps_per_epoch: float | None = None,
    batch_size: int | None = None,
    schedule: Mapping = {},
    weight_decay: NotNegative = 0.0,
    decoupled: bool | None = None,
    decay: str = param_groups.DECAY,
    freeze: str = "",
    unfreeze: tuple[tuple[str, Percent], ...] = (),
    lr_factors: Mapping | tuple = (),
    layer_decay: UpToOne = 1.0,
    layers: tuple[str, ...] = (),
    clip_norm: Positive | None = None,
    clip_tensor_norm: Positive | None = None,
    clip_value: Positive | None = None,
    clip_adaptive: Positive | None = None,
    penalty: Mapping = {},
    gradient_noise: Mapping = {},
    lr_batch_size: Count | None = None,
    path: str = "config.optim",
    **hyper: Any,
) -> optax.GradientTransformationExtraArgs:
    """The optimizer of a config section: `configs.call(optimizer, config.optim, "config.optim", total_steps=..., ...)`.

    Args:
        name: of a function of `optim/update_rules.py` or `adaptive_rules.py` that returns a `Rule`.
        lr: the peak learning rate.
        total_steps: steps of the run.
        steps_per_epoch: examples / batch size, for durations in epochs.
        batch_size: global, for `lr_batch_size` and durations in examples.
        schedule: a section of `schedules.build`; constant where empty.
        weight_decay: lambda.
        decoupled: True adds `lr * lambda * w` to the step, after the rule (decoupled decay); False adds `lambda * w` to
            the gradient, before it (the gradient of `lambda / 2 |w|^2`). None: as the rule's paper has it, which is
            True for adamw, lamb, lion, muon and schedule_free_adamw, and False for the others. For plain SGD both are
            `w <- (1 - lr lambda) w - lr g`. A penalty written `lambda |w|^2` is `weight_decay=2 lambda`, and
            `lambda / (2 m) |w|^2`, with m examples, `lambda / m`; `penalty` takes both as they are written.
        decay: which parameters decay (an expression, see `param_groups`).
        freeze: which parameters get no update and no moments.
        unfreeze: (expression, percent) pairs: a group gets no update and no moments until this much of the run is over.
            Each parameter that is not frozen is in one group, one of which begins at 0; see `optim/unfreezing.py`.
        lr_factors: {expression: factor of the rate}, or a tuple of such pairs. The factor also scales decoupled decay.
        layer_decay: the rate of a layer is multiplied by `layer_decay^(last - layer)`.
        layers: expressions for `layer_decay`, first layer first; see `param_groups.layer_factors`.
        clip_norm: bound on the global norm of the gradient of the trained parameters.
        clip_tensor_norm: bound on the norm of the gradient of each tensor.
        clip_value: bound on the size of each element. Clips apply in the order adaptive, value, tensor_norm, norm.
        clip_adaptive: bound on the unit-wise ratio |g| / |w| (Brock et al. 2021, equation 3).
        penalty: name (l2, frobenius, l1 or proximal_l1), strength and `on`, an expression; see `optim/regularisers.py`.
        gradient_noise: eta, gamma and seed of `regularisers.gradient_noise`.
        lr_batch_size: the linear rule: the peak rate becomes `lr * batch_size / lr_batch_size`.
        path: the section's name for messages.
        **hyper: keyword arguments of the rule.

    Returns:
        A transformation. Its init refuses expressions that match no parameter; its update takes the step's `key`, which
        noise needs.

    Raises:
        ConfigError: naming the key.
    """
    rule = _rule(name, hyper, path)
    if lr_batch_size is not None:
        if batch_size is None:
            raise ConfigError(f"{path}.lr_batch_size={lr_batch_size} needs a run with a batch size")
        lr = lr * batch_size / lr_batch_size
    units = {"total_steps": total_steps, "steps_per_epoch": steps_per_epoch, "batch_size": batch_size}
    rate = schedules.build(schedule, lr, **units, path=f"{path}.schedule")
    decoupled = rule.decoupled if decoupled is None else decoupled
    if decoupled and weight_decay and hyper.get("form") == "rate":
        raise ConfigError(f"{path}.decoupled=True would put the decay into a velocity that holds rates; use form='sum'")
    shrink = [_add_decay(weight_decay, decay)] if weight_decay else []
    penalised = regularisers.penalty(penalty, steps_per_epoch, batch_size, f"{path}.penalty")
    added = regularisers.noise(gradient_noise, f"{path}.gradient_noise") + regularisers.slopes(penalised)
    clips = _clips(clip_norm, clip_tensor_norm, clip_value, clip_adaptive)
    steps = [*(shrink if not decoupled else []), rule.direction, *(shrink if decoupled else []), rule.after_decay]
    later = rule.after_rate is not None or (penalised is not None and penalised.threshold > 0)
    parts = unfreezing.assembled([*clips, *added], steps, unfreezing.starts(unfreeze, total_steps, path), later, path)
    grouping = {"lr_factors": lr_factors, "layer_decay": layer_decay, "layers": layers}
    whole = [_trained_only(optax.chain(*parts), freeze)]
    if lr_factors or layer_decay != 1:
        whole += [_scale_groups(lambda params: param_groups.rate_factors(params, **grouping))]
    after = [] if rule.after_rate is None else [_trained_only(rule.after_rate(rate), freeze)]
    whole += [scale_by_rate(rate), *after]
    chained = regularisers.proximal(optax.chain(*whole), penalised, freeze, grouping)

    def init(params: Any) -> Any:
        _check_stacked(params, name, clip_tensor_norm, clip_adaptive, path)
        regularisers.check_on(penalised, params, f"{path}.penalty")
        param_groups.check_groups(params, weight_decay=weight_decay, decay=decay, freeze=freeze, **grouping)
        param_groups.check_unfreeze(params, freeze, unfreeze)
        return chained.init(params)

    return optax.GradientTransformationExtraArgs(init, chained.update)
