"""Update rules: from a gradient to a direction. `optim/optimizer.py` puts rate, decay and clipping around them.

A rule is a public function here that returns a `Rule`. Its name is `config.optim.name`, and the annotation of an
argument says which numbers a config may give it; no list has to be edited. Sharpness-aware minimisation is no rule but
an estimator of gradients: `config.grad = "sam(0.05)"`.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.config.binding import POSITIVE, Count, Inside, NotNegative, Positive, Share
from cvdl_jax.errors import ConfigError

Norm = Literal["tensor", "global"]


class AccumulatorState(NamedTuple):
    """One accumulator for each element, tensor or tree."""

    accumulator: Any


def scale_by_root_of_sum(initial: float = 0.0, eps: float = 1e-7) -> optax.GradientTransformation:
    """AdaGrad with eps outside the root: `c <- c + g^2; g / (sqrt(c) + eps)`.

    `optax.scale_by_rss` has it inside.

    Args:
        initial: c before the first update.
        eps: added to the root. Where c is 0, so is g, and the update.

    Reference: Duchi et al. 2011, figure 1 (there delta).
    """

    def init(params: Any) -> AccumulatorState:
        return AccumulatorState(optax.tree.full_like(params, initial))

    def update(updates: Any, state: AccumulatorState, params: Any = None):
        del params
        total = jax.tree.map(lambda g, c: c + g**2, updates, state.accumulator)
        updates = jax.tree.map(lambda g, c: g / jnp.where(c > 0, jnp.sqrt(c) + eps, 1), updates, total)
        return updates, AccumulatorState(total)

    return optax.GradientTransformation(init, update)


def scale_by_norm(
    smoothing: float = 0.9, eps: float = 1e-7, eps_inside: bool = False, norm: Norm = "tensor"
) -> optax.GradientTransformation:
    """RMSProp by norms: `v <- smoothing v + (1 - smoothing) |g|^2`, one number; `g / (sqrt(v) + eps)`.

    All elements share one scale, so that the direction of the gradient is kept.

    Args:
        smoothing: in [0, 1).
        eps: added to the root, or inside it.
        eps_inside: `g / sqrt(v + eps)`.
        norm: |g| of each tensor by itself, or of all of them together.
    """

    def squares(tree: Any) -> Any:
        of_tensors = jax.tree.map(lambda g: jnp.sum(g**2), tree)
        return of_tensors if norm == "tensor" else sum(jax.tree.leaves(of_tensors))

    def init(params: Any) -> AccumulatorState:
        return AccumulatorState(jax.tree.map(jnp.zeros_like, squares(params)))

    def update(updates: Any, state: AccumulatorState, params: Any = None):
        del params
        v = jax.tree.map(lambda v, new: smoothing * v + (1 - smoothing) * new, state.accumulator, squares(updates))

        def scaled(g: jax.Array, v: jax.Array) -> jax.Array:
            return (g / (jnp.sqrt(v + eps) if eps_inside else jnp.sqrt(v) + eps)).astype(g.dtype)

        of_tensors = v if norm == "tensor" else jax.tree.map(lambda _: v, updates)
        return jax.tree.map(scaled, updates, of_tensors), AccumulatorState(v)

    return optax.GradientTransformation(init, update)


class MomentsState(NamedTuple):
    """First and second moments, without a count."""

    mu: Any
    nu: Any


def scale_by_raw_moments(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, eps_root: float = 0.0, nesterov: bool = False
) -> optax.GradientTransformation:
    """Adam without bias correction: `m / (sqrt(v + eps_root) + eps)`; its first steps are larger than Adam's.

    Args:
        b1: `m <- b1 m + (1 - b1) g`.
        b2: `v <- b2 v + (1 - b2) g^2`.
        eps: added to the root.
        eps_root: added inside the root.
        nesterov: use `b1 m + (1 - b1) g` in place of m.
    """

    def init(params: Any) -> MomentsState:
        return MomentsState(optax.tree.zeros_like(params), optax.tree.zeros_like(params))

    def update(updates: Any, state: MomentsState, params: Any = None):
        del params
        mu = optax.tree.update_moment(updates, state.mu, b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, b2, 2)
        first = optax.tree.update_moment(updates, mu, b1, 1) if nesterov else mu
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v + eps_root) + eps), first, nu), MomentsState(mu, nu)

    return optax.GradientTransformation(init, update)


# Optax transformations for rules that Optax has in another form only. Their states are arrays.

Schedule = Callable[[jax.Array], jax.Array]  # int32 [] updates done -> float32 [] learning rate


class Rule(NamedTuple):
    """The parts of an update rule, in the order in which they are applied.

    Attributes:
        direction: from the gradient to a direction.
        after_decay: follows decoupled weight decay.
        after_rate: makes what follows the learning rate, from its schedule; None for nothing.
        decoupled: whether weight decay comes after the direction where a config does not say.
    """

    direction: optax.GradientTransformation
    after_decay: optax.GradientTransformation = optax.identity()
    after_rate: Callable[[Schedule], optax.GradientTransformation] | None = None
    decoupled: bool = False


def sgd(*, momentum: Share = 0.0, nesterov: bool = False, form: Literal["sum", "ema", "rate"] = "sum") -> Rule:
    """Stochastic gradient descent, with a velocity v that starts at 0.

    "ema" at rate `lr` makes the steps of "sum" at `lr (1 - momentum)`, and "rate", while the rate is constant, those of
    "sum". When it changes, "rate" keeps the rates at which gradients came in, the others apply the new one to all.

    Args:
        momentum: in [0, 1), often 0.9.
        nesterov: take the gradient at the point `y = w - momentum v` that lies ahead. The parameters *are* y, so w is
            `y + momentum v`, with v in units of w. (Written with `v = -v`, as in CS231n, y is the same.)
        form: "sum" `v <- momentum v + g; w <- w - lr v`, "ema" `v <- momentum v + (1 - momentum) g; w <- w - lr v`, or
            "rate" `v <- momentum v + lr g; w <- w - v`.

    Reference: Polyak 1964; Sutskever et al. 2013, equations 1 to 4.
    """
    trace = optax.trace(momentum, nesterov) if momentum else optax.identity()
    if form == "rate":
        return Rule(optax.identity(), after_rate=(lambda schedule: trace) if momentum else None)
    return Rule(optax.chain(optax.scale(1 - momentum), trace) if form == "ema" else trace)


def _moments(b1: float, b2: float, eps: float, eps_root: float, nesterov: bool, bias_correction: bool) -> Rule:
    scale = optax.scale_by_adam if bias_correction else scale_by_raw_moments
    return Rule(scale(b1, b2, eps, eps_root, nesterov=nesterov))


def adam(
    *,
    b1: Share = 0.9,
    b2: Share = 0.999,
    eps: NotNegative = 1e-8,
    eps_root: NotNegative = 0.0,
    nesterov: bool = False,
    bias_correction: bool = True,
) -> Rule:
    """Adam: `m' / (sqrt(v' + eps_root) + eps)`; weight decay is an L2 penalty here (see adamw).

    Args:
        b1: `m <- b1 m + (1 - b1) g`.
        b2: `v <- b2 v + (1 - b2) g^2`.
        eps: added to the root.
        eps_root: added inside the root.
        nesterov: the look-ahead of Dozat 2016.
        bias_correction: `m' = m / (1 - b1^t)` and `v' = v / (1 - b2^t)` in the t-th update, counted from 1; else m, v.

    Reference: Kingma and Ba 2015, algorithm 1.
    """
    return _moments(b1, b2, eps, eps_root, nesterov, bias_correction)


def adamw(
    *,
    b1: Share = 0.9,
    b2: Share = 0.999,
    eps: NotNegative = 1e-8,
    eps_root: NotNegative = 0.0,
    nesterov: bool = False,
    bias_correction: bool = True,
) -> Rule:
    """Adam with decoupled weight decay: `lr weight_decay w`, where Adam divides a penalty by the root as it does g.

    So where gradients are large, AdamW decays more than Adam with a penalty. Arguments: see `adam`.

    Reference: Loshchilov and Hutter 2019, algorithm 2.
    """
    return _moments(b1, b2, eps, eps_root, nesterov, bias_correction)._replace(decoupled=True)


def rmsprop(
    *,
    smoothing: Share = 0.9,
    eps: NotNegative = 1e-7,
    eps_inside: bool = False,
    norm: Literal["element", "tensor", "global"] = "element",
    centered: bool = False,
    momentum: Share = 0.0,
    nesterov: bool = False,
) -> Rule:
    """RMSProp: `v <- smoothing v + (1 - smoothing) g^2`, then `g / (sqrt(v) + eps)`.

    Args:
        smoothing: in [0, 1).
        eps: added to the root, or inside it.
        eps_inside: `g / sqrt(v + eps)`.
        norm: "element", or g^2 replaced by |g|^2 of each "tensor", or of all together ("global").
        centered: subtract the square of the mean gradient from v.
        momentum: of a velocity `u <- momentum u + scaled g` that follows.
        nesterov: of that velocity.

    Reference: Tieleman and Hinton 2012, lecture 6.5.
    """
    trace = optax.trace(momentum, nesterov) if momentum else optax.identity()
    if norm != "element":
        if centered:
            raise ConfigError(f"config.optim.centered needs norm='element', not norm={norm!r}")
        return Rule(scale_by_norm(smoothing, eps, eps_inside, norm), trace)
    scale = optax.scale_by_stddev if centered else optax.scale_by_rms
    return Rule(scale(smoothing, eps, eps_in_sqrt=eps_inside), trace)


def adagrad(*, initial: NotNegative = 0.0, eps: NotNegative = 1e-7, eps_inside: bool = False) -> Rule:
    """AdaGrad: `c <- c + g^2`, then `g / (sqrt(c) + eps)`.

    Args:
        initial: c at the start.
        eps: added to the root, or inside it.
        eps_inside: `g / sqrt(c + eps)`.

    Reference: Duchi et al. 2011, figure 1.
    """
    return Rule(optax.scale_by_rss(initial, eps) if eps_inside else scale_by_root_of_sum(initial, eps))


def lamb(*, b1: Share = 0.9, b2: Share = 0.999, eps: NotNegative = 1e-6) -> Rule:
    """LAMB: Adam with decay, whose update of each tensor is scaled to the norm of the tensor, `|w| / |update|`.

    Args:
        b1: of the first moment.
        b2: of the second moment.
        eps: added to the root.

    Reference: You et al. 2020, algorithm 2.
    """
    return Rule(optax.scale_by_adam(b1, b2, eps), optax.scale_by_trust_ratio(), decoupled=True)


def lars(*, momentum: Share = 0.9, nesterov: bool = False, trust: Positive = 0.001, eps: NotNegative = 0.0) -> Rule:
    """LARS: a rate for each tensor of two or more dimensions, `trust |w| / |g|`, then momentum.

    Args:
        momentum: of the velocity.
        nesterov: of that velocity.
        trust: eta, the ratio of the norms of a step and of its tensor.
        eps: added to `|g|`.

    Reference: You et al. 2017, algorithm 1 (which has the global rate inside the momentum; the same while it is
    constant).
    """
    ratio = optax.scale_by_trust_ratio(trust_coefficient=trust, eps=eps)
    masked = optax.masked(ratio, lambda p: jax.tree.map(lambda x: x.ndim > 1, p))
    return Rule(optax.chain(masked, optax.trace(momentum, nesterov)))


def lion(*, b1: Share = 0.9, b2: Share = 0.99) -> Rule:
    """Lion: the sign of a momentum.

    Args:
        b1: of the mean of momentum and gradient whose sign is the direction.
        b2: of the momentum that is kept.

    Reference: Chen et al. 2023, program 1.
    """
    return Rule(optax.scale_by_lion(b1, b2), decoupled=True)


def muon(
    *,
    beta: Share = 0.95,
    nesterov: bool = True,
    ns_steps: Count = 5,
    eps: NotNegative = 1e-8,
    adam_b1: Share = 0.9,
    adam_b2: Share = 0.999,
    consistent_rms: Annotated[float | None, POSITIVE] = None,
) -> Rule:
    """Muon: orthogonalised momentum for matrices, Adam for every other tensor. Reference: Jordan et al. 2024.

    Args:
        beta: momentum.
        nesterov: look ahead, in both kinds of tensors.
        ns_steps: Newton-Schulz iterations.
        eps: added in denominators.
        adam_b1: for tensors that are not matrices.
        adam_b2: for tensors that are not matrices.
        consistent_rms: scale matrices' updates to this root mean square over Adam's (0.2 in Moonlight), so that one
            rate fits both kinds.
    """
    full = optax.contrib.muon(
        1.0,
        beta=beta,
        nesterov=nesterov,
        ns_steps=ns_steps,
        eps=eps,
        adam_b1=adam_b1,
        adam_b2=adam_b2,
        consistent_rms=consistent_rms,
    )
    return Rule(optax.chain(full, optax.scale(-1.0)), decoupled=True)  # it brings its own minus sign


def _averaged(interpolation: float, weight_power: float) -> Callable[[Schedule], optax.GradientTransformation]:
    def after_rate(schedule: Schedule) -> optax.GradientTransformation:
        # Optax counts from 1 and would weight an update by the rate of the next one.
        return optax.contrib.schedule_free(
            optax.identity(), lambda count: schedule(count - 1), interpolation, weight_lr_power=weight_power
        )

    return after_rate


def schedule_free_sgd(*, interpolation: Inside = 0.9, weight_power: NotNegative = 2.0) -> Rule:
    """Gradient descent with averaging in place of a falling rate; use a constant one, after a warm-up.

    `z <- z - lr g(y)`, `x <- (1 - c) x + c z`, `y = interpolation x + (1 - interpolation) z`, where c is the share of
    this update in all `weight_t`. The parameters are y; `optimizer.averaged_params` gives x, which is to be evaluated.

    Args:
        interpolation: beta, in (0, 1).
        weight_power: `weight_t` is the largest rate so far to this power: small during a warm-up.

    Reference: Defazio et al. 2024, "The Road Less Scheduled", equations 3 to 5.
    """
    return Rule(optax.identity(), after_rate=_averaged(interpolation, weight_power))


def schedule_free_adamw(
    *, interpolation: Inside = 0.9, b2: Share = 0.999, eps: NotNegative = 1e-8, weight_power: NotNegative = 2.0
) -> Rule:
    """AdamW with averaging in place of momentum and a falling rate; decay is taken at y. See `schedule_free_sgd`.

    Args:
        interpolation: beta, in (0, 1).
        b2: of the second moment.
        eps: added to the root.
        weight_power: `weight_t` is the largest rate so far to this power.

    Reference: Defazio et al. 2024, "The Road Less Scheduled", algorithm 1.
    """
    scale = optax.scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True)
    return Rule(scale, after_rate=_averaged(interpolation, weight_power), decoupled=True)
