"""Masks of instances in the frames of their boxes: cut out of an image of ids, and put back into an image.

Boxes are [ymin, xmin, ymax, xmax] in 0..1 (`ops/boxes.py`). Functions are of one image; `jax.vmap` makes them those of
a batch.
"""

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.ops.regions import roi_align

_AT_ONCE = 16  # regions whose masks are made as whole images at a time


def mask_targets(ids: jax.Array, regions: jax.Array, numbers: jax.Array, size: int = 28) -> jax.Array:
    """The mask of an object in the frame of a region: 1 where at least half of what ROI Align takes is its pixels.

    Args:
        ids: int [h, w], the number of an object for every pixel, 0 for none.
        regions: [r, 4].
        numbers: int [r], of the object of each region; 0 for none, whose mask is 0.
        size: side of the result.

    Returns:
        float32 [r, size, size], 0 or 1.

    Reference: He et al. 2017, "Mask R-CNN", section 3: the target is the intersection of a region and its true mask.
    """

    def one(of: tuple[jax.Array, jax.Array]) -> jax.Array:
        region, number = of
        mask = ((ids == number) & (number > 0)).astype(jnp.float32)[..., None]
        return roi_align((mask,), region[None].astype(jnp.float32), size=size)[0, ..., 0]

    if not len(regions):
        return jnp.zeros((0, size, size), jnp.float32)
    return (lax.map(one, (regions, numbers), batch_size=_AT_ONCE) >= 0.5).astype(jnp.float32)


def paste(patches: jax.Array, boxes: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Patches resized to their boxes in an image, bilinearly between the centres of their pixels; 0 outside a box.

    A pixel of the image is in a box if its centre is.

    Args:
        patches: float [n, m, m], such as probabilities.
        boxes: [n, 4].
        size: (height, width) of the image.

    Returns:
        float [n, height, width].
    """
    m = patches.shape[-1]

    def weights(low: jax.Array, high: jax.Array, side: int) -> jax.Array:
        centre = (jnp.arange(side, dtype=boxes.dtype)[None] + 0.5) / side  # [1, side]
        length = (high - low)[:, None]
        part = (centre - low[:, None]) / jnp.where(length > 0, length, 1)  # [n, side]
        inside = (part >= 0) & (part < 1) & (length > 0)
        at = jnp.clip(part * m - 0.5, 0, m - 1)[..., None]
        near = jnp.maximum(1 - jnp.abs(at - jnp.arange(m, dtype=boxes.dtype)[None, None]), 0)
        return jnp.where(inside[..., None], near, 0).astype(patches.dtype)  # [n, side, m]

    down, across = (weights(boxes[:, i], boxes[:, i + 2], side) for i, side in enumerate(size))
    return jnp.einsum("nyi,nij,nxj->nyx", down, patches, across, precision=lax.Precision.HIGHEST)


def mask_loss(logits: jax.Array, targets: jax.Array, labels: jax.Array) -> jax.Array:
    """Binary cross-entropy of the mask of the true class alone, the mean over pixels and the objects of each image.

    Args:
        logits: float [b, n, m, m, k + 1], a mask for each class, the first one for no class.
        targets: [b, n, m, m], 0 or 1.
        labels: int [b, n], class plus one; regions up to 0 have no loss.

    Returns:
        float32 [b]; 0 for an image without objects.

    Reference: He et al. 2017, "Mask R-CNN", section 3.
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    own = jnp.maximum(labels, 0)[:, :, None, None, None]
    x = jnp.take_along_axis(logits, own, -1)[..., 0]  # [b, n, m, m]
    entropy = jnp.maximum(x, 0) - x * targets + jnp.log1p(jnp.exp(-jnp.abs(x)))
    one = labels > 0
    return jnp.where(one, entropy.mean((2, 3)), 0).sum(1) / jnp.maximum(one.sum(1), 1)
