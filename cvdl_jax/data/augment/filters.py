"""Operations that blur or sharpen. Beyond the border the nearest pixel is repeated."""

from cvdl_jax.data.augment._photometric import check_interval, check_not_negative, on_images
from cvdl_jax.ops.images import filters


def blur(low: float = 0.1, high: float = 2.0, probability: float = 0.5):
    """Convolution with a Gaussian whose standard deviation is uniform in low ... high.

    Args:
        low: pixels, 0 or more.
        high: pixels.
        probability: for each row.

    Reference: Chen et al. 2020, "A Simple Framework for Contrastive Learning", appendix A (0.1 to 2, one half).
    """
    check_not_negative("blur", "low", low)
    check_not_negative("blur", "high", high)
    check_interval("blur", ("low", low), ("high", high))
    return on_images("blur", filters.gaussian_blur, low, high, probability)


def box_blur(radius: float = 1.5, probability: float = 0.5):
    """The mean over a square of side `2 r + 1`, r uniform in 0 ... radius; pixels covered in part count in part.

    Args:
        radius: pixels, 0 or more.
        probability: for each row.
    """
    check_not_negative("box_blur", "radius", radius)
    return on_images("box_blur", filters.box_blur, 0.0, radius, probability)


def median_blur(probability: float = 0.5):
    """Replaces each value by the median of its 3 x 3 neighbourhood.

    Args:
        probability: for each row.
    """
    return on_images("median_blur", lambda x, _: filters.median(x), 0.0, 0.0, probability)


def sharpen(amount: float = 1.0, probability: float = 0.5):
    """Adds to the image up to `amount` times its difference from a smoothed one, saturated at 0..1.

    Args:
        amount: 0 or more; Pillow's sharpness is uniform in 1 ... 1 + amount.
        probability: for each row.
    """
    check_not_negative("sharpen", "amount", amount)
    return on_images("sharpen", filters.sharpness, 1.0, 1 + amount, probability)
