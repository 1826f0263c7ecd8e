"""Update rules: from a gradient to a direction, without rate, decay or clipping, which `optim.py` puts around them.

A new rule is a function here with annotated keyword arguments, and its name in RULES.
"""

from collections.abc import Callable
from typing import Literal

import jax
import optax

from cvdl_jax.errors import ConfigError

# A pair is (direction, what follows decoupled decay).
Rule = optax.GradientTransformation | tuple[optax.GradientTransformation, optax.GradientTransformation]


def sgd(*, momentum: float = 0.0, nesterov: bool = False, form: Literal["sum", "ema"] = "sum") -> Rule:
    """Stochastic gradient descent: `m <- momentum m + g` (sum) or `m <- momentum m + (1 - momentum) g` (ema)."""
    if form == "ema":
        if nesterov:
            raise ConfigError("config.optim.nesterov needs form='sum'")
        return optax.ema(momentum, debias=False)
    return optax.trace(momentum, nesterov) if momentum else optax.identity()


def adam(
    *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, eps_root: float = 0.0, nesterov: bool = False
) -> Rule:
    """Adam; weight decay is an L2 penalty here (see adamw). Reference: Kingma and Ba 2015, algorithm 1."""
    return optax.scale_by_adam(b1, b2, eps, nesterov=nesterov)


def adamw(
    *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, eps_root: float = 0.0, nesterov: bool = False
) -> Rule:
    """Adam with decoupled weight decay. Reference: Loshchilov and Hutter 2019, algorithm 2."""
    return optax.scale_by_adam(b1, b2, eps, nesterov=nesterov)


def rmsprop(
    *,
    smoothing: float = 0.9,
    eps: float = 1e-8,
    eps_inside: bool = True,
    centered: bool = False,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> Rule:
    """RMSProp: `g / sqrt(v + eps)`, or `g / (sqrt(v) + eps)` with `eps_inside=False`; v decays by `smoothing`."""
    scale = optax.scale_by_stddev if centered else optax.scale_by_rms
    return scale(smoothing, eps, eps_in_sqrt=eps_inside), optax.trace(
        momentum, nesterov
    ) if momentum else optax.identity()


def adagrad(*, initial: float = 0.1, eps: float = 1e-7) -> Rule:
    """AdaGrad: `g / sqrt(initial + sum of g^2 + eps)`. Reference: Duchi et al. 2011."""
    return optax.scale_by_rss(initial, eps)


def lamb(*, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-6) -> Rule:
    """LAMB: Adam with decay, scaled per tensor by `|w| / |update|`. Reference: You et al. 2020, algorithm 2."""
    return optax.scale_by_adam(b1, b2, eps), optax.scale_by_trust_ratio()


def lars(*, momentum: float = 0.9, nesterov: bool = False, trust: float = 0.001, eps: float = 0.0) -> Rule:
    """LARS: per-tensor rates `trust |w| / |g|` for tensors of two or more dimensions, then momentum.

    Reference: You et al. 2017, algorithm 1 (which has the global rate inside the momentum; the same while it is
    constant).
    """
    ratio = optax.scale_by_trust_ratio(trust_coefficient=trust, eps=eps)
    return optax.chain(
        optax.masked(ratio, lambda p: jax.tree.map(lambda x: x.ndim > 1, p)), optax.trace(momentum, nesterov)
    )


def lion(*, b1: float = 0.9, b2: float = 0.99) -> Rule:
    """Lion: the sign of a momentum. Reference: Chen et al. 2023, program 1."""
    return optax.scale_by_lion(b1, b2)


def muon(
    *,
    beta: float = 0.95,
    nesterov: bool = True,
    ns_steps: int = 5,
    eps: float = 1e-8,
    adam_b1: float = 0.9,
    adam_b2: float = 0.999,
    consistent_rms: float | None = None,
) -> Rule:
    """Muon: orthogonalised momentum for matrices, Adam for every other tensor. Reference: Jordan et al. 2024.

    Args:
        beta: momentum.
        nesterov: look ahead.
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
    return optax.chain(full, optax.scale(-1.0))  # it brings its own minus sign


RULES: dict[str, Callable[..., Rule]] = {
    f.__name__: f for f in (sgd, adam, adamw, rmsprop, adagrad, lamb, lars, lion, muon)
}
DECOUPLED = ("adamw", "lamb", "lion", "muon")  # where `weight_decay` is added after the rule by default
