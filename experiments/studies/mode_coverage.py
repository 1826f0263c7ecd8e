"""Mode collapse on Gaussians of the plane: how many modes a generator covers, by the loss, and by its discriminator.

A case is a loss of `ops/losses/adversarial.py` with its arguments, and `critic_steps`. One with `fixed=True` does not
train the discriminator together with the generator: it learns first to tell the data from points of a square, and then
stays as it is. Such a generator seeks what the discriminator likes best, quality without diversity. (A discriminator is
trained jointly because a fixed one is easily exploited; that does not remove collapse.)
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.metrics import mode_coverage
from cvdl_jax.models import point_gan
from cvdl_jax.models.point_gan import Pair
from cvdl_jax.ops.losses import adversarial

READS = ("study",)
DRAWN = 2500  # samples that are judged


def draw(centres, std, key, n):
    """Points [n, 2] of the mixture."""
    which, where = jax.random.split(key)
    place = jax.random.randint(which, (n,), 0, len(centres))
    return jnp.asarray(centres, jnp.float32)[place] + std * jax.random.normal(where, (n, 2))


def learned(data, extent, discriminator, key, steps, batch, lr):
    """A discriminator that tells the data from points of a square, which no generator has seen."""
    loss = adversarial.non_saturating()

    def objective(d, key):
        keys = jax.random.split(key, 3)
        fake = jax.random.uniform(keys[1], (batch, 2), minval=-extent, maxval=extent)
        return point_gan.discriminator_loss(loss, d, data(keys[0], batch), fake, keys[2])

    adam = point_gan.adam(lr)

    def step(carry, key):
        return point_gan.descend(adam, partial(objective, key=key), *carry), None

    return lax.scan(step, (discriminator, adam.init(discriminator)), jax.random.split(key, steps))[0][0]


def run(section, centres, std, width, steps, batch, lr, parts, key):
    """Samples at the start and after each part of training [parts + 1, DRAWN, 2], and mean scores of them [parts + 1].

    The scores are the discriminator's of the same time.
    """
    arguments = dict(section)
    fixed, critic = arguments.pop("fixed", False), arguments.pop("critic_steps", 1)
    loss = configs.named(adversarial, arguments, "config.study.cases")()
    keys, data = jax.random.split(key, parts + 3), partial(draw, centres, std)
    players = point_gan.create(keys[0], width)
    if fixed:
        extent = 1.5 * float(np.abs(centres).max())
        with_data = learned(data, extent, players.discriminator, keys[1], steps, batch, lr)
        players = players._replace(discriminator=with_data)
    one_part = partial(point_gan.trained, loss=loss, draw=data, steps=steps // parts, batch=batch, lr=lr,
                       updates=Pair(1, 0 if fixed else critic))  # fmt: skip

    def look(players):
        x = point_gan.points(players.generator, keys[2], DRAWN)
        return x, point_gan.score(players.discriminator, x).mean()

    def part(players, key):
        players = one_part(players, key=key)
        return players, look(players)

    first = look(players)
    rest = lax.scan(part, players, keys[3:])[1]
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)


def compare(
    seed: int,
    cases: Mapping[str, Mapping[str, Any]],
    shape: Literal["ring", "grid"] = "ring",
    modes: Size = 8,
    std: Positive = 0.05,
    width: Size = 128,
    steps: Size = 6000,
    batch: Size = 256,
    lr: Positive = 5e-4,
    parts: Size = 6,
):
    """({metric: number}, what is drawn): `mode_coverage.coverage` of each case at the end, and of the data themselves.

    Of a grid `modes` is the number on a side. "first_score" and "score" are mean scores of samples
    by a case's own discriminator.
    """
    centres = mode_coverage.ring(modes) if shape == "ring" else mode_coverage.grid(modes)
    real = np.asarray(draw(centres, std, jax.random.key(seed + 1), DRAWN))
    measure = partial(mode_coverage.coverage, centres=centres, std=std)
    metrics, shown = {f"data/{name}": value for name, value in measure(real).items()}, {"data": [real]}
    for case, section in cases.items():
        arguments = (section, centres, std, width, steps, batch, lr, parts)
        samples, scores = jax.device_get(jax.jit(partial(run, *arguments))(jax.random.key(seed)))
        shown[case] = samples
        metrics |= {f"{case}/{name}": value for name, value in measure(samples[-1]).items()}
        metrics |= {f"{case}/first_score": scores[0], f"{case}/score": scores[-1]}
        metrics[f"{case}/most_modes"] = max(measure(x)["modes"] for x in samples)
    # no divergence where no sample is near a mode
    return {name: value for name, value in metrics.items() if value == value}, (centres, steps, shown)


def show(what):
    """Samples of each case (a row) while it trains, over the modes."""
    from cvdl_jax.analysis.figures import images

    centres, steps, shown = what
    columns = max(map(len, shown.values()))
    figure, axes = images.new_figure(len(shown), columns, inches=1.5)
    bound = 1.4 * np.abs(centres).max()
    for row, (case, samples) in zip(axes, shown.items(), strict=True):
        for k, axis in enumerate(row):
            axis.set_axis_off()
            if k < len(samples):
                axis.scatter(*centres.T, s=12, color="tab:orange", alpha=0.5, linewidths=0)
                axis.scatter(*samples[k][:600].T, s=1, color="tab:blue", linewidths=0)
                axis.set(xlim=(-bound, bound), ylim=(-bound, bound))
                name = "" if len(samples) == 1 else f"\n{k * steps // (len(samples) - 1):,} steps"
                axis.set_title(f"{case if k == 0 else ''}{name}", fontsize=6)
    return {"samples": figure}


def make(config, info) -> Task:
    """The study of a configuration."""
    section = configs.bind(compare, config.study, "config.study", seed=config.seed)
    return studies.measured(config, lambda: compare(**section), show)
