"""Instance discrimination: every training image is a class of its own, and a memory bank holds the classes' weights.

image: [b, h, w, c] in 0..1, after `config.augment`; index: int [b], the places of the images in the training split;
label: int [b], which only the evaluations see. A vector of the projector, of length one, is told apart from the
vectors of all training images by a softmax of cosines. Then the entry of each image of the batch becomes a mean of the
old one and the new vector, of length one again; other entries stay. `params`: {"encoder", "projector"}; `extra`:
{"batch_stats" of both, "memory": [n, e], "probe"?, "feedback"?}. Evaluations "validation" and "test" are probes of the
encoder's features, see `metrics/representation.py`.

Reference: Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", sections 3.1 and
3.3; the mean of old and new vectors is that of their program, whose share is 0.5.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config import configs
from cvdl_jax.config.binding import NotNegative, Positive, Share
from cvdl_jax.core.parallel import gather_rows
from cvdl_jax.core.task import Task, chain
from cvdl_jax.data import views
from cvdl_jax.data.host import INDEX
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import self_supervised
from cvdl_jax.ops.distances import unit
from cvdl_jax.ops.losses.self_supervision import instances

READS = ("model", "projection", "instances", "probe", "data", "normalise", "augment", "grad", "optim", "plateau",
         "early_stopping", "compute_dtype", "remat")  # fmt: skip
MEMORY = "memory"


def updated(memory, index, vectors, keep):
    """The memory [n, e] after the vectors [b, e] of the images index [b]; an image that came twice counts once."""
    same = (index[:, None] == index[None]).astype(vectors.dtype)  # [b, b]
    mean = same @ vectors / same.sum(1, keepdims=True)  # equal rows for equal images: their order cannot matter
    return memory.at[index].set(unit(keep * memory[index] + (1 - keep) * mean))


def training_loss(
    method, state, batch, key, temperature: Positive = 0.07, keep: Share = 0.5, proximal: NotNegative = 0.0
):
    """Sums over the rows; `config.instances` sets the temperature, the share of old vectors, and eq. 10's lambda."""
    vectors, new = self_supervised.embed(method, state, batch["image"], key)
    vectors, memory, index = unit(vectors), state.extra[MEMORY], batch[INDEX]
    losses, hits = instances(vectors, memory, index, temperature)
    if proximal:
        losses = losses + proximal * ((vectors - lax.stop_gradient(memory[index])) ** 2).sum(1)
    everywhere = gather_rows((index, lax.stop_gradient(vectors)))
    new = new._replace(extra={**new.extra, MEMORY: updated(memory, *everywhere, keep)})
    count = jnp.ones(len(losses)).sum()
    return new, {"loss": (losses.sum(), count), "batch_accuracy": (hits.sum(), count)}


def make(config, info) -> Task:
    """The task of a configuration."""
    method, feedback = self_supervised.projecting(config, info), recipe.feedback(config)
    if INDEX not in info.spec:
        raise ConfigError(
            "experiment 'instance_discrimination' keeps a vector of each training image; set config.data.numbered=True"
        )
    mixing = [name for name in views.COUPLED if name != views.REPEATED]
    views.refuse(config.augment, "config.augment", "makes one image of several, and each is a class here", mixing)
    given = ("method", "state", "batch", "key")
    loss = partial(configs.partially(training_loss, config.instances, "config.instances", *given), method)

    def init(key: jax.Array, batch: dict) -> dict:
        keys = jax.random.split(key)
        params, stats, probe = self_supervised.initial(method, keys[0], batch)
        size = (info.sizes["train"], method.projector.prototypes or method.projector.size)
        memory = unit(jax.random.normal(keys[1], size))
        return {"params": params, "extra": {"batch_stats": stats, MEMORY: memory, **probe, **feedback.extra}}

    evaluations = self_supervised.evaluation(method, partial(self_supervised.features, method))
    return Task(
        init=init,
        train=chain(recipe.augmentation(config, info), recipe.descend(config, info, loss)),
        evals=recipe.evaluations(evaluations.get, info.sizes if evaluations else ()),
        on_eval=feedback.on_eval,
        predict=lambda state, batch: {"features": self_supervised.features(method, state, batch)},
    )
