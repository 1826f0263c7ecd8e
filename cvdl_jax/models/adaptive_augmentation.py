"""Adaptive discriminator augmentation: real and generated images are augmented alike, as often as it is needed.

The discriminator never sees an image that is not augmented with probability p, so that it cannot learn small data by
heart; the generator's gradient passes through the augmentation. p begins at 0 and follows a sign of overfitting,

    r_t = E[sign(D(real))]          0: the discriminator is undecided, 1: it is sure of every real image
    r_v = (E[D(train)] - E[D(validation)]) / (E[D(train)] - E[D(generated)])

p rises while r_t is above its target, and falls while it is below. p is part of the state.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Count, Inside, Probability
from cvdl_jax.core.parallel import row_random, sum_devices
from cvdl_jax.core.task import Eval, Pass, State, Transform
from cvdl_jax.data.augment import policy as policies
from cvdl_jax.errors import ConfigError

KEY = "augmentation"  # in state.extra
PATH = "config.ada.policy"


class Adaptive(NamedTuple):
    """The augmentation, and how its probability follows r_t.

    Attributes:
        operations: transforms of {"image": [b, h, w, c] in 0..1}.
        target: of r_t.
        every: so many steps of the discriminator p is adjusted.
        images: that it takes p to go from 0 to 1, if r_t is always on the same side.
        start: p of the first step.
    """

    operations: tuple[Transform, ...]
    target: float
    every: int
    images: int
    start: float

    def extra(self) -> dict[str, Any]:
        """What `init` adds to the state's `extra`."""
        zero = jnp.zeros((), jnp.float32)
        means = {"train": zero, "sign": zero}  # of scores, filled by the pass before an evaluation
        steps = jnp.zeros((), jnp.int32)
        return {KEY: {"probability": zero + self.start, "signs": zero, "rows": zero, "steps": steps, "seen": means}}

    def augmented(self, state: State, images: jax.Array, key: jax.Array) -> jax.Array:
        """Each operation at each image with probability p.

        Args:
            state: holds p.
            images: float [b, h, w, c] in -1..1.
            key: each row draws its own numbers.
        """
        p, x = state.extra[KEY]["probability"], (images + 1) / 2
        for i, operation in enumerate(self.operations):
            which, how = jax.random.split(jax.random.fold_in(key, i))
            chosen = row_random(jax.random.uniform, which, (len(x),)) < p
            changed = operation.update(state, {"image": x}, how)[1]["image"]
            x = jnp.where(chosen[:, None, None, None], changed, x)
        return 2 * x - 1


def adaptive(
    policy: str,
    target: Inside = 0.6,
    every: Count = 4,
    images: Count = 500_000,
    start: Probability = 0.0,
    *,
    spec: Any,
) -> Adaptive:
    """The arguments of `config.ada`.

    Args:
        policy: operations as of `config.augment`, of images alone and with a gradient, such as "translate(0.125)".
        target: of r_t.
        every: steps of the discriminator between two adjustments of p.
        images: real images that are seen while p goes from 0 to 1.
        start: the first p.
        spec: shape and dtype of a batch of images, [b, h, w, c].

    Raises:
        ConfigError: for an empty policy, or an operation that needs more than the image, makes it of another size, or
            has no gradient.

    Reference: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", section 3.
    """
    parts = [part.strip() for part in policy.split("|") if part.strip()]
    if not parts:
        raise ConfigError(f"{PATH} is empty; name operations, such as 'translate(0.125)', or set config.ada={{}}")
    operations = tuple(policies.build(part, path=PATH) for part in parts)
    one = jax.ShapeDtypeStruct((4, *spec.shape[1:]), spec.dtype)
    for part, operation in zip(parts, operations, strict=True):
        _check(part, operation, one)
    return Adaptive(operations, target, every, images, start)


def _check(part: str, operation: Transform, one: jax.ShapeDtypeStruct) -> None:
    def apply(x: jax.Array) -> jax.Array:
        return operation.update(None, {"image": x}, jax.random.key(0))[1]["image"]

    try:
        same = jax.eval_shape(apply, one).shape == one.shape
    except (KeyError, ConfigError, TypeError) as error:
        raise ConfigError(f"{PATH}: {part} is no operation on images alone ({error}); remove it") from error
    if not same:
        raise ConfigError(f"{PATH}: {part} changes the size of the images; remove it")
    x = jnp.linspace(0.2, 0.8, one.size, dtype=one.dtype).reshape(one.shape)
    slope = jax.vjp(apply, x)[1](x)[0]  # of the sum of x apply(x), in its second factor
    if not bool(jnp.abs(slope).any()):
        raise ConfigError(f"{PATH}: {part} has no gradient, by which the generator would learn; remove it")


