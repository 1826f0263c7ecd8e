"""The temperature of a classifier: fitted on validation, applied to the other sets. Numbers from saved scores alone."""

from collections.abc import Sequence
from typing import NamedTuple

from cvdl_jax.errors import DataError
from cvdl_jax.metrics import calibration
from cvdl_jax.workdir.predictions import Classified

FITTED_ON = "validation"


class Temperature(NamedTuple):
    """A temperature, or why there is none.

    Attributes:
        value: by which scores are divided; None where validation has no best one.
        why: there is none, in words.
    """

    value: float | None
    why: str = ""


def fitted(evaluations: Sequence[Classified], most_scores: int) -> Temperature | None:
    """The temperature that is best on validation; None without that evaluation, or where it is too large to be fitted.

    Args:
        evaluations: of one run.
        most_scores: of validation, beyond which none is fitted.
    """
    found = [each for each in evaluations if each.name == FITTED_ON and len(each.label)]
    if not found or found[0].scores.size > most_scores:
        return None
    try:
        return Temperature(calibration.fit_temperature(found[0].scores, found[0].label))
    except DataError as error:
        return Temperature(None, str(error))


def measures(each: Classified, temperature: float) -> list[tuple[str, float, str]]:
    """(name, value, what it is) of an evaluation whose scores are divided by the temperature."""
    p = calibration.softmax(each.scores, temperature)
    log_loss = calibration.negative_log_likelihood(each.scores, each.label, temperature)
    return [
        ("temperature", temperature, f"best log loss on {FITTED_ON}; above 1: was too confident"),
        ("ECE at it", calibration.expected_calibration_error(p, each.label), "of scores divided by the temperature"),
        ("Brier score at it", calibration.brier(p, each.label), "likewise; accuracy stays as it is"),
        ("log loss at it", log_loss, "likewise"),
    ]
