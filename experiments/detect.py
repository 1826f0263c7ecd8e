"""Object detection by any detector of the registry, of one or two stages, decoded and thinned in the evaluation step.

image: [b, h, w, c] in 0..1; objects/bbox: [b, n, 4], objects/label: [b, n], boxes_mask: [b, n] (config.data.max_boxes
pads them to n); bool [b, n] where the set has them: objects/is_crowd, objects/is_difficult, no targets and not to be
found; proposals/bbox: [b, p, 4] for a detector that judges regions. `extra`: {"batch_stats", "ema"?, "ema_statistics"?,
"feedback"?}. The detector says its own losses and boxes, to which `loss`, `match` and `boxes` belong
(`models/criterion.py`); `nms` is of `ops.suppression.detections`, `test_time` of `data.image_pyramid.at_scales`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data.boxes import PROPOSALS, targets, truth_of
from cvdl_jax.data.image_pyramid import at_scales
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.detection import coco_metrics, voc_metrics
from cvdl_jax.models import registry
from cvdl_jax.models.criterion import Criterion, check_proposals, outputs_of
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.suppression import detections
from cvdl_jax.optim.ema import averaged

READS = ("model", "loss", "data", "normalise", "augment", "grad", "optim", "ema", "plateau", "early_stopping",
         "test_time", "compute_dtype", "remat", "match", "boxes", "nms")  # fmt: skip
NEEDED = ("image", "objects/bbox", "objects/label", "boxes_mask")


class Method(NamedTuple):
    """The functions that a configuration chooses."""

    model: Any
    normalise: Callable
    criterion: Criterion
    thin: Callable  # (boxes [n, 4], scores [n, k]) -> detections
    scales: Callable | None = None  # (images -> boxes and scores, images) -> boxes and scores at several sizes


def losses(method: Method, logits, out, batch):
    """The parts of the loss of each image, and its weight: {name: [b]}, [b]."""
    return method.criterion.losses(logits, out, targets(batch))


def inputs(method: Method, batch):
    """What the detector takes before `train`: the images, and the proposals of one that reads them."""
    proposals = (batch[PROPOSALS],) if "proposals" in method.criterion.reads else ()
    return (method.normalise(batch["image"]), *proposals)


def told(method: Method, batch):
    """What a detector that chooses what it is trained on takes besides."""
    return {"truth": targets(batch)} if "truth" in method.criterion.reads else {}


def as_sums(parts, weight, mask=None):
    """The parts as sums over the real rows of a batch. Args: {name: [b]}, [b], [b] or None for all."""
    real = (lambda x: x) if mask is None else (lambda x: x * mask)
    return {name: (real(part).sum(), real(weight).sum()) for name, part in parts.items()}


def training_loss(method: Method, state, batch, key):
    """Sums of the losses of one training batch."""
    (logits, out), state = apply_train(method.model, state, inputs(method, batch), key, **told(method, batch))
    return state, as_sums(*losses(method, logits, out, batch))


def forward(method: Method, state, batch, **more):
    """Logits and intermediates, of the averaged weights where the run keeps an average."""
    return apply_eval(method.model, averaged(state), inputs(method, batch), **more)


def detect(method: Method, logits, out):
    """Boxes [b, d, 4], classes, scores and mask [b, d] of the detections."""
    return jax.vmap(method.thin)(*method.criterion.decode(logits, out))


def detect_in(method: Method, state, batch, *scored):
    """Detections in a batch, as `detect`, or at every size that `config.test_time.scales` names, thinned together."""
    if method.scales is None:
        return detect(method, *(scored or forward(method, state, batch)))
    look = lambda images: method.criterion.decode(*forward(method, state, {**batch, "image": images}))  # noqa: E731
    return jax.vmap(method.thin)(*method.scales(look, batch["image"]))


def evaluation_step(method: Method, state, batch, key):
    """Sums of the losses over real rows, and detections and truth ("true_boxes" ...) of every row."""
    logits, out = forward(method, state, batch, **told(method, batch))
    sums = as_sums(*losses(method, logits, out, batch), batch["mask"])
    truth = {f"true_{name}": x for name, x in truth_of(batch).items()}
    return {**sums, **detect_in(method, state, batch, logits, out), **truth}


def finalise(num_classes: int, image_size: tuple[int, int], means, rows):
    """The losses, and average precision in VOC's and in COCO's way."""
    truth = {name.removeprefix("true_"): x for name, x in rows.items() if name.startswith("true_")}
    return {**means, **voc_metrics(rows, truth, num_classes), **coco_metrics(rows, truth, num_classes, image_size)}


def report(method: Method, class_names, state, batch, key):
    """Images with their true and predicted boxes."""
    from cvdl_jax.analysis.figures import images

    predicted = jax.jit(partial(detect_in, method))(state, batch)
    return {"detections": images.box_grid(batch["image"], predicted, truth_of(batch), class_names)}


def make_method(config, num_classes: int) -> Method:
    """The functions that a configuration chooses; every section is checked against its function."""
    more = {"outputs": outputs_of(config.loss, num_classes), "dtype": config.compute_dtype, "remat": config.remat}
    model, test_time = registry.create(config.model, "config.model", kinds=("detection",), **more), config.test_time
    return Method(
        model=model,
        normalise=recipe.normalisation(config),
        criterion=model.criterion({"loss": config.loss, "match": config.match, "boxes": config.boxes}),
        thin=configs.partially(detections, config.nms, "config.nms", "boxes", "scores"),
        scales=configs.partially(at_scales, test_time, "config.test_time", "look", "images") if test_time else None,
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
    check_proposals(config.model.name, method.criterion, PROPOSALS in info.spec)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(method.model, key, *(x[:1] for x in inputs(method, batch)), False)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    step, loss = partial(evaluation_step, method), partial(training_loss, method)
    final = partial(finalise, info.num_classes, info.spec["image"].shape[1:3])
    averages = recipe.average(config, loss)
    return Task(
        init=init,
        train=chain(recipe.augmentation(config, info), recipe.descend(config, info, loss), averages),
        evals=recipe.evaluations(partial(Eval, step, final), info.sizes),
        report=partial(report, method, info.class_names),
        on_eval=feedback.on_eval,
        predict=partial(detect_in, method),
    )
