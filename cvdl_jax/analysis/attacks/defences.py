"""Defences without training: to change the input before it is classified, to detect what changes its answer.

A defence whose gradient is zero or wrong only hides the gradient. `through` gives the attacker a gradient all the same.
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.attacks import threat
from cvdl_jax.analysis.attacks.access import logits_of
from cvdl_jax.config import binding
from cvdl_jax.config.binding import Positive, Range
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import ranking
from cvdl_jax.ops.images import filters

Transform = Callable[[jax.Array], jax.Array]
Bits = Annotated[int, Range("from 1 to 8", lambda x: 1 <= x <= 8)]


def quantise(*, bits: Bits = 3) -> Transform:
    """Rounds pixels to `2^bits` values: `round(x (2^bits - 1)) / (2^bits - 1)`; its gradient is zero.

    Reference: Xu et al. 2018, "Feature Squeezing", section II.C (colour depth).
    """
    if not 1 <= bits <= 8:
        raise ConfigError(f"bits={bits} must be from 1 to 8")
    levels = 2**bits - 1
    return lambda x: jnp.round(x * levels) / levels


def blur(*, sigma: Positive = 1.0) -> Transform:
    """Gaussian blur of so many pixels; see `ops.images.filters.gaussian_blur`."""
    if not sigma > 0:
        raise ConfigError(f"sigma={sigma} must be positive")
    return lambda x: filters.gaussian_blur(x, sigma)


def median() -> Transform:
    """The median of every pixel and its eight neighbours; see `ops.images.filters.median`."""
    return filters.median


TRANSFORMS = {"quantise": quantise, "blur": blur, "median": median}


def named(text: str, path: str = "defence") -> Transform:
    """The transformation that a text such as "quantise(bits=3) | blur(sigma=1.0)" names, applied in this order.

    Raises:
        ConfigError: for an unknown name, or wrong arguments.
    """
    parts = binding.build_calls(text, TRANSFORMS, path)
    if not parts:
        raise ConfigError(f"{path} is empty; name transformations, such as 'quantise(bits=3) | blur(sigma=1.0)'")

    def transform(x: jax.Array) -> jax.Array:
        for part in parts:
            x = part(x)
        return x

    return transform


def defended(model: Any, transform: Transform) -> Callable[[jax.Array], jax.Array]:
    """The model behind a transformation of its input: `f(T(x))`."""
    logits_fn = logits_of(model, "defended")
    return lambda x: logits_fn(transform(x))


def through(model: Any, transform: Transform) -> Callable[[jax.Array], jax.Array]:
    """As `defended`, with the gradient of the identity in the place of T's: what an adaptive attacker uses.

        forward f(T(x)), backward grad f at T(x), as if dT/dx = 1

    Reference: Athalye et al. 2018, "Obfuscated Gradients Give a False Sense of Security", section 4.1 (BPDA).
    """
    logits_fn = logits_of(model, "through")
    return lambda x: logits_fn(x + jax.lax.stop_gradient(transform(x) - x))


# Detection ------------------------------------------------------------------------------------------------------------


def suspicion(model: Any, x: Any, transforms: Any) -> jax.Array:
    """How much the answer changes under transformations: `max_T |softmax f(x) - softmax f(T(x))|_1`, from 0 to 2.

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        x: float [b, h, w, c] in 0..1.
        transforms: functions of images, one or more.

    Returns:
        float [b]; a threshold on it detects attacks.

    Reference: Xu et al. 2018, "Feature Squeezing", section V.
    """
    logits_fn, x, transforms = logits_of(model, "suspicion"), threat.check_images(x), tuple(transforms)
    if not transforms:
        raise ConfigError("a detector needs a transformation, such as quantise(bits=3)")

    @jax.jit
    def largest(x: jax.Array) -> jax.Array:
        p = jax.nn.softmax(logits_fn(x))
        return jnp.stack([jnp.abs(p - jax.nn.softmax(logits_fn(t(x)))).sum(1) for t in transforms]).max(0)

    return largest(x)


def detection(model: Any, clean: Any, adversarial: Any, transforms: Any) -> tuple[ranking.Roc, float]:
    """How well `suspicion` tells adversarial images from clean ones.

    Args:
        model: `logits_fn(x)`, or a WhiteBox.
        clean: float [n, h, w, c] in 0..1.
        adversarial: float [m, h, w, c] in 0..1, those that fooled the model.
        transforms: see `suspicion`.

    Returns:
        (the ROC curve, adversarial images positive; the area under it).
    """
    scores = np.concatenate([np.asarray(suspicion(model, x, transforms)) for x in (clean, adversarial)])
    labels = np.repeat([0, 1], [len(clean), len(adversarial)])
    return ranking.roc_curve(labels, scores), ranking.roc_auc(labels, scores)
