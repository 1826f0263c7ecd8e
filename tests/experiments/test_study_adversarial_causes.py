"""The study of why adversarial examples exist: what its numbers are of."""

import numpy as np
import pytest

import launch
from cvdl_jax.config import configs
from experiments.studies import adversarial_causes as causes


def test_the_border_is_the_nearest_other_class_on_either_side():
    s = np.linspace(-2, 2, 5)
    assert causes.border(s, np.array([1, 0, 0, 0, 2])) == 2
    assert causes.border(s, np.array([1, 0, 0, 2, 2])) == 1
    assert causes.border(s, np.zeros(5)) == 2  # the end of the line


@pytest.mark.long
@pytest.mark.curriculum("P20")
def test_small_images_are_more_robust_than_large_ones_of_the_same_content():
    config = configs.load("configs/studies/adversarial_causes.py:smoke")
    study = causes.Causes(**{**config.study, "sides": (8, 20)})
    metrics, (response, by_side, planes) = causes.measure(study, 0)
    assert metrics["side_8/robust_accuracy"] > metrics["side_20/robust_accuracy"] + 0.1
    assert all(metrics[f"side_{side}/accuracy"] > 0.9 for side in (8, 20))
    assert 0.9 < metrics["worst_exponent"] < 1.1 and 0.4 < metrics["chance_exponent"] < 0.6
    assert metrics["border_along_gradient"] < metrics["border_along_noise"]
    assert len(planes) == 2 and set(causes.draw((response, by_side, planes))) == {"linear_response", "cross_sections"}


def test_an_even_number_of_points_is_refused(capsys, tmp_path):
    flags = ["--config=configs/studies/adversarial_causes.py:smoke", "--config.study.points=8"]
    assert launch.main([*flags, f"--workdir={tmp_path / 'run'}"]) == 2
    assert "config.study.points=8 must be odd" in capsys.readouterr().err
