"""What an experiment does with a denoiser: noisy inputs, its loss, and samples by one compiled scan of the way back."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config.binding import NotNegative, Probability, Share, Size
from cvdl_jax.core.parallel import row_random
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.apply import apply_eval
from cvdl_jax.ops import diffusion
from cvdl_jax.optim.ema import averaged


class Denoising(NamedTuple):
    """The functions that a configuration chooses.

    Attributes:
        model: the denoiser.
        schedule: of the noise.
        predicts: "noise", "image" or "v".
        without_label: how often a label is hidden in training.
        sampler: the arguments of `Sampler`.
    """

    model: Any
    schedule: diffusion.Schedule
    predicts: diffusion.Prediction
    without_label: float
    sampler: "Sampler"


class Sampler(NamedTuple):
    """The arguments of `config.sampler`.

    Attributes:
        steps: of the way back, at most those of the schedule.
        eta: 1 for DDPM's, 0 for DDIM's, which adds no noise.
        guidance: 1 for the condition alone, above 1 to exaggerate it; of a denoiser that is told a label.
        clip: bounds each predicted image to -1..1.
    """

    steps: Size = 1000
    eta: Probability = 1.0
    guidance: NotNegative = 1.0
    clip: bool = True


def objective(predicts: Literal["noise", "image", "v"] = "noise", without_label: Share = 0.1) -> tuple[str, float]:
    """The arguments of `config.loss`: what is predicted, and how often the label is hidden."""
    return predicts, without_label


def noisy(method: Denoising, batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    """Images with noise at random times, and what is to be said of them.

    Args:
        method: of `make`.
        batch: {"image": in 0..1 [b, h, w, c], "label": int [b]?}.
        key: of the step; each row draws its own time and noise.

    Returns:
        {"x": [b, h, w, c], "t": int [b], "target": [b, h, w, c], "label": int [b], of a denoiser that is told one}.
    """
    keys, image = jax.random.split(key, 3), 2 * batch["image"] - 1
    steps = len(method.schedule.beta)
    t = row_random(lambda k, shape: jax.random.randint(k, shape, 0, steps), keys[0], (len(image),))
    noise = row_random(jax.random.normal, keys[1], image.shape).astype(image.dtype)
    made = {"x": diffusion.add_noise(method.schedule, image, noise, t), "t": t}
    made["target"] = diffusion.target(method.schedule, image, noise, t, method.predicts)
    if not method.model.num_classes:
        return made
    hidden = row_random(lambda k, s: jax.random.bernoulli(k, method.without_label, s), keys[2], (len(image),))
    return {**made, "label": jnp.where(hidden, method.model.num_classes, batch["label"])}


def squared_error(predicted: jax.Array, made: dict[str, jax.Array]) -> jax.Array:
    """The mean over pixels of each row [b] (Ho et al. 2020, equation 14)."""
    return jnp.square(predicted - made["target"]).mean((1, 2, 3))


def model_inputs(made: dict[str, jax.Array]) -> tuple[tuple[jax.Array, jax.Array], dict[str, jax.Array]]:
    """What the denoiser takes before and after `train`."""
    return (made["x"], made["t"]), {name: made[name] for name in ("label",) if name in made}


def sample(method: Denoising, shape: tuple[int, int, int], state: Any, key: jax.Array, n: int) -> jax.Array:
    """Images [n, h, w, c] in 0..1 from noise, of the averaged weights where the run keeps an average.

    A denoiser that is told a label makes the classes in turn.

    Args:
        method: of `make`.
        shape: (h, w, c).
        state: of the run.
        key: each row draws its own noise from it.
        n: images.

    Reference: Ho et al. 2020, algorithm 2; Song et al. 2021, "Denoising Diffusion Implicit Models", equation 12.
    """
    state, how, schedule = averaged(state), method.sampler, method.schedule
    label = jnp.arange(n) % method.model.num_classes if method.model.num_classes else None
    times = jnp.asarray(diffusion.times(len(schedule.beta), how.steps))
    steps = (times, jnp.append(times[1:], -1), jnp.arange(how.steps))
    predict = _predictor(method, state, label)

    def back(x: jax.Array, step: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        t, earlier = (jnp.full(n, at) for at in step[:2])
        image, noise = diffusion.image_and_noise(schedule, x, predict(x, t), t, method.predicts)
        if how.clip:
            image = jnp.clip(image, -1, 1)
            noise = diffusion.image_and_noise(schedule, x, image, t, "image")[1]
        fresh = row_random(jax.random.normal, jax.random.fold_in(key, step[2] + 1), x.shape).astype(x.dtype)
        return diffusion.step_back(schedule, x, image, noise, t, earlier, fresh, how.eta), None

    start = row_random(jax.random.normal, jax.random.fold_in(key, 0), (n, *shape))
    return jnp.clip((lax.scan(back, start, steps)[0] + 1) / 2, 0, 1)


def _predictor(method: Denoising, state: Any, label: jax.Array | None) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """`(x, t) -> prediction`, guided where the denoiser is told a label."""
    if label is None:
        return lambda x, t: apply_eval(method.model, state, (x, t))[0]

    def predict(x: jax.Array, t: jax.Array) -> jax.Array:
        conditional = apply_eval(method.model, state, (x, t), label=label)[0]
        if method.sampler.guidance == 1:
            return conditional
        nothing = jnp.full_like(label, method.model.num_classes)
        unconditional = apply_eval(method.model, state, (x, t), label=nothing)[0]
        return diffusion.guided(conditional, unconditional, method.sampler.guidance)

    return predict


def check(method: Denoising, num_classes: int | None, labelled: bool) -> None:
    """Refuses settings that do not fit each other. Raises ConfigError.

    Args:
        method: of the configuration.
        num_classes: of the data.
        labelled: whether batches have labels.
    """
    told = method.model.num_classes
    if told and (told != num_classes or not labelled):
        raise ConfigError(
            f"config.model.num_classes={told} must be the classes of the data, {num_classes}, or 0 for a denoiser that "
            "is not told the label"
        )
    if method.sampler.guidance != 1 and not told:
        raise ConfigError("config.sampler.guidance needs a denoiser that is told a label: set config.model.num_classes")
    if method.sampler.guidance != 1 and not method.without_label:
        raise ConfigError(
            "config.sampler.guidance needs labels that are hidden at times: set config.loss.without_label"
        )
    diffusion.times(len(method.schedule.beta), method.sampler.steps)
