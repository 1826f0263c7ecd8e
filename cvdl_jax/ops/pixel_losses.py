"""Reconstruction losses of images, one value per image; see `reduce.reducible` for sums and means over images."""

from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.ops.concrete import between, floats, or_nan
from cvdl_jax.ops.reduce import expand, reducible
from cvdl_jax.ops.regression_losses import l1


@reducible
def weighted_pixel_l1(predictions: Any, targets: Any, pixel_weights: Any) -> jax.Array:
    """Weighted absolute error of each image, `L_i = sum_pixels w |y - t|`, the first stage of inpainting.

    The mean over pixels is `regression_losses.l1(..., weights=w, reduction="mean")`.

    Args:
        predictions: y, images, float [b, h, w, c].
        targets: t, [b, h, w, c].
        pixel_weights: w >= 0, [b, h, w] for all channels of a pixel, or [b, h, w, c]; see `hole_weights`.

    Returns:
        float32 [b].

    Raises:
        ValueError: for shapes that do not fit, NaN, or negative weights (NaN inside jit).

    Reference: Yu et al. 2018, "Generative Image Inpainting with Contextual Attention", section 3.
    """
    each, w = l1(predictions, targets), floats("pixel_weights", pixel_weights)
    good = between("pixel_weights", w, 0.0, float("inf"))
    each = each * expand("pixel_weights", or_nan(good, w), each)
    return each.reshape(each.shape[0], -1).sum(1)


def hole_weights(images: Any, hole: float = 1.0, inside: float = 0.0) -> jax.Array:
    """Weights of the pixels of images with a hole: 1 outside, `inside` where every channel has the hole's value.

    Args:
        images: corrupted, float [b, h, w, c].
        hole: the value of the hole's pixels, white by default.
        inside: the weight there, in [0, 1].

    Returns:
        float32 [b, h, w].

    Raises:
        ValueError: for NaN, a weight outside [0, 1], or images of another rank.
    """
    images = floats("images", images)
    if images.ndim != 4:
        raise ValueError(f"images must be [b, h, w, c], got shape {list(images.shape)}")
    weight = or_nan(between("inside", inside, 0.0, 1.0), jnp.asarray(inside, images.dtype))
    return jnp.where((images == hole).all(-1), weight, 1.0)
