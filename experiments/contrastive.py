"""Contrastive learning without labels (SimCLR): two augmented views of an image find each other in the batch.

image: [b, h, w, c] in 0..1; label: int [b], which only the evaluations see; index: int [b] for their bank. Each view is
drawn from `config.views`, a policy, and goes through the encoder and the projector, normalised by the statistics of its
own b rows. Among the 2 b vectors of the whole global batch, each is to be found by the other view of its image; of an
image that comes twice, told by `index`, the other vectors are left out, and accumulated gradients see the rows of one
part alone. `params`: {"encoder", "projector"}; `extra`: {"batch_stats" of both, "probe"?, "feedback"?}. Evaluations
"validation" and "test" are probes of the encoder's features, see `metrics/representation.py`.

Reference: Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations".
"""

from functools import partial

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Positive
from cvdl_jax.core.parallel import gather_rows, row_places
from cvdl_jax.core.task import Task, chain
from cvdl_jax.data.host import INDEX
from cvdl_jax.data.views import VIEWS, views
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import self_supervised
from cvdl_jax.ops.distances import unit
from cvdl_jax.ops.losses.self_supervision import nt_xent

READS = ("model", "projection", "contrast", "views", "probe", "data", "normalise", "augment", "grad", "optim",
         "plateau", "early_stopping", "compute_dtype", "remat")  # fmt: skip


def training_loss(method, state, batch, key, temperature: Positive = 0.5):
    """Sums over the rows, of which each has both views as anchors. `config.contrast` sets the temperature."""
    made, keys = [], jax.random.split(key)
    for view, view_key in zip(batch[VIEWS], keys, strict=True):
        vectors, state = self_supervised.embed(method, state, view, view_key)
        made.append(unit(vectors))
    everywhere = jnp.concatenate(gather_rows(tuple(made)))  # [2 n, e]: all first views, then all second ones
    n, places = len(everywhere) // 2, row_places(len(made[0]))
    if n < 2:
        raise ConfigError(
            "config.batch_size, divided by the parts of config.grad, leaves one image in a batch, and no other to tell "
            "it from; use larger batches"
        )
    twins = None
    if INDEX in batch:  # batches cross the borders of epochs, and an image may come twice
        twins = jnp.tile(batch[INDEX][:, None] == gather_rows(batch[INDEX])[None], 2)  # [b, 2 n]
    pairs = [nt_xent(made[0], everywhere, places, places + n, temperature, twins),
             nt_xent(made[1], everywhere, places + n, places, temperature, twins)]  # fmt: skip
    losses, hits = (sum(parts) / 2 for parts in zip(*pairs, strict=True))
    count = jnp.ones(len(losses)).sum()
    return state, {"loss": (losses.sum(), count), "batch_accuracy": (hits.sum(), count)}


def report(names, state, batch, key):
    """Images with two views of each."""
    from cvdl_jax.analysis.figures.images import mosaic

    few = {"image": batch["image"][:12]}
    seen = names.update(state, few, key)[1][VIEWS]
    return {"views": mosaic(jnp.concatenate([few["image"], *seen]), columns=len(few["image"]))}


def make(config, info) -> Task:
    """The task of a configuration."""
    method, feedback = self_supervised.projecting(config, info), recipe.feedback(config)
    two_views = views(config.views, 2)
    given = ("method", "state", "batch", "key")
    loss = partial(configs.partially(training_loss, config.contrast, "config.contrast", *given), method)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats, probe = self_supervised.initial(method, key, batch)
        return {"params": params, "extra": {"batch_stats": stats, **probe, **feedback.extra}}

    evaluations = self_supervised.evaluation(method, partial(self_supervised.features, method))
    splits = info.sizes if evaluations else ()
    return Task(
        init=init,
        train=chain(recipe.augmentation(config, info), two_views, recipe.descend(config, info, loss)),
        evals=recipe.evaluations(evaluations.get, splits),
        report=partial(report, two_views),
        on_eval=feedback.on_eval,
        predict=lambda state, batch: {"features": self_supervised.features(method, state, batch)},
    )
