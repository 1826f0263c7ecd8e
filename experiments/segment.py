"""Semantic segmentation: a class for every pixel, by any network that gives a map of logits of the image's size.

image: [b, h, w, c] in 0..1; segmentation_mask: [b, h, w, 1], labels as config.data.classes names them, 255 to ignore.
Where the data have a second view, image_after: [b, h, w, c], its channels follow those of the image in all that a
network and an augmentation see, each normalised as if it stood alone (change detection; `views=2` of a U-Net).
`extra`: {"batch_stats", "ema"?, "ema_statistics"?, "feedback"?}. Own keys: `ignore`, names of labels that are left out
of the loss and of every measure, so that the network has no logit for them; `palette`, the colours of the figures, one
of which shows the second of two classes in another hue. Evaluations: "validation" during training, "test" once at the
end on the selected checkpoint; their confusion matrices are added over all images.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data import pairs
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.metrics import segmentation as metrics
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.losses import segmentation
from cvdl_jax.optim.ema import averaged

READS = ("model", "loss", "data", "normalise", "ignore", "palette", "augment", "grad", "optim", "ema", "plateau",
         "early_stopping", "compute_dtype", "remat")  # fmt: skip
NEEDED = ("image", "segmentation_mask")


def kept_classes(config, info):
    """Names of the classes, and the class of every label: int32 [256], 255 for those to ignore."""
    if not info.spec or not set(NEEDED) <= info.spec.keys() or not config.data.get("classes"):
        raise ConfigError(
            f"experiment 'segment' needs the entries {NEEDED}, and the names of the masks' labels: set "
            f"config.data.features={NEEDED} and config.data.classes=('background', ...); "
            f"{config.data.get('name')!r} delivers {tuple(info.spec)}"
        )
    for name in config.ignore:
        if name not in info.class_names:
            raise ConfigError(f"config.ignore: {name!r} is no label's name; {nearest(name, info.class_names)}")
    names = tuple(name for name in info.class_names if name not in config.ignore)
    if len(names) < 2:
        raise ConfigError(f"config.ignore={tuple(config.ignore)} leaves {len(names)} classes; two or more are needed")
    image, mask = (info.spec[name].shape[1:3] for name in NEEDED)
    if image != mask:
        raise ConfigError(f"masks have {mask} pixels, images {image}; set config.data.image_size=(h, w) for both")
    table = np.full(256, -1, np.int32)  # is no class: the data refuse such labels before
    table[metrics.IGNORE] = metrics.IGNORE
    for label, name in enumerate(info.class_names):
        table[label] = names.index(name) if name in names else metrics.IGNORE
    return names, table


def labels_of(table, batch):
    """The class of every pixel, int32 [b, h, w], 255 to ignore."""
    return jnp.asarray(table)[batch["segmentation_mask"][..., 0].astype(jnp.int32)]


def predictions(logits_fn, table, state, batch):
    """Masks with the labels of the data set, and whether a score of the image is no number."""
    logits = logits_fn(state, batch)
    return {
        "segmentation": metrics.stored(table, logits.argmax(-1)),
        "undefined": jnp.isnan(logits).any((1, 2, 3)),
    }


def training_loss(model, normalise, loss, table, state, batch, key):
    """Sums of the loss and the pixel accuracy of one training batch."""
    (logits, _), state = apply_train(model, state, normalise(pairs.joined(batch)["image"]), key)
    labels = labels_of(table, batch)
    total, weight = loss(logits, labels)
    known = labels != metrics.IGNORE
    right = (logits.argmax(-1) == labels) & known
    return state, {
        "loss": (total.sum(), weight.sum()),
        "pixel_accuracy": (right.sum() * 1.0, known.sum() * 1.0),
    }


def logits_of(model, normalise, state, batch):
    """Logits [b, h, w, c] of the averaged weights, or of the present ones where the run keeps no average."""
    return apply_eval(model, averaged(state), normalise(pairs.joined(batch)["image"]))[0]


def evaluation_step(logits_fn, loss, table, state, batch, key):
    """The loss over real rows, and their counted pixels."""
    logits, labels = logits_fn(state, batch), labels_of(table, batch)
    total, weight = loss(logits, labels)
    counted, mask = metrics.counted(metrics.classes(logits), labels, logits.shape[-1], batch["mask"]), batch["mask"]
    return {"loss": ((total * mask).sum(), (weight * mask).sum()), **counted}


def finalise(names, means, rows):
    """The loss and the measures of the added confusion matrix, with intervals over images."""
    return {**means, **metrics.summary(rows, names)}


def drawn(split, names, measured, rows):
    """The table of classes and the confusion matrix of an evaluation."""
    from cvdl_jax.analysis.figures import segmentation as figures

    return figures.measured(split, names, rows)


def report(logits_fn, table, names, palette, state, batch, key):
    """The worst and the best of some images with their masks; images in colour with the second of two classes dyed."""
    from cvdl_jax.analysis.figures import segmentation as figures

    logits, image = jax.jit(logits_fn)(state, batch), batch.get(pairs.AFTER, batch["image"])
    colours = figures.palette_of(palette, len(names))
    shown = {"segmentation": figures.overlays(image, labels_of(table, batch), logits.argmax(-1), colours, names)}
    if len(names) == 2 and image.shape[-1] == 3:
        shown["recoloured"] = figures.recoloured(image, jax.nn.softmax(logits)[..., 1])
    return shown


def make(config, info) -> Task:
    """The segmentation task of a configuration."""
    names, table = kept_classes(config, info)
    more = {"num_classes": len(names), "dtype": config.compute_dtype, "remat": config.remat}
    model = registry.create(config.model, "config.model", kinds=("segmentation",), **more)
    normalise, paired = recipe.normalisation(config), pairs.AFTER in info.spec
    pairs.check(config.model.get("views", 1), paired)
    normalise = pairs.each_view(normalise) if paired else normalise
    loss = configs.named(segmentation, config.loss, "config.loss", "logits", "labels")
    feedback, logits_fn = recipe.feedback(config), partial(logits_of, model, normalise)
    train_loss = partial(training_loss, model, normalise, loss, table)
    step = partial(evaluation_step, logits_fn, loss, table)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(model, key, normalise(pairs.joined(batch)["image"])[:1], False)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    def evaluation(split: str) -> Eval:
        return Eval(step, partial(finalise, names), split, draw=partial(drawn, split, names))

    first = (pairs.join if paired else None, recipe.augmentation(config, info))
    return Task(
        init=init,
        train=chain(*first, recipe.descend(config, info, train_loss), recipe.average(config, train_loss)),
        evals=recipe.evaluations(evaluation, info.sizes),
        report=partial(report, logits_fn, table, names, config.palette),
        on_eval=feedback.on_eval,
        predict=partial(predictions, logits_fn, table),
    )
