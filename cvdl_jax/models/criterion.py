"""What a detector tells an experiment besides its scores: its losses and its boxes.

The class of a detector of `models/detection` has, beside `__call__(x, train) -> (logits, out)`, one method,

    criterion(sections) -> Criterion

where `sections` are {"loss", "match", "boxes"} of the config. The detector binds them to the functions that it
uses, and refuses those that it does not read. It is made for `outputs`: the number of classes, and one more for the
background under a loss of `WITH_BACKGROUND`. So an experiment knows neither anchors nor cells:

    model = registry.create(config.model, "config.model", kinds=("detection",), outputs=outputs, ...)
    criterion = model.criterion({"loss": config.loss, "match": config.match, "boxes": config.boxes})
    logits, out = model.apply(...)
    parts, weight = criterion.losses(logits, out, truth)     # {"loss": [b], ...}, [b]: add both up, then divide
    boxes, scores = criterion.decode(logits, out)            # [b, n, 4], [b, n, classes]: `ops.suppression.detections`

`truth` is {"boxes": [b, t, 4] in 0..1, "labels": int [b, t], "mask": [b, t]}; t may be 0.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import NotNegative, Positive, check_section, check_value, named, partially
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.ops import anchors, boxes
from cvdl_jax.ops.losses import boxes as box_losses
from cvdl_jax.ops.losses import detection
from cvdl_jax.ops.losses.regression import smooth_l1_of_differences

Sections = Mapping[str, Mapping[str, Any]]


class Criterion(NamedTuple):
    """The losses and the boxes of a detector.

    Attributes:
        losses: `(logits, out, truth) -> ({"loss": [b], ...}, weight [b])`: parts of each image, and its weight, such as
            the number of its positive anchors, at least 1: an image without objects counts, too.
        decode: `(logits, out) -> (boxes [b, n, 4], scores [b, n, classes])`, each box with the score of each class, or
            boxes [b, n, classes, 4].
        reads: what the model's call takes besides images: "proposals", regions [b, n, 4] behind the images, zero for
            padding; "truth", as a keyword and where it is known, for one that chooses what it is trained on.
    """

    losses: Callable
    decode: Callable
    reads: tuple[str, ...] = ()


def outputs_of(section: Mapping[str, Any], num_classes: int) -> int:
    """Scores of an anchor under the loss that `config.loss` names: the classes, and the background if it needs one."""
    check_section(section, "config.loss")
    return num_classes + (section.get("name") in detection.WITH_BACKGROUND)


def refuse(sections: Sections, names: tuple[str, ...], model: str) -> None:
    """Refuses sections that a detector does not read. Raises ConfigError."""
    for name in names:
        if sections[name]:
            raise ConfigError(f"config.{name}={dict(sections[name])} is not read by {model}; set config.{name}={{}}")


def check_proposals(name: str, criterion: Criterion, there: bool) -> None:
    """Refuses a batch without the regions that a detector reads, or with regions that it does not. Raises ConfigError.

    Args:
        name: of the detector.
        criterion: of it.
        there: whether batches have regions.
    """
    if there != ("proposals" in criterion.reads):
        why = "reads no regions; set config.data.proposals={}" if there else (
            "judges regions that it does not propose itself; set config.data.proposals={'count': 200}"
        )  # fmt: skip
        raise ConfigError(f"config.model.name={name!r} {why}")


def with_backbone(
    row: Mapping[str, Any],
    overrides: Mapping[str, Any],
    dtype: Any,
    remat: bool = False,
    field: str = "backbone",
    num_classes: int = 0,
) -> dict[str, Any]:
    """The overrides of a row, with its `backbone` made: one of the registry without a head.

    Args:
        row: a row of a family's VARIANTS.
        overrides: `backbone` may be the name of a variant, a section with its `name`, or without one, where its fields
            are added to those of the row.
        dtype: of the computation.
        remat: recompute its blocks in the backward pass.
        field: another name than `backbone`.
        num_classes: scores of its head; 0 for none.

    Raises:
        ConfigError: for an unknown backbone, or one that the fields do not fit.
    """
    path = f"config.model.{field}"
    section = check_value(overrides.get(field, {}), Mapping, path)
    section = {**section} if "name" in section else {**row[field], **section}
    more = {"num_classes": num_classes, "dtype": dtype, "remat": remat}
    return {**overrides, field: registry.create(section, path, kinds=("backbones",), **more)}


def class_loss_of(sections: Sections) -> tuple[Callable, bool]:
    """The class loss `(logits, labels) -> [b, a]` of `config.loss`, and whether its class 0 is the background."""
    loss = named(detection, sections["loss"], "config.loss", "logits", "labels")
    return loss, sections["loss"]["name"] in detection.WITH_BACKGROUND


def scores_of(logits: jax.Array, background: bool) -> jax.Array:
    """Probabilities of the classes: a softmax without its background, or sigmoids."""
    return jax.nn.softmax(logits)[..., 1:] if background else jax.nn.sigmoid(logits)


def named_parts(parts: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The terms of a loss under the names of a run's metrics: "loss", "centre_loss" ..., "lost_objects"."""
    whole = {"loss": "loss", "lost": "lost_objects"}
    return {whole.get(name, f"{name}_loss"): part for name, part in parts.items()}


