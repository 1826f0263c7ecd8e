"""Classification by a few glimpses (hard attention): where to look is learned from the reward of a right answer.

image: [b, h, w, c] in 0..1; label: [b]. The objective of an image is the cross-entropy of its class, REINFORCE's term
of the places that were drawn, whose reward is 1 for a right class and 0 for another, and the squared error of the
baseline; `config.policy` scales the last two. Evaluations look where the mean of each place is: "validation" during
training, "test" once at the end; with an entry `place`, also how far the last glimpse is from it. `extra`:
{"batch_stats", "ema"?, "ema_statistics"?, "feedback"?}.

Reference: Mnih et al. 2014, "Recurrent Models of Visual Attention", section 3.2.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import NotNegative
from cvdl_jax.core.info import check_labelled
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.classification import correct
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from cvdl_jax.ops.losses.reinforce import baseline_error, reinforce
from cvdl_jax.optim.ema import averaged

READS = ("model", "policy", "data", "normalise", "augment", "grad", "optim", "ema", "plateau", "early_stopping",
         "compute_dtype", "remat")  # fmt: skip


class Policy(NamedTuple):
    """The arguments of `config.policy`."""

    reinforce: NotNegative = 1.0  # factor of REINFORCE's term
    baseline: NotNegative = 1.0  # factor of the squared error of the baseline


def training_loss(model, normalise, policy, state, batch, key):
    """Sums of one training batch."""
    (logits, out), state = apply_train(model, state, normalise(batch["image"]), key)
    reward = correct(logits, batch["label"]).astype(logits.dtype)  # [b]
    losses = softmax_cross_entropy(logits, batch["label"])
    chosen, error = reinforce(out["log_p"], reward, out["baseline"]), baseline_error(reward, out["baseline"])
    total, count = losses + policy.reinforce * chosen + policy.baseline * error, jnp.ones(len(reward)).sum()
    sums = {"loss": total, "cross_entropy": losses, "accuracy": reward, "baseline_error": error}
    return state, {name: (x.sum(), count) for name, x in sums.items()}


def looked(model, normalise, state, batch):
    """(logits [b, k], the places [b, T, 2]), by the averaged weights where the run keeps an average."""
    logits, out = apply_eval(model, averaged(state), normalise(batch["image"]))
    return logits, out["places"]


def evaluation_step(looked_fn, state, batch, key):
    """Sums over real rows: the loss, the accuracy, and where there is a place how far the last glimpse is from it."""
    (logits, places), mask = looked_fn(state, batch), batch["mask"]
    parts = {"loss": softmax_cross_entropy(logits, batch["label"]), "accuracy": correct(logits, batch["label"])}
    if "place" in batch:
        parts["distance"] = jnp.linalg.norm(places[:, -1] - batch["place"], axis=-1)
        parts["first_distance"] = jnp.linalg.norm(places[:, 0] - batch["place"], axis=-1)
    return {name: ((x * mask).sum(), mask.sum()) for name, x in parts.items()}


def finalise(size, means, rows):
    """The means, and Wilson's interval of the accuracy."""
    return {**intervals.with_wilson(means, size, ["accuracy"]), "examples": size}


def report(looked_fn, size, class_names, state, batch, key):
    """Images with the way of the glimpses and their smallest window, and the class that was read."""
    from cvdl_jax.analysis.figures import glimpses

    logits, places = map(np.asarray, jax.jit(looked_fn)(state, batch))
    return {"glimpses": glimpses.ways(batch["image"], places, size, batch["label"], logits.argmax(-1), class_names)}


def make(config, info) -> Task:
    """The task of a configuration."""
    check_labelled(config, info)
    if "image" not in info.spec:
        raise ConfigError(f"config.data.name={config.data.name!r} has no 'image' to look at; try translated_digits")
    more = {"num_classes": info.num_classes, "dtype": config.compute_dtype, "remat": config.remat}
    model = registry.create(config.model, "config.model", kinds=("multimodal",), **more)
    normalise, feedback = recipe.normalisation(config), recipe.feedback(config)
    policy = configs.call(Policy, config.policy, "config.policy")
    looked_fn = partial(looked, model, normalise)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(model, key, normalise(batch["image"])[:1], False)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    def evaluation(split: str) -> Eval:
        return Eval(partial(evaluation_step, looked_fn), partial(finalise, info.sizes[split]), data=split)

    loss = partial(training_loss, model, normalise, policy)
    return Task(
        init=init,
        train=chain(
            recipe.augmentation(config, info), recipe.descend(config, info, loss), recipe.average(config, loss)
        ),
        evals=recipe.evaluations(evaluation, info.sizes),
        report=partial(report, looked_fn, model.size, info.class_names),
        on_eval=feedback.on_eval,
        predict=lambda state, batch: {"logits": looked_fn(state, batch)[0]},
    )
