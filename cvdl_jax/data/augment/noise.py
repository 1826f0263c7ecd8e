"""Operations that add noise, drawn for every value of every pixel. Sums outside 0..1 become 0 or 1, by definition."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cvdl_jax.data.augment._photometric import check_not_negative
from cvdl_jax.data.augment._rows import check_number, check_probability, chosen
from cvdl_jax.ops.images.inputs import saturate
from cvdl_jax.parallel import row_random


def gaussian_noise(std: float = 0.05, probability: float = 1.0):
    """Adds Gaussian noise of mean 0.

    Args:
        std: standard deviation, 0 or more; images are in 0..1.
        probability: for each row.
    """
    check_not_negative("gaussian_noise", "std", std)
    return _add("gaussian_noise", lambda k, s, dtype: std * jax.random.normal(k, s, dtype), probability)


def uniform_noise(amount: float = 0.1, probability: float = 1.0):
    """Adds white noise, uniform in -amount ... amount.

    Args:
        amount: 0..1.
        probability: for each row.
    """
    check_number("uniform_noise", "amount", amount, 0, 1)
    return _add("uniform_noise", lambda k, s, dtype: jax.random.uniform(k, s, dtype, -amount, amount), probability)


def _add(operation: str, draw: Callable, probability: float) -> Callable:
    check_probability(operation, probability)

    def update(state, batch, key):
        image = batch["image"]  # [b, h, w, c]
        where, which = jax.random.split(key)
        noisy = saturate(image + row_random(lambda k, s: draw(k, s, image.dtype), where, image.shape))
        return state, {**batch, "image": jnp.where(chosen(which, probability, image), noisy, image)}, {}

    return update
