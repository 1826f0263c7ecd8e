"""Character language models: LSTM, GRU or vanilla RNN, trained by truncated back-propagation through time, and GPT.

At step k every stream reads the next `streams.length` characters of the training text from the state it has; the
gradient does not go back beyond them (Williams and Peng 1990). A model with a `context`, the most characters that it
sees, begins anew with each of these windows, and so in evaluations (`text.evaluation_windows`); the windows' borders
move from round to round, as the text is no multiple of them. inputs, targets: int [b, t]. `extra`: {"ema"?,
"feedback"?}; `rows`: {"start": int [b], where a stream entered the text, "hidden"?: its carry, kept from step to step}.
There is no data section: a text is not a set of examples. Losses are in nats per character.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import lax

from cvdl_jax.analysis.figures import images
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.core.parallel import row_random
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data import text
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.models.sequence import recurrent
from cvdl_jax.nn import observe
from cvdl_jax.optim.ema import averaged

READS = ("model", "grad", "optim", "ema", "plateau", "early_stopping", "compute_dtype", "remat", "text", "streams",
         "sample")  # fmt: skip
EVALUATION_LENGTH = 256  # characters of a chunk; changes the speed, not the result


def read_on(corpus, length, state, batch, key):
    """Replaces the batch by what the streams read at this step, a function of the step alone."""
    ids = text.constant(corpus.splits["train"], corpus.vocabulary)
    return state, text.cut(ids, state.rows["start"], state.step, length), {}


def begin_anew(probability, state, batch, key):
    """Sets the state of a few streams to zero, so that the model knows how a text begins; the others go on."""
    rows = len(state.rows["start"])
    keep = 1 - row_random(lambda k, shape: jax.random.bernoulli(k, probability, shape), key, (rows,))  # [b]
    hidden = jax.tree.map(lambda h: h * keep[:, None].astype(h.dtype), state.rows["hidden"])
    return state._replace(rows={**state.rows, "hidden": hidden}), batch, {}


def training_loss(model, state, batch, key):
    """Cross-entropy of the next character; the state after the cut is kept, without its gradient."""
    carry = state.rows["hidden"] or None
    logits, out = model.apply({"params": state.params}, batch["inputs"], True, carry, rngs={"dropout": key})
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["targets"])  # [b, t]
    rows = {**state.rows, "hidden": lax.stop_gradient(out.get("carry", {}))}
    return state._replace(rows=rows), {"loss": (losses.sum(), jnp.full((), losses.size, losses.dtype))}


def first_carry(model, rows):
    """The state before a text; empty for a model that begins anew with every window."""
    return {} if hasattr(model, "context") else model.zero_carry(rows)


def weights(state):
    """The averaged weights where the run keeps an average."""
    return averaged(state).params


def evaluation_step(model, ids, streams, state, batch, key):
    """Reads a whole text once, the state carried from chunk to chunk, if any: chunks {name: [chunks, streams, t]}."""
    cut = text.evaluation_windows if hasattr(model, "context") else text.evaluation_chunks
    chunks = cut(ids, streams, getattr(model, "context", EVALUATION_LENGTH))

    def read(carry, chunk):
        logits, out = model.apply({"params": weights(state)}, chunk["inputs"], False, carry or None)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, chunk["targets"])  # [streams, t]
        hits = (jnp.argmax(logits, -1) == chunk["targets"]).astype(losses.dtype)
        return out.get("carry", {}), {
            "loss": (losses * chunk["mask"]).sum(),
            "accuracy": (hits * chunk["mask"]).sum(),
            "characters": chunk["mask"].sum(),
        }

    if observe.looking():  # the scan hides what the model does; its first chunk stands for all
        observe.apply(model, {"params": weights(state)}, jnp.asarray(chunks["inputs"][0]), False)
    sums = lax.scan(read, first_carry(model, chunks["mask"].shape[1]), jax.tree.map(jnp.asarray, chunks))[1]
    totals = {name: of_chunks.sum() for name, of_chunks in sums.items()}
    count = totals["characters"]
    return {name: (total, jnp.ones_like(count) if name == "characters" else count) for name, total in totals.items()}


def finalise(size, means, rows):
    """Bits and perplexity; refuses a count of predicted characters that is not the text's."""
    if abs(means["characters"] - size) > 0.5:
        raise RuntimeError(f"{means['characters']:.0f} characters were predicted, the text has {size}")
    return {**means, "bits": means["loss"] / math.log(2), "perplexity": math.exp(min(means["loss"], 700.0))}


def sampler(model, vocabulary, prompt: str, length: Size, temperatures: tuple[Positive, ...]):
    """The report of `config.sample`: a text for each temperature, and all of them side by side as a figure."""
    ids = text.encode(prompt, vocabulary, "config.sample.prompt")
    draw = jax.jit(partial(recurrent.sample, model), static_argnames="length")

    def report(state, batch, key):
        pages = {}
        for i, t in enumerate(temperatures):
            drawn = draw(weights(state), ids, jax.random.fold_in(key, i), length=length, temperature=jnp.float32(t))
            pages[f"temperature {t:g}"] = prompt + text.decode(drawn, vocabulary)
        texts_of = {f"samples_{title.replace(' ', '_')}": page for title, page in pages.items()}
        return {**texts_of, "samples": images.text_pages(pages)}

    return report


def make(config, info) -> Task:
    """The language task of a configuration."""
    corpus = configs.call(text.load, config.text, "config.text")
    streams = configs.call(text.StreamSettings, config.streams, "config.streams")
    told = {"num_classes": len(corpus.vocabulary), "dtype": config.compute_dtype, "remat": config.remat}
    model = registry.create(config.model, "config.model", kinds=("sequence",), **told)
    feedback = recipe.feedback(config)
    context = getattr(model, "context", streams.length)
    if context != streams.length or (hasattr(model, "context") and streams.reset):
        anew = f"{config.model.name} begins anew with every window of config.model.context={context} characters"
        raise ConfigError(f"{anew}; set config.streams.length={context} and config.streams.reset=0.0")

    def init(key: jax.Array, batch: dict) -> dict:
        params = model.init(key, jnp.zeros((1, 1), jnp.int32), False)["params"]
        starts = jnp.asarray(text.stream_starts(len(corpus.splits["train"]), info.batch_size))
        rows = {"start": starts, "hidden": first_carry(model, info.batch_size)}
        return {"params": params, "extra": dict(feedback.extra), "rows": rows}

    def evaluation(split: str) -> Eval:
        chosen = corpus.splits[split]
        text.stream_starts(len(chosen), streams.evaluation)  # too many are refused before anything is compiled
        return Eval(partial(evaluation_step, model, chosen, streams.evaluation), partial(finalise, len(chosen)), data=1)

    return Task(
        init=init,
        train=chain(
            partial(read_on, corpus, streams.length),
            partial(begin_anew, streams.reset) if streams.reset else None,
            recipe.descend(config, info, partial(training_loss, model)),
            recipe.average(config),
        ),
        evals=recipe.evaluations(evaluation, corpus.splits),
        report=configs.call(sampler, config.sample, "config.sample", model=model, vocabulary=corpus.vocabulary),
        on_eval=feedback.on_eval,
    )
