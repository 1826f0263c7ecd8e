"""What the benchmarks make of the seconds that they measured."""

import pytest

from benchmarks import detectors, steps
from cvdl_jax.config import configs


@pytest.mark.curriculum("L30")
def test_detectors_are_compared_with_the_slowest_of_the_run():
    """Medians order the rows; a speed-up is the median of the ratios of rounds, not the ratio of medians."""
    figures = {"a": [0.2, 0.4, 0.1], "b": [1.0, 2.0, 8.0], "c": [0.5, 0.25, 2.0]}
    header, rows = detectors.table(figures)
    assert header == ["detector", "seconds an image", "images a second", "speed-up over b"]
    assert [row[0] for row in rows] == ["b", "c", "a"]
    assert rows[0][1:] == [2.0, 0.5, 1.0] and rows[1][1:] == [0.5, 2.0, 4.0] and rows[2][1:] == [0.2, 5.0, 5.0]
    assert all(len(pair) == 2 for pair in detectors.DETECTORS.values())


@pytest.mark.parametrize("name", ["unet", "retinanet"])
def test_averages_do_no_more_than_those_of_torch(name):
    path, *overrides = steps.STEPS[name]
    assert configs.load(path, overrides).ema.statistics is False
