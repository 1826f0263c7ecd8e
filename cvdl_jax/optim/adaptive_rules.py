"""More update rules: relatives of Adam and AdaGrad, by the names that Optax gives them. See `optim/update_rules.py`.

A rule's `decoupled` says how `weight_decay` enters where a config does not. Not here: `rprop` and the rules that need
the value of the loss or search a line (Polyak's, L-BFGS), which do not fit around a learning rate and a schedule;
`adan`, whose form in Optax 0.2 weights differences of gradients by 1 - b2 where the paper has b2.
"""

from typing import Annotated

import optax

from cvdl_jax.config.binding import POSITIVE, Count, NotNegative, Positive, Share
from cvdl_jax.optim.update_rules import Rule


def adadelta(*, rho: Share = 0.9, eps: Positive = 1e-6) -> Rule:
    """AdaDelta: `u = g sqrt(d + eps) / sqrt(v + eps)`, whose steps have the unit of w; begin with `lr=1`.

    Args:
        rho: `v <- rho v + (1 - rho) g^2`, and d likewise of u^2, after the step.
        eps: added inside both roots; it decides how small the first steps are.

    Reference: Zeiler 2012, "ADADELTA: An Adaptive Learning Rate Method", algorithm 1.
    """
    return Rule(optax.scale_by_adadelta(rho, eps))


def nadam(*, b1: Share = 0.9, b2: Share = 0.999, eps: NotNegative = 1e-8, eps_root: NotNegative = 0.0) -> Rule:
    """Adam with Nesterov's momentum, the same as `adam` with `nesterov=True`.

    Args:
        b1: of the first moment.
        b2: of the second moment.
        eps: added to the root.
        eps_root: added inside the root.

    Reference: Dozat 2016, "Incorporating Nesterov Momentum into Adam".
    """
    return Rule(optax.scale_by_adam(b1, b2, eps, eps_root, nesterov=True))


def nadamw(*, b1: Share = 0.9, b2: Share = 0.999, eps: NotNegative = 1e-8, eps_root: NotNegative = 0.0) -> Rule:
    """`nadam` with decoupled weight decay. Arguments: see `nadam`."""
    return nadam(b1=b1, b2=b2, eps=eps, eps_root=eps_root)._replace(decoupled=True)


def adamax(*, b1: Share = 0.9, b2: Share = 0.999, eps: Positive = 1e-8) -> Rule:
    """Adam by the largest recent gradient in place of the mean square: `m / (1 - b1^t) / v`.

    Args:
        b1: of the first moment.
        b2: `v <- max(b2 v, |g| + eps)`.
        eps: keeps v above 0.

    Reference: Kingma and Ba 2015, algorithm 2.
    """
    return Rule(optax.scale_by_adamax(b1, b2, eps))


def amsgrad(*, b1: Share = 0.9, b2: Share = 0.999, eps: NotNegative = 1e-8, eps_root: NotNegative = 0.0) -> Rule:
    """Adam whose second moment, corrected for its bias, never falls: `m' / (sqrt(max v' + eps_root) + eps)`.

    Args:
        b1: of the first moment.
        b2: of the second moment.
        eps: added to the root.
        eps_root: added inside the root.

    Reference: Reddi et al. 2018, "On the Convergence of Adam and Beyond", algorithm 2.
    """
    return Rule(optax.scale_by_amsgrad(b1, b2, eps, eps_root))


def radam(
    *,
    b1: Share = 0.9,
    b2: Share = 0.999,
    eps: NotNegative = 1e-8,
    eps_root: NotNegative = 0.0,
    threshold: Positive = 5.0,
) -> Rule:
    """Rectified Adam: momentum alone until enough gradients have been seen to know their variance, a warm-up of itself.

    Args:
        b1: of the first moment.
        b2: of the second moment.
        eps: added to the root.
        eps_root: added inside the root.
        threshold: on the length of the average from which the variance counts.

    Reference: Liu et al. 2020, "On the Variance of the Adaptive Learning Rate and Beyond", algorithm 2.
    """
    return Rule(optax.scale_by_radam(b1, b2, eps, eps_root, threshold))


