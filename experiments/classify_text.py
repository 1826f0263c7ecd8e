"""Classification of texts: an encoder, and a linear layer on the text's features; all parameters are trained.

tokens, segments: int [b, t]; length: int [b]; label: [b]. A BERT gives the features of [CLS], a `text_transformer` the
mean of the tokens. With `config.init_from`, a run of `bert` or a file of published weights, this is fine-tuning: the
encoder is taken from there, the last layer is new. `config.head_dropout` is the rate on the features.
`extra`: {"batch_stats", "ema"?, "ema_statistics"?, "feedback"?}.
Evaluations: "validation" during training, "test" once at the end on the selected checkpoint.

Reference: Devlin et al. 2019, "BERT", sections 3.2 and 4.1; Vaswani et al. 2017, "Attention Is All You Need".
"""

from functools import partial

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Share
from cvdl_jax.core.parallel import gather_rows
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.classification import correct
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.models.sequence.bert import Classifier
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops import tokens
from cvdl_jax.ops.losses import classification
from cvdl_jax.optim.ema import averaged

READS = (
    "model", "loss", "data", "head_dropout", "grad", "optim", "ema", "plateau", "early_stopping", "compute_dtype",
    "remat",
)  # fmt: skip
SHOWN = 12  # texts of the report


def inputs(batch):
    """What the model reads."""
    return batch["tokens"], batch["segments"], batch["length"]


def training_loss(model, loss, buckets, state, batch, key):
    """Sums of the loss and the accuracy of one training batch, cut to the shortest bucket that holds it."""

    def scores(*rows):
        (logits, _), new = apply_train(model, state, (*rows, batch["length"]), key)
        return logits, new.extra["batch_stats"]

    longest = gather_rows(batch["length"]).max()
    logits, stats = tokens.in_bucket(scores, buckets, longest, batch["tokens"], batch["segments"])
    state = state._replace(extra={**state.extra, "batch_stats": stats})
    hits, count = correct(logits, batch["label"]), jnp.ones(len(logits)).sum()
    return state, {"loss": (loss(logits, batch["label"]).sum(), count), "accuracy": (hits.sum(), count)}


def logits_of(model, state, batch):
    """Scores [b, num_classes], of the averaged weights where the run keeps an average."""
    return apply_eval(model, averaged(state), inputs(batch))[0]


def evaluation_step(logits_fn, loss, state, batch, key):
    """Sums over the real rows of a padded batch, and the scores and labels of every row."""
    logits, mask = logits_fn(state, batch), batch["mask"]
    return {
        "loss": ((loss(logits, batch["label"]) * mask).sum(), mask.sum()),
        "accuracy": ((correct(logits, batch["label"]) * mask).sum(), mask.sum()),
        "scores": logits,
        "label": batch["label"],
    }


def finalise(means, rows):
    """Accuracy with its 95 % Wilson interval, and the loss."""
    return {**intervals.with_wilson(means, len(rows["label"]), ["accuracy"]), "examples": len(rows["label"])}


def page(logits_fn, info, made, state, batch, key):
    """Some texts with their classes; and the pieces of a vocabulary that was made, as a file that others can name."""
    from cvdl_jax.analysis.figures import images
    from cvdl_jax.data import word_pieces

    vocabulary = word_pieces.vocabulary(info.vocabulary, "the data set")
    guesses, lines = jax.device_get(jax.jit(logits_fn)(state, batch)).argmax(-1), []
    for pieces, length, label, guess in zip(*map(batch.get, ("tokens", "length", "label")), guesses, strict=True):
        read, true = (images.class_name(int(c), info.class_names) for c in (guess, label))
        verdict = read if read == true else f"{read}, not {true}"
        lines.append(f"{verdict}: {vocabulary.decode(map(int, pieces[:length]))}")
    pieces = {"vocabulary": "\n".join(info.vocabulary) + "\n"} if made else {}
    return {"texts": "\n".join(lines[:SHOWN]), **pieces}


def check(config, info) -> None:
    """Refuses data without texts and classes. Raises ConfigError."""
    if not info.vocabulary or "label" not in info.spec or (info.num_classes or 0) < 2:
        raise ConfigError(
            f"config.data.name={config.data.get('name', '')!r} delivers {', '.join(info.spec) or 'nothing'}; "
            f"experiment {config.experiment!r} needs texts as tokens (config.data.text.length=128, say) and a 'label' "
            "of two classes or more (config.data.label names one that is called otherwise)"
        )


def make(config, info) -> Task:
    """The classification task of a configuration."""
    check(config, info)
    encoder = registry.create(
        config.model, "config.model", kinds=("sequence",), vocabulary=len(info.vocabulary),
        dtype=config.compute_dtype, remat=config.remat,
    )  # fmt: skip
    rate = configs.check_value(config.head_dropout, Share, "config.head_dropout")
    model, feedback = Classifier(encoder, info.num_classes, rate), recipe.feedback(config)
    loss = configs.named(classification, config.loss, "config.loss", "logits", "labels")
    logits_fn = partial(logits_of, model)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(model, key, *(x[:1] for x in inputs(batch)), False)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    train_loss = partial(training_loss, model, loss, tuple(config.data.text.get("buckets", ())))
    return Task(
        init=init,
        train=chain(recipe.descend(config, info, train_loss), recipe.average(config, train_loss)),
        evals=recipe.evaluations(partial(Eval, partial(evaluation_step, logits_fn, loss), finalise), info.sizes),
        report=partial(page, logits_fn, info, not config.data.text.get("vocabulary")),
        on_eval=feedback.on_eval,
        predict=lambda state, batch: {"scores": logits_fn(state, batch)},
    )
