"""What an experiment does with a denoiser: noisy inputs, its loss, and samples by one compiled scan of the way back.

A condition is what the denoiser is told, {"label": int [b]}, {"caption": int [b, t]}, {"text": captions as it has read
them}, or {} of one that is told nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.config.binding import NotNegative, Probability, Share, Size
from cvdl_jax.core.parallel import row_places, row_random
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.generative.diffusion_unet import no_words
from cvdl_jax.models.spaces import Space
from cvdl_jax.nn.apply import apply_eval
from cvdl_jax.ops import diffusion, latent_walks
from cvdl_jax.optim.ema import averaged

MOST_GROWTH = 20.0  # of an error in the first step of sampling, where nothing is clipped


class Denoising(NamedTuple):
    """The functions that a configuration chooses.

    Attributes:
        model: the denoiser.
        schedule: of the noise.
        predicts: "noise", "image" or "v".
        without_label: how often a label, or a caption, is hidden in training.
        sampler: the arguments of `Sampler`.
        space: what noise is added to.
        prompts: captions int [m, t] that samples show in turn, of a denoiser that is told one.
    """

    model: Any
    schedule: diffusion.Schedule
    predicts: diffusion.Prediction
    without_label: float
    sampler: "Sampler"
    space: Space
    prompts: Any = None


class Sampler(NamedTuple):
    """The arguments of `config.sampler`.

    Attributes:
        steps: of the way back, at most those of the schedule.
        eta: 1 for DDPM's, 0 for DDIM's, which adds no noise.
        guidance: 1 for the condition alone, above 1 to exaggerate it; of a denoiser that is told a label or a caption.
        clip: bounds each predicted image to -1..1; not of codes, which have no bounds.
        variance: of the noise that a step adds: "fixed_small", the posterior's, or "fixed_large", b_t; see
            `ops/diffusion.py:step_back`. The second is DDPM's alone, with eta 1.
    """

    steps: Size = 1000
    eta: Probability = 1.0
    guidance: NotNegative = 1.0
    clip: bool = True
    variance: diffusion.Variance = "fixed_small"


def objective(predicts: Literal["noise", "image", "v"] = "noise", without_label: Share = 0.1) -> tuple[str, float]:
    """The arguments of `config.loss`: what is predicted, and how often the label is hidden."""
    return predicts, without_label


def noisy(
    method: Denoising, batch: dict[str, jax.Array], key: jax.Array, extra: Mapping[str, Any] = {}
) -> dict[str, jax.Array]:
    """Images, or codes of them, with noise at random times, and what is to be said of them.

    Args:
        method: of `make`.
        batch: {"image": in 0..1 [b, h, w, c], "label": int [b]?, "caption": int [b, t]?}.
        key: of the step; each row draws its own time and noise.
        extra: of the state, with what the space needs.

    Returns:
        {"x": [b, h, w, c], "t": int [b], "target": [b, h, w, c], and the condition, hidden in some rows}.
    """
    keys, image = jax.random.split(key, 3), method.space.encode(extra, batch["image"])
    steps = len(method.schedule.beta)
    t = row_random(lambda k, shape: jax.random.randint(k, shape, 0, steps), keys[0], (len(image),))
    noise = row_random(jax.random.normal, keys[1], image.shape).astype(image.dtype)
    made = {"x": diffusion.add_noise(method.schedule, image, noise, t), "t": t}
    made["target"] = diffusion.target(method.schedule, image, noise, t, method.predicts)
    told = condition_of(method, batch)
    hidden = row_random(lambda k, s: jax.random.bernoulli(k, method.without_label, s), keys[2], (len(image),))
    for (name, x), nothing in zip(told.items(), unconditional(method, told).values(), strict=True):
        made[name] = jnp.where(hidden.reshape(-1, *(1,) * (x.ndim - 1)), nothing, x)
    return made


def condition_of(method: Denoising, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """What a denoiser is told of a batch."""
    if told_captions(method):
        return {"caption": batch["caption"]}
    return {"label": batch["label"]} if method.model.num_classes else {}


def told_captions(method: Denoising) -> bool:
    """Whether a denoiser is told captions."""
    return bool(getattr(method.model, "vocabulary", 0))


def unconditional(method: Denoising, told: Mapping[str, Any]) -> dict[str, Any]:
    """The condition that says nothing, of the same rows.

    Args:
        method: of the configuration.
        told: a condition; in the place of "text" stands a "caption".
    """
    if "label" in told:
        return {"label": jnp.full_like(told["label"], method.model.num_classes)}
    words = told["text"][0] if "text" in told else told.get("caption")
    return {} if words is None else {"caption": no_words(*words.shape[:2])}


def in_turn(method: Denoising, n: int) -> dict[str, jax.Array]:
    """The conditions of n samples: the classes, or the prompts, in turn."""
    if told_captions(method):
        return {"caption": jnp.asarray(method.prompts)[row_places(n) % len(method.prompts)]}
    return {"label": row_places(n) % method.model.num_classes} if method.model.num_classes else {}


def squared_error(predicted: jax.Array, made: dict[str, jax.Array]) -> jax.Array:
    """The mean over pixels of each row [b] (Ho et al. 2020, equation 14)."""
    return jnp.square(predicted - made["target"]).mean((1, 2, 3))


def model_inputs(made: dict[str, jax.Array]) -> tuple[tuple[jax.Array, jax.Array], dict[str, jax.Array]]:
    """What the denoiser takes before and after `train`."""
    return (made["x"], made["t"]), {name: made[name] for name in ("label", "caption") if name in made}


def sample(method: Denoising, state: Any, key: jax.Array, n: int, told: Mapping[str, Any] | None = None) -> jax.Array:
    """Images [n, h, w, c] in 0..1 from noise, of the averaged weights where the run keeps an average.

    Args:
        method: of `make`.
        state: of the run.
        key: each row draws its own noise from it.
        n: images.
        told: the conditions of n rows; None for the classes, or the prompts, in turn.
    """
    start = row_random(jax.random.normal, jax.random.fold_in(key, 0), (n, *method.space.shape))
    return denoised(method, state, start, key, in_turn(method, n) if told is None else told)


def denoised(method: Denoising, state: Any, start: jax.Array, key: jax.Array, told: Mapping[str, Any]) -> jax.Array:
    """The images in 0..1 that noise becomes, of the averaged weights where the run keeps an average.

    Args:
        method: of `make`.
        state: of the run.
        start: standard normal noise [n, h, w, c], in the shape of the space.
        key: each row draws the noise of a sampler with eta above 0 from it.
        told: the conditions of n rows.

    Reference: Ho et al. 2020, algorithm 2; Song et al. 2021, "Denoising Diffusion Implicit Models", equation 12.
    """
    state, how, schedule = averaged(state), method.sampler, method.schedule
    times = jnp.asarray(diffusion.times(len(schedule.beta), how.steps))
    steps = (times, jnp.append(times[1:], -1), jnp.arange(how.steps))
    predict = _predictor(method, state, told)

    def back(x: jax.Array, step: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        t, earlier = (jnp.full(len(x), at) for at in step[:2])
        image, noise = diffusion.image_and_noise(schedule, x, predict(x, t), t, method.predicts)
        if how.clip:
            image = jnp.clip(image, -1, 1)
            noise = diffusion.image_and_noise(schedule, x, image, t, "image")[1]
        fresh = row_random(jax.random.normal, jax.random.fold_in(key, step[2] + 1), x.shape).astype(x.dtype)
        return diffusion.step_back(schedule, x, image, noise, t, earlier, fresh, how.eta, how.variance), None

    return method.space.decode(state.extra, lax.scan(back, start, steps)[0])


def latent_walk(method: Denoising, state: Any, key: jax.Array, stops: int = 4, frames: int = 8) -> jax.Array:
    """Images along great circles from noise to noise and back to the first, all told the same.

    Args:
        method: of `make`; it samples without new noise, as with eta 0.
        state: of the run.
        key: of the noise.
        stops: noises.
        frames: from one to the next.

    Returns:
        [stops frames, h, w, c] in 0..1.
    """
    method, shape = _without_new_noise(method), method.space.shape
    ends = row_random(jax.random.normal, key, (stops, shape[0] * shape[1] * shape[2]))
    t = jnp.arange(frames, dtype=ends.dtype)[None, :, None] / frames
    start = latent_walks.slerp(ends[:, None], jnp.roll(ends, -1, 0)[:, None], t).reshape(-1, *shape)
    told = jax.tree.map(lambda x: jnp.repeat(x, len(start), 0), in_turn(method, 1))
    return denoised(method, state, start, key, told)


def prompt_walk(method: Denoising, state: Any, key: jax.Array, frames: int = 8) -> jax.Array:
    """Images of one noise whose caption becomes the next prompt, and at the end the first: straight lines of words.

    Args:
        method: of `make`, told captions; the prompts have as many words each.
        state: of the run.
        key: of the noise.
        frames: from one prompt to the next.

    Returns:
        [m frames, h, w, c] in 0..1.
    """
    method = _without_new_noise(method)
    words, lengths = apply_eval(method.model, averaged(state), jnp.asarray(method.prompts), method="read")  # [m, t, e]
    t = jnp.arange(frames, dtype=words.dtype)[None, :, None, None] / frames
    between = latent_walks.lerp(words[:, None], jnp.roll(words, -1, 0)[:, None], t)
    between = between.reshape(-1, *words.shape[1:])  # [m frames, t, e]
    start = jnp.repeat(row_random(jax.random.normal, key, (1, *method.space.shape)), len(between), 0)
    return denoised(method, state, start, key, {"text": (between, jnp.repeat(lengths, frames))})


def _without_new_noise(method: Denoising) -> Denoising:
    return method._replace(sampler=method.sampler._replace(eta=0.0, variance="fixed_small"))


def _predictor(method: Denoising, state: Any, told: Mapping[str, Any]) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """`(x, t) -> prediction`, guided where the denoiser is told something. Captions are read once."""
    nothing = unconditional(method, told)
    both = [
        {"text": apply_eval(method.model, state, one["caption"], method="read")} if "caption" in one else dict(one)
        for one in (told, nothing)
    ]

    def predict(x: jax.Array, t: jax.Array) -> jax.Array:
        conditional = apply_eval(method.model, state, (x, t), **both[0])[0]
        if not told or method.sampler.guidance == 1:
            return conditional
        without = apply_eval(method.model, state, (x, t), **both[1])[0]
        return diffusion.guided(conditional, without, method.sampler.guidance)

    return predict


def check(method: Denoising, num_classes: int | None, labelled: bool) -> None:
    """Refuses settings that do not fit each other. Raises ConfigError.

    Args:
        method: of the configuration.
        num_classes: of the data.
        labelled: whether batches have labels.
    """
    told, guidance = method.model.num_classes, method.sampler.guidance
    if told and told_captions(method):
        raise ConfigError("config.model.num_classes is of a denoiser that is told a label, this one is told a caption")
    if told and (told != num_classes or not labelled):
        raise ConfigError(
            f"config.model.num_classes={told} must be the classes of the data, {num_classes}, or 0 for a denoiser that "
            "is not told the label"
        )
    if guidance != 1 and not told and not told_captions(method):
        raise ConfigError("config.sampler.guidance needs a denoiser that is told a label: set config.model.num_classes")
    if guidance != 1 and not method.without_label:
        raise ConfigError(
            "config.sampler.guidance needs labels that are hidden at times: set config.loss.without_label"
        )
    if method.sampler.variance == "fixed_large" and method.sampler.eta != 1:
        raise ConfigError(
            f"config.sampler.variance='fixed_large' is DDPM's, and config.sampler.eta={method.sampler.eta:g} adds less "
            "noise; set config.sampler.eta=1.0, or config.sampler.variance='fixed_small'"
        )
    if method.sampler.clip and not method.space.bounded:
        raise ConfigError(
            "config.sampler.clip=True bounds pixels, and codes have no bounds; set config.sampler.clip=False"
        )
    signal = np.asarray(method.schedule.signal)[diffusion.times(len(method.schedule.beta), method.sampler.steps)]
    if (
        method.predicts == "noise"
        and not method.sampler.clip
        and len(signal) > 1
        and signal[1] > MOST_GROWTH * signal[0]
    ):
        raise ConfigError(
            f"config.loss.predicts='noise' with config.sampler.clip=False: the first step of sampling divides by the "
            f"signal that is left, {signal[0]:.2g}, and multiplies each error by {signal[1] / signal[0]:.0f}; set "
            "config.loss.predicts='v', or config.schedule.name='linear'"
        )
