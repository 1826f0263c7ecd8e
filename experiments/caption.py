"""Captions of images: trained on the right words before each word, written at test from the network's own.

image: [b, h, w, c] in 0..1; captions: int [b, k, t], of which a training step takes one at random, "caption" [b, t]. A
network reads all words but the last and is to say all but the first; padding does not count. The loss of an image is
the negative log probability of its caption, and `config.doubly_stochastic` times `sum_i (1 - sum_t alpha_ti)^2`, which
asks the attention to see every place of the grid about once. `config.decode`: beams and length_penalty of
`ops/decoding.py`, beside the most probable word each time. `extra`: {"batch_stats", "ema"?, "ema_statistics"?,
"feedback"?}. Evaluations: "validation" during training, "test" once at the end: BLEU, CIDEr-D and the share of exact
captions, against all captions of an image.

Reference: Xu et al. 2015, "Show, Attend and Tell", equation 14; Vinyals et al. 2015, "Show and Tell", section 3.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data import captions
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import captions as measures
from cvdl_jax.models import registry
from cvdl_jax.models.multimodal.captioner import Decode, sentence, sentences, write
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.optim.ema import averaged

READS = ("model", "data", "normalise", "augment", "doubly_stochastic", "decode", "grad", "optim", "ema", "plateau",
         "early_stopping", "compute_dtype", "remat")  # fmt: skip
SHOWN = 4  # images whose attention is drawn


def word_losses(logits, caption):
    """What the next word costs at each place but the last, zero for padding, and which places hold a word.

    Args:
        logits: float [..., t - 1, v], after each word but the last.
        caption: int [..., t].
    """
    targets = caption[..., 1:]
    said = targets != captions.PADDING
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets) * said, said


def training_loss(model, normalise, strength, state, batch, key):
    """Sums of one training batch."""
    caption = batch["caption"]
    seen = normalise(batch["image"]), caption[:, :-1]
    (logits, out), state = apply_train(model, state, seen, key)
    losses, said = word_losses(logits, caption)
    missed = 1 - (out["attention"] * said[..., None]).sum(1)  # [b, n]
    total = losses.sum(1) + strength * jnp.square(missed).sum(1)  # [b]
    hits = (logits.argmax(-1) == caption[:, 1:]) & said
    count, rows = said.sum().astype(losses.dtype), jnp.full((), len(total), total.dtype)
    return state, {
        "loss": (total.sum(), rows),
        "word_loss": (losses.sum(), count),
        "word_accuracy": (hits.sum(), count),
    }


def look(model, normalise, state, batch):
    """The state before the first word, by the averaged weights where the run keeps an average."""
    return apply_eval(model, averaged(state), normalise(batch["image"]), method="look")


def read(model, state, tokens, carry):
    """(logits [b, t, v] after each of the words int [b, t], {"carry", "attention"})."""
    return apply_eval(model, averaged(state), (tokens, carry), method="read")


def evaluation_step(model, normalise, writing, state, batch, key):
    """The mean loss of a word over all captions of the real rows; what was written and what is there of every row."""
    carry, references = look(model, normalise, state, batch), batch["captions"]  # [b, k, t]
    b, k, t = references.shape
    several = jax.tree.map(lambda x: jnp.repeat(x, k, axis=0), carry)
    logits, _ = read(model, state, references.reshape(b * k, t)[:, :-1], several)
    losses, said = word_losses(logits.reshape(b, k, t - 1, -1), references)
    greedy, beam = writing(partial(read, model, state), carry, t - 1)
    word_loss = tuple((x.sum((1, 2)) * batch["mask"]).sum() for x in (losses, said))
    return {"word_loss": word_loss, "greedy": greedy, "beam": beam, "references": references}


def finalise(means, rows):
    """BLEU-1 to 4, CIDEr-D and exact captions of both ways to write; those of the beams without a prefix."""
    there = sentences(rows["references"])
    beam, greedy = ([sentence(row) for row in rows[way]] for way in ("beam", "greedy"))
    metrics = measures.measured(there, beam) | measures.measured(there, greedy, "greedy_")
    return {**means, **metrics, "examples": len(there)}


def report(model, normalise, writing, words, state, batch, key):
    """Images with what was written, red where no caption says so, and where the attention was at each word."""
    from cvdl_jax.analysis.figures import captions as figures

    @jax.jit
    def shown(state, batch):
        carry = look(model, normalise, state, batch)
        _, best = writing(partial(read, model, state), carry, batch["captions"].shape[-1] - 1)
        before = jnp.concatenate([jnp.full_like(best[:, :1], captions.BEGIN), best[:, :-1]], 1)
        return best, read(model, state, before, carry)[1]["attention"]

    best, alpha = map(np.asarray, shown(state, batch))
    right = [sentence(row) in several for row, several in zip(best, sentences(batch["captions"]), strict=True)]
    texts, there = ([captions.decode(row, words).split() for row in x] for x in (best, batch["captions"][:, 0]))
    pages = {"captions": figures.captioned(batch["image"], texts, there, right)}
    if alpha.shape[-1]:
        pages["attention"] = figures.attended(batch["image"][:SHOWN], texts[:SHOWN], alpha[:SHOWN])
    return pages


def make(config, info) -> Task:
    """The task of a configuration."""
    if "image" not in info.spec or "captions" not in info.spec:
        raise ConfigError(f"config.data.name={config.data.get('name')!r}: {config.experiment!r} needs an 'image' and "
                          "'captions'; name a set with both, and set config.data.caption_length")  # fmt: skip
    more = {"words": len(info.vocabulary), "dtype": config.compute_dtype, "remat": config.remat}
    model = registry.create(config.model, "config.model", kinds=("multimodal",), **more)
    if config.doubly_stochastic < 0 or (config.doubly_stochastic and model.attention == "none"):
        raise ConfigError(f"config.doubly_stochastic={config.doubly_stochastic} must be 0 or more, and 0 without "
                          f"attention; config.model.attention={model.attention!r}")  # fmt: skip
    normalise, feedback = recipe.normalisation(config), recipe.feedback(config)
    writing = partial(write, configs.call(Decode, config.decode, "config.decode"))

    def init(key: jax.Array, batch: dict) -> dict:
        tokens = jnp.full((1, 1), captions.BEGIN, jnp.int32)
        params, stats = initialise(model, key, normalise(batch["image"])[:1], tokens, False)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    loss = partial(training_loss, model, normalise, config.doubly_stochastic)
    step = partial(evaluation_step, model, normalise, writing)
    return Task(
        init=init,
        train=chain(captions.choose, recipe.augmentation(config, info), recipe.descend(config, info, loss),
                    recipe.average(config, loss)),
        evals=recipe.evaluations(partial(Eval, step, finalise), info.sizes),
        report=partial(report, model, normalise, writing, info.vocabulary),
        on_eval=feedback.on_eval,
    )  # fmt: skip
