"""What an autoencoder pays for its code. `config.latent.name` is the name of one of them.

They take what the model says of its code: {"code": z [b, d], "mean" and "log_variance": [b, d] of a variational one}.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Inside, NotNegative
from cvdl_jax.core.parallel import gather_rows
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses import divergences


def kl(out: Mapping[str, jax.Array], beta: NotNegative = 1.0) -> jax.Array:
    """`beta KL(q(z | x), N(0, 1))` of a variational autoencoder; with beta 1, minus the loss is a bound of log p(x).

    It is a bound with a loss that is a likelihood; `config.loss.name="squared"` is none.

    Args:
        out: with "mean" and "log_variance".
        beta: above 1 for codes that are nearer to independent, 0 for none of it.

    Returns:
        [b], in nats.

    Raises:
        ConfigError: for an autoencoder that is not variational.

    Reference: Kingma and Welling 2014, equation 7; Higgins et al. 2017, "beta-VAE", equation 4.
    """
    if "mean" not in out:
        raise ConfigError("config.latent.name='kl' is of a variational autoencoder; set config.model.variational=True")
    return beta * divergences.kl_to_standard_normal(out["mean"], out["log_variance"])


def l1(out: Mapping[str, jax.Array], weight: NotNegative = 1e-3) -> jax.Array:
    """`weight sum |z_j|`, which makes most numbers of a code 0.

    Args:
        out: with "code".
        weight: of the sum.

    Returns:
        [b].
    """
    _check_plain(out, "l1")
    return weight * jnp.abs(out["code"]).sum(-1)


def sparse(out: Mapping[str, jax.Array], weight: NotNegative = 0.1, share: Inside = 0.05) -> jax.Array:
    """`weight sum_j KL(share, mean of z_j)`, of units in 0..1 that are to be on for a share of the examples.

    The mean is that of the whole batch, over all devices.

    Args:
        out: with "code", in 0..1, such as of `config.model.code='sigmoid'`.
        weight: of the sum.
        share: rho.

    Returns:
        [b], the same number for each row.

    Reference: Ng 2011, "Sparse Autoencoder", CS294A lecture notes, section 3.
    """
    _check_plain(out, "sparse")
    on = jnp.clip(gather_rows(out["code"]).mean(0), 1e-6, 1 - 1e-6)  # [d]
    terms = share * jnp.log(share / on) + (1 - share) * jnp.log((1 - share) / (1 - on))
    return jnp.broadcast_to(weight * terms.sum(), out["code"].shape[:1])


def quantised(out: Mapping[str, jax.Array], commitment: NotNegative = 0.25) -> jax.Array:
    """`|sg[z] - e|^2 + commitment |z - sg[e]|^2`: words go to the codes that chose them, codes stay near their words.

    Args:
        out: with "of_words" and "to_words", of a VQ-VAE.
        commitment: beta.

    Returns:
        [b].

    Raises:
        ConfigError: for another autoencoder.

    Reference: van den Oord et al. 2017, "Neural Discrete Representation Learning", equation 3.
    """
    if "of_words" not in out:
        raise ConfigError("config.latent.name='quantised' is of a VQ-VAE; set config.model.name='vq_vae_28'")
    return (out["of_words"] ** 2).sum(-1) + commitment * (out["to_words"] ** 2).sum(-1)


def _check_plain(out: Mapping[str, jax.Array], name: str) -> None:
    if "mean" in out or "words" in out:
        use = "kl" if "mean" in out else "quantised"
        raise ConfigError(f"config.latent.name={name!r} is of an autoencoder of plain codes; this one takes {use!r}")
