"""The second stage of detectors of two: which regions it judges and is trained on, its losses and its boxes.

A first stage gives candidates [b, p, 4] and their mask. In training the true boxes join them, and `choose` draws a
sample: the head sees that alone, objects in its first places. In evaluation it sees all candidates; where the truth is
known, true boxes join them with a mask of 0, and the losses are those of the same kind of sample, always drawn with the
same key. A detector of this kind returns, in `out`,

    "regions": [b, r, 4], what its logits [b, r, k + 1] and "region_deltas" [b, r, k, 4] are of;
    "regions_mask": [b, r], 1 for those that may be detections;
    "chosen": only where it was given the truth, what `ops.proposals.sample_regions` says of the sample: its "index" in
        the regions, "labels", "matched" and "targets", [b, s, ...];
    "first": of a detector with a region proposal network, what that returns, and its "chosen" anchors.

A further head, such as that of masks, is trained on the same sample: with `n = sample.objects`, the first n rows of
`of_sample(out["regions"], out["chosen"])` are its regions, those with "labels" > 0 are objects, and "matched" is the
row of each one's true mask in the batch. In evaluation it is applied to the detections.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.core.parallel import row_keys
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.criterion import Criterion, Sections, box_loss_of, class_loss_of, scores_of
from cvdl_jax.ops import boxes
from cvdl_jax.ops.losses.detection import focal
from cvdl_jax.ops.proposals import Match, Sample, sample_anchors, sample_regions

SPREAD = (0.1, 0.1, 0.2, 0.2)  # standard deviations of encoded boxes of regions, by which targets are divided


def keys_of(module: nn.Module, rows: int, train: bool) -> jax.Array:
    """A key for every image, another one at each call: its own in training, from the rng "dropout" of a bound module;
    the same for all in evaluation, so that losses can be compared.
    """
    return row_keys(module.make_rng("dropout"), rows) if train else jnp.broadcast_to(jax.random.key(0), (rows,))


def check(model: Any, thresholds: Sequence[str]) -> None:
    """Refuses fields of a model that contradict each other. Raises ConfigError.

    Args:
        model: unbound.
        thresholds: names of its fields that `Match` is made of.
    """
    for name in thresholds:
        value = getattr(model, name)
        if len(value) not in (2, 3) or list(value) != sorted(value, reverse=True):
            raise ConfigError(
                f"config.model.{name}={tuple(value)} must be (positive, negative) or (positive, negative, lowest), "
                "falling, such as (0.5, 0.5)"
            )
    if getattr(model, "channels", 1) == 0 and len(model.levels) != 1:
        raise ConfigError(
            f"config.model.levels={model.levels} without a pyramid (config.model.channels=0) must be one stage, such "
            "as (2,)"
        )


def choose(
    module: nn.Module,
    candidates: jax.Array,
    mask: jax.Array,
    truth: Mapping[str, jax.Array] | None,
    how: Match,
    sample: Sample,
    train: bool,
) -> dict[str, Any]:
    """The regions that the second stage sees, and which of them it is trained on.

    Args:
        module: bound; see `keys_of`.
        candidates: [b, p, 4].
        mask: [b, p], 1 where there is one.
        truth: see `models/criterion.py`; None where it is not known, then there is no sample.
        how: thresholds.
        sample: size and share of objects.
        train: whether the sample alone is seen.

    Returns:
        "regions", "regions_mask", and with a truth "chosen"; see the module. No gradient flows through regions.

    Raises:
        ConfigError: for training without the truth.
    """
    if truth is None:
        if train:
            raise ConfigError("a detector of two stages is trained on regions around true boxes; give it the truth")
        return {"regions": candidates, "regions_mask": mask}
    true_boxes = truth["boxes"].astype(candidates.dtype)
    everything = jnp.concatenate([candidates, true_boxes], 1)
    real = jnp.concatenate([mask, truth["mask"].astype(mask.dtype)], 1)
    draw = jax.vmap(partial(sample_regions, how=how, sample=sample))
    keys = keys_of(module, len(candidates), train)
    chosen = draw(keys, true_boxes, truth["labels"], truth["mask"], everything, real)
    if not train:
        shown = jnp.concatenate([mask, jnp.zeros(truth["mask"].shape, mask.dtype)], 1)
        return {"regions": everything, "regions_mask": shown, "chosen": chosen}
    regions, s = of_sample(everything, chosen), chosen["index"].shape
    chosen["index"] = jnp.broadcast_to(jnp.arange(s[1], dtype=jnp.int32)[None], s)
    return {"regions": regions, "regions_mask": (chosen["labels"] >= 0) * jnp.ones((), mask.dtype), "chosen": chosen}


def choose_anchors(
    keys: jax.Array, anchors: jax.Array, truth: Mapping[str, jax.Array], how: Match, sample: Sample
) -> dict[str, jax.Array]:
    """The anchors that a region proposal network is trained on; see `ops.proposals.sample_anchors`, [b, s, ...]."""
    draw = jax.vmap(partial(sample_anchors, anchors=anchors, how=how, sample=sample))
    return draw(keys, truth["boxes"].astype(anchors.dtype), truth["mask"])


def of_sample(x: jax.Array, chosen: Mapping[str, jax.Array]) -> jax.Array:
    """The rows of a sample: [b, s, ...] of [b, r, ...]."""
    index = chosen["index"]
    return jnp.take_along_axis(x, index.reshape(*index.shape, *(1,) * (x.ndim - 2)), 1)


def region_criterion(sections: Sections, model: str, fields: str, more: tuple[str, ...] = ()) -> Criterion:
    """The criterion of detectors of two stages.

    Each loss is a mean over the sample of an image, objects and background, `1/N sum_i L_cls(i)` and
    `1/N sum_i p_i L_box(i)` with p_i = 1 for objects. All images weigh the same. `config.loss` names a class loss with
    a background, `config.boxes` is of `models.criterion.box_loss_of`, for both stages.

    Args:
        sections: {"loss", "match", "boxes"} of the config.
        model: the family's name, for messages.
        fields: of the model that say what `config.match` says elsewhere, for messages.
        more: what its call takes besides the truth, see `Criterion.reads`.

    Raises:
        ConfigError: for a section that is not read, or a class loss without a background.

    Reference: Ren et al. 2015, "Faster R-CNN", equation 1; Girshick 2015, "Fast R-CNN", equation 1.
    """
    if sections["match"]:
        raise ConfigError(
            f"config.match={dict(sections['match'])} is not read by {model}, which matches in its model; set "
            f"config.match={{}}, and {fields}"
        )
    class_loss, background = class_loss_of(sections)
    if not background:
        raise ConfigError(
            f"config.loss.name={sections['loss']['name']!r} has no background, which most regions are; {model} needs "
            "'cross_entropy'"
        )
    of_anchors, of_regions = box_loss_of(sections["boxes"]), box_loss_of(sections["boxes"], SPREAD)

    def losses(logits: jax.Array, out: dict, truth: dict) -> tuple[dict[str, jax.Array], jax.Array]:
        if "chosen" not in out:
            raise ValueError(f"{model} was applied without the truth, so that no regions were chosen for its losses")
        chosen, regions = out["chosen"], of_sample(out["regions"], out["chosen"])
        label = chosen["labels"]
        own = jnp.maximum(label - 1, 0)[:, :, None, None]
        delta = jnp.take_along_axis(of_sample(out["region_deltas"], chosen), own, 2)[:, :, 0]  # [b, s, 4]
        far = mean_box_loss(of_regions, label, delta, chosen["targets"] / spread(delta), regions)
        parts = {"class_loss": mean_of_sample(class_loss(of_sample(logits, chosen), label), label), "box_loss": far}
        if "first" in out:
            parts |= first_losses(out["first"], of_anchors)
        parts = {"loss": sum(parts.values()), **parts}
        return parts, jnp.ones(len(logits), parts["loss"].dtype)

    def decode(logits: jax.Array, out: dict) -> tuple[jax.Array, jax.Array]:
        deltas = out["region_deltas"]
        made = boxes.decode(deltas * spread(deltas), out["regions"][:, :, None])  # [b, r, k, 4]
        return made, scores_of(logits, True) * out["regions_mask"][..., None]

    return Criterion(losses, decode, ("truth", *more))


def first_losses(first: Mapping[str, Any], box_loss: Callable) -> dict[str, jax.Array]:
    """The losses [b] of a region proposal network on its chosen anchors: binary cross-entropy, and of boxes."""
    chosen = first["chosen"]
    label = chosen["labels"]
    anchors = jnp.broadcast_to(first["anchors"][None], first["deltas"].shape)
    entropy = focal(of_sample(first["objectness"], chosen)[..., None], label, gamma=0.0, alpha=None)
    far = mean_box_loss(
        box_loss, label, of_sample(first["deltas"], chosen), chosen["targets"], of_sample(anchors, chosen)
    )
    return {"objectness_loss": mean_of_sample(entropy, label), "proposal_loss": far}


def mean_of_sample(values: jax.Array, label: jax.Array) -> jax.Array:
    """Sums [b] of values [b, s], divided by the size of each sample, those with a label of at least 0."""
    return values.sum(1) / jnp.maximum((label >= 0).sum(1), 1)


def mean_box_loss(
    box_loss: Callable, label: jax.Array, deltas: jax.Array, targets: jax.Array, references: jax.Array
) -> jax.Array:
    """The box loss [b] of the objects [b, s, 4] of each sample, divided by the size of the sample."""
    one = jax.vmap(lambda *args: box_loss(*(x[None] for x in args[:2]), args[2])[0])  # references of its own image
    far = jnp.where((label > 0)[..., None], one(deltas, targets, references), 0)  # [b, s, parts]
    return mean_of_sample(far.sum(2), label)


def spread(deltas: jax.Array) -> jax.Array:
    """SPREAD in the form of deltas [..., 4]."""
    return jnp.asarray(SPREAD, deltas.dtype).reshape((1,) * (deltas.ndim - 1) + (4,))
