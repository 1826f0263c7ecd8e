"""Shape or texture? What a classifier says of images whose shape is of one class and whose texture is of another."""

from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics.stats import intervals


class Bias(NamedTuple):
    """How often a classifier goes by the shape.

    Attributes:
        shape: the share of shapes among the answers that are one of the two cues, in 0..1; NaN without such answers.
        low: lower end of its 95 % Wilson interval, NaN likewise.
        high: upper end.
        either: the share of all answers that are one of the two cues.
    """

    shape: float
    low: float
    high: float
    either: float


def shape_bias(guesses: Any, shapes: Any, textures: Any) -> Bias:
    """Decisions for the shape, of those for one of the two cues: `s / (s + t)`.

    Args:
        guesses: classes that were named, int [n].
        shapes: the class of each image's shape, int [n].
        textures: the class of its texture, another one, int [n].

    Raises:
        DataError: for arrays of unlike lengths, no image at all, or an image whose cues agree.

    Reference: Geirhos et al. 2019, "ImageNet-trained CNNs are biased towards texture", section 2.3 and figure 4.
    """
    guesses, shapes, textures = (np.asarray(x) for x in (guesses, shapes, textures))
    if not guesses.shape == shapes.shape == textures.shape or guesses.ndim != 1 or not guesses.size:
        raise DataError(f"shape bias needs n > 0 guesses, shapes and textures, got {guesses.shape}, {shapes.shape}, "
                        f"{textures.shape}")  # fmt: skip
    same = np.flatnonzero(shapes == textures)
    if same.size:
        raise DataError(f"image {same[0]} has the shape and the texture of class {shapes[same[0]]}: it has no conflict")
    by_shape, by_texture = int((guesses == shapes).sum()), int((guesses == textures).sum())
    either = by_shape + by_texture
    if not either:
        return Bias(*[float("nan")] * 3, 0.0)
    return Bias(by_shape / either, *intervals.wilson(by_shape, either), either / len(guesses))
