"""The studies of classical vision: what is chosen on which data, and that methods find what is there."""

import numpy as np
import pytest

from cvdl_jax.config import configs
from cvdl_jax.errors import ConfigError
from experiments.studies import descriptors, early_vision, viola_jones

DIGITS = {"name": "digits", "train": "train", "validation": "validation", "test": "test", "image_size": (28, 28)}


@pytest.mark.curriculum("X10")
def test_gradients_classify_digits_and_the_cost_is_chosen_on_validation(monkeypatch):
    study = descriptors.Descriptors(data=DIGITS, limit=250, costs=(1e-6, 1.0))
    metrics, shown = descriptors.measure(study, 0)
    assert metrics["features"] == 9 * 36 and metrics["test_accuracy"] > 0.9
    curve = {cost: value for cost, _, value in shown[0]}
    assert metrics["validation_accuracy"] == max(curve.values()) == curve[metrics["cost"]]
    assert descriptors.draw(shown).keys() == {"costs", "answers"}
    # A test split of which all labels differ changes the accuracy on it and nothing else.
    whole = descriptors.recipe.whole_splits

    def other(*args):
        data, splits = whole(*args)
        splits["test"]["label"] = (np.asarray(splits["test"]["label"]) + 1) % 10
        return data, splits

    monkeypatch.setattr(descriptors.recipe, "whole_splits", other)
    changed, _ = descriptors.measure(study, 0)
    assert changed.pop("test_accuracy") < 0.1 < metrics.pop("test_accuracy") and changed == metrics
    with pytest.raises(ConfigError, match=r"config.study.costs=\(\) leaves nothing"):
        descriptors.measure(study._replace(costs=()), 0)


@pytest.mark.curriculum("X8")
def test_fisher_vectors_classify_digits():
    study = descriptors.Descriptors("fisher", DIGITS, 200, components=8, mixture=4, costs=(1.0,))
    metrics, _ = descriptors.measure(study, 0)
    assert metrics["features"] == 2 * 4 * 8 and metrics["test_accuracy"] > 0.8


@pytest.mark.curriculum("X9")
def test_detections_are_judged_once():
    truth = np.asarray([[0, 0, 10, 10], [20, 20, 30, 30.0]])
    boxes = np.asarray([[0, 0, 10, 10], [1, 0, 11, 10], [22, 20, 32, 30], [50, 50, 60, 60.0]])
    assert viola_jones.judged(boxes, truth) == (2, 2)
    assert viola_jones.judged(boxes, np.zeros((0, 4))) == (0, 4) and viola_jones.judged(boxes[:0], truth) == (0, 0)
    scene = viola_jones.face_scenes.Scene(np.zeros((9, 9)), truth)
    counts = np.asarray([9, 7, 3, 1])
    assert viola_jones.rates([(scene, boxes, counts)], 2) == pytest.approx((2 / 3, 1, 4 / 5))
    assert viola_jones.rates([(scene, boxes, counts)], 8) == pytest.approx((1, 1 / 2, 2 / 3))
    assert viola_jones.rates([(scene, boxes, counts)], 10) == (0, 0, 0)
    with pytest.raises(ConfigError, match=r"config.study.scale=1.0 must be above 1"):
        viola_jones.measure(viola_jones.Faces(scale=1.0), 0)


@pytest.mark.long
@pytest.mark.curriculum("X9")
def test_faces_are_detected():
    """A small cascade finds faces far more often than where other scenes have theirs."""
    study = viola_jones.Faces(features=500, faces=200, others=4000, stages=5, stumps=20, scenes=6)
    metrics, shown = viola_jones.measure(study, 0)
    scenes, boxes, counts = zip(*shown[1], strict=True)
    elsewhere = viola_jones.rates(list(zip(scenes[1:] + scenes[:1], boxes, counts, strict=True)), metrics["votes"])
    assert metrics["recall"] > 0.3 and metrics["recall"] > 3 * elsewhere[1]
    assert metrics["precision"] > 0.1 and metrics["precision"] > 3 * elsewhere[0]
    assert metrics["stages_of_a_window"] < 0.7 * metrics["stages"]
    assert viola_jones.draw(shown).keys() == {"detections", "stages"}


@pytest.mark.curriculum("X5", "X6", "X12")
@pytest.mark.parametrize(("part", "least", "most"), [
    ("edges", {"precision": 0.85, "recall": 0.85}, {}),
    ("cuts", {"rand": 0.8}, {"segments": 5}),
    ("regions", {"regions": 1}, {"degrees": 4, "area": 0.1}),
])  # fmt: skip
def test_what_was_drawn_is_seen(part, least, most):
    means, shown = early_vision.measure(early_vision.EarlyVision(part, 3), 0)
    assert all(means[name] >= value for name, value in least.items()), means
    assert all(means[name] <= value for name, value in most.items()), means
    assert early_vision.draw(part, shown).keys() == {part}


@pytest.mark.curriculum("X7")
def test_matches_follow_the_rotation():
    means, shown = early_vision.measure(early_vision.EarlyVision("sift", 2, 0.01), 0)
    assert means["right"] > 0.7 and means["matches"] > 10
    assert early_vision.draw("sift", shown).keys() == {"sift"}


def test_parts_of_the_config_are_studies_of_their_own():
    names = {"hog": "descriptors", "faces": "viola_jones", "cuts": "early_vision"}
    for part, name in names.items():
        assert configs.load(f"configs/studies/classical.py:part={part},smoke").experiment == f"studies.{name}"
