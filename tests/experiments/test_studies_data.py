"""Studies of data practice: what they find, at smoke size."""

import numpy as np
import pytest

from experiments.studies import feature_scaling


@pytest.mark.curriculum("W12")
def test_scaling_makes_gradient_descent_converge():
    study = feature_scaling.FeatureScaling(steps=500)
    metrics, curves = feature_scaling.measure(study, 0)
    assert metrics["raw_condition"] > 1e4 and metrics["standardised_condition"] < 2
    assert metrics["raw_steps"] == 500 > 20 * metrics["standardised_steps"]
    assert metrics["min_max_steps"] < 60
    for name, values in curves.items():  # the theorem: the error shrinks by (k - 1) / (k + 1) a step, or faster
        k = metrics[f"{name}_condition"]
        bound = ((k - 1) / (k + 1)) ** (2 * np.arange(len(values)))
        assert (values <= bound * (1 + 1e-6) + 1e-12).all()
        assert metrics[f"{name}_steps"] <= max(1, metrics[f"{name}_bound"])
