"""Detection in an image at several sizes: a network that finds objects of some sizes finds others in a smaller image.

config.test_time = dict(scales=(0.5, 1.0, 2.0))
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax.errors import ScopeParamShapeError

from cvdl_jax.config.binding import Positive
from cvdl_jax.errors import ConfigError

PATH = "config.test_time.scales"


def at_scales(
    look: Callable[[jax.Array], tuple[jax.Array, jax.Array]], images: jax.Array, scales: tuple[Positive, ...]
) -> tuple[jax.Array, jax.Array]:
    """The boxes that a detector sees at every size of the images, to be thinned together by one suppression.

    Boxes in 0..1 are those of the image at any size.

    Args:
        look: images [b, h', w', c] -> boxes [b, n', ..., 4] in 0..1 and scores [b, n', k].
        images: [b, h, w, c]; resized bilinearly, with anti-aliasing where they become smaller.
        scales: factors of height and width; 1.0 is the image itself, and is not looked at unless it is named.

    Returns:
        boxes [b, sum of n', ..., 4] and scores [b, sum of n', k].

    Raises:
        ConfigError: for no scale, one that leaves no pixel, or a network that takes images of one size alone.

    Reference: Sermanet et al. 2014, "OverFeat", section 4.2.
    """
    if not scales or len(set(scales)) < len(scales):
        raise ConfigError(f"{PATH}={tuple(scales)} must be different factors of the image's size, such as (0.5, 1.0)")
    b, h, w, c = images.shape
    boxes, scores = [], []
    for scale in scales:
        size = round(h * scale), round(w * scale)
        if min(size) < 1:
            raise ConfigError(f"{PATH}: images of {h}x{w} have no pixel left at the scale {scale}; leave it out")
        resized = images if size == (h, w) else jax.image.resize(images, (b, *size, c), "bilinear")
        try:
            seen = look(resized)
        except ScopeParamShapeError as error:
            raise ConfigError(
                f"{PATH}={tuple(scales)}: this network has parameters for images of {h}x{w} alone, not for "
                f"{size[0]}x{size[1]}; set config.test_time={{}}, or choose a detector of anchors or points"
            ) from error
        boxes.append(seen[0])
        scores.append(seen[1])
    return jnp.concatenate(boxes, 1), jnp.concatenate(scores, 1)
