"""Translation of sequences: Transformers, and recurrent networks with attention or without.

source: int [b, s], target: int [b, t], each the symbols of a sentence, END, then padding (`ops/tokens.py`). In training
the decoder reads the true symbols before the one that it predicts (teacher forcing); in an evaluation it also writes
every sentence by itself, greedily and by beam search, and a sentence is exact where all of its symbols are right. The
loss is a mean over all symbols that are no padding. `extra`: {"ema"?, "feedback"?}.
Evaluations: "validation" during training, "test" once at the end on the selected checkpoint.

Reference: Sutskever et al. 2014; Bahdanau et al. 2015; Vaswani et al. 2017.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import NotNegative, Size
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.nn import observe
from cvdl_jax.ops import decoding, tokens
from cvdl_jax.ops.losses import classification
from cvdl_jax.optim.ema import averaged

READS = ("model", "loss", "data", "decoding", "grad", "optim", "ema", "plateau", "early_stopping", "compute_dtype",
         "remat")  # fmt: skip
SHOWN = 8  # sentences of the report, and attention maps of the first of them
MAPS = 2


class Decoding(NamedTuple):
    """The arguments of `config.decoding`: beams, and the length penalty of `ops/decoding.py:beam_search`."""

    beams: Size = 4
    length_penalty: NotNegative = 0.0


def as_sums(loss, logits, target, weight):
    """The loss and the accuracy of single symbols; logits [b, t, v], target [b, t], weight [b]."""
    losses = loss(logits.reshape(-1, logits.shape[-1]), target.reshape(-1)).reshape(target.shape)
    weights = tokens.there(target) * weight[:, None]  # [b, t]
    hits, count = logits.argmax(-1) == target, weights.sum()
    return {"loss": ((losses * weights).sum(), count), "token_accuracy": ((hits * weights).sum(), count)}


def training_loss(model, loss, state, batch, key):
    """Sums of one training batch, by teacher forcing."""
    target = batch["target"]
    logits, _ = model.apply(
        {"params": state.params}, batch["source"], tokens.shifted(target), True, rngs={"dropout": key}
    )
    return state, as_sums(loss, logits, target, jnp.ones(len(target)))


def written(model, how, length, params, source):
    """What the model writes by itself: {"greedy", "beam": int [b, length], END, then padding}."""
    memory = model.apply({"params": params}, source, False, method="encode")
    carry = {"memory": memory, "state": model.start(memory, length)}

    def advance(carry, symbols):
        logits, out = model.apply(
            {"params": params}, symbols[:, None], carry["memory"], False, carry["state"], method="decode"
        )
        return logits[:, 0], {**carry, "state": out["carry"]}

    about = (advance, carry, len(source), length, tokens.BEGIN, tokens.END)
    best = decoding.beam_search(*about, how.beams, how.length_penalty)[0][:, 0]
    return {"greedy": tokens.until_end(decoding.greedy(*about)[0]), "beam": tokens.until_end(best)}


def evaluation_step(model, loss, how, state, batch, key):
    """Sums over real rows, and of every row what was written and what is true."""
    params, target = averaged(state).params, batch["target"]
    logits, _ = observe.apply(model, {"params": params}, batch["source"], tokens.shifted(target), False)
    sums = as_sums(loss, logits, target, batch["mask"])
    return {**sums, **written(model, how, target.shape[1], params, batch["source"]), "truth": target}


def finalise(means, rows):
    """The means, and the share of exact sentences of both ways to write, with Wilson's interval."""
    truth = rows["truth"]
    exact = {f"{way}_exact": float((rows[way] == truth).all(1).mean()) for way in ("greedy", "beam")}
    return {**intervals.with_wilson({**means, **exact}, len(truth), exact), "sentences": len(truth)}


def words(symbols, names):
    """The words of one sentence [t], without its end and padding."""
    symbols = [i for i in symbols.tolist() if i not in (tokens.PADDING, tokens.END)]
    return [names[i] if names else str(i) for i in symbols]


def report(model, how, names, state, batch, key):
    """Sentences with their translations, and of models that attend, to which words of the source."""
    from cvdl_jax.analysis.figures import alignment, images

    params = averaged(state).params
    source, target = (batch[name][:SHOWN] for name in ("source", "target"))
    answers = jax.device_get(jax.jit(partial(written, model, how, target.shape[1]))(params, source))["beam"]
    lines = []
    for read, ours, true in zip(*map(jax.device_get, (source, answers, target)), strict=True):
        wrong = f"\n  not  {' '.join(words(true, names))}" if (ours != true).any() else ""
        lines.append(f"{' '.join(words(read, names))}\n   ->  {' '.join(words(ours, names))}{wrong}")
    page = "\n".join(lines)
    pages = {"translations": images.text_pages({"beam search": page}, width=100), "translated_sentences": page}
    looking = model.clone(attention_weights=True) if hasattr(model, "attention_weights") else model
    look = jax.jit(lambda p, s, y: looking.apply({"params": p}, s, tokens.shifted(y), False)[1].get("attention"))
    weights = look(params, source[:MAPS], answers[:MAPS])
    if weights is None:
        return pages
    sizes = zip(*(jax.device_get(tokens.lengths(x)).tolist() for x in (answers[:MAPS], source[:MAPS])), strict=True)
    maps = [(weights[i, :t, :s], [*words(answers[i], names), "<end>"][:t], [*words(source[i], names), "<end>"][:s])
            for i, (t, s) in enumerate(sizes)]  # fmt: skip
    return pages | {"attention": alignment.alignments(maps)}


def make(config, info) -> Task:
    """The task of a configuration."""
    spec = info.spec
    if not info.num_classes or any(len(getattr(spec.get(k), "shape", ())) != 2 for k in ("source", "target")):
        raise ConfigError(
            "experiment 'translate' needs symbols 'source' and 'target' of a fixed length, the data have "
            f"{ ({name: list(x.shape[1:]) for name, x in spec.items()}) }; set config.data.name=toy_translation"
        )
    how, feedback = configs.call(Decoding, config.decoding, "config.decoding"), recipe.feedback(config)
    symbols = {"source_symbols": info.num_classes, "target_symbols": info.num_classes}
    told = {"dtype": config.compute_dtype, "remat": config.remat, **symbols}
    model = registry.create(config.model, "config.model", kinds=("sequence",), **told)
    loss = configs.named(classification, config.loss, "config.loss", "logits", "labels")

    def init(key: jax.Array, batch: dict) -> dict:
        params = model.init(key, batch["source"][:1], batch["target"][:1], False)["params"]
        return {"params": params, "extra": dict(feedback.extra)}

    step = partial(evaluation_step, model, loss, how)
    return Task(
        init=init,
        train=chain(recipe.descend(config, info, partial(training_loss, model, loss)), recipe.average(config)),
        evals=recipe.evaluations(partial(Eval, step, finalise), info.sizes),
        report=partial(report, model, how, info.class_names),
        on_eval=feedback.on_eval,
    )
