"""Every kind of experiment, killed inside a logging interval and continued, equals an uninterrupted run bit for bit."""

import re

import pytest
from runs_for_tests import assert_same_run, start

pytestmark = pytest.mark.long
PLACES = {  # run -> where it is killed, the step it continues from
    "adversarial": ("kill@step:13", 8),
    "images": ("kill@step:13", 8),
    "pairs": ("kill@step:13", 8),
    "edits": ("kill@step:13", 8),
    "inpainted": ("kill@step:13", 8),
    "transferred": ("kill@step:13", 8),
    "swapped": ("kill@step:13", 8),
    "variational": ("kill@step:13", 8),
    "diffusion": ("kill@step:13", 8),
    "growing": ("kill@step:13", 8),
    "distilled": ("kill@step:13", 8),
    "adapted": ("kill@step:13", 8),
    "detector": ("kill@step:13", 8),
    "two_stage": ("kill@step:13", 8),
    "segmenter": ("kill@step:13", 8),
    "depth": ("kill@step:13", 8),
    "language": ("kill@step:13", 8),
    "contrast": ("kill@step:13", 8),
    "tasks": ("kill@step:13", 8),
    "teacher": ("kill@step:13", 8),
    "bootstrap": ("kill@step:13", 8),
    "centred": ("kill@step:13", 8),
    "masked": ("kill@step:13", 8),
    "memory": ("kill@step:13", 8),
    "bert": ("kill@step:13", 8),
    "translation": ("kill@step:13", 8),
    "qlearn": ("kill@step:18", 16),
    "policy": ("kill@step:18", 16),
    "embedding": ("kill@step:13", 8),
    "captioner": ("kill@step:13", 8),
}


@pytest.mark.parametrize("run", PLACES)
def test_killed_experiment_continues_bit_for_bit(run, tmp_path):
    place, step = PLACES[run]
    whole = start(tmp_path / "whole", run)
    assert whole.returncode == 0, whole.stderr
    killed = start(tmp_path / "broken", run, place)
    assert killed.returncode == -9, killed.stdout + killed.stderr
    again = start(tmp_path / "broken", run)
    assert again.returncode == 0, again.stderr
    assert int(re.search(r"restored step (\d+)", again.stdout)[1]) == step
    assert_same_run(tmp_path / "whole", tmp_path / "broken")
