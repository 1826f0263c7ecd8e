"""Several perceptrons trained side by side on the same batches, each by its own optimizer: what does one choice change?

`config.study.models` {name: fields} gives each one the fields in which it differs from `config.model`. image:
[b, h, w, c] in 0..1 or features: [b, d]; label: [b]. params: {name: tree}; extra: {"batch_stats": {name: tree}}.
Points of the plane get a picture of what each network decides.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval, Task, chain, descend
from cvdl_jax.data import pixels
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import classification
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.losses import classification as losses
from cvdl_jax.optim import optimizer as optim
from experiments.classify import inputs


def training_loss(model, name, normalise, loss, state, batch, key):
    """Sums of the loss and the accuracy of one network."""
    (logits, _), state = apply_train(model, state, inputs(normalise, batch), key, on=name)
    hits = classification.correct(logits, batch["label"])
    weight = jnp.ones(())
    return state, {
        "loss": (loss(logits, batch["label"]).sum(), len(hits) * weight),
        "accuracy": (hits.sum(), len(hits) * weight),
    }


def evaluation_step(models, normalise, loss, state, batch, key):
    """Sums over the real rows of a padded batch, for every network."""
    sums, mask = {}, batch["mask"]
    for name, model in models.items():
        logits, _ = apply_eval(model, state, inputs(normalise, batch), on=name)
        each = {"loss": loss(logits, batch["label"]), "accuracy": classification.correct(logits, batch["label"])}
        sums |= {f"{name}/{metric}": ((x * mask).sum(), mask.sum()) for metric, x in each.items()}
    return sums


def decisions(models, state, batch, key):
    """The plane in the colours of the classes that each network sees, and the batch's points in their own."""
    from matplotlib import colormaps

    from cvdl_jax.analysis.figures import images

    if batch.get("features", jnp.zeros((1, 1))).shape[1:] != (2,):
        return {}
    points, label = np.asarray(batch["features"]), np.asarray(batch["label"])
    side = 1.2 * np.abs(points).max()
    line = np.linspace(-side, side, 160, dtype=np.float32)
    plane = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    figure, axes = images.new_figure(1, len(models), inches=3)
    colours = colormaps["tab10"]
    for axis, (name, model) in zip(axes.flat, models.items(), strict=True):
        classes = np.asarray(jnp.argmax(apply_eval(model, state, plane, on=name)[0], -1)).reshape(len(line), -1)
        axis.imshow(colours(classes % 10)[..., :3] * 0.4 + 0.6, origin="lower", extent=(-side, side, -side, side))
        axis.scatter(*points.T, s=10, c=colours(label % 10), edgecolors="white", linewidths=0.4)
        axis.set_title(name, fontsize=9)
    return {"decisions": figure}


def make(config, info) -> Task:
    """The task of a configuration."""
    if info.num_classes is None or not {"image", "features"} & info.spec.keys():
        raise ConfigError("experiment 'studies.perceptrons' needs config.data with labelled images or features")
    configs.refuse_sections(config, ("augment", "ema", "plateau", "early_stopping", "adversary"))
    models = {
        name: registry.create(
            {**config.model, **fields}, f"config.study.models.{name}", kinds=("backbones",),
            num_classes=info.num_classes, dtype=config.compute_dtype, remat=config.remat,
        )
        for name, fields in config.study.models.items()
    }  # fmt: skip
    normalise = configs.partially(pixels.normalise, config.normalise, "config.normalise", "image")
    loss = configs.named(losses, config.loss, "config.loss", "logits", "labels")

    def init(key: jax.Array, batch: dict) -> dict:
        x = inputs(normalise, batch)[:1]
        made = {name: initialise(model, key, x, False) for name, model in models.items()}
        params, stats = ({name: each[i] for name, each in made.items()} for i in (0, 1))
        return {"params": params, "extra": {"batch_stats": stats}}

    def descent(name, model):
        optimizer = configs.call(
            optim.optimizer, config.optim, "config.optim",
            total_steps=info.total_steps, steps_per_epoch=info.steps_per_epoch, batch_size=info.batch_size,
        )  # fmt: skip
        return descend(partial(training_loss, model, name, normalise, loss), optimizer, on=name)

    def finalise(name: str, means: dict, rows: dict) -> dict:
        return intervals.with_wilson(means, info.sizes[name])

    step = partial(evaluation_step, models, normalise, loss)
    names = [name for name in ("validation", "test") if name in info.sizes]
    return Task(
        init=init,
        train=chain(*(descent(name, model) for name, model in models.items())),
        evals={name: Eval(step, partial(finalise, name), name, final=name == "test") for name in names},
        report=partial(decisions, models),
    )
