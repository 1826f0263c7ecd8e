"""Where diffusion adds its noise: to pixels, or to the codes of an autoencoder that was trained before.

    pixels:  x = 2 image - 1          codes:  x = (encode(image) - mean) / std,  image = decode(std x + mean)

Codes have unit variance: mean and std, one number each, are those of the codes of the first training batch, and belong
to the state with the autoencoder's weights: `extra` has "autoencoder" and "scale" {"mean", "std"}.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.core.parallel import gather_rows
from cvdl_jax.errors import ConfigError

LEAST = 1e-6  # of a standard deviation


class Space(NamedTuple):
    """What noise is added to.

    Attributes:
        shape: (h, w, c) of it.
        encode: (extra, images [b, h, w, c] in 0..1) -> x [b, *shape].
        decode: (extra, x) -> images in 0..1.
        bounded: whether x lies in -1..1, so that a sampler may bound it.
        measure: the transform of a step that measures the scale; None for pixels.
    """

    shape: tuple[int, int, int]
    encode: Callable[[Mapping[str, Any], jax.Array], jax.Array]
    decode: Callable[[Mapping[str, Any], jax.Array], jax.Array]
    bounded: bool
    measure: Callable | None = None


def pixels(shape: tuple[int, int, int]) -> Space:
    """The images themselves, in -1..1. Args: shape (h, w, c) of them."""
    decode = lambda extra, x: jnp.clip((x + 1) / 2, 0, 1)  # noqa: E731
    return Space(shape, lambda extra, image: 2 * image - 1, decode, bounded=True)


def codes(model: Any) -> Space:
    """The codes of an autoencoder, as a map of them: of a VQ-VAE before they are made of words, else one of a pixel.

    A variational one gives the mean. `decode` of a VQ-VAE takes the nearest words first.

    Args:
        model: an Autoencoder or a VQVAE, whose weights are `extra["autoencoder"]`.

    Raises:
        ConfigError: for a conditional autoencoder.

    Reference: Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", section 3.1 and
        appendix G, for the scale.
    """
    if model.num_classes:
        raise ConfigError(
            "config.autoencoder.workdir: a conditional autoencoder needs a label to decode; name a run of one with "
            "config.model.num_classes=0"
        )
    quantised = hasattr(model, "words")
    shape = (*model.grid, model.size) if quantised else (1, 1, model.latent)

    def apply(extra: Mapping[str, Any], method: str, *args: Any) -> Any:
        return model.apply({"params": extra["autoencoder"]}, *args, method=method)

    def raw(extra: Mapping[str, Any], image: jax.Array) -> jax.Array:
        return apply(extra, "encode", image)[0].reshape(len(image), *shape)

    def encode(extra: Mapping[str, Any], image: jax.Array) -> jax.Array:
        return (raw(extra, image) - extra["scale"]["mean"]) / extra["scale"]["std"]

    def decode(extra: Mapping[str, Any], x: jax.Array) -> jax.Array:
        z = (x * extra["scale"]["std"] + extra["scale"]["mean"]).reshape(len(x), -1)
        z = apply(extra, "nearest", z)[1] if quantised else z
        return jax.nn.sigmoid(apply(extra, "decode", z, False))

    def measure(state: Any, batch: Mapping[str, Any], key: jax.Array) -> tuple[Any, Any, dict]:
        """Before the first step, the mean and deviation of all numbers of its codes, on all devices."""

        def of_batch() -> dict[str, jax.Array]:
            z = gather_rows(raw(state.extra, batch["image"]))
            new = {"mean": z.mean(), "std": jnp.maximum(z.std(), LEAST)}
            return {name: value.astype(state.extra["scale"][name].dtype) for name, value in new.items()}

        scale = lax.cond(state.step == 0, of_batch, lambda: dict(state.extra["scale"]))
        return state._replace(extra={**state.extra, "scale": scale}), batch, {}

    return Space(shape, encode, decode, bounded=False, measure=measure)
