"""Pre-training of BERT: words that are hidden are to be told, and whether the second sentence follows the first.

tokens, segments: int [b, t]; length: int [b]; next: int [b], 1 where the second sentence follows, where `config.data.
text.pairs` makes pairs (without it only words are told). At every step other words are hidden, drawn from (seed, step,
row); in evaluations they depend on the text alone. The loss is the mean over the hidden words plus that over the pairs,
each pair with the weight of its hidden words, so that one weight serves both.
`params`: of the encoder and both heads; `extra`: {"batch_stats": {}, "ema"?, "feedback"?}.
Evaluations: "validation" during training, "test" once at the end on the selected checkpoint.

Reference: Devlin et al. 2019, "BERT", section 3.1.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.config import configs
from cvdl_jax.core import parallel, prng
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data import masked_words
from cvdl_jax.data.sentence_pairs import CLASSES
from cvdl_jax.engine import recipe
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.models.sequence.bert import Pretraining
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops import tokens
from cvdl_jax.optim.ema import averaged

READS = ("model", "data", "masking", "grad", "optim", "ema", "plateau", "early_stopping", "compute_dtype", "remat")
SHOWN = 8  # texts of the report


def inputs(batch, masked):
    """What the model reads."""
    return masked.tokens, batch["segments"], batch["length"], masked.places


def as_sums(scores, batch, masked, mask):
    """Sums over hidden words and pairs. Args: scores of words [b, m, v] and pairs [b, 2]; mask [b], 0 on padding."""
    words, pairs = scores
    weights = masked.weights * mask[:, None]  # [b, m]
    losses = optax.softmax_cross_entropy_with_integer_labels(words, masked.targets)  # [b, m]
    hits = words.argmax(-1) == masked.targets
    count = weights.sum()
    sums = {"masked_loss": ((losses * weights).sum(), count), "masked_accuracy": ((hits * weights).sum(), count)}
    total = (losses * weights).sum()
    if "next" in batch:
        losses = optax.softmax_cross_entropy_with_integer_labels(pairs, batch["next"])  # [b]
        hits = pairs.argmax(-1) == batch["next"]
        sums |= {"next_loss": ((losses * mask).sum(), mask.sum()), "next_accuracy": ((hits * mask).sum(), mask.sum())}
        total = total + (losses * weights.sum(1)).sum()
    return {"loss": (total, count), **sums}


def training_loss(model, vocabulary, how, buckets, state, batch, key):
    """Sums of one training batch, its words hidden anew, cut to the shortest bucket that holds it."""
    keys = jax.random.split(key)
    masked = masked_words.mask_words(keys[0], batch["tokens"], vocabulary, how)

    def scored(words, segments):
        places = jnp.minimum(masked.places, words.shape[1] - 1)  # of chosen words; those behind them weigh nothing
        (scores, _), new = apply_train(model, state, (words, segments, batch["length"], places), keys[1])
        return scores, new.extra["batch_stats"]

    longest = parallel.gather_rows(batch["length"]).max()
    scores, stats = tokens.in_bucket(scored, buckets, longest, masked.tokens, batch["segments"])
    state = state._replace(extra={**state.extra, "batch_stats": stats})
    return state, as_sums(scores, batch, masked, jnp.ones(len(batch["tokens"])))


def told(model, vocabulary, how, state, batch):
    """(scores of words and pairs, what was hidden), which a text always has alike."""
    with parallel.rows_known_by(parallel.contents(batch["tokens"])):
        masked = masked_words.mask_words(prng.root(0, parallel.backend()), batch["tokens"], vocabulary, how)
    return apply_eval(model, averaged(state), inputs(batch, masked))[0], masked


def evaluation_step(told_fn, state, batch, key):
    """Sums over the real rows of a padded batch; of every row the scores of its pair and what is true."""
    (words, pairs), masked = told_fn(state, batch)
    rows = {"scores": pairs, "label": batch["next"]} if "next" in batch else {}
    return {**as_sums((words, pairs), batch, masked, batch["mask"]), **rows}


def finalise(means, rows):
    """The means, the perplexity of hidden words, and Wilson's interval of the share of pairs that are told apart."""
    means = {**means, "masked_perplexity": math.exp(min(means["masked_loss"], 700.0))}
    if "label" not in rows:
        return means
    means["loss"] = means["masked_loss"] + means["next_loss"]
    return {**intervals.with_wilson(means, len(rows["label"]), ["next_accuracy"]), "examples": len(rows["label"])}


def page(told_fn, vocabulary, made, state, batch, key):
    """Texts with <told> words in the place of hidden ones, the truth beside them where that is another; and the pieces
    of a vocabulary that was made, as a file that another run can name.
    """
    from cvdl_jax.analysis.figures import images

    (words, pairs), masked = jax.device_get(jax.jit(told_fn)(state, batch))
    lines = []
    for i in range(min(SHOWN, len(masked.tokens))):
        text = [vocabulary[number] for number in masked.tokens[i, : batch["length"][i]]]
        for j in range(int(masked.weights[i].sum())):  # those that were chosen come first
            right, read = vocabulary[masked.targets[i, j]], vocabulary[words[i, j].argmax()]
            text[masked.places[i, j]] = f"<{read}>" if read == right else f"<{read}, not {right}>"
        lines.append(" ".join(text))
        if "next" in batch:
            truth, guess = int(batch["next"][i]), int(pairs[i].argmax())
            lines.append(f"    {CLASSES[guess]}: {'right' if guess == truth else 'wrong'}")
    shown = "\n".join(lines)
    pieces = {"vocabulary": "\n".join(vocabulary) + "\n"} if made else {}
    return {"hidden_words_texts": shown, "hidden_words": images.text_pages({"told": shown}, 110), **pieces}


def make(config, info) -> Task:
    """The pre-training task of a configuration."""
    how = configs.call(masked_words.Masking, config.masking, "config.masking")
    masked_words.check(how, info.vocabulary)
    encoder = registry.create(
        config.model, "config.model", kinds=("sequence",), vocabulary=len(info.vocabulary),
        dtype=config.compute_dtype, remat=config.remat,
    )  # fmt: skip
    model, feedback = Pretraining(encoder), recipe.feedback(config)
    told_fn, buckets = partial(told, model, info.vocabulary, how), tuple(config.data.text.get("buckets", ()))

    def init(key: jax.Array, batch: dict) -> dict:
        masked = masked_words.mask_words(key, batch["tokens"][:1], info.vocabulary, how)
        one = {name: x[:1] for name, x in batch.items()}
        params, stats = initialise(model, key, *inputs(one, masked), False)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    return Task(
        init=init,
        train=chain(
            recipe.descend(config, info, partial(training_loss, model, info.vocabulary, how, buckets)),
            recipe.average(config),
        ),
        evals=recipe.evaluations(partial(Eval, partial(evaluation_step, told_fn), finalise), info.sizes),
        report=partial(page, told_fn, info.vocabulary, not config.data.text.get("vocabulary")),
        on_eval=feedback.on_eval,
    )
