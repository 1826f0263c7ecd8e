"""The tables of the learned and the random policies: operations, ranges of their magnitudes, and sub-policies.

A magnitude is a level 0 ... levels - 1, mapped linearly to a range; names are those of Cubuk et al. 2019, table 6.
Where papers leave a choice (sign, rounding, size of the images), the values are those of torchvision's `autoaugment`:
translations are shares of the image's side (150 of 331 pixels), posterize goes down from 8 bits, solarize from 255.
"""

from typing import NamedTuple

OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast",
    "sharpness", "posterize", "solarize", "autocontrast", "equalize", "invert",
)  # fmt: skip
GEOMETRIC = OPERATIONS[1:6]
# Cubuk et al. 2020, "RandAugment", section 3.1: all but invert
RANDOM = OPERATIONS[:-1]


class Range(NamedTuple):
    """Values of an operation's parameter at the lowest and the highest level.

    Units: shears are slopes, translations pixels or shares of the side, rotations degrees; brightness, color, contrast
    and sharpness are distances of the factor from 1; posterize bits; solarize a byte.
    """

    low: float
    high: float
    signed: bool = False  # the sign is drawn


def _ranges(shear: float, translate: float, rotate: float, factor: float, bits: float) -> dict[str, Range]:
    signed = {
        "shear_x": shear, "shear_y": shear, "translate_x": translate, "translate_y": translate, "rotate": rotate,
        "brightness": factor, "color": factor, "contrast": factor, "sharpness": factor,
    }  # fmt: skip
    ranges = {name: Range(0.0, high, True) for name, high in signed.items()}
    return ranges | {"posterize": Range(8, bits), "solarize": Range(255, 0)}


# Cubuk et al. 2019, "AutoAugment", table 6: shear 0.3, translate 150 of 331 pixels, rotate 30, factors 0.1 ... 1.9
STANDARD = _ranges(shear=0.3, translate=150 / 331, rotate=30, factor=0.9, bits=4)
# Mueller and Hutter 2021, "TrivialAugment", table 1: the wide space; its translation is 32 pixels in any image
WIDE = _ranges(shear=0.99, translate=32, rotate=135, factor=0.99, bits=2)
AUTO_LEVELS, LEVELS = 10, 31  # of auto_augment, and of the two policies after it

