"""One-stage detection with anchors: every anchor gets a class and a box, decoded and thinned in the evaluation step.

image: [b, h, w, c] in 0..1; objects/bbox: [b, n, 4], objects/label: [b, n], boxes_mask: [b, n] (config.data.max_boxes
pads them to n); bool [b, n] where the set has them: objects/is_crowd, objects/is_difficult, no targets and not to be
found. `extra`: {"batch_stats", "ema"?, "ema_statistics"?, "feedback"?}. Own sections, which may be empty: `match`
(`ops.boxes.match`), `boxes` (weight and beta of their smooth L1), `nms` (`ops.boxes.detections`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import NotNegative, Positive
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.detection import coco_metrics, voc_metrics
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops import boxes
from cvdl_jax.ops.losses import detection, regression
from cvdl_jax.optim.ema import averaged

READS = ("model", "loss", "data", "normalise", "augment", "grad", "optim", "ema", "plateau", "early_stopping",
         "compute_dtype", "remat", "match", "boxes", "nms")  # fmt: skip
NEEDED = ("image", "objects/bbox", "objects/label", "boxes_mask")
FLAGS = {"crowd": "objects/is_crowd", "difficult": "objects/is_difficult"}


class Method(NamedTuple):
    """The functions that a configuration chooses."""

    model: Any
    normalise: Callable
    match: Callable  # (boxes [n, 4], mask [n], anchors [a, 4]) -> (box [a], kind [a])
    class_loss: Callable  # (logits [b, a, k], labels [b, a]) -> [b, a]
    box_loss: Callable  # (differences [...]) -> [...]
    background: bool  # whether the scores are a softmax with the background as class 0, or sigmoids
    thin: Callable  # (boxes [a, 4], scores [a, k]) -> detections


def box_loss(x, weight: NotNegative = 1.0, beta: Positive = 0.11):
    """Weighted smooth L1 of the differences of encoded boxes."""
    return weight * regression.smooth_l1_of_differences(x, beta)


def losses(method: Method, logits, out, batch):
    """Totals of the class and the box loss of each image, and its positive anchors: three times [b]."""
    targets = jax.vmap(partial(boxes.anchor_targets, method.match), (0, 0, 0, None))
    wanted = boxes.wanted(batch["boxes_mask"], [batch[name] for name in FLAGS.values() if name in batch])
    label, delta = targets(batch["objects/bbox"], batch["objects/label"], wanted, out["anchors"])
    far = jnp.where((label > 0)[..., None], method.box_loss(out["deltas"] - delta), 0)  # [b, a, 4]
    return method.class_loss(logits, label).sum(1), far.sum((1, 2)), (label > 0).sum(1) * 1.0


def as_sums(class_loss, box_loss, positives):
    """The three losses as sums over a batch, weighted by its number of positive anchors. Args: [b]."""
    parts = {"loss": class_loss + box_loss, "class_loss": class_loss, "box_loss": box_loss}
    return {name: (part.sum(), positives.sum()) for name, part in parts.items()}


def training_loss(method: Method, state, batch, key):
    """Sums of the losses of one training batch."""
    (logits, out), state = apply_train(method.model, state, method.normalise(batch["image"]), key)
    return state, as_sums(*losses(method, logits, out, batch))


def forward(method: Method, state, batch):
    """Logits and intermediates, of the averaged weights where the run keeps an average."""
    return apply_eval(method.model, averaged(state), method.normalise(batch["image"]))


def detect(method: Method, logits, out):
    """Boxes [b, d, 4], classes, scores and mask [b, d] of the detections."""
    scores = jax.nn.softmax(logits)[..., 1:] if method.background else jax.nn.sigmoid(logits)  # [b, a, classes]
    return jax.vmap(method.thin)(boxes.decode(out["deltas"], out["anchors"][None]), scores)


def truth_of(batch):
    """The true boxes of a batch, in the form of detections."""
    flags = {name: batch[entry] for name, entry in FLAGS.items() if entry in batch}
    return {"boxes": batch["objects/bbox"], "classes": batch["objects/label"], "mask": batch["boxes_mask"], **flags}


def evaluation_step(method: Method, state, batch, key):
    """Sums of the losses over real rows, and detections and truth ("true_boxes" ...) of every row."""
    logits, out = forward(method, state, batch)
    sums = as_sums(*(part * batch["mask"] for part in losses(method, logits, out, batch)))
    return {**sums, **detect(method, logits, out), **{f"true_{name}": x for name, x in truth_of(batch).items()}}


def finalise(num_classes: int, image_size: tuple[int, int], means, rows):
    """The losses, and average precision in VOC's and in COCO's way."""
    truth = {name.removeprefix("true_"): x for name, x in rows.items() if name.startswith("true_")}
    return {**means, **voc_metrics(rows, truth, num_classes), **coco_metrics(rows, truth, num_classes, image_size)}


def report(method: Method, class_names, state, batch, key):
    """Images with their true and predicted boxes."""
    from cvdl_jax.analysis.figures import images

    predicted = jax.jit(lambda s, b: detect(method, *forward(method, s, b)))(state, batch)
    return {"detections": images.box_grid(batch["image"], predicted, truth_of(batch), class_names)}


def make_method(config, num_classes: int) -> Method:
    """The functions that a configuration chooses; every section is checked against its function."""
    background = config.loss.get("name") == "hard_negatives"
    more = {"outputs": num_classes + background, "dtype": config.compute_dtype, "remat": config.remat}
    return Method(
        model=registry.create(config.model, "config.model", kinds=("detection",), **more),
        normalise=recipe.normalisation(config),
        match=configs.partially(boxes.match, config.match, "config.match", "boxes", "mask", "anchors"),
        class_loss=configs.named(detection, config.loss, "config.loss", "logits", "labels"),
        box_loss=configs.partially(box_loss, config.boxes, "config.boxes", "x"),
        background=background,
        thin=configs.partially(boxes.detections, config.nms, "config.nms", "boxes", "scores"),
    )


def make(config, info) -> Task:
    """The detection task of a configuration."""
    missing = [name for name in NEEDED if name not in info.spec]
    if missing or info.num_classes is None:
        raise ConfigError(
            f"config.data.name={config.data.name!r} delivers no {missing or 'classes'}; experiment 'detect' needs "
            "boxes with labels, padded by config.data.max_boxes=N"
        )
    method, feedback = make_method(config, info.num_classes), recipe.feedback(config)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(method.model, key, method.normalise(batch["image"])[:1], False)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    step, final = partial(evaluation_step, method), partial(finalise, info.num_classes, info.spec["image"].shape[1:3])
    loss = partial(training_loss, method)
    return Task(
        init=init,
        train=chain(
            recipe.augmentation(config, info), recipe.descend(config, info, loss), recipe.average(config, loss)
        ),
        evals=recipe.evaluations(partial(Eval, step, final), info.sizes),
        report=partial(report, method, info.class_names),
        on_eval=feedback.on_eval,
        predict=lambda state, batch: detect(method, *forward(method, state, batch)),
    )
