"""Image to image: CycleGAN on two sets of images, or pix2pix on pairs of them.

image, image_after: [b, h, w, c] in 0..1; the players see 2 image - 1. Of sets of which no image belongs to another,
image and image_other, and once [b, 2], 1 where each is in its split for the first time. A generator for each way,
`forward` from image to the other and `backward`, and for each a discriminator of what it makes (`config.objective`, of
`models/image_translating.py`). A step descends both generators together, then both discriminators, which are shown
images of the pool. `params` and `opt`: {"generators", "discriminators"}, of `params` each {way: ...}; `rows`: {way:
{"shown", and of a pool "images", "kept"}}; `extra`: {"ema"?, "feedback"?}. Evaluations: "validation" and "test", mean
absolute differences in 0..1: of translations and the images that belong to them, where these are known, with
`unchanged_l1` of the inputs themselves as the control; of inputs that are translated there and back.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data import pairs
from cvdl_jax.engine import recipe
from cvdl_jax.models.image_translating import (
    distance,
    empty_pool,
    exchanged,
    make_method,
    patches,
    predicted,
    scores,
    translate,
)  # fmt: skip
from cvdl_jax.nn.apply import initialise
from cvdl_jax.ops.losses.translation import BACKWARD, FORWARD
from cvdl_jax.optim.ema import averaged

READS = ("model", "loss", "objective", "data", "augment", "grad", "optim", "ema", "plateau", "early_stopping",
         "compute_dtype", "remat")  # fmt: skip
OTHER = {FORWARD: BACKWARD, BACKWARD: FORWARD}


def seen(batch):
    """{way: its inputs in -1..1}; the inputs of the other way are images of its target's domain."""
    return {FORWARD: 2 * batch["image"] - 1, BACKWARD: 2 * batch[pairs.second(batch)] - 1}


def generator_loss(method, state, batch, key):
    """Sums over the rows, and in the state the images that the discriminators are to be shown."""
    goal, inputs, parts, rows = method.objective, seen(batch), {}, dict(state.rows)
    made = {}
    for i, way in enumerate(goal.ways):
        keys = jax.random.split(jax.random.fold_in(key, i), 4)
        made[way] = translate(method, state.params, way, inputs[way], True, keys[0])
        judged = scores(method, state.params, way, inputs[way], made[way])
        parts[f"{way}_adversarial"] = patches(method.loss.generator(judged))
        if goal.l1:
            parts[f"{way}_l1"] = goal.l1 * distance(made[way], inputs[OTHER[way]])
        if goal.cycle:
            again = translate(method, state.params, OTHER[way], made[way], True, keys[1])
            parts[f"{way}_cycle"] = goal.cycle * distance(again, inputs[way])
        if goal.identity:
            same = translate(method, state.params, way, inputs[OTHER[way]], True, keys[2])
            parts[f"{way}_identity"] = goal.identity * distance(same, inputs[OTHER[way]])
        rows[way] = shown(rows[way], lax.stop_gradient(made[way]), keys[3])
    losses = {"loss": sum(parts.values()), **parts}
    return state._replace(rows=rows), {k: (x.sum(), jnp.ones(len(x)).sum()) for k, x in losses.items()}


def shown(rows, made, key):
    """The rows of one way after new images have come."""
    if "images" not in rows:
        return {"shown": made}
    pool, old = exchanged({"images": rows["images"], "kept": rows["kept"]}, made, key)
    return {**pool, "shown": old}


def discriminator_loss(method, state, batch, key):
    """Sums over real images and those shown, of every way."""
    inputs, parts = seen(batch), {}
    for way in method.objective.ways:
        on_real = scores(method, state.params, way, inputs[way], inputs[OTHER[way]])
        on_made = scores(method, state.params, way, inputs[way], state.rows[way]["shown"])
        parts[way] = patches(method.loss.discriminator(on_real, on_made))
        parts[f"{way}_real"], parts[f"{way}_made"] = patches(on_real), patches(on_made)
    losses = {"loss": sum(parts[way] for way in method.objective.ways), **parts}
    return state, {k: (x.sum(), jnp.ones(len(x)).sum()) for k, x in losses.items()}


def evaluation_step(method, state, batch, key):
    """Sums over real rows: distances of pixels in 0..1; images of the smaller of two sets count once."""
    params, inputs, mask = averaged(state, on="generators").params, seen(batch), batch["mask"]
    known = pairs.AFTER in batch
    parts = {"unchanged_l1": (distance(inputs[FORWARD], inputs[BACKWARD]), mask)} if known else {}
    for i, way in enumerate(method.objective.ways):
        made = translate(method, params, way, inputs[way], False)
        if known:
            parts[f"{way}_l1"] = distance(made, inputs[OTHER[way]]), mask
        if len(method.objective.ways) == 2:
            again = translate(method, params, OTHER[way], made, False)
            parts[f"{way}_cycle_l1"] = distance(again, inputs[way]), mask if known else mask * batch[pairs.ONCE][:, i]
    return {name: ((x * weight).sum() / 2, weight.sum()) for name, (x, weight) in parts.items()}


def report(method, state, batch, key):
    """Of each way, inputs, their translations, these translated back, and the images that belong to them, if any."""
    from cvdl_jax.analysis.figures.images import mosaic

    params, inputs, figures = averaged(state, on="generators").params, seen(batch), {}
    for way in method.objective.ways:
        columns = min(8, len(batch["image"]))
        made = translate(method, params, way, inputs[way], False)
        rows = [inputs[way], made, *([inputs[OTHER[way]]] if pairs.AFTER in batch else [])]
        if len(method.objective.ways) == 2:
            rows.insert(2, translate(method, params, OTHER[way], made, False))
        figures[way] = mosaic((jnp.concatenate([x[:columns] for x in rows]) + 1) / 2, columns)
    return figures


def make(config, info) -> Task:
    """The task of a configuration."""
    method, feedback = make_method(config, info), recipe.feedback(config)

    def init(key: jax.Array, batch: dict) -> dict:
        params = {"generators": {}, "discriminators": {}}
        first, ways = batch["image"][:1], method.objective.ways
        pair = first if len(ways) == 2 else jnp.concatenate([first, first], -1)
        for i, way in enumerate(ways):
            keys = jax.random.split(jax.random.fold_in(key, i))
            params["generators"][way] = initialise(method.generator, keys[0], first, False)[0]
            params["discriminators"][way] = initialise(method.discriminator, keys[1], pair, False)[0]
        rows = {way: empty_pool(method.objective, len(batch["image"]), batch["image"]) for way in ways}
        return {"params": params, "extra": dict(feedback.extra), "rows": rows}

    losses = {"generators": partial(generator_loss, method), "discriminators": partial(discriminator_loss, method)}
    steps = recipe.players(config, info, losses)
    average = recipe.average(config, losses["generators"], on="generators")
    augment = recipe.augmentation(config, info)  # of both images of a row alike
    alike = augment and chain(pairs.join, augment, pairs.part)
    train = chain(alike, *steps.values(), average)
    evals = recipe.evaluations(partial(Eval, partial(evaluation_step, method), lambda means, rows: means), info.sizes)
    return Task(init, train, evals, partial(report, method), feedback.on_eval, predict=partial(predicted, method))
