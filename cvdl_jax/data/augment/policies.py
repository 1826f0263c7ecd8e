"""Policies of the literature, with the tables of `_policy_tables.py`, and repeated augmentation.

The policies take images of 1 or 3 channels, and draw for each row its operations, their magnitudes and their signs.
Boxes and masks move with the pixels, as in the single operations; see `_carry.py`.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.core.parallel import row_random
from cvdl_jax.data.augment import _policy_slots as slots
from cvdl_jax.data.augment import _policy_tables as tables
from cvdl_jax.data.augment._carry import MIN_VISIBLE, carry, check_carried
from cvdl_jax.data.augment._rows import (
    GREY_OR_COLOUR,
    check_channels,
    check_number,
    check_probability,
    check_size,
    chosen,
)
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images import affine

_IDENTITY = tables.OPERATIONS.index("identity")
_RANDOM = np.asarray([tables.OPERATIONS.index(name) for name in tables.RANDOM])


def auto_augment(
    policy: Literal["cifar10", "imagenet", "svhn"] = "cifar10",
    fill: float = 0.5,
    probability: float = 1.0,
    min_visible: float = MIN_VISIBLE,
):
    """One of 25 learned sub-policies for each row: two operations, each with its own probability and magnitude.

    Args:
        policy: the data set on which it was found.
        fill: value in 0..1 of the pixels beyond the border.
        probability: for each row.
        min_visible: boxes of which a smaller part stays in the image become padding.

    Reference: Cubuk et al. 2019, "AutoAugment: Learning Augmentation Strategies from Data", section 3 and appendix.
    """
    table = tables.POLICIES[policy]
    operation = np.asarray([[tables.OPERATIONS.index(row[i]) for i in (0, 3)] for row in table])  # [25, 2]
    rate = np.asarray([[row[i] for i in (1, 4)] for row in table], np.float32)
    share = np.asarray([[row[i] / (tables.AUTO_LEVELS - 1) for i in (2, 5)] for row in table], np.float32)

    def draw(key, b):
        which, apply = jax.random.split(key)
        row = row_random(lambda k, s: jax.random.randint(k, s, 0, len(table)), which, (b,))
        u = row_random(jax.random.uniform, apply, (b, 2))
        return jnp.where(u < jnp.asarray(rate)[row], jnp.asarray(operation)[row], _IDENTITY), jnp.asarray(share)[row]

    return _transform("auto_augment", draw, tables.STANDARD, fill, probability, min_visible)


def rand_augment(
    n: int = 2,
    m: int = 9,
    fill: float = 0.5,
    probability: float = 1.0,
    min_visible: float = MIN_VISIBLE,
    per_operation: float = 1.0,
):
    """N operations for each row, drawn uniformly from 14 and with replacement, all of magnitude m.

    Args:
        n: number of operations, one after the other.
        m: level 0..30; at 0 most operations change nothing, but equalize, autocontrast and solarize have their effect.
            Recipes that count levels of 10, such as timm's "rand-m9", mean three times the number here.
        fill: value in 0..1 of the pixels beyond the border.
        probability: for each row.
        min_visible: boxes of which a smaller part stays in the image become padding.
        per_operation: the probability that a drawn operation is carried out; 1 in the paper, 0.5 in timm's recipes.

    Reference: Cubuk et al. 2020, "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space",
    section 3.
    """
    check_size("rand_augment", "n", n)
    check_number("rand_augment", "m", m, 0, tables.LEVELS - 1)
    check_number("rand_augment", "per_operation", per_operation, 0, 1)

    def draw(key, b):
        place = row_random(lambda k, s: jax.random.randint(k, s, 0, len(_RANDOM)), key, (b, n))
        operation = jnp.asarray(_RANDOM)[place]
        if per_operation < 1:
            u = row_random(jax.random.uniform, jax.random.fold_in(key, 1), (b, n))
            operation = jnp.where(u < per_operation, operation, _IDENTITY)
        return operation, jnp.full((b, n), m / (tables.LEVELS - 1), jnp.float32)

    return _transform("rand_augment", draw, tables.STANDARD, fill, probability, min_visible)


def trivial_augment(wide: bool = True, fill: float = 0.5, probability: float = 1.0, min_visible: float = MIN_VISIBLE):
    """One operation for each row, drawn uniformly from 14, of a magnitude drawn uniformly from 31 levels.

    Args:
        wide: the wide ranges, which the paper recommends; else those of `rand_augment`.
        fill: value in 0..1 of the pixels beyond the border.
        probability: for each row.
        min_visible: boxes of which a smaller part stays in the image become padding.

    Reference: Mueller and Hutter 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", section 3.
    """

    def draw(key, b):
        which, level = jax.random.split(key)
        place = row_random(lambda k, s: jax.random.randint(k, s, 0, len(_RANDOM)), which, (b, 1))
        level = row_random(lambda k, s: jax.random.randint(k, s, 0, tables.LEVELS), level, (b, 1))
        return jnp.asarray(_RANDOM)[place], level.astype(jnp.float32) / (tables.LEVELS - 1)

    return _transform("trivial_augment", draw, tables.WIDE if wide else tables.STANDARD, fill, probability, min_visible)


def _transform(name, draw, ranges, fill, probability, min_visible):
    """The transform of a policy: `draw(key, b) -> (operations int [b, n], share of the highest level [b, n])`."""
    check_number(name, "fill", fill, 0, 1)
    check_number(name, "min_visible", min_visible, 0, 1)
    check_probability(name, probability)

    def update(state, batch, key):
        image = batch["image"]  # [b, h, w, c]
        check_channels(name, image, GREY_OR_COLOUR)
        check_carried(name, batch)
        b, *side, _ = image.shape
        what, sign, which = jax.random.split(key, 3)
        operation, share = draw(what, b)
        operation = jnp.where(chosen(which, probability, image)[:, :, 0, 0], operation, _IDENTITY)  # [b, n]
        sign = row_random(lambda k, s: jax.random.rademacher(k, s, share.dtype), sign, share.shape)
        for i in range(operation.shape[1]):
            value = slots.values(ranges, operation[:, i], share[:, i], sign[:, i], side)
            batch = {**batch, "image": slots.apply(batch["image"], operation[:, i], value, fill)}
            batch = _follow(name, batch, operation[:, i], value, min_visible)
        return state, batch, {}

    return update


def _follow(name, batch, operation, value, min_visible):
    """Moves the boxes and masks of a batch as its image was moved already."""
    side = batch["image"].shape[1:3]
    warps = slots.matrices(operation, value, side)  # [b, 2, 3]

    def mask(x, outside):
        return affine.warp(x, warps, order="nearest", fill=outside)

    def boxes(x):
        return affine.warp_boxes(x, warps, *side)

    return carry(name, batch, lambda image: image, mask, boxes, slots.moves(operation), min_visible)


def repeated_augmentation(n: int = 2, probability: float = 1.0):
    """Each example appears n times in a batch, and the operations that follow change each copy differently.

    The batch keeps its size: of every n neighbouring rows one is drawn and replaces the others. So an epoch shows only
    one of n examples, and a run that should show all of them as often needs n times as many epochs. Put it first.

    Args:
        n: copies of an example; twice as many must divide the rows of a device, since the copies of two examples take
            turns: operations that mix neighbours, such as mixup, are not to mix an example with itself.
        probability: for each group of n rows.

    Raises:
        ConfigError: if 2 n does not divide the rows.

    Reference: Hoffer et al. 2020, "Augment Your Batch: Improving Generalization Through Instance Repetition", section
    3; Berman et al. 2019, "MultiGrain", section 3.1, for the fixed size of the batch.
    """
    check_size("repeated_augmentation", "n", n)
    check_probability("repeated_augmentation", probability)

    def update(state, batch, key):
        b = batch["image"].shape[0]
        if b % (2 * n):
            raise ConfigError(
                f"config.augment: repeated_augmentation(n={n}) takes {2 * n} rows at a time, which must divide the {b} "
                f"rows of a device; choose config.batch_size as a multiple of {2 * n} times the number of devices"
            )
        where, which = jax.random.split(key)
        drawn = row_random(lambda k, s: jax.random.randint(k, s, 0, n), where, (b,)).reshape(b // n, n)[:, :1]
        drawn = jnp.broadcast_to(drawn, (b // n, n))
        repeat = chosen(which, probability, batch["image"]).reshape(b // n, n)[:, :1]
        repeated = repeat.reshape(b // (2 * n), 2).any(1, keepdims=True)  # one of two groups, which then take turns
        source = jnp.where(repeat, drawn, jnp.arange(n)[None])  # [b / n, n], places in the group

        def one(x):
            groups = jnp.take_along_axis(x.reshape(b // n, n, -1), source[..., None], 1)
            pairs = groups.reshape(b // (2 * n), 2, n, -1)
            in_turn = pairs.swapaxes(1, 2).reshape(b // (2 * n), -1)
            return jnp.where(repeated, in_turn, pairs.reshape(b // (2 * n), -1)).reshape(x.shape)

        return state, {**batch, **{name: one(x) for name, x in batch.items()}}, {}

    return update
