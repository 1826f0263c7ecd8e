"""Autoencoders: dense or convolutional, denoising, sparse; variational ones, whose codes are samples, also conditional.

image: [b, h, w, c] in 0..1; label: int [b] of a conditional one (config.model.num_classes) and for figures. The input
is the image after `config.corruption`, a policy as `config.augment`'s, the target the image before it. `config.loss` is
of `ops/losses/reconstruction.py`, `config.latent` of `models/latent_costs.py`. `extra`: {"batch_stats", "ema"?,
"ema_statistics"?, "feedback"?}. Evaluations: "validation" and "test", of uncorrupted targets, with the means of the
codes for figures; and where a classifier is shown what a variational one decodes from N(0, 1), "judge" and "distance".
"""

from functools import partial

import jax
import jax.numpy as jnp

from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import from_run, recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.autoencoding import bound, inputs, label_of, learned, make_autoencoder, parts_of, sample
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.optim.ema import averaged

READS = ("model", "loss", "latent", "corruption", "bound_samples", "judge", "data", "augment", "grad", "optim", "ema",
         "plateau", "early_stopping", "compute_dtype", "remat")  # fmt: skip


def training_loss(method, state, batch, key):
    """Sums over the rows of one training batch."""
    keys = jax.random.split(key)
    seen, more = inputs(method, state, batch, keys[0])
    (logits, out), state = apply_train(method.model, state, seen, keys[1], **more)
    parts = parts_of(method, logits, out, batch)
    return state, {name: (part.sum(), jnp.ones(len(seen)).sum()) for name, part in parts.items()}


def evaluation_step(method, state, batch, key):
    """Sums over real rows, and the code of every row; a variational model is evaluated with one sample each."""
    state, keys = averaged(state), jax.random.split(key)
    seen, more = inputs(method, state, batch, keys[0])
    logits, out = apply_eval(method.model, state, seen, **more)
    parts = parts_of(method, logits, out, batch)
    if method.bound_samples:
        parts["bound"] = bound(method, state, seen, batch, keys[1])
    sums = {name: ((part * batch["mask"]).sum(), batch["mask"].sum()) for name, part in parts.items()}
    return {**sums, "code": out.get("mean", out["code"])}


def finalise(means, rows):
    """The means, and how many numbers of the code vary at all: those with a variance above 0.01."""
    return {**means, "active_units": float((rows["code"].var(0) > 0.01).sum())}


def report(method, class_names, seed, state, batch, key):
    """Images and what becomes of them, codes in the plane, walks between codes, and samples."""
    from cvdl_jax.analysis.figures import codes, images

    look = jax.jit(lambda state: apply_eval(method.model, averaged(state), batch["image"], **label_of(method, batch)))
    logits, out = look(state)
    figures = {
        "reconstructions": codes.pairs(batch["image"], jax.nn.sigmoid(logits)),
        "codes": codes.plane(out.get("mean", out["code"]), batch.get("label"), class_names),
    }
    if not method.model.num_classes:
        ways = codes.walks(out.get("mean", out["code"]))  # [n, steps, d]
        decoded = apply_eval(method.model, averaged(state), ways.reshape(-1, ways.shape[-1]), method="decode")
        figures["walks"] = images.mosaic(jax.nn.sigmoid(decoded), columns=ways.shape[1])
    if method.model.variational:
        figures["samples"] = images.mosaic(sample(method, state, jax.random.key(seed), 64))
    return figures


def make(config, info) -> Task:
    """The task of a configuration."""
    method, feedback = make_autoencoder(config, info), recipe.feedback(config)

    def init(key: jax.Array, batch: dict) -> dict:
        label = label_of(method, batch).get("label")
        one = (batch["image"][:1], False, None, None if label is None else label[:1])
        params, stats = initialise(method.model, key, *one)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    loss = partial(training_loss, method)
    evals = recipe.evaluations(partial(Eval, partial(evaluation_step, method), finalise), info.sizes)
    if config.judge and not method.model.variational:
        raise ConfigError("config.judge looks at samples, which a variational autoencoder alone has; remove it")
    evals |= from_run.judgements(config, info, partial(sample, method))
    train = chain(recipe.augmentation(config, info), recipe.descend(config, info, loss), recipe.average(config, loss))
    features = None if method.model.num_classes else partial(learned, method)  # those that are told labels see more
    drawn = partial(report, method, info.class_names, info.seed)
    return Task(init, train, evals, drawn, feedback.on_eval, features=features)