# (operation, probability, level, operation, probability, level), 25 each: Cubuk et al. 2019, appendix, the policies
# found on CIFAR-10, ImageNet and SVHN. The level is 0 where an operation has no magnitude.
POLICIES = {
    "cifar10": (
        ("invert", 0.1, 0, "contrast", 0.2, 6),
        ("rotate", 0.7, 2, "translate_x", 0.3, 9),
        ("sharpness", 0.8, 1, "sharpness", 0.9, 3),
        ("shear_y", 0.5, 8, "translate_y", 0.7, 9),
        ("autocontrast", 0.5, 0, "equalize", 0.9, 0),
        ("shear_y", 0.2, 7, "posterize", 0.3, 7),
        ("color", 0.4, 3, "brightness", 0.6, 7),
        ("sharpness", 0.3, 9, "brightness", 0.7, 9),
        ("equalize", 0.6, 0, "equalize", 0.5, 0),
        ("contrast", 0.6, 7, "sharpness", 0.6, 5),
        ("color", 0.7, 7, "translate_x", 0.5, 8),
        ("equalize", 0.3, 0, "autocontrast", 0.4, 0),
        ("translate_y", 0.4, 3, "sharpness", 0.2, 6),
        ("brightness", 0.9, 6, "color", 0.2, 8),
        ("solarize", 0.5, 2, "invert", 0.0, 0),
        ("equalize", 0.2, 0, "autocontrast", 0.6, 0),
        ("equalize", 0.2, 0, "equalize", 0.6, 0),
        ("color", 0.9, 9, "equalize", 0.6, 0),
        ("autocontrast", 0.8, 0, "solarize", 0.2, 8),
        ("brightness", 0.1, 3, "color", 0.7, 0),
        ("solarize", 0.4, 5, "autocontrast", 0.9, 0),
        ("translate_y", 0.9, 9, "translate_y", 0.7, 9),
        ("autocontrast", 0.9, 0, "solarize", 0.8, 3),
        ("equalize", 0.8, 0, "invert", 0.1, 0),
        ("translate_y", 0.7, 9, "autocontrast", 0.9, 0),
    ),
    "imagenet": (
        ("posterize", 0.4, 8, "rotate", 0.6, 9),
        ("solarize", 0.6, 5, "autocontrast", 0.6, 0),
        ("equalize", 0.8, 0, "equalize", 0.6, 0),
        ("posterize", 0.6, 7, "posterize", 0.6, 6),
        ("equalize", 0.4, 0, "solarize", 0.2, 4),
        ("equalize", 0.4, 0, "rotate", 0.8, 8),
        ("solarize", 0.6, 3, "equalize", 0.6, 0),
        ("posterize", 0.8, 5, "equalize", 1.0, 0),
        ("rotate", 0.2, 3, "solarize", 0.6, 8),
        ("equalize", 0.6, 0, "posterize", 0.4, 6),
        ("rotate", 0.8, 8, "color", 0.4, 0),
        ("rotate", 0.4, 9, "equalize", 0.6, 0),
        ("equalize", 0.0, 0, "equalize", 0.8, 0),
        ("invert", 0.6, 0, "equalize", 1.0, 0),
        ("color", 0.6, 4, "contrast", 1.0, 8),
        ("rotate", 0.8, 8, "color", 1.0, 2),
        ("color", 0.8, 8, "solarize", 0.8, 7),
        ("sharpness", 0.4, 7, "invert", 0.6, 0),
        ("shear_x", 0.6, 5, "equalize", 1.0, 0),
        ("color", 0.4, 0, "equalize", 0.6, 0),
        ("equalize", 0.4, 0, "solarize", 0.2, 4),
        ("solarize", 0.6, 5, "autocontrast", 0.6, 0),
        ("invert", 0.6, 0, "equalize", 1.0, 0),
        ("color", 0.6, 4, "contrast", 1.0, 8),
        ("equalize", 0.8, 0, "equalize", 0.6, 0),
    ),
    "svhn": (
        ("shear_x", 0.9, 4, "invert", 0.2, 0),
        ("shear_y", 0.9, 8, "invert", 0.7, 0),
        ("equalize", 0.6, 0, "solarize", 0.6, 6),
        ("invert", 0.9, 0, "equalize", 0.6, 0),
        ("equalize", 0.6, 0, "rotate", 0.9, 3),
        ("shear_x", 0.9, 4, "autocontrast", 0.8, 0),
        ("shear_y", 0.9, 8, "invert", 0.4, 0),
        ("shear_y", 0.9, 5, "solarize", 0.2, 6),
        ("invert", 0.9, 0, "autocontrast", 0.8, 0),
        ("equalize", 0.6, 0, "rotate", 0.9, 3),
        ("shear_x", 0.9, 4, "solarize", 0.3, 3),
        ("shear_y", 0.8, 8, "invert", 0.7, 0),
        ("equalize", 0.9, 0, "translate_y", 0.6, 6),
        ("invert", 0.9, 0, "equalize", 0.6, 0),
        ("contrast", 0.3, 3, "rotate", 0.8, 4),
        ("invert", 0.8, 0, "translate_y", 0.0, 2),
        ("shear_y", 0.7, 6, "solarize", 0.4, 8),
        ("invert", 0.6, 0, "rotate", 0.8, 4),
        ("shear_y", 0.3, 7, "translate_x", 0.9, 3),
        ("shear_x", 0.1, 6, "invert", 0.6, 0),
        ("solarize", 0.7, 2, "translate_y", 0.6, 7),
        ("shear_y", 0.8, 4, "invert", 0.8, 0),
        ("shear_x", 0.7, 9, "translate_y", 0.8, 3),
        ("shear_y", 0.8, 5, "autocontrast", 0.7, 0),
        ("shear_x", 0.7, 2, "invert", 0.1, 0),
    ),
}
