"""FSGAN: the face of one person in the picture of another, in the other's pose and expression; and a detector of it.

image, image_target, image_other, image_swapped: [b, h, w, 3] in 0..1; regions*_mask: [b, h, w, 1]; landmarks*: [b, 70,
3]; angles*: [b, 3], of `data/builders/face_pairs.py`. A step descends, one after the other: the reenactment of the
source as the same person's other view (`config.swap`, of `models/face_swapping.py`), a critic of its patches, the
segmentation, the inpainting of a face of which only what the other view's region shows is known, and the detector,
which is shown pictures as they are and those that the whole way makes. No network sees `image_swapped`. `params` and
`opt`: {"reenactment", "critic", "segmentation", "inpainting", "detector"}; `extra`: {}. Evaluations: "validation" and
"test", of people that training has not seen, mean absolute differences in 0..1: "swapped_l1" inside of the other's
face, and as controls "unchanged_l1", of the other's own face, and "pasted_l1", of the source's, blended as it is;
"reenacted_l1" against "still_l1", of a source that has not moved; the share of pixels whose region is right; and
"detector_auc".
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.metrics.ranking import roc_auc
from cvdl_jax.models.face_swapping import (
    FACE,
    completed,
    crossed,
    inside,
    make_method,
    measured,
    moved,
    run,
    swapped,
)  # fmt: skip
from cvdl_jax.models.image_translating import distance, patches
from cvdl_jax.nn.apply import apply_params, initialise
from cvdl_jax.ops.losses.adversarial import non_saturating

READS = ("model", "swap", "data", "grad", "optim", "compute_dtype")
GAME = non_saturating()


def summed(loss):
    """A loss `-> {name: [b]}`, the parts of a sum, as `descend` takes it."""

    def sums(method, state, batch, key):
        parts = loss(method, state, batch)
        parts["loss"] = sum(parts.values())
        return state, {name: (x.sum(), jnp.ones(len(x)).sum()) for name, x in parts.items()}

    return sums


@summed
def reenactment_loss(method, state, batch):
    """Pixels, regions, and what the critic says."""
    made, logits, target = moved(method, state.params, batch, True)
    scores = apply_params(method.critic, state.params["critic"], made, True)[0]
    return {
        "pixels": distance(made, target),
        "regions": method.swap.segmentation * crossed(logits, batch["regions_target_mask"]),
        "adversarial": method.swap.adversarial * patches(GAME.generator(scores)),
    }


@summed
def critic_loss(method, state, batch):
    """Patches of true and of reenacted faces."""
    made, _, target = moved(method, state.params, batch, True)
    judge = lambda x: apply_params(method.critic, state.params["critic"], x, True)[0]  # noqa: E731
    return {"patches": patches(GAME.discriminator(judge(target), judge(lax.stop_gradient(made))))}


@summed
def segmentation_loss(method, state, batch):
    """Regions of the other person's picture."""
    logits = run(method, state.params, "segmentation", 2 * batch["image_other"] - 1, True)
    return {"regions": crossed(logits, batch["regions_other_mask"])}


@summed
def inpainting_loss(method, state, batch):
    """A face of which the source's region shows a part, inside of its own region."""
    x, seen, wanted = 2 * batch["image_target"] - 1, batch["regions_mask"] == FACE, batch["regions_target_mask"] == FACE
    made = completed(method, state.params, x, seen, wanted, True)
    return {"pixels": inside(abs(made - x), wanted)}


@summed
def detector_loss(method, state, batch):
    """Pictures as they are, and swapped ones, whose makers learn nothing from it."""
    fake = lax.stop_gradient(swapped(method, state.params, batch)[0])
    scores = [run(method, state.params, "detector", 2 * x - 1, True)[:, 0] for x in (batch["image_other"], fake)]
    return {"detector": jax.nn.softplus(scores[0]) + jax.nn.softplus(-scores[1])}


LOSSES = {
    "reenactment": reenactment_loss, "critic": critic_loss, "segmentation": segmentation_loss,
    "inpainting": inpainting_loss, "detector": detector_loss,
}  # fmt: skip


def evaluation_step(method, state, batch, key):
    """Sums over real rows, and scores of the detector."""
    values, made = measured(method, state.params, batch)
    sums = {name: ((x * batch["mask"]).sum(), batch["mask"].sum()) for name, x in values.items()}
    pictures = {"score_true": batch["image_other"], "score_swapped": made}
    return {**sums, **{n: run(method, state.params, "detector", 2 * x - 1, False)[:, 0] for n, x in pictures.items()}}


def finalise(means, rows):
    """The means, and how well scores tell swapped pictures (1) from true ones (0)."""
    scores = np.concatenate([rows["score_true"], rows["score_swapped"]])
    return {**means, "detector_auc": roc_auc(np.arange(len(scores)) >= len(rows["score_true"]), scores)}


def report(method, state, batch, key):
    """Rows of sources, others, swaps, what they should be; and of sources, reenacted ones, and their other views."""
    from cvdl_jax.analysis.figures.images import mosaic

    batch = {name: x[:8] for name, x in batch.items()}
    again, _, target = moved(method, state.params, batch, False)
    made, views = swapped(method, state.params, batch)[0], (batch["image"], (again + 1) / 2, (target + 1) / 2)
    swaps = batch["image"], batch["image_other"], made, batch["image_swapped"]
    return {n: mosaic(jnp.concatenate(x), len(x[0])) for n, x in (("swaps", swaps), ("reenacted", views))}


def make(config, info) -> Task:
    """The task of a configuration."""
    method = make_method(config, info)

    def init(key: jax.Array, batch: dict) -> dict:
        x, params, extra = batch["image"][:1], {}, {"reenactment": batch["landmarks"].shape[1], "inpainting": 2}
        for i, (name, network) in enumerate({**method.networks, "critic": method.critic}.items()):
            seen = jnp.concatenate([x, jnp.zeros((*x.shape[:3], extra.get(name, 0)), x.dtype)], -1)
            params[name] = initialise(network, jax.random.fold_in(key, i), seen, False)[0]
        return {"params": params, "extra": {}}

    steps = recipe.players(config, info, {name: partial(loss, method) for name, loss in LOSSES.items()})
    evals = recipe.evaluations(partial(Eval, partial(evaluation_step, method), finalise), info.sizes)
    return Task(init, chain(*steps.values()), evals, partial(report, method))
