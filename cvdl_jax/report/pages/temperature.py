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
    validation = next((x for x in evaluations if x.name == FITTED_ON and len(x.label)), None)
    if validation is None or validation.scores.size > most_scores:
        return None
    try:
        return Temperature(calibration.fit_temperature(validation.scores, validation.label))
    except DataError as error:
        return Temperature(None, str(error))


def scaled_measures(evaluation: Classified, temperature: float) -> list[tuple[str, float, str]]:
    """(name, value, what it is) of an evaluation whose scores are divided by the temperature."""
    p, label = calibration.softmax(evaluation.scores, temperature), evaluation.label
    log_loss = calibration.negative_log_likelihood(evaluation.scores, label, temperature)
    return [
        ("temperature", temperature, f"best log loss on {FITTED_ON}; above 1: was too confident"),
        ("ECE at it", calibration.expected_calibration_error(p, label), "of scores divided by the temperature"),
        ("Brier score at it", calibration.brier(p, label), "likewise; accuracy stays as it is"),
        ("log loss at it", log_loss, "likewise"),
    ]
