"""Few-shot classification by a prototypical network: classes that training does not know, from a few images of each.

image: [b, h, w, c] in 0..1; the class of an example under the name that `config.data.episodes.entry` gives, int [b]. A
batch is an episode, `config.data.episodes`: of each class the first `config.few_shot.training_shots` rows are its
support, whose mean is the prototype, and the others queries, which are classified by it. A query sees the prototypes of
the whole global batch. `extra`: {"batch_stats", "ema"?, "ema_statistics"?, "feedback"?}. Evaluations: "validation"
during training, "test" once at the end, over `config.few_shot.episodes` episodes, the same for every network, drawn
from the split's classes.

Reference: Snell, Swersky and Zemel 2017, "Prototypical Networks for Few-shot Learning", algorithm 1 and section 3.1.
"""

from functools import partial
from typing import NamedTuple

import jax

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted, Size
from cvdl_jax.core.parallel import gather_rows, row_places
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data import episodes, views
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import few_shot
from cvdl_jax.metrics.classification import correct
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops import prototypes
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from cvdl_jax.optim.ema import averaged

READS = ("model", "data", "few_shot", "normalise", "augment", "grad", "optim", "ema", "plateau", "early_stopping",
         "compute_dtype", "remat")  # fmt: skip


class FewShot(NamedTuple):
    """The arguments of `config.few_shot`."""

    embedding: Counted = 0  # numbers of an embedding; 0 for the features of the backbone, without a linear layer
    training_shots: Size = 1  # support of each class in a training episode
    way: Size = 5  # classes of an evaluation episode,
    shots: tuple[Size, ...] = (1, 5)  # support of each, one figure for each number,
    queries: Size = 15  # and queries of each
    episodes: Size = 600


def training_loss(model, normalise, drawn, shots, state, batch, key):
    """Sums over the queries of one episode; its rows are ordered by class, see `order.Episodes`."""
    episodes.classes_of(batch, drawn.entry)  # refuses mixed examples
    (x, _), state = apply_train(model, state, normalise(batch["image"]), key)
    centres = prototypes.of_support(prototypes.support(gather_rows(x), drawn.images, shots))  # [classes, e]
    which, asked = prototypes.episode(row_places(len(x)), drawn.images, shots)
    logits, weight = prototypes.scores(x, centres), asked.astype(x.dtype)
    losses, hits = softmax_cross_entropy(logits, which), correct(logits, which)
    count = weight.sum()
    return state, {"loss": ((losses * weight).sum(), count), "accuracy": ((hits * weight).sum(), count)}


def embeddings(model, normalise, state, batch):
    """Embeddings [b, e], by the averaged weights where the run keeps an average."""
    return apply_eval(model, averaged(state), normalise(batch["image"]))[0]


def evaluation_step(embed, entry, state, batch, key):
    """The embedding and the class of every row."""
    return {"embedding": embed(state, batch), "label": batch[entry]}


def finalise(settings, means, rows):
    """Accuracies over episodes with their intervals, and chance beside them."""
    metrics = {"examples": len(rows["label"]), "chance": 1 / settings.way}
    for shots in settings.shots:
        metrics |= few_shot.measured(
            rows["embedding"], rows["label"], settings.way, shots, settings.queries, settings.episodes
        )
    return metrics


def report(embed, entry, state, batch, key):
    """Images, each beside its nearest other of the batch."""
    from cvdl_jax.analysis.figures import embeddings as figures

    return {"neighbours": figures.neighbours(batch["image"], jax.jit(embed)(state, batch), batch[entry])}


def make(config, info) -> Task:
    """The task of a configuration."""
    drawn = episodes.settings_of(config, info.spec)
    settings = configs.call(FewShot, config.few_shot, "config.few_shot")
    if settings.training_shots >= drawn.images or drawn.classes < 2:
        raise ConfigError(
            f"config.few_shot.training_shots={settings.training_shots} and config.data.episodes.classes="
            f"{drawn.classes}, images={drawn.images}: an episode needs two classes, and more images of each than shots"
        )
    if settings.episodes < 2 or settings.way < 2:
        raise ConfigError(f"config.few_shot: episodes={settings.episodes} and way={settings.way} must be at least 2")
    why = "has no effect: the class of an image here is its place in the episode"
    views.refuse(config.augment, "config.augment", why, ("label_noise", "smooth_labels"))
    model = registry.create(
        config.model, "config.model", kinds=("backbones",),
        num_classes=settings.embedding, dtype=config.compute_dtype, remat=config.remat,
    )  # fmt: skip
    normalise, feedback = recipe.normalisation(config), recipe.feedback(config)
    embed = partial(embeddings, model, normalise)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(model, key, normalise(batch["image"])[:1], False)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    loss = partial(training_loss, model, normalise, drawn, settings.training_shots)
    step = partial(evaluation_step, embed, drawn.entry)
    return Task(
        init=init,
        train=chain(
            recipe.augmentation(config, info),
            recipe.descend(config, info, loss),
            recipe.average(config, loss),
        ),
        evals=recipe.evaluations(partial(Eval, step, partial(finalise, settings)), info.sizes),
        report=partial(report, embed, drawn.entry),
        on_eval=feedback.on_eval,
        predict=lambda state, batch: {"embedding": embed(state, batch)},
    )
