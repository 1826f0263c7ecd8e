"""Depth from one image: metres for every pixel, by any network that gives a map of one number of the image's size.

image: [b, h, w, c] in 0..1; depth: int32 [b, h, w, 1], in units of `depth_unit` metres, 0 where it is not known: such
pixels have no influence on the loss and on any measure. The network's number is the logarithm of the depth in metres.
`extra`: {"batch_stats", "ema"?, "ema_statistics"?, "feedback"?}. Own key: `depth_unit`.
Only operations under which the camera stays the same may augment: a larger scale would need a smaller depth.
Evaluations: "validation" during training, "test" once at the end on the selected checkpoint.
"""

from functools import partial

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.parsing import parse_calls
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data.augment import policy
from cvdl_jax.data.schema import DEPTH
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import depth as metrics
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.losses import depth as losses
from cvdl_jax.optim.ema import averaged

READS = ("model", "loss", "data", "depth_unit", "normalise", "augment", "grad", "optim", "ema", "plateau",
         "early_stopping", "compute_dtype", "remat")  # fmt: skip
SAME_CAMERA = ("flip", "vertical_flip", "translate", "padded_crop", "rotate")  # beside all that change colours alone


def check(config, info):
    """Refuses data without depth, a unit that is none, and operations that change distances. Raises ConfigError."""
    needed = ("image", DEPTH)
    if not info.spec or not set(needed) <= info.spec.keys():
        raise ConfigError(
            f"experiment 'depth' needs the entries {needed}; {config.data.get('name')!r} delivers "
            f"{tuple(info.spec or ())}; choose a set with depth, such as config.data.name=depth_scenes"
        )
    image, depth = (info.spec[name].shape[1:3] for name in needed)
    if image != depth:
        raise ConfigError(f"depth maps have {depth} pixels, images {image}; leave config.data.image_size out")
    unit = config.depth_unit
    if isinstance(unit, bool) or not isinstance(unit, int | float) or not 0 < unit < float("inf"):
        raise ConfigError(f"config.depth_unit={unit!r} must be the metres of one unit of 'depth', such as 0.001")
    for name, *_ in parse_calls(config.augment, "config.augment"):
        if name not in SAME_CAMERA and policy.operations().get(name, "photometric") != "photometric":
            raise ConfigError(
                f"config.augment: {name} changes the scale of images or mixes them, and their depth would be wrong; "
                f"depth goes with {', '.join(SAME_CAMERA)} and with changes of colours"
            )


def truth(unit, batch):
    """(depths in metres, float32 [b, h, w]; where they are known, bool [b, h, w])."""
    depth = batch[DEPTH][..., 0]
    return depth.astype(jnp.float32) * unit, depth > 0


def training_loss(model, normalise, loss, unit, state, batch, key):
    """Sums of the loss of one training batch, and of the share of pixels within 25 %."""
    (out, _), state = apply_train(model, state, normalise(batch["image"]), key)
    logs, (depths, known) = out[..., 0], truth(unit, batch)
    total, weight = loss(logs, depths, known)
    row = metrics.counted(logs, depths, known).sum(0)
    close = metrics.ROW.index("delta1")
    return state, {"loss": (total.sum(), weight.sum()), "delta1": (row[close], row[0])}


def log_depths(model, normalise, state, batch):
    """Logarithms of metres [b, h, w] of the averaged weights, or of the present ones where the run keeps no average."""
    return apply_eval(model, averaged(state), normalise(batch["image"]))[0][..., 0]


def evaluation_step(predict, loss, unit, state, batch, key):
    """The loss over real rows, and the sums of every image."""
    logs, (depths, known) = predict(state, batch), truth(unit, batch)
    total, weight = loss(logs, depths, known)
    mask = batch["mask"]
    return {"loss": ((total * mask).sum(), (weight * mask).sum()), DEPTH: metrics.counted(logs, depths, known)}


def finalise(means, rows):
    """The loss and the measures of depth, with intervals over images."""
    return {**means, **metrics.summary(rows)}


def report(predict, unit, state, batch, key):
    """Some images, their depth, the predicted one and the relative error."""
    from cvdl_jax.analysis.figures import depth as figures

    depths, known = truth(unit, batch)
    return {DEPTH: figures.grid(batch["image"], depths, jnp.exp(jax.jit(predict)(state, batch)), known)}


def make(config, info) -> Task:
    """The task of a configuration."""
    check(config, info)
    more = {"num_classes": 1, "dtype": config.compute_dtype, "remat": config.remat}
    model = registry.create(config.model, "config.model", kinds=("segmentation",), **more)
    normalise, feedback = recipe.normalisation(config), recipe.feedback(config)
    loss = configs.named(losses, config.loss, "config.loss", "log_predictions", "depths", "known")
    predict = partial(log_depths, model, normalise)
    train_loss = partial(training_loss, model, normalise, loss, config.depth_unit)
    step = partial(evaluation_step, predict, loss, config.depth_unit)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(model, key, normalise(batch["image"])[:1], False)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    return Task(
        init=init,
        train=chain(
            recipe.augmentation(config, info),
            recipe.descend(config, info, train_loss),
            recipe.average(config, train_loss),
        ),
        evals=recipe.evaluations(partial(Eval, step, finalise), info.sizes),
        report=partial(report, predict, config.depth_unit),
        on_eval=feedback.on_eval,
        predict=lambda state, batch: {DEPTH: jnp.exp(predict(state, batch))},
    )
