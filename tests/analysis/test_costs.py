"""The figure of what models score over what they cost."""

import math

import pytest

from cvdl_jax.analysis.figures import costs


@pytest.mark.curriculum("H55")
def test_every_model_stands_over_its_size_with_its_interval_and_its_name():
    points = [
        costs.Point("small", 90.0, 89.0, 92.0, 1000, 20_000),
        costs.Point("large", 95.0, None, None, 100_000, 20_000_000),
        costs.Point("unknown size", 80.0),
        costs.Point("diverged", math.nan, None, None, 10, 10),
    ]
    figure = costs.draw(points, "test accuracy (%)")
    left, right = figure.axes
    assert (left.get_xscale(), right.get_xscale()) == ("log", "log")
    assert left.get_xlabel() == "parameters" and right.get_xlabel() == "multiply-accumulates for one example"
    for axis, sizes in ((left, (1000, 100_000)), (right, (20_000, 20_000_000))):
        named = {text.get_text(): text.xy for text in axis.texts}
        assert named == {"small": (sizes[0], 90.0), "large": (sizes[1], 95.0)}
        ((bottom, top),) = [line.get_segments()[0] for line in axis.collections]
        assert (tuple(bottom), tuple(top)) == ((sizes[0], 89.0), (sizes[0], 92.0))


def test_names_of_points_in_one_place_do_not_cover_each_other():
    points = [costs.Point(f"model {i}", 90 + i / 100, None, None, 1000, 10) for i in range(12)]
    (axis,) = costs.draw([*points, costs.Point("other", 91.0, None, None, 50_000, 10)], "accuracy").axes
    boxes = [text.get_window_extent() for text in axis.texts]
    assert not any(a.overlaps(b) and abs(a.y0 - b.y0) < a.height - 0.5 for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(axis.bbox.x0 < box.x0 and box.x1 < axis.bbox.x1 for box in boxes)
    assert all(axis.bbox.y0 < box.y0 and box.y1 < axis.bbox.y1 for box in boxes)


def test_without_a_size_that_differs_there_is_no_figure():
    same = [costs.Point(name, 90.0, None, None, 1000, 10) for name in "ab"]
    assert costs.draw(same, "accuracy") is None and costs.draw([], "accuracy") is None
