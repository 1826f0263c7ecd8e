"""Instance segmentation: every object of an image by its own pixels, from a map of numbers or from regions.

image: [b, h, w, c] in 0..1; instance_mask: [b, h, w, 1], objects/bbox: [b, n, 4], objects/label: [b, n], boxes_mask:
[b, n]: a pixel with the value k is of row k - 1 (config.data.max_boxes pads them to n); objects/is_crowd, bool [b, n],
where the set has it. `extra`: {"batch_stats", "ema"?, "ema_statistics"?, "feedback"?}. `method` is a function of
`models/instance_methods.py`: of maps, with `loss` of `ops/losses/segmentation.py`; or "regions" of a detector with
masks, to which `loss`, `match`, `boxes` and `nms` belong as in `detect.py`. Measures: COCO's average precision of masks
and of boxes, and panoptic quality.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data import boxes
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import panoptic
from cvdl_jax.metrics.detection import coco_metrics
from cvdl_jax.models.instance_methods import Method
from cvdl_jax.models.instances import answers, segmenter
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.optim.ema import averaged

READS = ("model", "method", "loss", "data", "normalise", "augment", "grad", "optim", "ema", "plateau",
         "early_stopping", "compute_dtype", "remat", "match", "boxes", "nms")  # fmt: skip
NEEDED = ("image", "instance_mask", "objects/bbox", "objects/label", "objects/mask_id", "boxes_mask")


class Parts(NamedTuple):
    """What a configuration chooses."""

    model: Any
    method: Method
    normalise: Callable


def truth_of(batch):
    """The objects of a batch: ids [b, h, w]; boxes [b, n, 4], classes, mask and perhaps crowd [b, n]."""
    return {"ids": batch["instance_mask"][..., 0].astype(jnp.int32), **boxes.truth_of(batch)}


def targets(batch):
    """What is to be found: all objects but crowds and difficult ones."""
    return {"ids": truth_of(batch)["ids"], **boxes.targets(batch)}


def told(parts, batch):
    """What a model that chooses what it is trained on takes besides."""
    return {"truth": targets(batch)} if "truth" in parts.method.reads else {}


def as_sums(losses, weight, mask=1.0):
    """The losses as sums over the real rows of a batch. Args: {name: [b]}, [b], [b]."""
    return {name: ((loss * mask).sum(), (weight * mask).sum()) for name, loss in losses.items()}


def training_loss(parts, state, batch, key):
    """Sums of the losses of one training batch."""
    (logits, out), state = apply_train(parts.model, state, parts.normalise(batch["image"]), key, **told(parts, batch))
    return state, as_sums(*parts.method.losses(logits, out, targets(batch)))


def segments(parts, state, batch, **more):
    """The segments of a batch, and the results of the network that they are made of, with averaged weights."""
    shown = averaged(state)
    logits, out = apply_eval(parts.model, shown, parts.normalise(batch["image"]), **more)
    return parts.method.segments(shown.params, logits, out, batch["image"].shape[1:3]), logits, out


def evaluation_step(parts, state, batch, key):
    """The losses over real rows, and the segments and the truth ("true_ids" ...) of every row."""
    made, logits, out = segments(parts, state, batch, **told(parts, batch))
    sums = as_sums(*parts.method.losses(logits, out, targets(batch)), batch["mask"])
    return {**sums, **made, **{f"true_{name}": x for name, x in truth_of(batch).items()}}


def counts_of(rows, num_classes):
    """The truth among the arrays of an evaluation, and the segments of all images, matched and counted."""
    truth = {name.removeprefix("true_"): x for name, x in rows.items() if name.startswith("true_")}
    return truth, panoptic.of_images(rows, truth, num_classes)


def finalise(names, means, rows):
    """The losses; panoptic quality; average precision of masks and boxes; what got no number ("left")."""
    truth, counts = counts_of(rows, len(names))
    truth["masks"] = panoptic.masks_of(truth["ids"], truth["mask"].shape[1])
    metrics, size, most = panoptic.summary(counts, names), rows["ids"].shape[1:3], rows["mask"].shape[1]
    for kind, word in {"masks": "mask", "boxes": "box"}.items():
        measured = coco_metrics(answers(rows), truth, len(names), size, kind, max(most, 100))
        metrics |= {name.replace("coco", word): x for name, x in measured.items()}
    return {**means, **metrics, "left": float(np.sum(rows["left"]))}


def drawn(split, names, metrics, rows):
    """The table of the classes of an evaluation."""
    from cvdl_jax.analysis.figures import instances as figures

    return figures.measured(split, names, counts_of(rows, len(names))[1])


def report(parts, names, state, batch, key):
    """The worst and the best of some images with their true and predicted objects."""
    from cvdl_jax.analysis.figures import instances as figures

    predicted = jax.jit(lambda s, b: segments(parts, s, b)[0])(state, batch)
    return {"instances": figures.overlays(batch["image"], predicted, truth_of(batch), names)}


def make(config, info) -> Task:
    """The instance segmentation task of a configuration."""
    missing = [name for name in NEEDED if name not in info.spec]
    if missing or info.num_classes is None:
        raise ConfigError(
            f"config.data.name={config.data.get('name')!r} delivers no {missing or 'classes'}; experiment 'instances' "
            f"needs masks of objects: set config.data.max_boxes=N and config.data.features={NEEDED[:4]}"
        )
    names, feedback = info.class_names or tuple(map(str, range(info.num_classes))), recipe.feedback(config)
    made = segmenter(config, info.num_classes, dtype=config.compute_dtype, remat=config.remat)
    parts = Parts(*made, recipe.normalisation(config))
    loss, step = partial(training_loss, parts), partial(evaluation_step, parts)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(parts.model, key, parts.normalise(batch["image"])[:1], False)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    def evaluation(split: str) -> Eval:
        return Eval(step, partial(finalise, names), split, draw=partial(drawn, split, names))

    return Task(
        init=init,
        train=chain(
            recipe.augmentation(config, info), recipe.descend(config, info, loss), recipe.average(config, loss)
        ),
        evals=recipe.evaluations(evaluation, info.sizes),
        report=partial(report, parts, names),
        on_eval=feedback.on_eval,
        predict=lambda state, batch: segments(parts, state, batch)[0],
    )
