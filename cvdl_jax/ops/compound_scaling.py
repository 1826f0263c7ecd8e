"""Sizes of scaled networks: the rounding of channels and layers, compound scaling, and the search for its constants.

    depth d = alpha^phi,   width w = beta^phi,   resolution r = gamma^phi,   alpha beta^2 gamma^2 about 2

A convolution's multiply-adds grow with d w^2 r^2, so each unit of phi about doubles them.

Reference: Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", equations 2, 3.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15  # of EfficientNet-B0, section 4


class Scaling(NamedTuple):
    """Factors of depth, width and resolution."""

    depth: float
    width: float
    resolution: float


def compound(phi: float, alpha: float = ALPHA, beta: float = BETA, gamma: float = GAMMA) -> Scaling:
    """`(alpha^phi, beta^phi, gamma^phi)`.

    Args:
        phi: how many times the multiply-adds are about doubled.
        alpha: base of the depth, at least 1.
        beta: base of the width, at least 1.
        gamma: base of the resolution, at least 1.

    Raises:
        ValueError: for a base below 1.
    """
    if min(alpha, beta, gamma) < 1:
        raise ValueError(
            f"alpha={alpha}, beta={beta}, gamma={gamma} must be at least 1, so that networks grow with phi"
        )
    return Scaling(alpha**phi, beta**phi, gamma**phi)


def growth(alpha: float, beta: float, gamma: float) -> float:
    """`alpha beta^2 gamma^2`, by which the multiply-adds grow when phi grows by 1."""
    return alpha * beta**2 * gamma**2


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of the divisor, halves upwards, at least one of it, and never less than 0.9 of the channels.

    Args:
        channels: after multiplication with a width.
        divisor: usually 8, which suits the hardware.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def round_layers(layers: int, depth: float) -> int:
    """`ceil(depth layers)`: a scaled stage never has fewer layers than it would."""
    return math.ceil(round(depth * layers, 9))  # 1.1 * 10 is 11.000000000000002


def candidates(step: float = 0.05, most: float = 2.0, target: float = 2.0, tolerance: float = 0.1) -> list[Scaling]:
    """The grid of bases (alpha, beta, gamma) in [1, most] that keep to the constraint.

    Args:
        step: of the grid.
        most: largest base.
        target: of `alpha beta^2 gamma^2`.
        tolerance: largest distance from the target.

    Raises:
        ValueError: for a step that is not positive.
    """
    if not step > 0:
        raise ValueError(f"step={step} of the grid must be positive, such as 0.05")
    values = [round(1 + i * step, 9) for i in range(int(round((most - 1) / step, 6)) + 1)]
    grid = itertools.product(values, repeat=3)
    return [Scaling(*bases) for bases in grid if abs(growth(*bases) - target) <= tolerance + 1e-9]


def search(score: Callable[[Scaling], float], **grid: float) -> Scaling:
    """The small grid search: the bases (alpha, beta, gamma) at phi = 1 whose scaled network has the highest score.

    Args:
        score: of the network that is scaled by these factors, such as its accuracy after a short training.
        **grid: arguments of `candidates`.

    Returns:
        (alpha, beta, gamma) as a `Scaling`; the first of equals.

    Raises:
        ValueError: if nothing on the grid keeps to the constraint, or a score is no number.

    Reference: Tan and Le 2019, section 3.3, step 1.
    """
    choices = candidates(**grid)
    if not choices:
        raise ValueError(f"no bases on the grid {grid} keep alpha beta^2 gamma^2 near its target; use a smaller step")
    scores = [float(score(choice)) for choice in choices]
    bad = [choice for choice, value in zip(choices, scores, strict=True) if math.isnan(value)]
    if bad:
        raise ValueError(f"the score of {bad[0]} is not a number; the search cannot rank it")
    return choices[max(range(len(choices)), key=scores.__getitem__)]


def nearest(count: Callable[[Scaling], float], way: Callable[[float], Scaling], target: float, most: float) -> Scaling:
    """How far to go along a way of scaling, so that the multiply-adds are nearest to a target.

    Args:
        count: of a scaling, not decreasing along the way; whole channels and layers make it grow in jumps.
        way: of a number from 1 to `most`.
        target: multiply-adds.
        most: end of the way.

    Returns:
        The scaling whose count differs from the target by the smallest factor, to 1/256 of the way's logarithm.
    """
    low, high = 1.0, most
    for _ in range(8):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if count(way(middle)) < target else (low, middle)
    return min((way(low), way(high)), key=lambda by: abs(math.log(count(by) / target)))
