"""Adversarial losses by name: what the discriminator and the generator minimise, from one score (logit) per image.

    config.loss = dict(name="non_saturating")
    config.loss = dict(name="wasserstein", penalty=10.0)

The discriminator's probability is D(x) = sigmoid(score). Its logarithms are computed from the score, as `-ln D =
softplus(-score)` and `-ln (1 - D) = softplus(score)`, which stay exact where D itself would round to 0 or 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax

from cvdl_jax.config.binding import NotNegative
from cvdl_jax.errors import ConfigError


class AdversarialLoss(NamedTuple):
    """The losses of the two players.

    Attributes:
        discriminator: `(real, fake) -> [b]` from the scores [b] of real and generated images.
        generator: `fake -> [b]`.
        penalty: factor of the gradient penalty in the discriminator's loss; 0 for none.
        at_real: the penalty is `penalties.real_gradient_penalty`, at the real images, in place of
            `penalties.gradient_penalty` between them and the generated ones.
        clip: bound on each of the discriminator's parameters, applied after each of its steps; 0 for none.
    """

    discriminator: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[[jax.Array], jax.Array]
    penalty: float = 0.0
    clip: float = 0.0
    at_real: bool = False


def _cross_entropy(real: jax.Array, fake: jax.Array) -> jax.Array:
    """`-ln D(x) - ln(1 - D(G(z)))`."""
    return jax.nn.softplus(-real) + jax.nn.softplus(fake)


def minimax(penalty: NotNegative = 0.0) -> AdversarialLoss:
    """The zero-sum game: the generator minimises `ln(1 - D(G(z)))`, whose gradient `-D(G(z))` vanishes where D wins.

    Args:
        penalty: factor of the gradient penalty.

    Reference: Goodfellow et al. 2014, "Generative Adversarial Nets", equation 1.
    """
    return AdversarialLoss(_cross_entropy, lambda fake: -jax.nn.softplus(fake), penalty)


def non_saturating(penalty: NotNegative = 0.0, r1: NotNegative = 0.0) -> AdversarialLoss:
    """The generator minimises `-ln D(G(z))`: the same fixed point, but a gradient of -1 where D is sure of a fake.

    Args:
        penalty: factor of the gradient penalty.
        r1: factor of the penalty at real images, in its place; 10 of StyleGAN.

    Raises:
        ConfigError: if both are on.

    Reference: Goodfellow et al. 2014, section 3, last paragraph; Mescheder et al. 2018 for r1.
    """
    if penalty and r1:
        raise ConfigError(f"config.loss takes one of penalty={penalty} and r1={r1}; set the other to 0.0")
    return AdversarialLoss(_cross_entropy, lambda fake: jax.nn.softplus(-fake), penalty or r1, at_real=r1 > 0)


def least_squares(penalty: NotNegative = 0.0) -> AdversarialLoss:
    """`[(f(x) - 1)^2 + f(G(z))^2] / 2` and `(f(G(z)) - 1)^2 / 2`: what is far on the right side costs, too.

    Args:
        penalty: factor of the gradient penalty.

    Reference: Mao et al. 2017, "Least Squares Generative Adversarial Networks", equation 9.
    """
    return AdversarialLoss(
        lambda real, fake: ((real - 1) ** 2 + fake**2) / 2, lambda fake: (fake - 1) ** 2 / 2, penalty
    )


def hinge(penalty: NotNegative = 0.0) -> AdversarialLoss:
    """`max(0, 1 - f(x)) + max(0, 1 + f(G(z)))` and `-f(G(z))`: scores beyond the margin teach the critic nothing.

    Args:
        penalty: factor of the gradient penalty.

    Reference: Lim and Ye 2017, "Geometric GAN"; Miyato et al. 2018, "Spectral Normalization for Generative Adversarial
        Networks", equations 16 and 17.
    """
    return AdversarialLoss(
        lambda real, fake: jax.nn.relu(1 - real) + jax.nn.relu(1 + fake), lambda fake: -fake, penalty
    )


def wasserstein(penalty: NotNegative = 10.0, clip: NotNegative = 0.0) -> AdversarialLoss:
    """The critic minimises `f(G(z)) - f(x)`, the generator `-f(G(z))`; f is a score kept 1-Lipschitz.

    Args:
        penalty: factor of the gradient penalty (WGAN-GP).
        clip: bound on each of the critic's parameters, in place of the penalty (the first WGAN, with 0.01).

    Raises:
        ConfigError: unless exactly one of the two is on.

    Reference: Arjovsky et al. 2017, "Wasserstein GAN", algorithm 1; Gulrajani et al. 2017, "Improved Training of
    Wasserstein GANs", equation 3.
    """
    if penalty < 0 or clip < 0 or (penalty > 0) == (clip > 0):
        raise ConfigError(
            f"config.loss: wasserstein needs one of penalty and clip above 0, got penalty={penalty} and clip={clip}; "
            "use penalty=10.0, or penalty=0.0 with clip=0.01"
        )
    return AdversarialLoss(lambda real, fake: fake - real, lambda fake: -fake, penalty, clip)
