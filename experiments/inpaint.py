"""Inpainting in two stages: a coarse guess of what is missing, and a refinement that two critics judge.

image: [b, h, w, c] in 0..1; the networks see 2 image - 1 with a square hole at a random place of each row, beside the
hole as a channel. The first stage's loss is `|gamma (f(h(x)) - x)|`, a mean over pixels with gamma = decay^distance to
what is known; the second's the same and the scores of a critic of the whole image and one of the window of the hole,
both of images whose known pixels are the true ones. `config.hole` is of `models/inpainting.py`. A step is n critic
steps (`critic_steps`) on sub-batches of b / n rows, then one step of both stages on b / n rows. `params` and `opt`:
{"critics", "generators"}, of `params` {"global", "local"} and {"coarse", "refined"}; `extra`: {"ema"?, "feedback"?}.
Evaluations: "validation" and "test", mean absolute differences in 0..1 inside of holes: of both stages, and as a
control of the mean colour of what is known.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.core import gradients
from cvdl_jax.core.parallel import row_random
from cvdl_jax.core.task import Eval, Task, chain, repeat
from cvdl_jax.engine import recipe
from cvdl_jax.models.inpainting import COARSE, GLOBAL, LOCAL, REFINED, complete, cut, learned, make_method, score
from cvdl_jax.nn.apply import initialise
from cvdl_jax.ops.images.holes import window
from cvdl_jax.ops.losses.penalties import gradient_penalty, interpolate
from cvdl_jax.optim.ema import averaged

READS = ("model", "loss", "hole", "critic_steps", "data", "augment", "grad", "optim", "ema", "plateau",
         "early_stopping", "compute_dtype", "remat")  # fmt: skip


def views(method, x, corners):
    """What each critic sees of images."""
    return {GLOBAL: x, LOCAL: window(x, corners, method.hole.side)}


def sums_of(parts):
    """The loss, which is the sum of the parts, and the parts: {name: [b]} -> {name: (sum, count)}."""
    parts = {"loss": sum(parts.values()), **parts}
    return {name: (x.sum(), jnp.ones(len(x)).sum()) for name, x in parts.items()}


def critic_loss(method, state, batch, key):
    """Sums over images and as many completed ones; slopes are those at the pixels of holes, as in the paper."""
    x, keys, parts = 2 * batch["image"] - 1, jax.random.split(key), {}
    hole = cut(method, x, keys[0])
    refined = complete(method, state.params, x, hole.mask, True)[1]
    made = lax.stop_gradient(hole.mask * refined + (1 - hole.mask) * x)
    t = row_random(jax.random.uniform, keys[1], (len(x),))
    real, fake, inside = (views(method, y, hole.corners) for y in (x, made, hole.mask))
    for name in (GLOBAL, LOCAL):
        judge = partial(score, method, state.params, name)
        parts[name] = method.loss.discriminator(judge(real[name]), judge(fake[name]))
        if method.loss.penalty:
            within = lambda y, name=name, judge=judge: judge(jnp.where(inside[name] > 0, y, real[name]))  # noqa: E731
            slopes = gradient_penalty(within, interpolate(real[name], fake[name], t))
            parts[f"{name}_penalty"] = method.loss.penalty * slopes
    return state, sums_of(parts)


def generator_loss(method, n, state, batch, key):
    """Sums over b / n rows, of both stages."""
    x = 2 * gradients.slice_rows(batch["image"], n, 0) - 1
    hole, parts = cut(method, x, key), {}
    results = dict(zip((COARSE, REFINED), complete(method, state.params, x, hole.mask, True), strict=True))
    for name, made in results.items():
        parts[name] = getattr(method.hole, name) * abs(hole.gamma * (made - x)).mean((1, 2, 3))
    whole = hole.mask * results[REFINED] + (1 - hole.mask) * x
    for name, seen in views(method, whole, hole.corners).items():
        parts[name] = method.hole.adversarial * method.loss.generator(score(method, state.params, name, seen))
    return state, sums_of(parts)


def evaluation_step(method, state, batch, key):
    """Sums over the pixels of the holes of real rows."""
    x, params = 2 * batch["image"] - 1, averaged(state, on="generators").params
    hole = cut(method, x, key)
    known = 1 - hole.mask
    mean = (known * x).sum((1, 2), keepdims=True) / known.sum((1, 2), keepdims=True)
    guesses = dict(zip((COARSE, REFINED), complete(method, params, x, hole.mask, False), strict=True))
    guesses["mean_colour"] = jnp.broadcast_to(mean, x.shape)
    inside = hole.mask.sum((1, 2, 3)) * x.shape[-1]
    errors = {name: (hole.mask * abs(y - x)).sum((1, 2, 3)) / inside / 2 for name, y in guesses.items()}
    return {f"{name}_l1": ((e * batch["mask"]).sum(), batch["mask"].sum()) for name, e in errors.items()}


def report(method, seed, state, batch, key):
    """Columns of images with their holes, both stages inside of them, and the images themselves."""
    from cvdl_jax.analysis.figures.images import mosaic

    x, params = 2 * batch["image"][:8] - 1, averaged(state, on="generators").params
    hole = cut(method, x, jax.random.key(seed))
    stages = complete(method, params, x, hole.mask, False)
    rows = [hole.mask + (1 - hole.mask) * x, *(hole.mask * y + (1 - hole.mask) * x for y in stages), x]
    return {"completed": mosaic((jnp.concatenate(rows) + 1) / 2, columns=len(x))}


def make(config, info) -> Task:
    """The task of a configuration."""
    method, feedback = make_method(config, info), recipe.feedback(config)
    n = recipe.critic_steps(config, info)

    def init(key: jax.Array, batch: dict) -> dict:
        x, keys = batch["image"][:1], jax.random.split(key, 4)
        seen = jnp.concatenate([x, x[..., :1]], -1)
        shown = views(method, x, jnp.zeros((1, 2), jnp.int32))
        made = {k: initialise(g, keys[i], seen, False)[0] for i, (k, g) in enumerate(method.generators.items())}
        judges = {k: initialise(c, keys[2 + i], shown[k], False)[0] for i, (k, c) in enumerate(method.critics.items())}
        return {"params": {"generators": made, "critics": judges}, "extra": dict(feedback.extra)}

    of_generators = partial(generator_loss, method, n)
    losses = {"critics": partial(critic_loss, method), "generators": of_generators}
    steps = recipe.players(config, info, losses, {"critics": n})
    train = chain(
        recipe.augmentation(config, info),
        repeat(steps["critics"], n),
        steps["generators"],
        recipe.average(config, of_generators, on="generators"),
    )
    evals = recipe.evaluations(partial(Eval, partial(evaluation_step, method), lambda means, rows: means), info.sizes)
    drawn = partial(report, method, info.seed)
    return Task(init, train, evals, drawn, feedback.on_eval, features=partial(learned, method))
