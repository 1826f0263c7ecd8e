"""AttGAN: images with other attributes, such as glasses or a smile, and the rest as it was.

image: [b, h, w, c] in 0..1, the players see 2 image - 1; label: the attributes a, 0 or 1, [b, n], of
`config.data.label_set`. The desired attributes b are a with each one turned with probability one half. A step is n
critic steps (`critic_steps`) on sub-batches of b / n rows, then one generator step on b / n rows; `config.weights` is
of `models/attribute_editing.py`. `params` and `opt`: {"discriminator": of the critic with its classifier, "generator":
encoder and decoder}; `extra`: {"batch_stats": {both}, "ema"?, "ema_statistics"?, "feedback"?}. Evaluations:
"validation" and "test", of images that had one attribute after the other turned: "edited", how often the critic's
classifier sees the desired one, "kept", how often it sees the others as they were; as controls "edited_of_unchanged",
what it says without any change, and "seen", how often it is right about real images; "reconstruction_l1", in 0..1.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.core import gradients
from cvdl_jax.core.parallel import row_random
from cvdl_jax.core.task import Eval, Task, chain, repeat
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.attribute_editing import costs, desired, edits, judged, make_method, sums_of
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.losses.penalties import gradient_penalty, interpolate

READS = ("model", "loss", "weights", "critic_steps", "data", "augment", "grad", "optim", "ema", "plateau",
         "early_stopping", "compute_dtype")  # fmt: skip


def discriminator_loss(method, state, batch, key):
    """Sums over real images and as many that were edited; the generator's statistics stay."""
    x, a, keys = 2 * batch["image"] - 1, batch["label"], jax.random.split(key, 5)
    inputs = x, desired(a, keys[0])[:, None]
    fake = lax.stop_gradient(apply_train(method.generator, state, inputs, keys[1], on="generator")[0][0][:, 0])
    on_real, logits, state = judged(method, state, x, keys[2])
    on_fake, _, state = judged(method, state, fake, keys[2])
    parts = {"adversarial": method.loss.discriminator(on_real, on_fake)}
    parts["attributes"] = method.weights.real * costs(logits, a)
    if method.loss.penalty:
        if jax.tree.leaves(state.extra["batch_stats"]["discriminator"]):
            raise ConfigError("config.loss.penalty needs a critic that does not mix rows; set norm='instance'")
        mixed = interpolate(x, fake, row_random(jax.random.uniform, keys[3], (len(x),)))
        slopes = gradient_penalty(lambda x: judged(method, state, x, keys[4])[0], mixed)
        parts["penalty"] = method.loss.penalty * slopes
    return state, sums_of(parts)


def generator_loss(method, n, state, batch, key):
    """Sums over b / n rows: x with its own attributes is x, with others it has these; the critic's statistics stay."""
    batch, keys = gradients.slice_rows({k: batch[k] for k in ("image", "label")}, n, 0), jax.random.split(key, 3)
    x, a = 2 * batch["image"] - 1, batch["label"]
    b = desired(a, keys[0])
    (made, _), state = apply_train(method.generator, state, (x, jnp.stack([a, b], 1)), keys[1], on="generator")
    score, logits, _ = judged(method, state, made[:, 1], keys[2])
    return state, sums_of(
        {
            "reconstruction": method.weights.reconstruction * abs(made[:, 0] - x).mean((1, 2, 3)),
            "attributes": method.weights.generated * costs(logits, b),
            "adversarial": method.loss.generator(score),
        }
    )


def evaluation_step(method, state, batch, key):
    """Sums over real rows."""
    (made, lists), mask, n = edits(method, state, batch), batch["mask"], batch["label"].shape[-1]
    says = lambda x: apply_eval(method.discriminator, state, x, on="discriminator")[1]["attributes"] > 0  # noqa: E731
    after, before = says(made[:, 1:].reshape(-1, *made.shape[2:])), says(2 * batch["image"] - 1)
    right = (after.reshape(-1, n, n) == (lists[:, 1:] > 0.5)).astype(made.dtype)  # [b, turned, seen]
    own, seen = jnp.diagonal(right, axis1=1, axis2=2), before == (batch["label"] > 0.5)
    values = {
        "edited": own.mean(-1),
        "kept": (right.sum((1, 2)) - own.sum(-1)) / max(n * (n - 1), 1),
        "edited_of_unchanged": 1 - seen.mean(-1),
        "seen": seen.mean(-1),
        "reconstruction_l1": abs(made[:, 0] - (2 * batch["image"] - 1)).mean((1, 2, 3)) / 2,
    }
    return {name: ((x * mask).sum(), mask.sum()) for name, x in values.items()}


def report(method, state, batch, key):
    """A row for each image: itself, with its own attributes, and with one after the other turned."""
    from cvdl_jax.analysis.figures.images import mosaic

    batch = {name: batch[name][:8] for name in ("image", "label")}
    made = jnp.clip((edits(method, state, batch)[0] + 1) / 2, 0, 1)
    rows = jnp.concatenate([batch["image"][:, None], made], 1)  # [b, 2 + n, h, w, c]
    return {"edits": mosaic(rows.reshape(-1, *rows.shape[2:]), columns=rows.shape[1])}


def make(config, info) -> Task:
    """The two-player task of a configuration."""
    n, feedback, method = recipe.critic_steps(config, info), recipe.feedback(config), make_method(config, info)

    def init(key: jax.Array, batch: dict) -> dict:
        keys, x, a = jax.random.split(key), batch["image"][:1], batch["label"][:1, None]
        d, d_stats = initialise(method.discriminator, keys[0], x, False)
        g, g_stats = initialise(method.generator, keys[1], x, a, False)
        stats = {"discriminator": d_stats, "generator": g_stats}
        return {"params": {"discriminator": d, "generator": g}, "extra": {"batch_stats": stats, **feedback.extra}}

    of_generator = partial(generator_loss, method, n)
    losses = {"discriminator": partial(discriminator_loss, method), "generator": of_generator}
    steps = recipe.players(config, info, losses, {"discriminator": n})
    train = chain(
        recipe.augmentation(config, info),
        repeat(steps["discriminator"], n),
        steps["generator"],
        recipe.average(config, of_generator, on="generator"),
    )
    evals = recipe.evaluations(partial(Eval, partial(evaluation_step, method), lambda means, rows: means), info.sizes)
    return Task(init, train, evals, partial(report, method), feedback.on_eval)
