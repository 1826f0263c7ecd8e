"""Masked autoencoding: the pixels of most patches of an image are guessed from the few that the encoder sees.

image: [b, h, w, c] in 0..1; label: int [b], which only the evaluations see; index: int [b] for their bank. Of n patches
`n - round(share n)`, drawn for each row, are seen; the loss is the mean squared error of the others alone, of pixels
that are normalised patch by patch where `config.masking.normalised` says so. `params`: {"encoder", "decoder"}; `extra`:
{"batch_stats": {}, "ema"?, "probe"?, "feedback"?}. Evaluations: "validation" and "test", probes of the encoder's
features of whole images (`metrics/representation.py`), and "validation_pixels" and "test_pixels", the loss, with
masks that depend on the seed.

Reference: He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners".
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Inside
from cvdl_jax.core.parallel import row_random
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import representation
from cvdl_jax.models import registry
from cvdl_jax.models.generative.masked_autoencoder import MaskedAutoencoder, images_of, patches_of
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.losses.self_supervision import masked_error
from cvdl_jax.optim.ema import averaged

READS = ("model", "masking", "probe", "data", "normalise", "augment", "grad", "optim", "ema", "plateau",
         "early_stopping", "compute_dtype", "remat")  # fmt: skip


class Masking(NamedTuple):
    """The arguments of `config.masking`."""

    share: Inside = 0.75  # of the patches that the encoder does not see
    normalised: bool = True  # patches are compared after normalising each by its mean and deviation


def draw(masking, model, key, b):
    """The patches that the encoder sees, int [b, v] in order, and 1 for the others, [b, n]."""
    n = model.grid[0] * model.grid[1]
    hidden = round(masking.share * n)
    order = jnp.argsort(row_random(jax.random.uniform, key, (b, n)), 1)
    visible = jnp.sort(order[:, : n - hidden], 1)
    return visible, 1 - jax.nn.one_hot(visible, n).sum(1)


def error(masking, model, image, guesses, masked):
    """The loss of each row; its target is the image in 0..1."""
    return masked_error(guesses, patches_of(image, model.patch_size), masked, masking.normalised)


def training_loss(masking, model, normalise, state, batch, key):
    """Sums over the rows."""
    keys, image = jax.random.split(key), batch["image"]
    visible, masked = draw(masking, model, keys[0], len(image))
    (guesses, _), state = apply_train(model, state, normalise(image), keys[1], visible=visible)
    losses = error(masking, model, image, guesses, masked)
    return state, {"loss": (losses.sum(), jnp.ones(len(losses)).sum())}


def pixels_step(masking, model, normalise, state, batch, key):
    """Sums over the real rows, of the averaged weights where the run keeps an average."""
    visible, masked = draw(masking, model, key, len(batch["image"]))
    guesses, _ = apply_eval(model, averaged(state), normalise(batch["image"]), visible=visible)
    losses = error(masking, model, batch["image"], guesses, masked)
    return {"loss": ((losses * batch["mask"]).sum(), batch["mask"].sum())}


def features(model, normalise, state, batch):
    """The encoder's features of whole images, [b, d]."""
    return apply_eval(model, averaged(state), normalise(batch["image"]), method="encode")


def report(masking, model, normalise, seed, state, batch, key):
    """What the encoder sees, the guesses of the rest, and the images, one below the other."""
    from cvdl_jax.analysis.figures.images import mosaic

    x, p = batch["image"][:8], model.patch_size
    visible, masked = draw(masking, model, jax.random.key(seed), len(x))
    made, _ = apply_eval(model, averaged(state), normalise(x), visible=visible)
    patches, there = patches_of(x, p), (1 - masked)[..., None]
    if masking.normalised:
        made = made * patches.std(-1, keepdims=True, ddof=1) + patches.mean(-1, keepdims=True)
    rows = [patches * there + 0.5 * (1 - there), patches * there + made * (1 - there), patches]
    shown = [images_of(one, model.image_shape, p) for one in rows]
    return {"masked": mosaic(jnp.clip(jnp.concatenate(shown), 0, 1), columns=len(x))}


def make(config, info) -> Task:
    """The task of a configuration."""
    if "image" not in info.spec:
        raise ConfigError(f"experiment {config.experiment!r} needs a data set of images; set config.data.name")
    context = {"image_shape": info.spec["image"].shape[1:], "dtype": config.compute_dtype, "remat": config.remat}
    model = registry.create(config.model, "config.model", kinds=("generative",), **context)
    if not isinstance(model, MaskedAutoencoder):
        raise ConfigError(f"config.model.name={config.model.name!r} guesses no patches; use mae_patch4_32")
    masking = configs.call(Masking, config.masking, "config.masking")
    n = model.grid[0] * model.grid[1]
    if not 0 < round(masking.share * n) < n:
        raise ConfigError(
            f"config.masking.share={masking.share} of {n} patches hides {round(masking.share * n)}; some must be seen, "
            "and some not: choose another share, or smaller patches"
        )
    if masking.normalised and model.patch_size**2 * model.image_shape[2] == 1:
        raise ConfigError(
            "config.masking.normalised=True divides by the deviation of a patch, and one of a single number has none; "
            "set config.model.patch_size=2 or more, or config.masking.normalised=False"
        )
    normalise, feedback = recipe.normalisation(config), recipe.feedback(config)
    probe = representation.make_probe(config.probe, info)
    given = (masking, model, normalise)
    loss = partial(training_loss, *given)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(model, key, normalise(batch["image"][:1]), False)
        kept = representation.empty(probe, model.width, info.num_classes)
        return {"params": params, "extra": {"batch_stats": stats, **kept, **feedback.extra}}

    step = partial(pixels_step, *given)
    evals = {f"{split}_pixels": Eval(step, data=split, final=split == "test")
             for split in recipe.EVALUATED if split in info.sizes}  # fmt: skip
    if probe is not None:
        made = representation.evaluation(partial(features, model, normalise), probe, info.num_classes)
        evals |= recipe.evaluations(lambda split: made._replace(data=split), info.sizes)
    train = chain(recipe.augmentation(config, info), recipe.descend(config, info, loss), recipe.average(config, loss))
    return Task(init, train, evals, partial(report, *given, info.seed), feedback.on_eval,
                lambda state, batch: {"features": features(model, normalise, state, batch)})  # fmt: skip
