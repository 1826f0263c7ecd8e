"""How a network finds objects one by one, by a map of numbers or by regions: its losses, and the segments it answers.

`config.method.name` is the name of one of these functions. The network is any of `models/segmentation` with as many
numbers for a pixel as the method wants; for "regions" a detector with masks. `truth` is {"ids": int [b, h, w], 0 for no
object, k for row k - 1 of the others; "labels": int [b, n], classes from 0 on; "mask": [b, n], 1 where a row is an
object to be found}, and for regions "boxes" [b, n, 4]. Methods that answer by pixels ignore those of the other rows.
Segments:
    ids: int16 [b, h, w], 0 for none, k for row k - 1 of the others;
    classes: int32 [b, most]; scores: float32 [b, most] in 0..1; mask: float32 [b, most], 1 where there is a segment;
    left: float32 [b], what did not get one of the `most` numbers: parts, or pixels; 0 for regions.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import NotNegative, Positive, Probability, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.criterion import Criterion
from cvdl_jax.ops.images import watershed as flooding
from cvdl_jax.ops.instance_masks import paste
from cvdl_jax.ops.losses import embedding as embeddings
from cvdl_jax.ops.losses.segmentation import IGNORE
from cvdl_jax.ops.mean_shift import mean_shift
from cvdl_jax.ops.panoptic import merge_instances

_MOST = 32_767  # of int16
Truth = Mapping[str, jax.Array]


class Method(NamedTuple):
    """What a method needs of a network and makes of its results `(logits, out)`.

    Attributes:
        losses: `(logits, out, truth) -> ({"loss": [b], ...}, weight [b])`, parts of each image.
        segments: `(params, logits, out, (h, w) of the images) -> segments`.
        outputs: numbers of a pixel.
        reads: what the network's call takes besides images, see `Criterion`.
    """

    losses: Callable
    segments: Callable
    outputs: int = 0
    reads: tuple[str, ...] = ()


def watershed(
    num_classes: int,
    pixel_loss: Callable,
    foreground: Probability = 0.5,
    marker: Probability = 0.6,
    levels: Size = 16,
    least: Size = 4,
    most: Size = 100,
) -> Method:
    """The background, the interior of each class, and borders; interiors grow into what is no background.

    The border of an object are its pixels beside others. Connected parts that are surely interior are markers, and the
    watershed over what is not interior ends them where they meet (`ops/images/watershed.py`).

    Args:
        num_classes: k.
        pixel_loss: `(logits, labels) -> (totals [b], weights [b])`.
        foreground: probability of everything but the background, above which a pixel belongs to an object.
        marker: probability of the interior, above which a pixel belongs to a marker.
        levels: of the watershed.
        least: pixels of a marker.
        most: largest number of objects.

    Reference: Caicedo et al. 2019, "Evaluation of Deep Learning Strategies for Nucleus Segmentation in Fluorescence
    Images", for the three classes; Ronneberger et al. 2015, section 3, for borders between objects that touch.
    """
    _check_most(most)

    def losses(logits: jax.Array, out: Any, truth: Truth) -> tuple[dict, jax.Array]:
        labels = _pixel_classes(truth)
        is_object = (labels > 0) & (labels != IGNORE)
        labels = jnp.where(is_object & flooding.borders(truth["ids"]), num_classes + 1, labels)
        loss, weight = _mean(pixel_loss, logits, labels)
        return {"loss": loss}, weight

    def segments(params: Any, logits: jax.Array, out: Any, image: tuple[int, int]) -> dict[str, jax.Array]:
        p = jax.nn.softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))
        interior, inside = p[..., 1 : num_classes + 1], 1 - p[..., 0] > foreground
        sure = interior.sum(-1)
        markers, left = jax.vmap(partial(flooding.components, most=most, least=least))((sure > marker) & inside)
        ids = jax.vmap(partial(flooding.watershed, levels=levels))(markers, 1 - sure, inside)
        made = {**_described(ids, interior, 1 - p[..., 0], most), "left": left.astype(jnp.float32)}
        return _unless_broken(made, logits)

    return Method(losses, segments, num_classes + 2)


def embedding(
    num_classes: int,
    pixel_loss: Callable,
    size: Size = 8,
    pull: Positive = 0.5,
    push: Positive = 1.5,
    regularisation: NotNegative = 0.001,
    weight: Positive = 1.0,
    bandwidth: Positive = 1.5,
    steps: Size = 5,
    foreground: Probability = 0.5,
    least: Size = 4,
    most: Size = 100,
) -> Method:
    """The background and each class, and a vector for every pixel; pixels whose vectors lie together are an object.

    Args:
        num_classes: k.
        pixel_loss: `(logits, labels) -> (totals [b], weights [b])`, of the background and the classes.
        size: of the vectors.
        pull: of `ops.losses.embedding.discriminative`, as the next two.
        push: see there.
        regularisation: see there.
        weight: of the discriminative loss beside the pixel loss.
        bandwidth: of the mean shift; vectors of two objects are `2 push` apart where the loss is 0.
        steps: moves of the mean.
        foreground: probability of everything but the background, above which a pixel belongs to an object.
        least: pixels of an object.
        most: largest number of objects, those that are too small included.

    Reference: De Brabandere et al. 2017, "Semantic Instance Segmentation with a Discriminative Loss Function".
    """
    _check_most(most)

    def losses(logits: jax.Array, out: Any, truth: Truth) -> tuple[dict, jax.Array]:
        labels = _pixel_classes(truth)
        pixels, known = _mean(pixel_loss, logits[..., size:], labels)
        is_object = (labels > 0) & (labels != IGNORE)
        ids, rows = jnp.where(is_object, truth["ids"], 0), truth["labels"].shape[1]
        parts = embeddings.discriminative(logits[..., :size], ids, rows, pull, push, regularisation)
        whole = pixels + weight * sum(parts.values())
        return {"loss": whole, "pixel_loss": pixels, **{f"{k}_loss": x for k, x in parts.items()}}, known

    def segments(params: Any, logits: jax.Array, out: Any, image: tuple[int, int]) -> dict[str, jax.Array]:
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        b, h, w, _ = logits.shape
        p = jax.nn.softmax(logits[..., size:])
        certain = 1 - p[..., 0]
        flat = certain.reshape(b, -1)
        cluster = partial(mean_shift, bandwidth=bandwidth, most=most, steps=steps, least=least)
        ids, left = jax.vmap(cluster)(logits[..., :size].reshape(b, h * w, size), flat, flat > foreground)
        ids = ids.reshape(b, h, w)
        made = {**_described(ids, p[..., 1:], certain, most), "left": left.astype(jnp.float32)}
        return _unless_broken(made, logits)

    return Method(losses, segments, size + num_classes + 1)


def regions(
    model: Any, criterion: Criterion, thin: Callable, least_share: Probability = 0.5, least_score: Probability = 0.5
) -> Method:
    """Detections of a model of two stages, each with a mask in its box (Mask R-CNN).

    Masks may overlap. They are measured as they are; the segments of pixels are made of them by falling score, each of
    the pixels that are left (`ops.panoptic.merge_instances`). Segments have besides
        boxes: [b, most, 4]; patches: float16 [b, most, m, m], the probabilities of the mask of each box.

    Args:
        model: a detector with `masks`.
        criterion: its own.
        thin: `(boxes [n, 4], scores [n, k]) -> detections` of one image.
        least_share: a detection of which a smaller part is left has no pixels.
        least_score: nor has one with a lower score.

    Reference: He et al. 2017, "Mask R-CNN"; Kirillov et al. 2019, "Panoptic Segmentation", section 6.
    """

    def segments(params: Any, logits: jax.Array, out: Any, image: tuple[int, int]) -> dict[str, jax.Array]:
        boxes = jax.vmap(thin)(*criterion.decode(logits, out))
        patches = model.masks(params, out["levels"], boxes["boxes"], boxes["classes"], image).astype(jnp.float32)
        masks = jax.vmap(partial(paste, size=image))(patches, boxes["boxes"]) > 0.5  # [b, d, h, w]
        merge = partial(merge_instances, least_share=least_share, least_score=least_score)
        ids, _ = jax.vmap(merge)(masks, boxes["scores"], boxes["mask"])
        left = jnp.zeros(len(ids), jnp.float32)
        return {**boxes, "patches": patches.astype(jnp.float16), "ids": ids.astype(jnp.int16), "left": left}

    return Method(criterion.losses, segments, reads=criterion.reads)


def _pixel_classes(truth: Truth) -> jax.Array:
    """The class of every pixel plus one, 0 for the background, 255 for objects that are not to be found: [b, h, w]."""
    of_rows = jnp.where(truth["mask"] > 0, truth["labels"] + 1, IGNORE)
    table = jnp.pad(of_rows, ((0, 0), (1, 0)))  # [b, n + 1]
    ids = truth["ids"].astype(jnp.int32)
    return jnp.take_along_axis(table, ids.reshape(len(ids), -1), 1).reshape(ids.shape)


def _unless_broken(made: dict[str, jax.Array], logits: jax.Array) -> dict[str, jax.Array]:
    """Segments whose scores are NaN, of rows that all count, where a logit [b, h, w, c] of the image is no number."""
    broken = jnp.isnan(logits).any((1, 2, 3))[:, None]
    scores, mask = jnp.where(broken, jnp.nan, made["scores"]), jnp.where(broken, 1, made["mask"])
    return {**made, "scores": scores, "mask": mask}


def _described(ids: jax.Array, by_class: jax.Array, certain: jax.Array, most: int) -> dict[str, jax.Array]:
    """Segments from the numbers of pixels: the class of the largest sum, the mean certainty times its part as score.

    Args:
        ids: int [b, h, w], 0 ... most.
        by_class: [b, h, w, k], a score of each class.
        certain: [b, h, w], how sure it is that a pixel belongs to an object, in 0..1.
        most: largest number.
    """
    b, k = len(ids), by_class.shape[-1]
    values = jnp.concatenate([by_class, certain[..., None], jnp.ones_like(certain)[..., None]], -1)
    sums = jax.vmap(lambda v, i: jax.ops.segment_sum(v, i, most + 1))(values.reshape(b, -1, k + 2), ids.reshape(b, -1))[
        :, 1:
    ]  # [b, most, k + 2]
    classes, pixels = sums[..., :k], sums[..., k + 1]
    share = classes.max(-1) / jnp.maximum(classes.sum(-1), jnp.finfo(classes.dtype).tiny)
    score = share * sums[..., k] / jnp.maximum(pixels, 1)
    there = pixels > 0
    return {
        "ids": ids.astype(jnp.int16),
        "classes": jnp.where(there, classes.argmax(-1), 0).astype(jnp.int32),
        "scores": jnp.where(there, score, 0).astype(jnp.float32),
        "mask": there.astype(jnp.float32),
    }


def _mean(pixel_loss: Callable, logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The mean loss of the pixels of each image [b], and 1, or 0 and 0 for an image whose pixels are all ignored."""
    total, weight = pixel_loss(logits, labels)
    return total / jnp.where(weight > 0, weight, 1), (weight > 0).astype(total.dtype)


def _check_most(most: int) -> None:
    if most > _MOST:
        raise ConfigError(f"config.method.most={most} must be at most {_MOST}")