# Detectors with anchors ---------------------------------------------------------------------------------------------


def anchored(sections: Sections) -> Criterion:
    """The criterion of detectors with anchors, `out = {"deltas": [b, a, 4], "anchors": [a, 4]}`.

    `config.match` is of `ops.anchors.match`, `config.loss` names a class loss of `ops.losses.detection`, `config.boxes`
    is of `box_loss_of`.

    Raises:
        ConfigError: for a section that does not fit its function.
    """
    match = partially(anchors.match, sections["match"], "config.match", "boxes", "mask", "anchors")
    class_loss, background = class_loss_of(sections)
    box_loss = box_loss_of(sections["boxes"])

    def losses(logits: jax.Array, out: dict, truth: dict) -> tuple[dict[str, jax.Array], jax.Array]:
        targets = jax.vmap(partial(anchors.anchor_targets, match), (0, 0, 0, None))
        label, delta = targets(truth["boxes"], truth["labels"], truth["mask"], out["anchors"])
        far = jnp.where((label > 0)[..., None], box_loss(out["deltas"], delta, out["anchors"]), 0)  # [b, a, parts]
        return parts_of(class_loss(logits, label).sum(1), far.sum((1, 2)), (label > 0).sum(1))

    def decode(logits: jax.Array, out: dict) -> tuple[jax.Array, jax.Array]:
        return boxes.decode(out["deltas"], out["anchors"][None]), scores_of(logits, background)

    return Criterion(losses, decode)


def parts_of(class_loss: jax.Array, box_loss: jax.Array, positives: jax.Array) -> tuple[dict, jax.Array]:
    """Both losses [b] and their sum, and the weight [b]: the positives, 1 for an image without any."""
    parts = {"loss": class_loss + box_loss, "class_loss": class_loss, "box_loss": box_loss}
    return parts, jnp.maximum(positives, 1) * 1.0


def box_loss_of(section: Mapping[str, Any], spread: Sequence[float] | None = None) -> Callable:
    """The loss of encoded boxes that `config.boxes` describes.

    Args:
        section: `name`, "smooth_l1" (with `beta`) on the differences of encoded boxes, or a function of
            `ops.losses.boxes`, of their corners; and `weight`.
        spread: what encoded boxes were divided by, [4]; None for nothing.

    Returns:
        `(deltas, true deltas, anchors [a, 4]) -> [..., parts]`, to be added up.
    """
    weight, name, section = weight_of(section)
    if name == "smooth_l1":
        smooth = partially(_smooth_l1, section, "config.boxes", "x")
        return lambda deltas, targets, anchors: weight * smooth(deltas - targets)
    loss = corner_loss_of(name, section)

    def of_corners(deltas: jax.Array, targets: jax.Array, anchors: jax.Array) -> jax.Array:
        if spread is not None:
            unit = jnp.asarray(spread, deltas.dtype).reshape((1,) * (deltas.ndim - 1) + (4,))
            deltas, targets = deltas * unit, targets * unit
        predicted, true = (boxes.decode(x, anchors[None]) for x in (deltas, targets))
        return weight * loss(predicted, true)[..., None]

    return of_corners


def weight_of(section: Mapping[str, Any], name: str = "smooth_l1") -> tuple[float, str, dict[str, Any]]:
    """The weight and the name of the loss of `config.boxes`, and what is left of it."""
    check_section(section, "config.boxes")
    rest = {"weight": 1.0, "name": name, **section}
    return check_value(rest.pop("weight"), NotNegative, "config.boxes.weight"), rest.pop("name"), rest


def corner_loss_of(name: str, section: Mapping[str, Any]) -> Callable:
    """The loss `(boxes, true boxes) -> [...]` of `ops.losses.boxes` that has this name."""
    return named(box_losses, {"name": name, **section}, "config.boxes", "boxes", "true_boxes")


def _smooth_l1(x: jax.Array, beta: Positive = 0.11) -> jax.Array:
    return smooth_l1_of_differences(x, beta)
