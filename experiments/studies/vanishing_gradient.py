"""A discriminator that is too good: the generator's gradient while the discriminator trains and the generator does not.

Data on a ring of Gaussians, a generator that begins at the origin. In the zero-sum game the generator minimises
`ln(1 - D(G(z)))`, whose gradient is in proportion to D(G(z)) and vanishes as D learns; `-ln D(G(z))` ("non-saturating")
has one in proportion to 1 - D(G(z)), which does not.
"""

from functools import partial

import jax
import numpy as np
import optax

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted, Positive, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.metrics import mode_coverage
from cvdl_jax.models import point_gan
from cvdl_jax.models.point_gan import Pair
from cvdl_jax.ops.losses import adversarial
from experiments.studies.mode_coverage import draw

READS = ("study",)
COSTS = {"minimax": adversarial.minimax, "non_saturating": adversarial.non_saturating}


def compare(
    seed: int,
    steps: tuple[Counted, ...] = (0, 5, 10, 20, 50, 100, 200, 500, 1000),
    width: Size = 128,
    batch: Size = 256,
    lr: Positive = 5e-4,
    std: Positive = 0.05,
):
    """({metric: number}, {name: values at the steps}).

    Of each cost "first" and "last" are log10 of the norm of the generator's gradient before the discriminator is
    trained and at the end, "ratio" the last norm over the first; "accuracy" is the discriminator's at the end.
    """
    keys = jax.random.split(jax.random.key(seed), 4)
    data = partial(draw, mode_coverage.ring(8), std)
    players = point_gan.create(keys[0], width)
    *hidden, (w, b) = players.generator
    players = players._replace(generator=[*hidden, (0.1 * w, b)])  # its points lie within the ring, and apart from it
    loss = adversarial.minimax()

    @jax.jit
    def measure(players):
        g, d = players
        norms = {
            name: optax.tree.norm(jax.grad(partial(point_gan.generator_loss, cost()))(g, d, keys[1], batch))
            for name, cost in COSTS.items()
        }
        real, fake = data(keys[2], batch), point_gan.points(g, keys[1], batch)
        right = [(point_gan.score(d, real) > 0).mean(), (point_gan.score(d, fake) < 0).mean()]
        return norms | {"accuracy": sum(right) / 2, "d_of_fake": jax.nn.sigmoid(point_gan.score(d, fake)).mean()}

    train = jax.jit(partial(point_gan.trained, loss=loss, draw=data, batch=batch, lr=lr, updates=Pair(0, 1)),
                    static_argnames="steps")  # fmt: skip
    rows, done = [], 0
    for i, step in enumerate(sorted(steps)):
        if step > done:
            players = train(players, key=jax.random.fold_in(keys[3], i), steps=step - done)
        done = max(step, done)
        rows.append(jax.device_get(measure(players)))
    values = {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}
    metrics = {"accuracy": values["accuracy"][-1], "d_of_fake": values["d_of_fake"][-1]}
    for name in COSTS:
        metrics |= {f"{name}/first": np.log10(values[name][0]), f"{name}/last": np.log10(values[name][-1])}
        metrics[f"{name}/ratio"] = values[name][-1] / values[name][0]
    return metrics, {"steps": np.array(sorted(steps)), **values}


def show(values):
    """The norms of both gradients, and how good the discriminator is, over its steps."""
    from cvdl_jax.analysis.figures.curves import panels

    axes_of = [("The generator's gradient", "steps of the discriminator", "norm"),
               ("The discriminator", "steps", "share, probability")]  # fmt: skip
    figure, (norms, quality) = panels(axes_of)
    for name in COSTS:
        norms.plot(values["steps"] + 1, values[name], "-o", markersize=3, label=name.replace("_", "-"))
    quality.plot(values["steps"] + 1, values["accuracy"], "-o", markersize=3, label="accuracy")
    quality.plot(values["steps"] + 1, values["d_of_fake"], "-o", markersize=3, label="D(G(z))")
    norms.set_yscale("log")
    for axis in (norms, quality):
        axis.set_xscale("log")
        axis.set_xlabel("steps of the discriminator + 1")
        axis.legend(fontsize=7)
    return {"gradients": figure}


def make(config, info) -> Task:
    """The study of a configuration."""
    section = configs.bind(compare, config.study, "config.study", seed=config.seed)
    return studies.measured(config, lambda: compare(**section), show)
