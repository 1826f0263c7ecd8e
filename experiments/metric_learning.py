"""Metric learning: a siamese network of which images of one class are near, for verification and identification.

image: [b, h, w, c] in 0..1; the class under the name that `config.data.episodes.entry` gives, int [b]. A batch has some
images of each of some classes, `config.data.episodes`, and every row meets those of the whole global batch.

`config.loss`: contrastive, triplet or weighted_l1 of `ops/losses/metric.py`. `params`: {"encoder", "judge"? of
weighted_l1: weight [e] and bias}. `extra`: {"batch_stats": {"encoder"}, "thresholds": {"verify", "identify"}, "ema"?,
"ema_statistics"?, "feedback"?}. Evaluations: "validation" during training, which sets
the thresholds, "test" once at the end, of classes that neither training nor the thresholds have seen. Verification is
of all pairs of images; identification searches all images in a gallery with the first of each class, and, where it may
answer "nobody", of every other class.

Reference: Hadsell et al. 2006; Koch et al. 2015, "Siamese Neural Networks for One-shot Image Recognition".
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Inside, Size
from cvdl_jax.core.parallel import gather_rows, row_places, row_random
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data import episodes
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import verification
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops import distances
from cvdl_jax.ops.losses import metric
from cvdl_jax.optim.ema import averaged

READS = ("model", "loss", "data", "embedding", "normalise", "augment", "grad", "optim", "ema", "plateau",
         "early_stopping", "compute_dtype", "remat")  # fmt: skip
THRESHOLDS = ("verify", "identify")


class Embedding(NamedTuple):
    """The arguments of `config.embedding`."""

    size: Size = 64
    unit: bool = True  # embeddings of length one
    far: Inside = 0.01  # impostors that the thresholds accept: pairs of validation, and its probes who are not enrolled


def training_loss(model, normalise, scale, loss, entry, state, batch, key):
    """Sums of one training batch; "active" is the share of pairs or triplets that cost something."""
    (x, _), new = apply_train(model, state, normalise(batch["image"]), key, on="encoder")
    x, labels = scale(x), episodes.classes_of(batch, entry)
    everyone, all_labels = gather_rows((x, labels))
    draws = row_random(jax.random.uniform, jax.random.fold_in(key, 1), (len(x), len(everyone)))
    rows = metric.Rows(x, labels, row_places(len(x)), everyone, all_labels, draws, state.params.get("judge", {}))
    losses, weight = loss(rows)
    count = weight.sum()
    return new, {"loss": ((losses * weight).sum(), count), "active": (((losses > 0) * weight).sum(), count)}


def embeddings(model, normalise, scale, state, batch):
    """Embeddings [b, e], by the averaged weights where the run keeps an average."""
    return scale(apply_eval(model, averaged(state), normalise(batch["image"]), on="encoder")[0])


def evaluation_step(embed, entry, state, batch, key):
    """Embedding and class of every row; beside all of them the same thresholds, and weights of the judge."""
    x, judge = embed(state, batch), averaged(state).params.get("judge", {})
    parts = {name: state.extra["thresholds"][name] for name in THRESHOLDS} | judge
    same = {name: jnp.broadcast_to(part[None], (len(x), *part.shape)) for name, part in parts.items()}
    return {**same, "embedding": x, "label": batch[entry]}


def similarities(rows):
    """Scores of all pairs of images [n, n], by the judge where there is one."""
    judge = {name: rows[name][0] for name in ("weight", "bias") if name in rows}
    return verification.similarities(rows["embedding"], **judge)


def finalise(far, choose, means, rows):
    """Rates of verification and identification at the thresholds of the state, or at those that are chosen here."""
    scores, labels = similarities(rows), rows["label"]
    thresholds = [float(rows[name][0]) for name in THRESHOLDS]
    if choose:
        thresholds = verification.chosen(scores, labels, far)
    metrics = verification.measured(scores, labels, *thresholds)
    return metrics | {f"{name}_threshold": x for name, x in zip(THRESHOLDS, thresholds, strict=True)}


def remember(feedback, state, metrics):
    """Keeps the thresholds that the validation split has chosen."""
    kept = {name: metrics[f"validation/{name}_threshold"].astype(jnp.float32) for name in THRESHOLDS}
    state = state._replace(extra={**state.extra, "thresholds": kept})
    return feedback(state, metrics) if feedback else (state, jnp.zeros((), bool))


def drawn(metrics, rows):
    """The ROC curve of all pairs and the cumulative match characteristic."""
    from cvdl_jax.analysis.figures import embeddings as figures

    scores, labels = similarities(rows), rows["label"]
    match = verification.cumulative_match(verification.one_shot(scores, labels, verification.classes_of(labels)))
    return {"verification": figures.verification(*verification.pairs(scores, labels), match)}


def make(config, info) -> Task:
    """The task of a configuration."""
    groups = episodes.settings_of(config, info.spec)
    settings = configs.call(Embedding, config.embedding, "config.embedding")
    if min(groups.classes, groups.images) < 2 or "validation" not in info.sizes:
        raise ConfigError("config.data: pairs need config.data.episodes.classes and images of 2 or more, and "
                          "thresholds need config.data.validation, with classes of its own")  # fmt: skip
    loss = configs.named(metric, config.loss, "config.loss", "rows")
    more = {"num_classes": settings.size, "dtype": config.compute_dtype, "remat": config.remat}
    model = registry.create(config.model, "config.model", kinds=("backbones",), **more)
    normalise, feedback = recipe.normalisation(config), recipe.feedback(config)
    seen = normalise, distances.unit if settings.unit else (lambda x: x)
    embed = partial(embeddings, model, *seen)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(model, key, normalise(batch["image"])[:1], False)
        judge = {"weight": jnp.full(settings.size, -(settings.size**-0.5)), "bias": jnp.ones(())}
        nobody = jnp.finfo(jnp.float32).max  # no score passes, until a threshold is chosen
        thresholds = {name: jnp.asarray(nobody, jnp.float32) for name in THRESHOLDS}
        extra = {"batch_stats": {"encoder": stats}, "thresholds": thresholds, **feedback.extra}
        return {"params": {"encoder": params} | ({"judge": judge} if judged else {}), "extra": extra}

    judged = config.loss.name == "weighted_l1"
    train_loss = partial(training_loss, model, *seen, loss, groups.entry)
    step = partial(evaluation_step, embed, groups.entry)
    evals = recipe.evaluations(
        lambda split: Eval(step, partial(finalise, settings.far, split == "validation"), split, draw=drawn), info.sizes
    )
    return Task(
        init=init,
        train=chain(recipe.augmentation(config, info), recipe.descend(config, info, train_loss),
                    recipe.average(config, train_loss)),
        evals=evals,
        on_eval=partial(remember, feedback.on_eval),
        predict=lambda state, batch: {"embedding": embed(state, batch)},
    )  # fmt: skip