def following(descent: Transform, ada: Adaptive, player: str = "discriminator") -> Transform:
    """The discriminator's steps, after every few of which p is adjusted: `p += sign(r_t - target) n / images`.

    Args:
        descent: whose sums have "discriminator/sign_real".
        ada: of the configuration.
        player: the prefix of the sums.

    Reference: Karras et al. 2020, section 3.
    """

    def update(state: State, batch: Any, key: jax.Array) -> Any:
        state, batch, sums = descent.update(state, batch, key)
        signs, rows = sum_devices(sums[f"{player}/sign_real"])
        old = state.extra[KEY]
        signs, rows, steps = old["signs"] + signs, old["rows"] + rows, old["steps"] + 1
        due = steps % ada.every == 0
        p = jnp.clip(old["probability"] + jnp.sign(signs / rows - ada.target) * rows / ada.images, 0, 1)
        new = {
            "probability": jnp.where(due, p, old["probability"]).astype(old["probability"].dtype),
            "signs": jnp.where(due, 0, signs).astype(old["signs"].dtype),
            "rows": jnp.where(due, 0, rows).astype(old["rows"].dtype),
            "steps": steps,
            "seen": old["seen"],
        }
        share = 1 / sum_devices(jnp.ones((), jnp.float32))
        sums = {**sums, f"{player}/augmentation": (new["probability"] * share, share)}
        return state._replace(extra={**state.extra, KEY: new}), batch, sums

    return Transform(update, descent.init)


def ratios(train: float, validation: float, generated: float, sign: float) -> dict[str, float]:
    """r_v and r_t of means of scores.

    Args:
        train: E[D] of training images.
        validation: of images that were not trained on.
        generated: of generated ones.
        sign: E[sign(D)] of training images.

    Returns:
        {"r_v", "r_t"}: about 0 without overfitting and 1 with nothing else; r_v is NaN where the discriminator scores
        training images as generated ones.

    Reference: Karras et al. 2020, equation 1.
    """
    gap = train - generated
    return {"r_v": (train - validation) / gap if gap else float("nan"), "r_t": sign}


def overfitting(score: Callable, generated: Callable, split: str = "validation") -> Eval:
    """`ratios` on a split that was not trained on, and the three means of scores; nothing is augmented.

    Args:
        score: `(state, images in 0..1, batch) -> [b]`, in evaluation mode.
        generated: `(state, key, batch) -> images in 0..1 [b, h, w, c]`.
        split: of the data section.
    """

    def seen(state: State, batch: Any, key: jax.Array) -> dict[str, jax.Array]:
        scores, mask = score(state, batch["image"], batch), batch["mask"]
        return {"score": (scores * mask).sum(), "sign": (jnp.sign(scores) * mask).sum(), "rows": mask.sum()}

    def remembered(state: State, sums: Any) -> State:
        means = {"train": sums["score"] / sums["rows"], "sign": sums["sign"] / sums["rows"]}
        old = state.extra[KEY]
        means = {name: x.astype(old["seen"][name].dtype) for name, x in means.items()}
        return state._replace(extra={**state.extra, KEY: {**old, "seen": means}})

    def step(state: State, batch: Any, key: jax.Array) -> dict[str, Any]:
        mask, images = batch["mask"], generated(state, key, batch)
        means = {
            "validation": score(state, batch["image"], batch),
            "generated": score(state, images, batch),
            **{name: jnp.full(mask.shape, x) for name, x in state.extra[KEY]["seen"].items()},
        }
        return {name: ((x * mask).sum(), mask.sum()) for name, x in means.items()}

    def finalise(means: dict, rows: dict) -> dict[str, float]:
        values = ratios(means["train"], means["validation"], means["generated"], means["sign"])
        return values | {f"score_{name}": means[name] for name in ("train", "validation", "generated")}

    return Eval(step, finalise, split, before=Pass(seen, remembered))
