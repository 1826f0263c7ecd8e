"""Masked language modelling: some words of a text are hidden, and a model must tell them.

Of the n pieces of a row that are neither special nor padding, k = round(share n), at least one, are chosen. Of these,
80 % become [MASK], 10 % a random piece, and 10 % stay what they are, so that a model must have an opinion of every
word. What is chosen is drawn anew at every step, per row.

Reference: Devlin et al. 2019, "BERT", section 3.1, task 1, and A.1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Inside, Probability
from cvdl_jax.core.parallel import row_random
from cvdl_jax.data.word_pieces import MASK, SPECIAL
from cvdl_jax.errors import ConfigError


class Masking(NamedTuple):
    """The arguments of `config.masking`.

    Attributes:
        share: of the pieces, chosen.
        masked: of the chosen, that become [MASK].
        random: of the chosen, that become a random piece; the rest stay.
    """

    share: Inside = 0.15
    masked: Probability = 0.8
    random: Probability = 0.1


class Masked(NamedTuple):
    """Texts with hidden words.

    Attributes:
        tokens: int32 [b, t], what the model sees.
        places: int32 [b, m], of the chosen tokens; m is what a row without padding could have.
        targets: int32 [b, m], what they are.
        weights: float32 [b, m], 1 for a chosen token, 0 for the rest of a row that has fewer.
    """

    tokens: jax.Array
    places: jax.Array
    targets: jax.Array
    weights: jax.Array


def check(how: Masking, vocabulary: Sequence[str]) -> None:
    """Refuses shares that are more than all, and a vocabulary that hides nothing.

    Raises:
        ConfigError: naming what is wrong.
    """
    if how.masked + how.random > 1 + 1e-9:
        raise ConfigError(
            f"config.masking: masked={how.masked} and random={how.random} are shares of the chosen pieces and must not "
            "add up to more than 1"
        )
    if MASK not in vocabulary:
        raise ConfigError(
            "this experiment hides words of texts, and the data have no pieces of words; set config.data.text, such as "
            "config.data.text.length=128"
        )


def chosen_count(n: jax.Array, share: float) -> jax.Array:
    """How many of n pieces are chosen: `round(share n)`, at least one where there is one. Args, returns: int [b]."""
    return jnp.minimum(jnp.maximum(jnp.floor(share * n + 0.5), 1), n).astype(jnp.int32)


def mask_words(key: jax.Array, tokens: jax.Array, vocabulary: Sequence[str], how: Masking = Masking()) -> Masked:  # noqa: B008
    """Hides words.

    Args:
        key: a typed key, shared by all rows.
        tokens: int32 [b, t], special pieces and padding among them.
        vocabulary: the pieces by their numbers.
        how: shares.

    Returns:
        A Masked.
    """
    b, t = tokens.shape
    keys = jax.random.split(key, 3)
    special = jnp.asarray([vocabulary.index(piece) for piece in SPECIAL], tokens.dtype)
    able = (tokens[:, :, None] != special[None, None]).all(-1)  # [b, t]
    order = jnp.where(able, row_random(jax.random.uniform, keys[0], (b, t)), 2.0)
    most = max(int(how.share * t + 0.5), 1)
    places = jnp.argsort(order, axis=1)[:, :most].astype(jnp.int32)  # [b, m], the chosen first
    count = chosen_count(able.sum(1), how.share)
    weights = jnp.arange(most)[None] < count[:, None]
    targets = jnp.take_along_axis(tokens, places, axis=1)
    fate = row_random(jax.random.uniform, keys[1], (b, most))
    other = row_random(lambda k, shape: jax.random.randint(k, shape, 0, len(vocabulary)), keys[2], (b, most))
    seen = jnp.where(fate < how.masked, vocabulary.index(MASK), targets)
    seen = jnp.where((fate >= how.masked) & (fate < how.masked + how.random), other, seen)
    rows = jnp.arange(b)[:, None]
    hidden = tokens.at[rows, places].set(jnp.where(weights, seen, targets).astype(tokens.dtype))
    return Masked(hidden, places, targets, weights.astype(jnp.float32))