def adabelief(*, b1: Share = 0.9, b2: Share = 0.999, eps: NotNegative = 1e-16, eps_root: NotNegative = 1e-16) -> Rule:
    """Adam with the mean square of `g - m`, how far a gradient is from what was expected, in place of that of g.

    Args:
        b1: of the first moment.
        b2: of the mean square.
        eps: added to the root.
        eps_root: added to the mean square in each update.

    Reference: Zhuang et al. 2020, "AdaBelief Optimizer", algorithm 2.
    """
    return Rule(optax.scale_by_belief(b1, b2, eps, eps_root))


def yogi(*, b1: Share = 0.9, b2: Share = 0.999, eps: NotNegative = 1e-3, initial: NotNegative = 1e-6) -> Rule:
    """Adam whose second moment moves by steps that do not depend on its own size: `v - (1 - b2) sign(v - g^2) g^2`.

    Args:
        b1: of the first moment.
        b2: of the second moment.
        eps: added to the root.
        initial: both moments at the start.

    Reference: Zaheer et al. 2018, "Adaptive Methods for Nonconvex Optimization", algorithm 2.
    """
    return Rule(optax.scale_by_yogi(b1, b2, eps, initial_accumulator_value=initial))


def novograd(*, b1: Share = 0.9, b2: Share = 0.25, eps: NotNegative = 1e-6) -> Rule:
    """One second moment for each tensor, the mean of |g|^2, and momentum of the gradients divided by its root.

    Args:
        b1: `m <- b1 m + g / (sqrt(v) + eps)`.
        b2: `v <- b2 v + (1 - b2) |g|^2`; at first |g|^2.
        eps: added to the root.

    Reference: Ginsburg et al. 2019, "Stochastic Gradient Methods with Layer-wise Adaptive Moments", algorithm 1.
    """
    return Rule(optax.scale_by_novograd(b1, b2, eps))


def sm3(*, b1: Share = 0.9, eps: NotNegative = 1e-8) -> Rule:
    """AdaGrad in little memory: one accumulator for each row and column of a tensor instead of each element.

    Args:
        b1: of the mean of the scaled gradients that follows.
        eps: added inside the root.

    Reference: Anil et al. 2019, "Memory-Efficient Adaptive Optimization", algorithm SM3-II.
    """
    return Rule(optax.scale_by_sm3(b1, eps=eps))


def sign_sgd() -> Rule:
    """The sign of the gradient. Reference: Bernstein et al. 2018, "signSGD", algorithm 1."""
    return Rule(optax.scale_by_sign())


def adafactor(
    *,
    decay_power: Positive = 0.8,
    min_factored: Count = 128,
    eps: Positive = 1e-30,
    clip: Annotated[float | None, POSITIVE] = 1.0,
    relative: bool = True,
    momentum: Share = 0.0,
) -> Rule:
    """Adafactor: second moments of matrices as products of those of rows and columns, so that they need little memory.

    Args:
        decay_power: `v <- b v + (1 - b) g^2` with `b = 1 - t^-decay_power` in update t, counted from 1.
        min_factored: tensors whose second largest side is shorter keep a moment for each element.
        eps: added to g^2.
        clip: bound on the root mean square of each tensor's update; None for none.
        relative: multiply each tensor's update by its own root mean square, or 1e-3 where that is less.
        momentum: of a mean of the updates; 0 for none.

    Reference: Shazeer and Stern 2018, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", algorithm 4.
    """
    parts = [optax.scale_by_factored_rms(True, decay_power, 0, min_factored, eps)]
    parts += [optax.clip_by_block_rms(clip)] if clip is not None else []
    parts += [optax.scale_by_param_block_rms()] if relative else []
    parts += [optax.ema(momentum, debias=False)] if momentum else []
    return Rule(optax.chain(*parts), decoupled=True)
