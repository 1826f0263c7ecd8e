"""Reading strings of a fixed length, such as captchas: one network with a softmax for every place of the string.

image: [b, h, w, c] in 0..1; symbols: int [b, length], classes from left to right, under the name that `config.entry`
gives. A backbone with length x classes scores looks at the whole image, so that nothing is cut into symbols first; the
loss is the mean cross-entropy of all places. `extra`: {"batch_stats", "ema"?, "ema_statistics"?, "feedback"?}.
Evaluations: "validation" during training, "test" once at the end on the selected checkpoint.

Reference: Goodfellow et al. 2014, "Multi-digit Number Recognition from Street View Imagery", section 4, without its
length, which is known here.
"""

from functools import partial

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.losses import classification
from cvdl_jax.optim.ema import averaged

READS = ("model", "loss", "data", "entry", "normalise", "augment", "grad", "optim", "ema", "plateau", "early_stopping",
         "compute_dtype", "remat")  # fmt: skip


def by_place(scores, length):
    """The scores [b, length classes] of a backbone as [b, length, classes]."""
    return scores.reshape(len(scores), length, -1)


def place_losses(loss, logits, symbols):
    """The mean loss of each string over its places: logits [b, length, classes], symbols [b, length] -> [b]."""
    flat = loss(logits.reshape(-1, logits.shape[-1]), symbols.reshape(-1))
    return flat.reshape(symbols.shape).mean(1)


def as_sums(losses, logits, symbols, mask):
    """Sums of the loss, of the right symbols and of the strings that are right throughout. Args: mask [b]."""
    hits = logits.argmax(-1) == symbols  # [b, length]
    count = mask.sum()
    return {
        "loss": ((losses * mask).sum(), count),
        "symbol_accuracy": ((hits.mean(1) * mask).sum(), count),
        "string_accuracy": ((hits.all(1) * mask).sum(), count),
    }


def training_loss(model, normalise, loss, entry, state, batch, key):
    """Sums of one training batch."""
    symbols = batch[entry]
    (scores, _), state = apply_train(model, state, normalise(batch["image"]), key)
    logits = by_place(scores, symbols.shape[1])
    return state, as_sums(place_losses(loss, logits, symbols), logits, symbols, jnp.ones(len(symbols)))


def logits_of(model, normalise, length, state, batch):
    """Logits [b, length, classes], of the averaged weights where the run keeps an average."""
    return by_place(apply_eval(model, averaged(state), normalise(batch["image"]))[0], length)


def evaluation_step(logits_fn, loss, entry, state, batch, key):
    """Sums over real rows, and what was read and what is there of every row, int [b, length]."""
    logits, symbols = logits_fn(state, batch), batch[entry]
    sums = as_sums(place_losses(loss, logits, symbols), logits, symbols, batch["mask"])
    return {**sums, "read": logits.argmax(-1), "truth": symbols}


def finalise(means, rows):
    """The means, Wilson's interval of whole strings, and the accuracy of each place: "place0_accuracy" ..."""
    right = rows["read"] == rows["truth"]  # [n, length]
    places = {f"place{i}_accuracy": float(x) for i, x in enumerate(right.mean(0))}
    return {**intervals.with_wilson(means, len(right), ["string_accuracy"]), **places, "examples": len(right)}


def report(logits_fn, entry, class_names, state, batch, key):
    """Images with what was read; what is there too, in red, where that is wrong."""
    from cvdl_jax.analysis.figures import images

    texts = [
        ["".join(images.class_name(c, class_names) for c in row) for row in strings.tolist()]
        for strings in (batch[entry], jax.jit(logits_fn)(state, batch).argmax(-1))
    ]
    titles = [(read, "black") if read == true else (f"{read}, not {true}", "tab:red")
              for true, read in zip(*texts, strict=True)]  # fmt: skip
    return {"predictions": images.titled_tiles(batch["image"], titles, 4, 2.4)}


def length_of(config, info) -> int:
    """The number of places of a string. Raises ConfigError for data without images and strings of one length."""
    symbols = info.spec.get(config.entry)
    if "image" not in info.spec or symbols is None or len(symbols.shape) != 2 or not info.num_classes:
        raise ConfigError(
            f"config.entry={config.entry!r} must name classes [length] beside an 'image', the data have "
            f"{ ({name: list(x.shape[1:]) for name, x in info.spec.items()}) }; set config.data.name=captchas and "
            "config.entry=symbols"
        )
    return symbols.shape[1]


def make(config, info) -> Task:
    """The task of a configuration."""
    length = length_of(config, info)
    more = {"num_classes": length * info.num_classes, "dtype": config.compute_dtype, "remat": config.remat}
    model = registry.create(config.model, "config.model", kinds=("backbones",), **more)
    normalise, feedback = recipe.normalisation(config), recipe.feedback(config)
    loss = configs.named(classification, config.loss, "config.loss", "logits", "labels")
    logits_fn = partial(logits_of, model, normalise, length)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(model, key, normalise(batch["image"])[:1], False)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    train_loss = partial(training_loss, model, normalise, loss, config.entry)
    step = partial(evaluation_step, logits_fn, loss, config.entry)
    return Task(
        init=init,
        train=chain(
            recipe.augmentation(config, info),
            recipe.descend(config, info, train_loss),
            recipe.average(config, train_loss),
        ),
        evals=recipe.evaluations(partial(Eval, step, finalise), info.sizes),
        report=partial(report, logits_fn, config.entry, info.class_names),
        on_eval=feedback.on_eval,
        predict=lambda state, batch: {"symbols": logits_fn(state, batch).argmax(-1)},
    )
