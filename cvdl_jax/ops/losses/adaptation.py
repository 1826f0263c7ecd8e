"""Methods of unsupervised domain adaptation, by the names that a config uses; `experiments/adapt.py` trains them."""

from typing import NamedTuple

from cvdl_jax.config.binding import Positive, Size


class Adaptation(NamedTuple):
    """What a method adds to the classification of labelled examples.

    Attributes:
        name: of the method.
        weight: of what it adds.
        units: of the hidden layer of the domain classifier; 0 without one.
        steepness: of the schedule of the reversed gradient.
        target_labels: whether the examples that are classified are the target's, with its labels.
    """

    name: str
    weight: float = 0.0
    units: int = 0
    steepness: float = 0.0
    target_labels: bool = False


def source() -> Adaptation:
    """Classification of the source alone: the lower baseline."""
    return Adaptation("source")


def oracle() -> Adaptation:
    """Classification of the target with its labels, which no adaptation may see: the upper bound."""
    return Adaptation("oracle", target_labels=True)


def dann(weight: Positive = 1.0, units: Size = 100, steepness: Positive = 10.0) -> Adaptation:
    """A domain classifier behind a reversed gradient, so that features do not tell the domains apart.

    Args:
        weight: of the domain classifier's loss.
        units: of its hidden layer.
        steepness: gamma of `2 / (1 + exp(- gamma p)) - 1`, which the gradient is reversed by.

    Reference: Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks", equation 9.
    """
    return Adaptation("dann", weight, units, steepness)


def coral(weight: Positive = 1.0) -> Adaptation:
    """The distance between the covariances of both domains' logits.

    Args:
        weight: lambda.

    Reference: Sun and Saenko 2016, "Deep CORAL", equation 6.
    """
    return Adaptation("coral", weight)
